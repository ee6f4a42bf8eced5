//! A server of the part of the S3 protocol that piref speaks, with faults: what CI has instead of a service. `make check-s3`
//! runs the same against a server that is not ours.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use piref::digest::Digest;

/// What befalls a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with this status, and nothing is done.
    Status(u16),
    /// Its connection breaks before anything is done.
    Cut,
    /// It is carried out, and its connection breaks before the answer.
    LostAnswer,
    /// Its connection breaks in the middle of the body of the answer.
    CutHalf,
}

/// A request, as a fault sees it.
pub(crate) struct Request<'a> {
    /// Requests before it.
    pub(crate) index: usize,
    pub(crate) method: &'a str,
}

type Faults = dyn Fn(&Request<'_>) -> Option<Fault> + Send + Sync;

/// A server on loopback with one bucket, `b`. It ends with the process.
pub(crate) struct S3Server {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    faults: Mutex<Box<Faults>>,
    /// Method and key of each request.
    log: Mutex<Vec<String>>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl S3Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { objects: Mutex::default(), faults: Mutex::new(Box::new(|_| None)), log: Mutex::default() };
        let state = Arc::new(state);
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                // A client that has gone away is not told.
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { address, state }
    }

    /// The variables by which a client finds it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let fixed = [
            ("AWS_ACCESS_KEY_ID", "piref"),
            ("AWS_SECRET_ACCESS_KEY", "not-to-be-told-to-anybody"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name, value.to_owned()));
        fixed.chain([("AWS_ENDPOINT_URL", format!("http://{}", self.address))]).collect()
    }

    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        self.state.objects.lock().unwrap().insert(key.to_owned(), bytes.to_owned());
    }

    /// The objects whose keys begin with this and a slash, by the rest of their keys.
    pub(crate) fn under(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let rest = |key: &str| Some(key.strip_prefix(prefix)?.strip_prefix('/')?.to_owned());
        let objects = self.state.objects.lock().unwrap();
        objects.iter().filter_map(|(key, bytes)| Some((rest(key)?, bytes.clone()))).collect()
    }

    /// From now on, counted from 0, requests meet these faults; what they did before is forgotten.
    pub(crate) fn set_faults(&self, faults: impl Fn(&Request<'_>) -> Option<Fault> + Send + Sync + 'static) {
        *self.state.faults.lock().unwrap() = Box::new(faults);
        self.state.log.lock().unwrap().clear();
    }

    /// Method and key of the requests since then.
    pub(crate) fn log(&self) -> Vec<String> {
        self.state.log.lock().unwrap().clone()
    }
}

/// One request a connection.
fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let n_bytes = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; n_bytes];
    reader.read_exact(&mut body)?;

    let path = target.split('?').next().unwrap_or_default();
    let key = path.strip_prefix("/b/").unwrap_or_default();
    let index = {
        let mut log = state.log.lock().unwrap();
        log.push(format!("{method} {key}"));
        log.len() - 1
    };
    let fault = state.faults.lock().unwrap()(&Request { index, method });
    let answer = match fault {
        Some(Fault::Cut) => return stream.shutdown(Shutdown::Both),
        Some(Fault::Status(status)) => Answer {
            status,
            headers: Vec::new(),
            body: b"<Error><Code>Told</Code><Message>as the test says</Message></Error>".to_vec(),
        },
        _ => carry_out(method, key, &headers, &body, &mut state.objects.lock().unwrap()),
    };
    if fault == Some(Fault::LostAnswer) {
        return stream.shutdown(Shutdown::Both);
    }
    write!(stream, "HTTP/1.1 {} Told\r\nConnection: close\r\n", answer.status)?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "Content-Length: {}\r\n\r\n", answer.body.len())?;
    if method == "HEAD" {
        return Ok(());
    }
    let n_sent = if fault == Some(Fault::CutHalf) { answer.body.len() / 2 } else { answer.body.len() };
    stream.write_all(&answer.body[..n_sent])?;
    stream.shutdown(Shutdown::Both)
}

fn carry_out(
    method: &str,
    key: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
    objects: &mut BTreeMap<String, Vec<u8>>,
) -> Answer {
    let tag = |bytes: &[u8]| format!("\"{}\"", Digest::of(bytes));
    let failed = |status| Answer { status, headers: Vec::new(), body: Vec::new() };
    let found = objects.get(key);
    match method {
        "PUT" => {
            let is_refused = headers.contains_key("if-none-match") && found.is_some()
                || headers.get("if-match").is_some_and(|wanted| found.is_none_or(|bytes| tag(bytes) != *wanted));
            if is_refused {
                return failed(412);
            }
            objects.insert(key.to_owned(), body.to_owned());
            Answer { status: 200, headers: vec![("ETag", tag(body))], body: Vec::new() }
        }
        // Deletion, of a list of keys.
        "POST" => {
            let text = String::from_utf8(body.to_owned()).unwrap();
            let keys: Vec<&str> = text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()).collect();
            for key in &keys {
                objects.remove(*key);
            }
            let deleted: Vec<String> = keys.iter().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>")).collect();
            let body = format!("<DeleteResult>{}</DeleteResult>", deleted.concat()).into_bytes();
            Answer { status: 200, headers: Vec::new(), body }
        }
        "GET" | "HEAD" => {
            let Some(bytes) = found else { return failed(404) };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let modified = chrono::DateTime::from_timestamp(now.cast_signed(), 0).unwrap().to_rfc2822();
            let mut headers_of = vec![("ETag", tag(bytes)), ("Last-Modified", modified)];
            let range = headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
            let Some((start, end)) = range else {
                return Answer { status: 200, headers: headers_of, body: bytes.clone() };
            };
            let start: usize = start.parse().unwrap();
            let end = end.parse::<usize>().map_or(bytes.len(), |last| bytes.len().min(last + 1));
            headers_of.push(("Content-Range", format!("bytes {start}-{}/{}", end - 1, bytes.len())));
            Answer { status: 206, headers: headers_of, body: bytes[start..end].to_vec() }
        }
        _ => failed(405),
    }
}
