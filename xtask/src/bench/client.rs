//! A load generator: HTTP/1.1 over connections that stay open, with as little work of its own as can be, since it shares
//! the machine with what it measures.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The bytes of a request.
#[derive(Clone)]
pub(in crate::bench) struct Request(Arc<[u8]>);

impl Request {
    pub(in crate::bench) fn get(path: &str, headers: &[(&str, &str)]) -> Self {
        Self::new("GET", path, headers, "")
    }

    pub(in crate::bench) fn post(path: &str, headers: &[(&str, &str)], body: &Value) -> Self {
        Self::new("POST", path, headers, &body.to_string())
    }

    fn new(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let headers: String =
            headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        Self(text.into_bytes().into())
    }
}

/// The body of an answer whose status was of the 200s.
#[derive(Debug)]
pub(in crate::bench) struct Answer(Vec<u8>);

impl Answer {
    pub(in crate::bench) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.0).map_err(|error| format!("an answer: {error}"))
    }
}

/// One connection to the server, for one request after the other.
pub(in crate::bench) struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Connection {
    pub(in crate::bench) async fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|error| format!("port {port}: {error}"))?;
        Ok(Self { stream: BufReader::new(stream), line: String::new() })
    }

    /// Sends and waits. The error is a broken connection, or a status that is not of the 200s, with the body.
    pub(in crate::bench) async fn send(&mut self, request: &Request) -> Result<Answer, String> {
        let (status, body) = self.exchange(request).await.map_err(|error| format!("a request: {error}"))?;
        if (200..300).contains(&status) {
            Ok(Answer(body))
        } else {
            Err(format!("a request was answered {status}: {}", String::from_utf8_lossy(&body)))
        }
    }

    async fn exchange(&mut self, request: &Request) -> std::io::Result<(u16, Vec<u8>)> {
        self.stream.write_all(&request.0).await?;
        let status = status(self.line().await?)?;
        let mut length = 0;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, body))
    }

    /// The next line of the head, without its end.
    async fn line(&mut self) -> std::io::Result<&str> {
        self.line.clear();
        if self.stream.read_line(&mut self.line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.line.trim_end())
    }
}

fn status(line: &str) -> std::io::Result<u16> {
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no HTTP: {line}")))
}

/// What came back under load.
#[derive(Debug, Default, Clone)]
pub(in crate::bench) struct Load {
    /// Of each answer, the shortest first.
    latencies: Vec<Duration>,
    took: Duration,
}

impl Load {
    pub(in crate::bench) fn of(mut latencies: Vec<Duration>, took: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, took }
    }

    /// Answers; at least 1, so that it can be divided by.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(in crate::bench) fn count(&self) -> f64 {
        self.latencies.len().max(1) as f64
    }

    pub(in crate::bench) fn per_second(&self) -> f64 {
        self.count() / self.took.as_secs_f64()
    }

    /// Milliseconds within which this share of the answers came, in percent.
    pub(in crate::bench) fn percentile_ms(&self, percent: usize) -> f64 {
        let place = self.latencies.len().saturating_mul(percent) / 100;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(place.min(last)).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    }
}

/// Sends a request again and again from some clients, for a time. Any answer but a good one is an error.
pub(in crate::bench) async fn load(
    port: u16,
    request: &Request,
    clients: usize,
    time: Duration,
) -> Result<Load, String> {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let request = request.clone();
        running.spawn(async move {
            let mut connection = Connection::open(port).await?;
            let mut latencies = Vec::new();
            while begun.elapsed() < time || latencies.is_empty() {
                let sent = Instant::now();
                connection.send(&request).await?;
                latencies.push(sent.elapsed());
            }
            Ok::<_, String>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done.map_err(|error| format!("a client: {error}"))??);
    }
    Ok(Load::of(latencies, begun.elapsed()))
}

/// Sends each request once, from some clients.
pub(in crate::bench) async fn parallel(
    port: u16,
    requests: Arc<Vec<Request>>,
    clients: usize,
) -> Result<(), String> {
    let mut running = JoinSet::new();
    for first in 0..clients {
        let requests = Arc::clone(&requests);
        running.spawn(async move {
            let mut connection = Connection::open(port).await?;
            for request in requests.iter().skip(first).step_by(clients) {
                connection.send(request).await?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|error| format!("a client: {error}"))??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let latencies = (1..=200).rev().map(Duration::from_millis).collect();
        let load = Load::of(latencies, Duration::from_secs(4));
        assert_eq!((load.percentile_ms(50).round(), load.percentile_ms(99).round()), (101.0, 199.0));
        assert_eq!((load.count().round(), load.per_second().round()), (200.0, 50.0));
        assert!(Load::default().percentile_ms(99) < 1.0);
    }

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status("HTTP/1.1 204 No Content").unwrap(), 204);
        assert!(status("SSH-2.0-x").is_err());
    }
}
