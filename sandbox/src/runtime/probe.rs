//! Probes: whether a container has started, lives, and is ready (`Probe` in the run.v2 document).

use std::time::Duration;

use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Between two attempts to connect within one try.
const AGAIN: Duration = Duration::from_millis(10);

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Tcp,
    Http { path: String, headers: Vec<(String, String)> },
    Grpc { service: String },
}

/// One probe; times are in seconds of Cloud Run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) ask: Ask,
    /// Where the instance really listens.
    pub(crate) port: u16,
    pub(crate) initial_delay: u32,
    pub(crate) period: u32,
    pub(crate) timeout: u32,
    pub(crate) failures: u32,
}

impl Probe {
    /// Reads a probe whose defaults are filled in. `ports` says where the container's own port is on this machine.
    pub(crate) fn read(probe: &Value, container_port: u16, real_port: u16) -> Option<Self> {
        let (ask, action) = if let Some(action) = probe.get("httpGet") {
            let headers = action["httpHeaders"].as_array().into_iter().flatten();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let headers = headers.map(|header| (text(&header["name"]), text(&header["value"]))).collect();
            (Ask::Http { path: action["path"].as_str().unwrap_or("/").to_owned(), headers }, action)
        } else if let Some(action) = probe.get("grpc") {
            (Ask::Grpc { service: action["service"].as_str().unwrap_or_default().to_owned() }, action)
        } else {
            (Ask::Tcp, probe.get("tcpSocket")?)
        };
        let number = |key: &str, default: u32| {
            probe[key].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
        };
        let port =
            action["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(container_port);
        Some(Self {
            ask,
            port: if port == container_port { real_port } else { port },
            initial_delay: number("initialDelaySeconds", 0),
            period: number("periodSeconds", 10),
            timeout: number("timeoutSeconds", 1),
            failures: number("failureThreshold", 3),
        })
    }

    /// Asks once.
    ///
    /// # Errors
    /// What was wrong, as the end of a sentence.
    pub(crate) async fn once(&self, second: Duration) -> Result<(), String> {
        let patience = second * self.timeout.max(1);
        let until = Instant::now() + patience;
        let Some(stream) = self.connect(until).await else {
            return Err(format!("nothing listened on port {} within {} s", self.port, self.timeout));
        };
        let answer = async {
            match &self.ask {
                Ask::Tcp => Ok(()),
                Ask::Http { path, headers } => get(stream, path, headers).await,
                Ask::Grpc { service } => super::grpc::health(stream, service).await,
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        timeout(left, answer)
            .await
            .unwrap_or_else(|_| Err(format!("there was no answer within {} s", self.timeout)))
    }

    /// A refused connection is tried again while the time of this try lasts: processes need a moment.
    async fn connect(&self, until: Instant) -> Option<TcpStream> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left, TcpStream::connect(("127.0.0.1", self.port))).await {
                Ok(Ok(stream)) => return Some(stream),
                Err(_) => return None,
                Ok(Err(_)) if Instant::now() + AGAIN >= until => return None,
                Ok(Err(_)) => sleep(AGAIN).await,
            }
        }
    }

    /// Asks until it succeeds, or has failed as often in a row as it may.
    ///
    /// # Errors
    /// What the last try ended with.
    pub(crate) async fn until_success(&self, second: Duration) -> Result<(), String> {
        sleep(second * self.initial_delay).await;
        let mut failed = 0;
        loop {
            let began = Instant::now();
            match self.once(second).await {
                Ok(()) => return Ok(()),
                Err(why) => {
                    failed += 1;
                    if failed >= self.failures.max(1) {
                        return Err(why);
                    }
                }
            }
            sleep((second * self.period).saturating_sub(began.elapsed())).await;
        }
    }

    /// What the probe does, in words: `STARTUP TCP probe`.
    pub(crate) fn title(&self) -> &'static str {
        match self.ask {
            Ask::Tcp => "TCP",
            Ask::Http { .. } => "HTTP",
            Ask::Grpc { .. } => "gRPC",
        }
    }
}

