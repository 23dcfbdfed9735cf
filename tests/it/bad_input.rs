//! What is wrong is said in one message, with the way out, before anything has happened.

use gcp_sandbox::Options;
use serde_json::Value;

use crate::support::{Cloud, PROJECT, Workplace};

/// All of `words` stand in `text`.
#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
}

const BASE: &str = "\
deployer: v1
system: hello
project: {id: hello-project, number: \"123456789012\"}
region: us-central1
services:
  web:
    image: us-docker.pkg.dev/cloudrun/container/hello
";

fn place(dev: &str) -> Workplace {
    let dev = format!("deployer: v1\nenvironment: dev\n{dev}");
    Workplace::with(&[("environments/base.yaml", BASE), ("environments/dev.yaml", &dev)])
}

#[tokio::test]
async fn wrong_yaml_shows_all_problems_and_calls_nothing() {
    let cloud = Cloud::fresh().await;
    let place = place("services: {web: {memroy: 1Gi, port: 70000, env: {A: \"${nothing.here}\"}}}\n");
    for verb in ["plan", "apply"] {
        let done = place.deployer(&format!("{verb} dev --endpoint {}", cloud.url())).fails(1).await;
        assert_eq!(done.stdout, "");
        contains(
            &done.stderr,
            &["memroy", "did you mean", "`memory`", "port", "nothing.here", "environments/dev.yaml:3:"],
        );
    }
    assert_eq!(cloud.calls().await.len(), 0);
}

#[tokio::test]
async fn an_unknown_environment_gets_the_list_of_those_there_are() {
    let done = place("").deployer("plan stagin --sandbox").fails(1).await;
    contains(&done.stderr, &["`stagin`", "dev"]);
    let done = Workplace::agent_army().deployer("plan stagin --sandbox").fails(1).await;
    contains(&done.stderr, &["`stagin`", "dev", "production", "staging"]);
}

/// The files that the message shows, as they stand there: `PATH`, then the text indented by four spaces.
fn shown_files(message: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in message.lines() {
        if line.starts_with("environments/") && !line.contains(' ') {
            files.push((line.to_owned(), String::new()));
        } else if let (Some(text), Some((_, file))) = (line.strip_prefix("    "), files.last_mut()) {
            file.push_str(text);
            file.push('\n');
        }
    }
    files
}

#[tokio::test]
async fn without_environments_the_smallest_files_that_work_are_shown_and_do_work() {
    let place = Workplace::empty();
    for words in ["plan dev", "apply dev", "validate", "secrets list dev"] {
        let done = place.deployer(words).fails(1).await;
        contains(&done.stderr, &["environments", "-C"]);
        assert!(!place.sandbox_state().exists(), "{words} made a sandbox");
    }
    let done = place.deployer("plan dev").fails(1).await;
    let files = shown_files(&done.stderr);
    assert_eq!(files.len(), 2, "{done}");
    for (path, text) in &files {
        place.write(path, text);
    }
    place.deployer("validate").ok().await;
    place.deployer("apply dev").ok().await;
    contains(&place.deployer("plan dev").ok().await.stdout, &["No changes. dev matches its YAML."]);
}

#[tokio::test]
async fn a_placeholder_project_is_refused_unless_rehearsed() {
    let place = Workplace::agent_army();
    for words in ["plan staging", "apply staging --auto-approve", "secrets list staging"] {
        let done = place.deployer(words).fails(1).await;
        contains(&done.stderr, &[PROJECT, "placeholder", "--sandbox"]);
    }
    place.deployer("plan staging --sandbox").ok().await;
    let done = place.deployer("validate").ok().await;
    contains(&(done.stdout + &done.stderr), &[PROJECT, "placeholder"]);
}

/// What cannot be read must not be planned as missing: it would be made a second time.
#[tokio::test]
async fn an_object_that_cannot_be_parsed_is_an_error_that_names_it() {
    let damages = [
        (
            "\"maxInstanceRequestConcurrency\":80",
            "\"maxInstanceRequestConcurrency\":\"many\"",
            "agent-army-api-dev",
        ),
        ("\"replication\":{\"automatic\":{}}", "\"replication\":{}", "secrets/"),
    ];
    for (sound, damaged, name) in damages {
        let place = Workplace::agent_army();
        place.deployer("apply dev").ok().await;
        // The sandbox takes no such object from a client, so its own record is changed.
        let journal = place.read(".deployer/sandbox/journal");
        assert!(journal.contains(sound), "{sound} is not in the sandbox's record");
        place.write(".deployer/sandbox/journal", &journal.replace(sound, damaged));
        let cloud = place.cloud().await;
        for words in ["plan dev", "apply dev"] {
            let done = place.deployer(words).fails(1).await;
            assert_eq!(done.stdout, "");
            contains(&done.stderr, &[name]);
        }
        assert_eq!(cloud.writes().await.len(), 0);
    }
}

#[tokio::test]
async fn a_port_in_use_is_one_message_with_the_mend() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let place = Workplace::empty();
    let done = place.deployer(&format!("sandbox --port {port} --state state")).fails(1).await;
    contains(&done.stderr, &[&format!("port {port}"), "in use", "--port"]);
    assert_eq!(done.stderr.lines().filter(|line| line.starts_with("error")).count(), 1, "{done}");
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_one_message_with_the_mend() {
    let place = Workplace::agent_army();
    place.write("state", "a file, where a folder is needed");
    let done = place.deployer("sandbox --state state").fails(1).await;
    contains(&done.stderr, &["state", "--state"]);
    place.write(".deployer", "the same for the folder of this checkout");
    let done = place.deployer("plan dev").fails(1).await;
    contains(&done.stderr, &[".deployer"]);
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_one_message_and_stays_as_it_is() {
    let place = Workplace::agent_army();
    let journal = "{\"format\":999}\n{\"unknown\":true}\n";
    place.write(".deployer/sandbox/journal", journal);
    for words in ["plan dev", "sandbox"] {
        let done = place.deployer(words).fails(1).await;
        contains(&done.stderr, &["newer version", "999"]);
    }
    assert_eq!(place.read(".deployer/sandbox/journal"), journal);
}

#[tokio::test]
async fn apply_asks_somebody_or_changes_nothing() {
    let place = Workplace::agent_army();
    let cloud = Cloud::fresh().await;
    for environment in ["staging", "production"] {
        let words = format!("apply {environment} --endpoint {}", cloud.url());
        // What stands in a pipe is no answer of a person.
        let done = place.deployer(&words).stdin("yes\nproduction\n").fails(1).await;
        contains(&done.stdout, &["Plan for agent-army/"]);
        contains(&done.stderr, &["nothing was changed", "--auto-approve"]);
    }
    assert_eq!(cloud.writes().await.len(), 0);
}

#[tokio::test]
async fn a_secret_gets_no_empty_value_and_no_unknown_name() {
    let place = Workplace::agent_army();
    let cloud = Cloud::fresh().await;
    let set = |name: &str| place.deployer(&format!("secrets set staging {name} --endpoint {}", cloud.url()));
    for empty in ["", "\n", "\r\n"] {
        contains(&set("database-url").stdin(empty).fails(1).await.stderr, &["empty", "nothing was added"]);
    }
    contains(&set("databse-url").stdin("x").fails(1).await.stderr, &["`databse-url`", "database-url"]);
    let large = vec![b'x'; 64 * 1024 + 1];
    contains(&set("database-url").stdin(large).fails(1).await.stderr, &["64 KiB"]);
    // An argument would be seen by every process.
    contains(&set("database-url value").fails(1).await.stderr, &["unexpected argument"]);
    assert_eq!(cloud.writes().await.len(), 0);
}

#[tokio::test]
async fn a_value_is_stored_as_it_was_given_but_for_its_last_line_end() {
    let place = Workplace::agent_army();
    let cloud = Cloud::fresh().await;
    let set = |words: &str| {
        place.deployer(&format!("secrets set staging redis-url --endpoint {}{words}", cloud.url()))
    };
    set("").stdin("redis://x\n").ok().await;
    set("").stdin("two\nlines\r\n").ok().await;
    set(" --keep-newline").stdin("kept\n").ok().await;
    set("").stdin([0, 255, 10, 10]).ok().await;
    let expected: [&[u8]; 4] = [b"redis://x", b"two\nlines", b"kept\n", &[0, 255, 10]];
    for (version, expected) in (1..).zip(expected) {
        assert_eq!(cloud.payload("redis-url-staging", &version.to_string()).await, expected);
    }
    let labels = cloud
        .read(&format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/redis-url-staging"))
        .await;
    assert_eq!(labels["labels"]["deployer-env"], "staging", "what `secrets set` makes is ours: {labels}");
}

#[tokio::test]
async fn without_credentials_there_is_one_message_with_the_ways_to_log_in() {
    let place = place("");
    for words in ["plan dev", "apply dev --auto-approve", "secrets list dev"] {
        let done = place.deployer(words).fails(1).await;
        assert_eq!(done.stdout, "");
        contains(&done.stderr, &["credentials", "gcloud auth application-default login", "--sandbox"]);
        assert_eq!(done.stderr.matches("error").count(), 1, "{done}");
    }
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_is_named() {
    let place = place("");
    let done = place.deployer("plan dev --endpoint http://127.0.0.1:9").fails(1).await;
    contains(&done.stderr, &["127.0.0.1:9"]);
    let done = place.deployer("plan dev --endpoint nonsense").fails(1).await;
    contains(&done.stderr, &["nonsense"]);
}

#[tokio::test]
async fn wrong_options_of_the_sandbox_are_refused() {
    let place = Workplace::empty();
    for words in
        ["sandbox --project Bad_Id --state s", "sandbox --project p=x --state s", "sandbox --port 70000"]
    {
        assert!(!place.deployer(words).fails(1).await.stderr.is_empty(), "{words}");
    }
}

#[tokio::test]
async fn the_project_number_of_the_yaml_must_be_the_projects() {
    let place = place("");
    let seeded = Options {
        projects: vec![gcp_sandbox::ProjectSeed {
            id: "hello-project".into(),
            number: Some(999_999_999_999),
        }],
        ..Options::default()
    };
    let cloud = Cloud::start(seeded).await;
    let done = place.deployer(&format!("plan dev --endpoint {}", cloud.url())).fails(1).await;
    contains(&done.stderr, &["999999999999", "123456789012", "project.number"]);
}

#[tokio::test]
async fn errors_are_documents_too() {
    let done = place("nonsense: 1\n").deployer("plan dev --output json").fails(1).await;
    let problems = done.json()["error"]["problems"].clone();
    assert_eq!(problems[0]["location"], "environments/dev.yaml:3:1");
    assert_eq!(problems.as_array().map(Vec::len), Some(1), "{problems}");
    let done = place("").deployer("plan dev --output json").fails(1).await;
    assert!(done.json()["error"]["hints"].as_array().is_some_and(|hints| !hints.is_empty()));
    assert_ne!(done.json()["error"]["message"], Value::Null);
}
