//! A server and its client in one process.

use std::path::Path;
use std::sync::mpsc;
use std::thread;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::Ticket;
use arrow_flight::sql::client::FlightSqlServiceClient;
use ballista_core::utils::{GrpcClientConfig, create_grpc_client_endpoint};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

use super::*;

/// What a client says who it is.
#[derive(Clone, Copy, Default)]
struct Client<'a> {
    /// Said in each call.
    token: Option<&'a str>,
    /// Said once.
    password: Option<&'a str>,
    /// The certificate it trusts.
    certificate: Option<&'a str>,
}

impl Client<'_> {
    async fn connect(self, at: SocketAddr) -> Result<FlightSqlServiceClient<Channel>, String> {
        let told = |error: &dyn std::error::Error| format!("{error:?}");
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let mut endpoint = create_grpc_client_endpoint(format!("{scheme}://{at}"), Some(&GrpcClientConfig::default()))
            .map_err(|error| told(&error))?;
        if let Some(certificate) = self.certificate {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificate));
            endpoint = endpoint.tls_config(tls).map_err(|error| told(&error))?;
        }
        let mut client = FlightSqlServiceClient::new(endpoint.connect().await.map_err(|error| told(&error))?);
        if let Some(password) = self.password {
            client.handshake("anybody", password).await.map_err(|error| told(&error))?;
        }
        if let Some(token) = self.token {
            client.set_token(token.to_owned());
        }
        Ok(client)
    }

    /// Sum of the first column of what it is answered, or what it is told.
    async fn ask(self, at: SocketAddr, sql: &str) -> Result<i64, String> {
        let told = |error: &dyn std::error::Error| error.to_string();
        let mut client = self.connect(at).await?;
        let info = client.execute(sql.to_owned(), None).await.map_err(|error| told(&error))?;
        let promised = info.clone().try_decode_schema().unwrap();
        let mut sum = 0;
        for endpoint in info.endpoint {
            let mut rows = client.do_get(endpoint.ticket.unwrap()).await.map_err(|error| told(&error))?;
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(|error| told(&error))?;
                // A client may refuse rows of another schema than it was promised, as ADBC does.
                assert_eq!(*batch.schema(), promised, "{sql}");
                sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
            }
        }
        Ok(sum)
    }
}

fn plan(address: &str) -> Plan {
    Plan { address: address.parse().unwrap(), token: None, tls: None, is_insecure: false }
}

/// Ends a server, however a test ends.
struct End<'a>(&'a Interrupt);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Serves a table of the numbers 1 to 1000 from lines, and its odd ones.
fn served(plan: &Plan, ask: impl FnOnce(SocketAddr, &Runtime)) {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (1..=1000).flat_map(|i| ["{\"i\": ".to_owned(), i.to_string(), "}\n".to_owned()]).collect();
    let numbers = folder.path().join("numbers.jsonl");
    io::write(&numbers, lines.as_bytes()).unwrap();
    let mut session = Session::new().unwrap();
    session.register(&numbers).unwrap();
    session.query("CREATE VIEW odd AS SELECT i FROM numbers WHERE i % 2 = 1").unwrap();

    let interrupt = Interrupt::default();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let end = End(&interrupt);
        let server = scope.spawn(|| {
            let mut send = |event| sender.send(event).unwrap();
            run(plan, &session, &interrupt, &mut send)
        });
        assert_eq!(receiver.recv().unwrap(), Event::Copied { tables: vec!["numbers".into(), "odd".into()] });
        let Event::Listening { at, .. } = receiver.recv().unwrap() else { panic!("the server does not listen") };
        ask(at, &Runtime::new().unwrap());
        drop(end);
        server.join().unwrap().unwrap();
    });
}