/// A status from 200 to 399 is a success.
async fn get(stream: TcpStream, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = super::process::Task::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::get(path).header("host", "127.0.0.1").header("user-agent", "GoogleHC/1.0");
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            request = request.header(name, value);
        }
    }
    let request = request.body(Full::<Bytes>::default()).map_err(|error| error.to_string())?;
    let response =
        sender.send_request(request).await.map_err(|error| format!("there was no HTTP answer: {error}"))?;
    let status = response.status().as_u16();
    let _ = response.into_body().collect().await;
    drop(connection);
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("GET {path} answered {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const SECOND: Duration = Duration::from_millis(20);

    fn probe(value: &Value, port: u16) -> Probe {
        Probe::read(value, 8080, port).unwrap()
    }

    /// A server that answers each connection with the next of `answers`.
    async fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            std::future::pending::<()>().await;
        });
        port
    }

    const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    const BAD: &str = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";

    #[test]
    fn the_containers_port_is_where_it_really_listens() {
        let own = probe(
            &json!({"tcpSocket": {"port": 8080}, "timeoutSeconds": 240, "failureThreshold": 1}),
            20_000,
        );
        assert_eq!((own.port, own.timeout, own.failures), (20_000, 240, 1));
        assert_eq!(probe(&json!({"httpGet": {"path": "/", "port": 9090}}), 20_000).port, 9090);
    }

    #[tokio::test]
    async fn failures_in_a_row_are_counted_against_the_threshold() {
        let http = json!({"httpGet": {"path": "/health"}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3});
        let good = probe(&http, server(&[BAD, BAD, OK]).await);
        assert_eq!(good.until_success(SECOND).await, Ok(()));
        let bad = probe(&http, server(&[BAD, BAD, BAD, OK]).await);
        assert_eq!(bad.until_success(SECOND).await, Err("GET /health answered 500".to_owned()));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_no_success() {
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = mute.local_addr().unwrap().port();
        let tcp = probe(&json!({"tcpSocket": {"port": 8080}}), port);
        assert_eq!(tcp.once(SECOND).await, Ok(()));
        let http = probe(&json!({"httpGet": {"path": "/"}}), port);
        assert_eq!(http.once(SECOND).await, Err("there was no answer within 1 s".to_owned()));
        drop(mute);
        assert!(tcp.once(SECOND).await.unwrap_err().starts_with("nothing listened"));
    }

    #[tokio::test]
    async fn headers_of_a_probe_are_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            String::from_utf8(request[..read].to_vec()).unwrap()
        });
        let headers = json!([{"name": "X-Probe", "value": "yes"}]);
        let http = json!({"httpGet": {"path": "/ready", "httpHeaders": headers}, "timeoutSeconds": 100});
        assert_eq!(probe(&http, port).once(SECOND).await, Ok(()));
        let asked = asked.await.unwrap().to_lowercase();
        assert!(
            asked.starts_with("get /ready http/1.1\r\n") && asked.contains("x-probe: yes\r\n"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn a_probe_waits_for_its_delay_and_between_tries_for_its_period() {
        let port = server(&[BAD; 64]).await;
        let http = json!({"httpGet": {"path": "/"}, "periodSeconds": 1, "timeoutSeconds": 100, "failureThreshold": 2});
        let (mut late, mut rare) = (http.clone(), http.clone());
        late["initialDelaySeconds"] = json!(100_000);
        rare["periodSeconds"] = json!(100_000);
        let asked = [late, rare].map(|value| {
            let probe = probe(&value, port);
            tokio::spawn(async move { probe.until_success(SECOND).await })
        });
        // In the time of these they would have failed twice as well.
        for _ in 0..10 {
            assert!(probe(&http, port).until_success(SECOND).await.is_err());
        }
        for task in asked {
            assert!(!task.is_finished());
            task.abort();
        }
    }
}
