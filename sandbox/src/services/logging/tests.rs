//! Tests of `entries.list`.

use super::*;
use crate::call::Caller;
use crate::runtime::logs::Source;
use crate::testing::{send, send_as, world};

const LIST: &str = "/logging.googleapis.com/v2/entries:list";

fn with_lines(count: i64) -> World {
    let mut world = world();
    world.use_project("agent-army-dev").unwrap();
    let source =
        Source::revision("projects/agent-army-dev/locations/us-central1/services/api/revisions/api-1");
    for number in 0..count {
        let at = jiff::Timestamp::from_second(number).unwrap();
        world.runtime.logs.line(&source, "stdout", &format!("line {number}"), at);
    }
    world
}

fn lines(answer: &Value) -> Vec<&str> {
    answer["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["textPayload"].as_str())
        .collect()
}

#[test]
fn entries_come_in_pages_in_the_asked_order() {
    let mut world = with_lines(3);
    let mut body =
        json!({"resourceNames": ["projects/agent-army-dev"], "pageSize": 2, "orderBy": "timestamp desc"});
    let first = send(&mut world, "POST", LIST, &body).unwrap();
    assert_eq!(lines(&first), ["line 2", "line 1"]);
    body["pageToken"] = first["nextPageToken"].clone();
    let second = send(&mut world, "POST", LIST, &body).unwrap();
    assert_eq!((lines(&second), second.get("nextPageToken")), (vec!["line 0"], None));
}

#[test]
fn entries_of_other_projects_are_not_shown() {
    let mut world = with_lines(1);
    let other =
        send(&mut world, "POST", LIST, &json!({"resourceNames": ["projects/agent-army-prod"]})).unwrap();
    assert_eq!(other, json!({}));
    assert!(send(&mut world, "POST", LIST, &json!({})).is_err());
}

#[test]
fn an_account_needs_the_permission_to_read_logs() {
    let mut world = with_lines(1);
    let caller = Caller::account("a@agent-army-dev.iam.gserviceaccount.com");
    let error =
        send_as(&mut world, caller, "POST", LIST, &json!({"resourceNames": ["projects/agent-army-dev"]}))
            .unwrap_err();
    assert!(error.message.contains("logging.logEntries.list"), "{}", error.message);
}