#[test]
fn a_client_reads_and_does_nothing_else_until_the_end() {
    let stolen = tempfile::tempdir().unwrap().path().join("stolen.csv");
    served(&plan("127.0.0.1:0"), |at, client| {
        let ask = |sql: &str| client.block_on(Client::default().ask(at, sql));
        // 1 + 2 + … + 1000, the odd ones among them, and a function of ours over both stages of a group.
        assert_eq!(ask("SELECT i FROM numbers"), Ok(500_500));
        assert_eq!(ask("SELECT sum(i) FROM odd"), Ok(250_000));
        assert_eq!(ask("SELECT CAST(mad(i) AS BIGINT) FROM numbers"), Ok(250));
        // Several stages, of which only the last has the columns that were asked for.
        let both = "SELECT i FROM numbers UNION ALL SELECT i FROM odd";
        let by_rest =
            format!("SELECT sum(i) AS s, i % 2 AS rest, min(i) AS least FROM ({both}) GROUP BY rest ORDER BY rest");
        assert_eq!(ask(&by_rest), Ok(750_500));
        let copy = format!("COPY (SELECT 1) TO '{}'", stolen.display());
        let deep = format!("SELECT i FROM numbers WHERE {}", vec!["i = 1"; 8000].join(" OR "));
        let wide = vec!["SELECT i FROM numbers"; 3000].join(" UNION ALL ");
        for sql in [
            "CREATE VIEW v AS SELECT 1",
            "DROP TABLE numbers",
            "INSERT INTO numbers VALUES (1)",
            "SET datafusion.execution.target_partitions = 1000000",
            "SELECT length(repeat('x', 2000000000)) FROM numbers",
            "SELECT 1; DROP TABLE numbers",
            &copy,
            &deep,
            &wide,
            "SELECT * FROM nothing",
        ] {
            assert!(ask(sql).is_err(), "{sql}");
        }
        assert_eq!(ask("SELECT i FROM numbers"), Ok(500_500));
    });
    assert!(!stolen.exists());
}

const TOKEN: &str = "a token that is long enough";

fn token(folder: &Path, text: &str, mode: u32) -> Result<Token, TokenError> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("token");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    Token::read(&path)
}

#[test]
fn a_client_without_the_token_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let secret = TOKEN.replace(' ', "-");
    let token = token(folder.path(), &format!("{secret}\n"), 0o600).unwrap();
    assert!(!format!("{token:?}").contains(&secret));
    served(&Plan { token: Some(token), ..plan("127.0.0.1:0") }, |at, runtime| {
        let ask = |client: Client<'_>| runtime.block_on(client.ask(at, "SELECT i FROM numbers"));
        let secret = Some(secret.as_str());
        assert_eq!(ask(Client { token: secret, ..Client::default() }), Ok(500_500));
        assert_eq!(ask(Client { password: secret, ..Client::default() }), Ok(500_500));
        for client in [
            Client::default(),
            Client { token: Some("another"), ..Client::default() },
            Client { token: Some(""), ..Client::default() },
            Client { password: Some("another"), ..Client::default() },
        ] {
            let refused = ask(client).unwrap_err();
            assert!(refused.contains("Unauthenticated") || refused.contains("unauthenticated"), "{refused}");
        }
        // Nor what is not a query.
        runtime.block_on(async {
            let mut client = Client::default().connect(at).await.unwrap();
            assert!(client.get_catalogs().await.is_err());
            assert!(client.prepare("SELECT 1".into(), None).await.is_err());
            assert!(client.do_get(Ticket { ticket: vec![0; 64].into() }).await.is_err());
        });
    });
}

/// Ballista's own tickets name a host, a port and a file, and its service redeems them for whoever sends them.
#[test]
fn only_tickets_that_the_server_gave_out_are_redeemed() {
    served(&plan("127.0.0.1:0"), |at, runtime| {
        runtime.block_on(async {
            let mut client = Client::default().connect(at).await.unwrap();
            let info = client.execute("SELECT i FROM numbers".into(), None).await.unwrap();
            let ticket = info.endpoint.first().unwrap().ticket.clone().unwrap();
            assert!(client.do_get(ticket.clone()).await.is_ok());
            let bytes = ticket.ticket.to_vec();
            let changed = (0..bytes.len()).map(|i| {
                let mut changed = bytes.clone();
                changed[i] ^= 1;
                changed
            });
            let forged = changed.chain([bytes[32..].to_vec(), bytes[..32].to_vec(), Vec::new()]);
            for forged in forged {
                let refused = client.do_get(Ticket { ticket: forged.into() }).await.err().unwrap().to_string();
                assert!(refused.contains("none that this server has given out"), "{refused}");
            }
        });
    });
}

