//! What the views say, one behaviour in each test.

mod json;
mod running;

use std::time::Duration;

use serde_json::json;

use super::out::captured;
use super::style::Style;
use super::testing::{address, create, delete, note, plan, update};
use super::{Detail, Format, drift_human, plan_human, refusals, report_human, report_json};
use crate::apply::{Event, Failure, Observer, Outcome, Report, Skipped};
use crate::plan::{Plan, PlanError, Refusal};
use crate::resource::Consequence;

fn human(plan: &Plan) -> String {
    plan_human(plan, Detail::Grouped, &Style::PLAIN)
}

fn report(outcomes: Vec<(&str, Outcome)>) -> Report {
    let outcomes = outcomes.into_iter().map(|(at, outcome)| (address(at), outcome)).collect();
    Report { outcomes, interrupted: false, ..Report::default() }
}

fn failed(message: &str, hint: &str) -> Outcome {
    Outcome::Failed(Failure { message: message.into(), hints: vec![hint.into()], log: Vec::new() })
}

#[test]
fn an_empty_plan_is_one_sentence_and_its_notes() {
    let mut plan = plan(vec![]);
    assert_eq!(human(&plan), "No changes. dev matches its YAML.\n");
    plan.notes.push(note("secret/old-key", "is ours and no longer declared: it stays; `--prune` deletes it"));
    plan.notes.push(note("run_service/api", "SENTRY_DSN is left out"));
    insta::assert_snapshot!(human(&plan), @r"
    No changes. dev matches its YAML.
    note: secret/old-key is ours and no longer declared: it stays; `--prune` deletes it
    note: run_service/api: SENTRY_DSN is left out
    ");
}

#[test]
fn a_plan_of_a_part_says_that_only_a_part_was_looked_at() {
    let nothing = Plan { part: Some("--target secret/a".into()), ..plan(vec![]) };
    assert_eq!(
        plan_human(&nothing, Detail::Grouped, &Style::PLAIN),
        "No changes in what was looked at: --target secret/a.\n"
    );
    assert_eq!(
        drift_human(&nothing, Detail::Grouped, &Style::PLAIN),
        "No drift in what was looked at: --target secret/a.\n"
    );
}

/// What exists is not as the YAML says in five places.
fn drifted() -> Plan {
    let mut service = update(
        "run_service/api",
        json!({"memory": "512Mi", "traffic": "api-1=100"}),
        json!({"memory": "1Gi", "traffic": "100% newest"}),
    )
    .leads_to(Consequence::NewRevision);
    service.field("/memory").location = Some("environments/base.yaml:44:13".into());
    let mut adopted = update("secret/b", json!({}), json!({}));
    adopted.verb = "adopt".into();
    let mut plan = plan(vec![
        create("secret/a", "create", json!({})).at("environments/base.yaml:21:3").blocked("do it"),
        adopted,
        service,
        delete("run_grant/api:invoker:allUsers", "revoke", json!({"on": "x"})),
    ]);
    plan.notes.push(note("secret/old-key", "is ours and no longer declared"));
    plan
}

#[test]
fn drift_says_how_what_exists_differs_and_not_what_apply_would_do() {
    insta::assert_snapshot!(drift_human(&drifted(), Detail::Grouped, &Style::PLAIN), @r"
    dev has drifted from its YAML: 4 objects differ in 5 places (project agent-army-example, region us-central1, on the sandbox)

      + missing       secret/a                 environments/base.yaml:21:3
      ~ not marked    secret/b
      ~ differs       run_service/api
            services.api.memory: 512Mi -> 1Gi  environments/base.yaml:44:13
            services.api.traffic: api-1=100 -> 100% newest
      - not declared  run_grant/api:invoker:allUsers

    note: secret/old-key is ours and no longer declared

    Drift: 1 missing, 1 not marked, 1 differs, 1 not declared. Values: live -> YAML.
    ");
    let nothing = drift_human(&plan(vec![]), Detail::Grouped, &Style::PLAIN);
    assert_eq!(nothing, "No drift: dev is as its YAML says.\n");
}

#[test]
fn a_plan_is_a_table_in_the_words_of_the_yaml() {
    let mut service = update(
        "run_service/agent-army-api-dev",
        json!({"memory": "512Mi", "env": {}}),
        json!({"memory": "1Gi", "env": {"LOG_LEVEL": "DEBUG"}}),
    )
    .leads_to(Consequence::NewRevision);
    service.field("/memory").location = Some("environments/base.yaml:44:13".into());
    service.field("/env/LOG_LEVEL").location = Some("environments/dev.yaml:12:18".into());
    let plan = plan(vec![
        create("api/run.googleapis.com", "enable", json!({})),
        create("secret/database-url-dev", "create", json!({"labels": {}})).at("environments/base.yaml:21:3"),
        create("secret_value/jwt-secret-key-dev", "generate", json!({"version": 1, "generate": "hex32"}))
            .at("environments/base.yaml:27:20"),
        create(
            "secret_grant/database-url-dev:secretAccessor:agent-army-api-dev",
            "grant",
            json!({
                "on": "database-url-dev",
                "role": "roles/secretmanager.secretAccessor",
                "member": "serviceAccount:agent-army-api-dev@agent-army-example.iam.gserviceaccount.com",
            }),
        ),
        service,
        delete("run_grant/agent-army-api-dev:invoker:allUsers", "revoke", json!({"on": "x"}))
            .leads_to(Consequence::AccessNarrowed),
    ]);
    insta::assert_snapshot!(human(&plan), @r"
    Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

      + enable    api/run.googleapis.com
      + create    secret/database-url-dev                             environments/base.yaml:21:3
      + generate  secret_value/jwt-secret-key-dev  version 1 (hex32)  environments/base.yaml:27:20
      + grant     secret_grant/database-url-dev:secretAccessor:agent-army-api-dev
      ~ update    run_service/agent-army-api-dev   new revision
            services.api.env.LOG_LEVEL: (none) -> DEBUG               environments/dev.yaml:12:18
            services.api.memory: 512Mi -> 1Gi                         environments/base.yaml:44:13
      - revoke    run_grant/agent-army-api-dev:invoker:allUsers  access narrowed

    Plan: 4 to add, 1 to change, 1 to remove.
    ");
}

#[test]
fn a_new_service_is_told_setting_by_setting() {
    let after = json!({
        "image": "i@sha256:1", "cpu": "1", "memory": "1Gi", "args": [], "env": {"A": "1"}, "port": 8080,
        "traffic": "100% newest",
    });
    let plan = plan(vec![create("run_service/api", "create", after).at("environments/base.yaml:38:3")]);
    insta::assert_snapshot!(human(&plan), @r"
    Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

      + create  run_service/api  environments/base.yaml:38:3
            image: i@sha256:1
            port: 8080
            cpu: 1
            memory: 1Gi
            env.A: 1

    Plan: 1 to add, 0 to change, 0 to remove.
    ");
}

#[test]
fn what_waits_for_a_person_stands_first_and_once() {
    let why = "secret database-url has no value: deployer secrets set staging database-url";
    let plan = plan(vec![
        create("run_service/api", "create", json!({})).blocked(why),
        create("run_service/worker", "create", json!({}))
            .blocked(&format!("{why}; secret b has no value: do b")),
        create("run_grant/api:invoker:allUsers", "grant", json!({})).needing("run_service/api"),
    ]);
    insta::assert_snapshot!(human(&plan), @r"
    Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

    Waiting for you:
      secret database-url has no value: deployer secrets set staging database-url
        needed by run_service/api, run_service/worker
      secret b has no value: do b
        needed by run_service/worker

      + create  run_service/api                 waits
      + create  run_service/worker              waits
      + grant   run_grant/api:invoker:allUsers  waits for run_service/api

    Plan: 3 to add, 0 to change, 0 to remove. 3 of them wait.
    ");
}

#[test]
fn several_lines_are_compared_line_by_line() {
    let before = json!({"env": {"RULES": "a\nb\nc\n"}});
    let plan = plan(vec![update("run_service/api", before, json!({"env": {"RULES": "a\nB\nc\n"}}))]);
    insta::assert_snapshot!(human(&plan), @r"
    Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

      ~ update  run_service/api
            services.api.env.RULES:
                  a
                - b
                + B
                  c

    Plan: 0 to add, 1 to change, 0 to remove.
    ");
}

#[test]
fn long_values_stand_under_each_other() {
    let before = json!({"command": ["x".repeat(60)]});
    let plan = plan(vec![update("run_service/api", before, json!({"command": ["y".repeat(60)]}))]);
    insta::assert_snapshot!(human(&plan), @r"
    Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

      ~ update  run_service/api
            services.api.command:
                - [xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]
                + [yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy]

    Plan: 0 to add, 1 to change, 0 to remove.
    ");
}

#[test]
fn values_that_read_alike_are_told_apart() {
    let plan = plan(vec![update("run_service/api", json!({"v2": {"a": "5"}}), json!({"v2": {"a": 5}}))]);
    assert!(human(&plan).contains(r#"services.api.v2.a: "5" -> 5"#));
}

#[test]
fn a_long_name_does_not_spoil_the_columns_of_the_others() {
    let long = format!("secret/{}", "n".repeat(100));
    let plan = plan(vec![
        create("secret/a", "create", json!({})).at("x.yaml:1:1").leads_to(Consequence::NoRestart),
        create(&long, "create", json!({})).at("x.yaml:2:1"),
    ]);
    let text = human(&plan);
    assert!(text.contains("  + create  secret/a  no restart  x.yaml:1:1\n"), "{text}");
    assert!(text.contains(&format!("  + create  {long}  x.yaml:2:1\n")), "{text}");
}

#[test]
fn colour_changes_nothing_but_colour() {
    let plan = plan(vec![
        create("secret/a", "create", json!({})).at("x.yaml:1:1"),
        update("run_service/api", json!({"memory": "1Gi"}), json!({"memory": "2Gi"})),
    ]);
    let colored = plan_human(&plan, Detail::Grouped, &Style { color: true, ..Style::PLAIN });
    assert!(colored.contains('\u{1b}'));
    let mut stripped = Vec::new();
    std::io::Write::write_all(&mut anstream::StripStream::new(&mut stripped), colored.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(stripped).unwrap(), human(&plan));
}

#[test]
fn values_cannot_steer_the_terminal() {
    let plan = plan(vec![update("run_service/api", json!({"image": "a"}), json!({"image": "b\u{1b}[2J"}))]);
    assert!(!human(&plan).contains('\u{1b}'));
}

#[test]
fn every_refusal_is_told_with_its_place_and_the_way_out() {
    let refused = PlanError::Refused(vec![
        Refusal {
            address: address("secret/a"),
            why: "secrets.a.locations cannot be changed once it exists: [] -> [us-east1]".into(),
            hint: "put the old value back, or declare it under another name".into(),
            location: Some("environments/base.yaml:3:5".into()),
        },
        Refusal {
            address: address("secret/b"),
            why: "it belongs to other/dev".into(),
            hint: "choose another name, or take it over with --adopt secret/b".into(),
            location: None,
        },
    ]);
    insta::assert_snapshot!(refusals(&refused, &Style::PLAIN), @r"
    error: this cannot be planned

      secret/a  environments/base.yaml:3:5
        secrets.a.locations cannot be changed once it exists: [] -> [us-east1]
        hint: put the old value back, or declare it under another name

      secret/b
        it belongs to other/dev
        hint: choose another name, or take it over with --adopt secret/b
    ");
}

#[test]
fn an_unknown_address_gets_the_one_that_was_meant() {
    let known = vec!["secret/database-url-dev".to_owned(), "run_service/api".to_owned()];
    let told = |unknown: &str| {
        refusals(&PlanError::UnknownAddress(vec![unknown.into()], known.clone()), &Style::PLAIN)
    };
    insta::assert_snapshot!(told("secret/databse-url-dev"), @r"
    error: no such address: secret/databse-url-dev
    hint: did you mean `secret/database-url-dev`?
    ");
    insta::assert_snapshot!(told("secret/something-else"), @r"
    error: no such address: secret/something-else
    hint: there are `secret/database-url-dev`
    ");
}

fn service_plan() -> Plan {
    plan(vec![
        create("secret/a", "create", json!({})),
        create("run_service/agent-army-api-dev", "create", json!({})).needing("secret/a"),
        create("run_grant/x", "grant", json!({})).needing("run_service/agent-army-api-dev"),
    ])
}

#[test]
fn a_report_says_what_exists_now_and_whether_that_answers() {
    let all = ["secret/a", "run_service/agent-army-api-dev", "run_grant/x"];
    let report = report(all.iter().map(|at| (*at, Outcome::Applied)).collect());
    insta::assert_snapshot!(report_human(&service_plan(), &report, Detail::Grouped, &Style::PLAIN), @r"
    Applied 3 changes.

    What exists now:
      service agent-army-api-dev  https://agent-army-api-dev-123456789012.us-central1.run.app
    ");
    let served = |plan: &Plan, sandbox: Option<&str>| {
        let (out, stdout, _) = captured::out(Format::Human);
        out.served(plan, &report, sandbox.map(|address| address.parse().unwrap()));
        stdout.text()
    };
    insta::assert_snapshot!(served(&service_plan(), None), @"Nothing keeps running on the sandbox after this: `deployer up dev` serves these URLs.");
    insta::assert_snapshot!(served(&service_plan(), Some("127.0.0.1:8787")), @"On this machine: http://agent-army-api-dev-123456789012.us-central1.run.app.localhost:8787");
    let mut real = service_plan();
    real.target = "google".into();
    assert_eq!(served(&real, None), "");
}

#[test]
fn a_report_says_what_failed_what_was_skipped_and_what_to_do() {
    let report = report(vec![
        ("secret/a", failed("cannot create secret a: permission denied", "grant roles/secretmanager.admin")),
        ("run_service/agent-army-api-dev", Outcome::Skipped(Skipped::Needs(address("secret/a")))),
        ("run_grant/x", Outcome::Skipped(Skipped::Blocked("secret b has no value: do it".into()))),
    ]);
    insta::assert_snapshot!(report_human(&service_plan(), &report, Detail::Grouped, &Style::PLAIN), @r"
    Not complete: applied 0, failed 1, skipped 2.

    failed: secret/a
      cannot create secret a: permission denied
      hint: grant roles/secretmanager.admin

    skipped:
      run_service/agent-army-api-dev: needs secret/a
      run_grant/x: secret b has no value: do it

    next: mend what failed, then run `deployer apply dev` again: what is applied stays, the rest follows
    next: do what the skipped changes wait for, then run `deployer apply dev` again
    ");
}

#[test]
fn each_thing_that_a_skipped_change_waits_for_has_its_line() {
    let why = "secret a has no value: do a; secret b has no value: do b";
    let report = report(vec![("run_grant/x", Outcome::Skipped(Skipped::Blocked(why.into())))]);
    let text = report_human(&service_plan(), &report, Detail::Grouped, &Style::PLAIN);
    assert!(
        text.contains("  run_grant/x:\n    secret a has no value: do a\n    secret b has no value: do b\n"),
        "{text}"
    );
}

#[test]
fn what_is_removed_as_a_whole_is_told_line_by_line() {
    let proxy = json!({"args": [], "image": "us-docker.pkg.dev/cloudrun/container/proxy:v1", "env": {"MODE": "fast"}, "memory": "256Mi"});
    let before = json!({"sidecars": {"proxy": proxy}});
    let plan = plan(vec![update("run_service/api", before, json!({"sidecars": {}}))]);
    insta::assert_snapshot!(human(&plan), @r"
    Plan for agent-army/dev: project agent-army-example, region us-central1, on the sandbox

      ~ update  run_service/api
            services.api.sidecars.proxy:
                - env.MODE: fast
                - image: us-docker.pkg.dev/cloudrun/container/proxy:v1
                - memory: 256Mi

    Plan: 0 to add, 1 to change, 0 to remove.
    ");
}

#[test]
fn an_interrupted_run_says_what_may_be_half_done() {
    let mut report = report(vec![
        ("secret/a", Outcome::Applied),
        ("run_service/agent-army-api-dev", Outcome::Unknown),
        ("run_grant/x", Outcome::Skipped(Skipped::Interrupted)),
    ]);
    report.interrupted = true;
    insta::assert_snapshot!(report_human(&service_plan(), &report, Detail::Grouped, &Style::PLAIN), @r"
    Interrupted: applied 1, failed 0, skipped 1, unknown 1.

    skipped:
      run_grant/x: interrupted before it was started

    may be half done: run_service/agent-army-api-dev; run `deployer apply dev` again
    ");
}

#[test]
fn a_service_whose_name_is_too_long_for_a_url_gets_none() {
    let at = format!("run_service/{}", "n".repeat(55));
    let plan = plan(vec![create(&at, "create", json!({}))]);
    let report = report(vec![(&at, Outcome::Applied)]);
    assert_eq!(report_json(&plan, &report)["services"], json!([{"name": "n".repeat(55)}]));
    assert!(!report_human(&plan, &report, Detail::Grouped, &Style::PLAIN).contains("https://"));
}

#[test]
fn in_a_pipe_each_finished_change_is_one_plain_line() {
    let plan =
        plan(vec![create("secret/a", "create", json!({})), delete("secret/long-name", "delete", json!({}))]);
    let (out, stdout, stderr) = captured::out(Format::Human);
    let progress = out.progress(&plan);
    progress.on(Event::Started(&plan.changes[0]));
    progress.on(Event::Waiting(&plan.changes[0], "waiting for something"));
    progress.on(Event::Finished(&plan.changes[0], &Outcome::Applied, Duration::from_millis(1234)));
    progress.on(Event::Started(&plan.changes[1]));
    let failed = failed("no", "hint");
    progress.on(Event::Finished(&plan.changes[1], &failed, Duration::from_secs(185)));
    progress.finish();
    assert_eq!(stdout.text(), "");
    insta::assert_snapshot!(stderr.text(), @r"
    [1/2] + create  secret/a          1.2s
    [2/2] - delete  secret/long-name  3m05s  failed
    ");
}
