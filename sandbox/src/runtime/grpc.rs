//! The gRPC health check (`grpc.health.v1.Health/Check`), as far as a probe needs it.

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// `HealthCheckResponse.ServingStatus.SERVING` as field 1.
const SERVING: [u8; 2] = [0x08, 1];

/// Asks whether `service` (empty for the whole server) is serving.
///
/// # Errors
/// What was wrong, as the end of a sentence.
pub(super) async fn health(stream: TcpStream, service: &str) -> Result<(), String> {
    let no_answer = |error: hyper::Error| format!("there was no gRPC answer: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(no_answer)?;
    let _connection = super::process::Task::spawn(async move {
        let _ = connection.await;
    });
    let request = Request::post("http://127.0.0.1/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(question(service))))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(no_answer)?;
    let in_headers = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await.map_err(no_answer)?;
    let status = in_headers.or_else(|| body.trailers().and_then(|all| all.get("grpc-status").cloned()));
    if status.as_ref().is_none_or(|status| status != "0") {
        let status = status.as_ref().and_then(|status| status.to_str().ok()).unwrap_or("none");
        return Err(format!("the gRPC health check ended with status {status}"));
    }
    let message = body.to_bytes();
    if message.get(5..) == Some(&SERVING[..]) {
        Ok(())
    } else {
        Err("the gRPC health check did not answer SERVING".to_owned())
    }
}

/// A `HealthCheckRequest` with the prefix of a gRPC message: not compressed, four bytes of length.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Names of services are short: one byte holds lengths up to 127.
        let length = u8::try_from(service.len()).unwrap_or(127).min(127);
        message.extend([0x0a, length]);
        message.extend(service.bytes().take(length.into()));
    }
    let length = u32::try_from(message.len()).unwrap_or_default();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    }
}