#[test]
fn a_certificate_makes_the_connection_private() {
    let file = |name: &str| Path::new("fixtures/tls").join(name);
    let tls = Some(TlsFiles { certificate: file("cluster.pem"), key: file("cluster.key") });
    let certificate = std::fs::read_to_string(file("cluster.pem")).unwrap();
    served(&Plan { tls, ..plan("127.0.0.1:0") }, |at, runtime| {
        let ask = |client: Client<'_>| runtime.block_on(client.ask(at, "SELECT i FROM numbers"));
        assert_eq!(ask(Client { certificate: Some(&certificate), ..Client::default() }), Ok(500_500));
        assert!(ask(Client::default()).is_err());
    });
    let swapped = Some(TlsFiles { certificate: file("cluster.key"), key: file("cluster.pem") });
    let session = Session::new().unwrap();
    let refused = run(&Plan { tls: swapped, ..plan("127.0.0.1:0") }, &session, &Interrupt::default(), &mut |_| {});
    assert!(refused.unwrap_err().to_string().contains("are no certificate and its key"));
}

#[test]
fn other_machines_need_a_token_and_tls_unless_somebody_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let session = Session::new().unwrap();
    let open = plan("0.0.0.0:0");
    let run = |plan: &Plan| run(plan, &session, &Interrupt::default(), &mut |_| {}).unwrap_err();
    let error = run(&open);
    assert_eq!(
        error.to_string(),
        "`0.0.0.0:0` can be reached from other machines: expected a token and TLS, found neither"
    );
    assert!(crate::error::Hint::hint(&error).unwrap().contains("--insecure"));
    let token = token(folder.path(), "0123456789abcdef", 0o600).unwrap();
    assert!(run(&Plan { token: Some(token), ..open }).to_string().ends_with("found a token alone"));
}

#[test]
fn a_token_is_one_line_that_only_its_owner_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str, mode| token(folder.path(), text, mode).unwrap_err().to_string();
    assert!(refused("short", 0o600).ends_with("found 5 characters"));
    assert!(
        refused("two words, of which one is long", 0o600).ends_with("found spaces, line breaks or other characters")
    );
    assert!(refused("0123456789abcdef\n0123456789abcdef", 0o600).contains("line breaks"));
    assert!(refused("0123456789abcdef", 0o644).ends_with("others than its owner can read it (mode 644)"));
    assert!(Token::read(&folder.path().join("none")).is_err());
}

/// Statements that would end a process that plans them; the server answers the next one.
#[test]
fn no_query_ends_the_server() {
    served(&plan("127.0.0.1:0"), |at, client| {
        let ask = |sql: &str| client.block_on(Client::default().ask(at, sql));
        let many = |n: usize, part: &str, between: &str| vec![part; n].join(between);
        let parts: Vec<String> = (1..40)
            .map(|part| format!("p{part} AS (SELECT * FROM p{0} UNION ALL SELECT * FROM p{0})", part - 1))
            .collect();
        for (sql, part) in [
            (format!("SELECT {}", many(100_000, "1", "+")), "in each other"),
            (format!("SELECT {}1{}", many(50_000, "(", ""), many(50_000, ")", "")), "in each other"),
            (format!("WITH p0 AS (SELECT 1 AS i), {} SELECT i FROM p39", parts.join(", ")), "copies of operators"),
            ("WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i FROM r) SELECT i FROM r".into(), "RECURSIVE"),
            (format!("SELECT i FROM numbers -- {}", many(1 << 20, "x", "")), "expected at most 1048576"),
        ] {
            let told = ask(&sql).unwrap_err();
            assert!(told.contains(part), "{told}");
            assert_eq!(ask("SELECT i FROM numbers"), Ok(500_500), "after {part}");
        }
    });
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let session = Session::new().unwrap();
    let plan = plan(&address.to_string());
    let error = run(&plan, &session, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen at `{address}`"));
    assert!(crate::error::Hint::hint(&error).unwrap().contains("another port"));
}
