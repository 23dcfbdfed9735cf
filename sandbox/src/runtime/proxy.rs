//! One request to an instance and back: headers that Cloud Run adds, bodies as they come, upgrades, and the time-out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout_at};

use super::pages;
use super::pool::Permit;
use super::process::Task;

/// Headers about one connection, which are not passed on.
const HOPS: [HeaderName; 5] =
    [header::CONNECTION, header::TE, header::TRAILER, header::UPGRADE, header::PROXY_AUTHORIZATION];

/// The trace that a request belongs to.
pub(super) struct Trace {
    pub(super) id: String,
    span: u64,
}

impl Trace {
    /// The value of `X-Cloud-Trace-Context`.
    pub(super) fn context(&self) -> String {
        format!("{}/{};o=1", self.id, self.span)
    }

    /// The caller's trace, else a new one.
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_id = |id: &&str| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
        let given = text("traceparent").and_then(|parent| parent.split('-').nth(1)).filter(is_id);
        let given = given.or_else(|| {
            text("x-cloud-trace-context").and_then(|value| value.split('/').next()).filter(is_id)
        });
        let chance = chance();
        let new = chance.iter().take(16).fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        let span = chance.iter().rev().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        Self { id: given.map_or(new, str::to_ascii_lowercase), span: span.max(1) }
    }
}

/// Bytes that no other request gets.
fn chance() -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Sha256::digest(format!("{count} {} {}", std::process::id(), now.as_nanos()).as_bytes()).into()
}

/// The request with what Cloud Run tells the container of it.
pub(super) fn prepared(mut request: Request) -> (Request, Trace) {
    let trace = Trace::of(request.headers());
    let before = request.headers().get("x-forwarded-for").and_then(|value| value.to_str().ok());
    let clients = before.map_or_else(|| "127.0.0.1".to_owned(), |before| format!("{before}, 127.0.0.1"));
    let parent = format!("00-{}-{:016x}-01", trace.id, trace.span);
    for (name, value) in [
        ("x-forwarded-for", clients),
        ("x-forwarded-proto", "https".to_owned()),
        ("traceparent", parent),
        ("x-cloud-trace-context", trace.context()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            request.headers_mut().insert(name, value);
        }
    }
    (request, trace)
}

/// Sends a request to the instance of a permit. The permit is kept until the answer has been read to its end.
pub(super) async fn forward(
    permit: Permit,
    stream: TcpStream,
    mut request: Request,
    limit: Duration,
) -> Response {
    let deadline = Instant::now() + limit;
    let upgrade = upgrade_of(&mut request);
    for name in &HOPS {
        request.headers_mut().remove(name);
    }
    if let Some((kind, _)) = &upgrade {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(header::UPGRADE, kind.clone());
    }
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = http::Version::HTTP_11;
    match timeout_at(deadline, send(stream, request)).await {
        Err(_) => pages::timed_out(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "an instance gave no answer");
            pages::unavailable()
        }
        Ok(Ok((response, connection))) => {
            answer(response, connection, permit, upgrade.map(|(_, client)| client), deadline)
        }
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A connection to the instance of a permit.
pub(super) async fn connect(permit: &Permit) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", permit.instance.port.number)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn send(stream: TcpStream, request: Request) -> Result<(http::Response<Incoming>, Task), Failed> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = Task::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok((sender.send_request(request).await?, connection))
}

/// The protocol that the client wants to change to, and its end of the connection.
fn upgrade_of(request: &mut Request) -> Option<(HeaderValue, OnUpgrade)> {
    let kind = request.headers().get(header::UPGRADE)?.clone();
    let asked = request.headers().get(header::CONNECTION)?.to_str().ok()?.to_ascii_lowercase();
    asked.contains("upgrade").then(|| (kind, hyper::upgrade::on(request)))
}

fn answer(
    mut response: http::Response<Incoming>,
    connection: Task,
    permit: Permit,
    client: Option<OnUpgrade>,
    deadline: Instant,
) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else { return pages::unavailable() };
        let instance = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let _kept = (permit, connection);
            if let (Ok(client), Ok(instance)) = tokio::join!(client, instance) {
                let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
                let both = tokio::io::copy_bidirectional(&mut client, &mut instance);
                let _ = timeout_at(deadline, both).await;
            }
        });
        return response.map(|_| Body::empty());
    }
    for name in &HOPS {
        response.headers_mut().remove(name);
    }
    let sleep = Box::pin(tokio::time::sleep_until(deadline));
    response.map(|body| Body::new(Held { body, sleep, _kept: (permit, connection) }))
}

/// The body of an answer, which keeps its instance and ends at its request's time-out.
struct Held {
    body: Incoming,
    sleep: Pin<Box<Sleep>>,
    _kept: (Permit, Task),
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Failed::from)));
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Some(Err("the request took longer than the service's timeout".into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(headers: &[(&'static str, &'static str)]) -> (Request, Trace) {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        prepared(request)
    }

    #[test]
    fn the_callers_trace_goes_on() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let (request, trace) =
            prepare(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]);
        assert_eq!(trace.id, id);
        assert!(request.headers()["x-cloud-trace-context"].to_str().unwrap().starts_with(id));
        assert_ne!(prepare(&[]).1.id, prepare(&[]).1.id);
    }

    #[test]
    fn the_client_is_appended_to_those_before_it() {
        let (request, _) = prepare(&[("x-forwarded-for", "10.0.0.1")]);
        assert_eq!(request.headers()["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
        assert_eq!(request.headers()["x-forwarded-proto"], "https");
    }
}
