//! A server and its client in one process.

use std::sync::mpsc;
use std::thread;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::sql::client::FlightSqlServiceClient;
use ballista_core::utils::{GrpcClientConfig, create_grpc_client_connection};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;

use super::*;

/// Sum of the first column of what a client is answered, or what it is told.
async fn ask(at: SocketAddr, sql: &str) -> Result<i64, String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let config = GrpcClientConfig::default();
    let connection = create_grpc_client_connection(format!("http://{at}"), &config);
    let mut client = FlightSqlServiceClient::new(connection.await.unwrap());
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

/// Ends a server, however a test ends.
struct End<'a>(&'a Interrupt);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Serves a table of the numbers 1 to 1000 from lines, and asks for it.
#[test]
fn a_client_reads_and_does_nothing_else_until_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (1..=1000).flat_map(|i| ["{\"i\": ".to_owned(), i.to_string(), "}\n".to_owned()]).collect();
    let numbers = folder.path().join("numbers.jsonl");
    io::write(&numbers, lines.as_bytes()).unwrap();
    let mut session = Session::new().unwrap();
    session.register(&numbers).unwrap();
    session.query("CREATE VIEW odd AS SELECT i FROM numbers WHERE i % 2 = 1").unwrap();

    let stolen = folder.path().join("stolen.csv");
    let interrupt = Interrupt::default();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let end = End(&interrupt);
        let server = scope.spawn(|| {
            let mut send = |event| sender.send(event).unwrap();
            run("127.0.0.1:0".parse().unwrap(), &session, &interrupt, &mut send)
        });
        assert_eq!(receiver.recv().unwrap(), Event::Copied { tables: vec!["numbers".into(), "odd".into()] });
        let Event::Listening { at, .. } = receiver.recv().unwrap() else { panic!("the server does not listen") };
        let client = Runtime::new().unwrap();
        let ask = |sql: &str| client.block_on(ask(at, sql));
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
        for sql in [
            "CREATE VIEW v AS SELECT 1",
            "DROP TABLE numbers",
            "INSERT INTO numbers VALUES (1)",
            &copy,
            "SELECT * FROM nothing",
        ] {
            assert!(ask(sql).is_err(), "{sql}");
        }
        assert_eq!(ask("SELECT i FROM numbers"), Ok(500_500));
        drop(end);
        server.join().unwrap().unwrap();
    });
    assert!(!stolen.exists());
}

/// Statements that would end a process that plans them; the server answers the next one.
#[test]
fn no_query_ends_the_server() {
    let session = Session::new().unwrap();
    session.query("CREATE VIEW numbers AS SELECT value AS i FROM generate_series(1, 1000)").unwrap();
    let interrupt = Interrupt::default();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let _end = End(&interrupt);
        scope.spawn(|| {
            run("127.0.0.1:0".parse().unwrap(), &session, &interrupt, &mut |event| sender.send(event).unwrap())
        });
        let at = loop {
            if let Event::Listening { at, .. } = receiver.recv().unwrap() {
                break at;
            }
        };
        let client = Runtime::new().unwrap();
        let ask = |sql: &str| client.block_on(ask(at, sql));
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
    let error = run(address, &session, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen at `{address}`"));
    assert!(crate::error::Hint::hint(&error).unwrap().contains("another port"));
}
