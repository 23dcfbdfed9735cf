//! Requests that nobody would send by mistake: whatever the bytes, the answer is no 500.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::Api;
use crate::matrix::{Route, routes};
use crate::slow_clients::connect;

/// The names of all fields of all bodies, so that values reach the rules behind them.
fn field_names() -> Vec<String> {
    let document = serde_json::to_value(tenant_api::http::document()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let bodies = schemas.iter().filter(|(name, _)| name.ends_with("Body"));
    let names = bodies.filter_map(|(_, schema)| schema["properties"].as_object());
    let mut names: Vec<String> = names.flat_map(|fields| fields.keys().cloned()).collect();
    names.sort();
    names.dedup();
    assert!(names.iter().any(|name| name == "slug") && names.iter().any(|name| name == "password"));
    names
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9-]{0,60}",
        "[a-z\u{0}\u{e9}\u{1f600} ]{0,20}@[a-z.\u{0}]{0,20}",
        Just("\u{0}".to_owned()),
        Just("\u{feff}\u{202e}'; DROP SCHEMA shared CASCADE; --".to_owned()),
        Just("x".repeat(5000)),
        Just("\u{1f600}".repeat(200)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u32..20).prop_map(Value::from),
        text().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(text(), inner, 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let fields = btree_map(proptest::sample::select(field_names()), value(), 1..8)
        .prop_map(|fields| serde_json::to_vec(&fields).unwrap());
    let cut = (btree_map(text(), value(), 0..3), 0_usize..40).prop_map(|(fields, keep)| {
        let mut bytes = serde_json::to_vec(&fields).unwrap();
        bytes.truncate(keep);
        bytes
    });
    prop_oneof![
        6 => fields,
        1 => cut,
        1 => vec(any::<u8>(), 0..200),
        1 => Just(br#"{"name": "\ud800"}"#.to_vec()),
        1 => Just(br#"{"config": {"a": 1e999, "b": 123456789012345678901234567890}}"#.to_vec()),
    ]
}

/// The bytes of a header's value; without line ends, which would make it another header.
fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = vec(any::<u8>(), 0..80).prop_map(|mut bytes| {
        bytes.retain(|byte| !matches!(byte, b'\r' | b'\n'));
        bytes
    });
    prop_oneof![
        bytes,
        "Bearer [A-Za-z0-9_.-]{0,80}".prop_map(String::into_bytes),
        "[A-Za-z0-9_-]{43}".prop_map(String::into_bytes),
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}".prop_map(String::into_bytes),
        Just(b"application/json; charset=utf-16".to_vec()),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let name = proptest::sample::select(vec![
        "authorization",
        "x-tenant-id",
        "content-type",
        "traceparent",
        "x-cloud-trace-context",
        "origin",
        "accept-encoding",
    ]);
    vec((name, header_value()), 0..3)
}

/// What stands in for `{id}`, and a query.
fn place() -> impl Strategy<Value = (String, String)> {
    let id = prop_oneof![
        4 => Just("VICTIM".to_owned()),
        1 => "[!-\"$-.0-;=-~]{1,40}",
        1 => Just("%00".to_owned()),
        1 => Just("%ff%fe".to_owned()),
        1 => Just("..%2f..%2ftenants".to_owned()),
    ];
    let query = prop_oneof![
        3 => Just(String::new()),
        1 => "\\?[!-\"$-~]{0,40}",
        1 => Just("?limit=4294967295&offset=4294967295&all=true".to_owned()),
        1 => Just("?limit=-1&offset=%00&all=maybe&everywhere=%ff".to_owned()),
    ];
    (id, query)
}

#[derive(Debug)]
struct Attempt {
    route: Route,
    place: (String, String),
    with_key: bool,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

impl Attempt {
    fn bytes(&self, key: &str, victim: &str) -> Vec<u8> {
        let (id, query) = &self.place;
        let path = self.route.path.replace("{id}", id).replace("VICTIM", victim);
        let mut bytes = format!(
            "{} {path}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.route.method,
            self.body.len()
        )
        .into_bytes();
        if self.with_key {
            bytes.extend(format!("x-api-key: {key}\r\n").bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let route = proptest::sample::select(routes());
    // Mostly right credentials and few headers: what is refused at the door tests only the door.
    let headers = prop_oneof![2 => Just(Vec::new()), 1 => headers()];
    (route, place(), prop::bool::weighted(0.8), headers, body())
        .prop_map(|(route, place, with_key, headers, body)| Attempt { route, place, with_key, headers, body })
}

/// Sends the bytes and reads the status of the answer.
async fn status_of(api: &Api, request: &[u8]) -> u16 {
    let mut stream = connect(api).await;
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let head = String::from_utf8_lossy(&answer);
    let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("no answer to {request:?}"));
    status.parse().unwrap()
}

#[test]
fn no_request_makes_a_500() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (api, key, victim) = runtime.block_on(async {
        let api = Api::start().await;
        let tenant = api.tenant("acme").await;
        // A key cannot be logged out, and its owner is not the one that ids name.
        let (_, key) = api.api_key(&api.login(&tenant, "a@b.com", "admin").await).await;
        let victim = api.user(&tenant, "v@b.com", "member").await.to_string();
        (api, key, victim)
    });
    let mut reached = 0;
    let counted = std::cell::RefCell::new(&mut reached);
    let config = Config { cases: 1500, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&attempt(), |attempt| {
            let status = runtime.block_on(status_of(&api, &attempt.bytes(&key, &victim)));
            prop_assert!((200..500).contains(&status), "{status}");
            **counted.borrow_mut() += u32::from(matches!(status, 200..300 | 404 | 409 | 422));
            Ok(())
        })
        .unwrap();
    // Most of them get past the checks of HTTP and credentials.
    assert!(reached > 700, "{reached}");
    let me = runtime.block_on(api.me_by_key(&key));
    assert_eq!((me.status, &me.body["email"]), (200, &json!("a@b.com")));
}
