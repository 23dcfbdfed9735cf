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

/// What an answer may call the release that is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions<'a> {
    /// Tags of its image; where there are none nothing can be compared.
    pub(super) tags: &'a [String],
    /// Short name of its revision.
    pub(super) revision: &'a str,
}

/// Fewest digits that stand for a commit.
const SHORT_SHA: usize = 7;

impl Versions<'_> {
    fn has(&self, told: &str) -> bool {
        told == self.revision || self.tags.iter().any(|tag| is_called(told, tag))
    }
}

/// `1.2.3` is `v1.2.3`, and the first digits of a commit are the commit.
fn is_called(told: &str, tag: &str) -> bool {
    let plain = |version: &'_ str| version.strip_prefix('v').unwrap_or(version).to_owned();
    let sha = |text: &str| text.len() >= SHORT_SHA && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (told, tag) = (plain(told), plain(tag));
    told == tag || (sha(&told) && sha(&tag) && (told.starts_with(&tag) || tag.starts_with(&told)))
}

/// Whether the answer to a smoke check is as it has to be; why not.
pub(super) fn passed(
    smoke: &Smoke,
    versions: Versions<'_>,
    answer: Result<Visited, String>,
) -> Result<(), String> {
    let asked = asked(smoke);
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
    let json = || {
        let found = serde_json::from_slice::<Value>(&answer.body);
        found.map_err(|_| format!("{asked}: the answer is not JSON{}", quoted(&answer.body)))
    };
    if let Some(wanted) = &smoke.json
        && let Some(why) = missing(wanted, &json()?, "")
    {
        return Err(format!("{asked}: {why}"));
    }
    match smoke.version.as_deref() {
        None => Ok(()),
        Some(PLAIN_TEXT) => told(versions, "the answer", String::from_utf8_lossy(&answer.body).trim()),
        Some(path) => {
            let found = json()?;
            match path.split('.').try_fold(&found, |value, key| value.get(key)) {
                Some(Value::String(text)) => told(versions, &format!("`{path}`"), text),
                Some(other) => told(versions, &format!("`{path}`"), &other.to_string()),
                None => Err(format!("the answer has no `{path}`")),
            }
        }
    }
    .map_err(|why| format!("{asked}: {why}"))
}

/// The `version` of an answer that is nothing else.
const PLAIN_TEXT: &str = ".";

/// `smoke.ready: GET /ready`, with the host where that is not the service's own.
fn asked(smoke: &Smoke) -> String {
    let url = smoke.url.as_deref().unwrap_or_default();
    format!("smoke.{}: {} {url}{}", smoke.name, smoke.method, smoke.path)
}

/// Whether what is told is the release.
fn told(versions: Versions<'_>, place: &str, told: &str) -> Result<(), String> {
    if versions.has(told) || (versions.tags.is_empty() && !told.is_empty()) {
        return Ok(());
    }
    let released =
        if versions.tags.is_empty() { versions.revision.to_owned() } else { versions.tags.join(" or ") };
    Err(format!("{place} tells the version `{}`, and {released} is released", shortened(told)))
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
    use serde_json::json;

    use super::*;

    fn smoke() -> Smoke {
        Smoke { expect: vec![200, 204], ..Smoke::example("ready") }
    }

    fn answer(status: u16, body: &str) -> Visited {
        Visited { status, body: body.as_bytes().to_vec(), stand_in: false }
    }

    fn pass(smoke: &Smoke, answer: Result<Visited, String>) -> Result<(), String> {
        passed(smoke, Versions { tags: &[], revision: "api-1" }, answer)
    }

    fn why(smoke: &Smoke, status: u16, body: &str) -> String {
        pass(smoke, Ok(answer(status, body))).unwrap_err()
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
        assert!(pass(&smoke(), Ok(answer(204, ""))).is_ok());
        assert_eq!(why(&smoke(), 301, ""), "smoke.ready: GET /ready answered 301 instead of 200 or 204");
    }

    #[test]
    fn an_answer_may_have_more_fields_and_no_other_values() {
        let check = Smoke { json: Some(json!({"status": "ok", "db": {"up": true}, "list": [1]})), ..smoke() };
        assert!(
            pass(&check, Ok(answer(200, r#"{"status":"ok","db":{"up":true,"ms":3},"list":[1],"x":1}"#)))
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
        assert!(pass(&check, Ok(answer(200, "this is v2."))).is_ok());
        assert!(why(&check, 200, "this is v1").contains("no `v2`"));
    }

    #[test]
    fn an_answer_has_to_tell_the_version_that_is_released() {
        let check = Smoke { version: Some("build.version".to_owned()), ..smoke() };
        let tags = ["v1.2.3".to_owned(), "0123456789abcdef0123456789abcdef01234567".to_owned()];
        let versions = Versions { tags: &tags, revision: "api-1" };
        let says = |told: &str| {
            let body = format!(r#"{{"build": {{"version": {told}}}}}"#);
            passed(&check, versions, Ok(answer(200, &body)))
        };
        for told in ["v1.2.3", "1.2.3", "0123456", "0123456789abcdef0123456789abcdef01234567", "api-1"] {
            assert_eq!(says(&format!("\"{told}\"")), Ok(()), "{told}");
        }
        for told in ["v1.2.4", "1.2", "012345", "api-2", "", "01234567a"] {
            assert!(says(&format!("\"{told}\"")).is_err(), "{told}");
        }
        assert_eq!(
            says("\"1.2.4\"").unwrap_err(),
            "smoke.ready: GET /ready: `build.version` tells the version `1.2.4`, and v1.2.3 or \
             0123456789abcdef0123456789abcdef01234567 is released"
        );
        let none = passed(&check, versions, Ok(answer(200, "{}"))).unwrap_err();
        assert_eq!(none, "smoke.ready: GET /ready: the answer has no `build.version`");
        let text = passed(&check, versions, Ok(answer(200, "1.2.3"))).unwrap_err();
        assert!(text.contains("not JSON"), "{text}");
    }

    #[test]
    fn a_number_and_a_plain_text_are_versions_too() {
        let tags = ["42".to_owned()];
        let versions = Versions { tags: &tags, revision: "api-1" };
        let number = Smoke { version: Some("version".to_owned()), ..smoke() };
        assert_eq!(passed(&number, versions, Ok(answer(200, r#"{"version": 42}"#))), Ok(()));
        let plain = Smoke { version: Some(".".to_owned()), ..smoke() };
        assert_eq!(passed(&plain, versions, Ok(answer(200, "42\n"))), Ok(()));
        assert!(passed(&plain, versions, Ok(answer(200, "41"))).is_err());
    }

    #[test]
    fn where_no_tag_is_known_a_version_has_to_be_told_and_may_be_any() {
        let check = Smoke { version: Some("version".to_owned()), ..smoke() };
        assert_eq!(pass(&check, Ok(answer(200, r#"{"version": "7"}"#))), Ok(()));
        assert!(pass(&check, Ok(answer(200, r#"{"version": ""}"#))).is_err());
        assert!(pass(&check, Ok(answer(200, "{}"))).is_err());
    }

    #[test]
    fn a_check_elsewhere_says_where() {
        let check = Smoke { url: Some("https://shop.example.com".to_owned()), ..smoke() };
        let why = why(&check, 503, "");
        assert_eq!(why, "smoke.ready: GET https://shop.example.com/ready answered 503 instead of 200 or 204");
    }
}
