//! A loopback HTTP server with canned answers, for the unit tests of this layer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Gcp, Options};
use super::endpoint::Endpoint;
use super::retry::Limits;
use super::sleeper::testing::RecordingSleeper;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status, further header lines, content type, body.
    Full { status: u16, headers: String, kind: &'static str, body: String },
    /// Reads the request and closes the connection.
    Drop,
    /// Reads the request and never answers.
    Hang,
}

impl Answer {
    #[allow(clippy::needless_pass_by_value)] // tests write `json!` in place
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::Full { status, headers: String::new(), kind: "application/json", body: body.to_string() }
    }

    pub(crate) fn html(status: u16) -> Self {
        Self::Full { status, headers: String::new(), kind: "text/html", body: "<html>".to_owned() }
    }

    pub(crate) fn header(mut self, line: &str) -> Self {
        if let Self::Full { headers, .. } = &mut self {
            headers.push_str(line);
            headers.push_str("\r\n");
        }
        self
    }
}

/// Google's error body.
pub(crate) fn refusal(code: u16, status: &str) -> Value {
    json!({"error": {"code": code, "status": status, "message": format!("refused: {status}")}})
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) verb: String,
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    /// Verb and path without the query.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.verb, self.target.split('?').next().unwrap_or_default())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Answers requests in the order of its list, whichever connection they come on; then 500 with a clear word.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) sleeper: Arc<RecordingSleeper>,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let answers = Mutex::new(VecDeque::from(answers));
        Self::serve(move |_| {
            let next = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.unwrap_or_else(|| Answer::json(501, refusal(501, "UNIMPLEMENTED")))
        })
        .await
    }

    /// A server that computes its answers.
    pub(crate) async fn serve(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move { converse(stream, &*answer, &log).await });
            }
        });
        Self { address, sleeper: Arc::default(), seen, task }
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client of this server, without credentials, whose pauses take no time.
    pub(crate) async fn gcp(&self) -> Gcp {
        self.gcp_with(Limits::LOOPBACK).await
    }

    pub(crate) async fn gcp_with(&self, limits: Limits) -> Gcp {
        let options = Options { anonymous: true, sleeper: self.sleeper.clone(), ..Options::default() };
        let endpoint = Endpoint::parse(Some(&format!("http://{}", self.address))).unwrap();
        Gcp::with_limits(options, endpoint, limits).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection until either side closes it.
async fn converse(
    mut stream: TcpStream,
    answer: &(dyn Fn(&Seen) -> Answer + Send + Sync),
    log: &Mutex<Vec<Seen>>,
) {
    while let Some(request) = receive(&mut stream).await {
        let answer = answer(&request);
        log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        match answer {
            Answer::Full { status, headers, kind, body } => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{headers}\r\n",
                    body.len()
                );
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Drop => return,
            Answer::Hang => std::future::pending().await,
        }
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |value| value.trim().parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let first = String::from_utf8_lossy(&bytes[..end]).lines().next()?.to_owned();
    let mut words = first.split(' ');
    Some(Seen {
        verb: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        head,
        body: String::from_utf8_lossy(&bytes[end..]).into_owned(),
    })
}
