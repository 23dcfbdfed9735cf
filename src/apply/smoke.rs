//! What an answer of a candidate is worth. Pure.

use serde_json::Value;

use crate::gcp::Visited;
use crate::plan::Smoke;

/// Characters of an answer that a message repeats.
const SHOWN: usize = 120;

/// Whether the answer to a request for health is good; why not.
pub(super) fn healthy(path: &str, answer: Result<Visited, String>) -> Result<(), String> {
    let asked = format!("health: GET {path}");
    let answer = answer.map_err(|trouble| format!("{asked}: {trouble}"))?;
    match answer.status {
        200..=399 => Ok(()),
        status => Err(format!("{asked} answered {status}{}", quoted(&answer.body))),
    }
}

/// Whether the answer to a smoke check is as it has to be; why not.
pub(super) fn passed(smoke: &Smoke, answer: Result<Visited, String>) -> Result<(), String> {
    let asked = format!("smoke.{}: {} {}", smoke.name, smoke.method, smoke.path);
    let answer = answer.map_err(|trouble| format!("{asked}: {trouble}"))?;
    if !smoke.expect.contains(&answer.status) {
        let expected: Vec<_> = smoke.expect.iter().map(u16::to_string).collect();
        let (status, expected) = (answer.status, expected.join(" or "));
        return Err(format!("{asked} answered {status} instead of {expected}{}", quoted(&answer.body)));
    }
    if let Some(text) = &smoke.text
        && !String::from_utf8_lossy(&answer.body).contains(text.as_str())
    {
        return Err(format!("{asked}: the answer has no `{text}` in it{}", quoted(&answer.body)));
    }
    let Some(wanted) = &smoke.json else { return Ok(()) };
    match serde_json::from_slice(&answer.body) {
        Ok(found) => missing(wanted, &found, "").map_or(Ok(()), |why| Err(format!("{asked}: {why}"))),
        Err(_) => Err(format!("{asked}: the answer is not JSON{}", quoted(&answer.body))),
    }
}

/// What of `wanted` the answer does not have, and where.
fn missing(wanted: &Value, found: &Value, path: &str) -> Option<String> {
    if let (Value::Object(wanted), Value::Object(found)) = (wanted, found) {
        return wanted.iter().find_map(|(key, wanted)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match found.get(key) {
                Some(found) => missing(wanted, found, &path),
                None => Some(format!("the answer has no `{path}`")),
            }
        });
    }
    let place = if path.is_empty() { "the answer".to_owned() } else { format!("`{path}` of the answer") };
    (wanted != found).then(|| format!("{place} is {} instead of {wanted}", shortened(&found.to_string())))
}

/// `: "..."`, or nothing where nothing was answered.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() || text.starts_with('<') { String::new() } else { format!(": {}", shortened(&text)) }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn smoke() -> Smoke {
        Smoke {
            name: "ready".to_owned(),
            service: "api".to_owned(),
            method: "GET".to_owned(),
            path: "/ready".to_owned(),
            headers: BTreeMap::new(),
            body: None,
            expect: vec![200, 204],
            json: None,
            text: None,
            max_time: 5,
        }
    }

    fn answer(status: u16, body: &str) -> Visited {
        Visited { status, body: body.as_bytes().to_vec(), stand_in: false }
    }

    fn why(smoke: &Smoke, status: u16, body: &str) -> String {
        passed(smoke, Ok(answer(status, body))).unwrap_err()
    }

    #[test]
    fn success_and_redirection_are_healthy() {
        for (status, good) in
            [(200, true), (204, true), (302, true), (404, false), (500, false), (101, false)]
        {
            assert_eq!(healthy("/", Ok(answer(status, ""))).is_ok(), good, "{status}");
        }
        let silent = healthy("/h", Err("no answer".to_owned())).unwrap_err();
        assert_eq!(silent, "health: GET /h: no answer");
        assert_eq!(
            healthy("/h", Ok(answer(500, "no\ndatabase"))).unwrap_err(),
            "health: GET /h answered 500: no database"
        );
    }

    #[test]
    fn a_status_that_is_not_listed_fails() {
        assert!(passed(&smoke(), Ok(answer(204, ""))).is_ok());
        assert_eq!(why(&smoke(), 301, ""), "smoke.ready: GET /ready answered 301 instead of 200 or 204");
    }

    #[test]
    fn an_answer_may_have_more_fields_and_no_other_values() {
        let check = Smoke { json: Some(json!({"status": "ok", "db": {"up": true}, "list": [1]})), ..smoke() };
        assert!(
            passed(&check, Ok(answer(200, r#"{"status":"ok","db":{"up":true,"ms":3},"list":[1],"x":1}"#)))
                .is_ok()
        );
        let bad = why(&check, 200, r#"{"status":"ok","db":{"up":false},"list":[1]}"#);
        assert_eq!(bad, "smoke.ready: GET /ready: `db.up` of the answer is false instead of true");
        assert!(why(&check, 200, r#"{"db":{"up":true},"list":[1]}"#).ends_with("the answer has no `status`"));
        assert!(why(&check, 200, r#"{"status":"ok","db":{"up":true},"list":[1,2]}"#).contains("`list`"));
        assert!(why(&check, 200, "ok").ends_with("the answer is not JSON: ok"));
    }

    #[test]
    fn text_has_to_be_in_the_answer() {
        let check = Smoke { text: Some("v2".to_owned()), ..smoke() };
        assert!(passed(&check, Ok(answer(200, "this is v2."))).is_ok());
        assert!(why(&check, 200, "this is v1").contains("no `v2`"));
    }
}
