//! Clients that are slow or send too much: they are given up, and nobody else waits for them.

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::Api;
use crate::matrix::routes;

/// More than the API has connections to the database, threads of its runtime and places for password hashes.
const CLIENTS: usize = 60;

pub async fn connect(api: &Api) -> TcpStream {
    TcpStream::connect(api.base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Connects and sends what is the beginning of a request and no more.
async fn begin(api: &Api, text: &str) -> TcpStream {
    let mut stream = connect(api).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// What the server still says until it closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has said all that it will.
    while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn slow_heads_and_bodies_are_given_up_and_hold_up_nobody() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "admin").await;
    let (_, key) = api.api_key(&login).await;
    let head = "GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let heads = join_all((0..CLIENTS).map(|_| begin(&api, head))).await;
    let body = format!(
        "POST /api/v1/auth/api-keys HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 100\r\n\r\n{{"
    );
    let bodies = join_all((0..CLIENTS).map(|_| begin(&api, &body))).await;
    // All of them wait by now; the API goes on with everything, the database included.
    for _ in 0..20 {
        api.get("/health/ready").await.expect(200);
        api.me_by_key(&key).await.expect(200);
        api.try_login(tenant.id, "a@b.com", crate::harness::PASSWORD).await.expect(200);
    }
    let (heads, bodies) =
        tokio::join!(join_all(heads.into_iter().map(rest)), join_all(bodies.into_iter().map(rest)));
    for answer in heads {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    for answer in bodies {
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
        assert!(answer.ends_with(&json!({"detail": "The request took too long"}).to_string()), "{answer}");
    }
    api.me_by_key(&key).await.expect(200);
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_by_every_route_without_being_read() {
    const SIZE: usize = 100 << 20;
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "a@b.com", "admin").await;
    for route in routes().into_iter().filter(|route| route.has_body) {
        for length in [format!("content-length: {SIZE}"), "transfer-encoding: chunked".to_owned()] {
            let path = route.path.replace("{id}", &login.user.to_string());
            let head = format!(
                "{} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{length}\r\n\r\n",
                route.method, login.access
            );
            let (mut answer, mut sender) = begin(&api, &head).await.into_split();
            let chunked = length.starts_with("transfer");
            let sending = tokio::spawn(async move {
                let (data, mut sent) = (vec![b' '; 1 << 16], 0);
                let frame = if chunked { format!("{:x}\r\n", data.len()) } else { String::new() };
                let end = if chunked { "\r\n" } else { "" };
                while sent < SIZE {
                    let part = [frame.as_bytes(), &data, end.as_bytes()].concat();
                    if sender.write_all(&part).await.is_err() {
                        break;
                    }
                    sent += data.len();
                }
                sent
            });
            let mut start = vec![0; 12];
            answer.read_exact(&mut start).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&start), "HTTP/1.1 413", "{route:?} {length}");
            drop(answer);
            assert!(sending.await.unwrap() < SIZE / 4, "{route:?} {length}: it was read");
        }
    }
    api.get("/health").await.expect(200);
}

#[tokio::test]
async fn a_refused_request_leaves_its_connection_usable() {
    let api = Api::start().await;
    let head = "POST /api/v1/auth/api-keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\ncontent-length: 2\r\n\r\n";
    let mut stream = begin(&api, head).await;
    // The body comes after the refusal was decided, as from clients that send head and body apart.
    stream.write_all(b"{}GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let answers = rest(stream).await;
    assert!(answers.starts_with("HTTP/1.1 401") && answers.contains("HTTP/1.1 200"), "{answers}");
}

#[tokio::test]
async fn who_sends_much_in_vain_is_told_that_the_connection_ends() {
    let api = Api::start().await;
    for more in ["content-length: 100000000", "content-length: 2\r\nexpect: 100-continue"] {
        let head = format!(
            "POST /api/v1/auth/api-keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n{more}\r\n\r\n"
        );
        let answer = rest(begin(&api, &head).await).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    }
}
