//! What the views say, one behaviour in each test.

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::out::captured;
use super::style::Style;
use super::testing::{address, create, delete, note, plan, update};
use super::{
    BuildAnswer, BuildRow, CommentAnswer, Detail, FileOutcome, Format, Out, RenderAnswer, RenderRow,
    TenantEdit, TenantRow, TenantSecret, drift_human, drift_json, plan_human, plan_json, refusals,
    report_human, report_json,
};
use crate::apply::{Event, Failure, Observer, Outcome, Report, Skipped};
use crate::config::model::Location;
use crate::config::{Checked, Diagnostic, Problems};
use crate::error::CliError;
use crate::github::{Action, Key, Posted};
use crate::inventory::{SecretList, SecretRow};
use crate::lint::Linted;
use crate::plan::{Health, Migration, Plan, PlanError, Refusal, Release, Smoke};
use crate::resource::{Address, Consequence};

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
fn drift_in_json_is_the_plan_and_whether_there_is_any() {
    assert_eq!(drift_json(&drifted())["drift"], true);
    let none = drift_json(&plan(vec![]));
    assert_eq!(none["drift"], false);
    let found = emitted(&drift_json(&full_plan()));
    let own: BTreeSet<_> = found.difference(&documented("The plan")).cloned().collect();
    assert_eq!(own, documented("Drift"));
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

/// Every key of a document as a path (`changes[].fields[].old`); specs and values are not looked into.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if !matches!(key.as_str(), "before" | "after" | "old" | "new") {
                    keys(field, &path, found);
                }
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, &format!("{path}[]"), found)),
        _ => {}
    }
}

/// A plan in which every optional field is set.
fn full_plan() -> Plan {
    let mut service = update("run_service/api", json!({"memory": "512Mi"}), json!({"memory": "1Gi"}))
        .at("environments/base.yaml:1:1")
        .leads_to(Consequence::NewRevision)
        .needing("secret/a")
        .blocked("secret a has no value");
    service.field("/memory").location = Some("environments/base.yaml:2:2".into());
    let mut plan = plan(vec![create("secret/a", "create", json!({})), service]);
    plan.releases.push(release());
    plan.notes.push(note("secret/old", "is ours"));
    plan.part = Some("--layer release".into());
    plan.destroy = true;
    plan
}

fn release() -> Release {
    Release {
        service: address("run_service/api"),
        sha: Some("abc1234".into()),
        migrations: vec![Migration {
            job: address("run_job/migrate-shared"),
            source: "migrations.shared".into(),
            needs: vec![address("run_job/migrate-first")],
            digest: "d".into(),
        }],
        health: Some(Health { path: "/health".into(), attempts: 10, interval: 2, successes: 3 }),
        smoke: vec![Smoke {
            name: "ready".into(),
            service: "api".into(),
            method: "GET".into(),
            path: "/ready".into(),
            headers: BTreeMap::from([("x-key".into(), "not shown".into())]),
            body: Some("not shown".into()),
            expect: vec![200],
            json: Some(json!(true)),
            text: Some("ok".into()),
            max_time: 5,
        }],
        unreachable: Some("its ingress is internal".into()),
        caller: Some("ci@p.iam.gserviceaccount.com".into()),
        open: false,
        opened_by: Some(address("run_grant/api")),
    }
}

/// The keys that a section of the document describes: the first cell of its tables.
fn documented(section: &str) -> BTreeSet<String> {
    let document = include_str!("../../docs/plan-json.md");
    let heading = format!("## {section}\n");
    let text = document.split_once(&heading).map(|(_, rest)| rest.split("\n## ").next().unwrap()).unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(key, _)| key.to_owned()).collect()
}

fn emitted(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(document, "", &mut found);
    found
}

#[test]
fn every_key_of_the_plan_is_documented_and_no_other() {
    assert_eq!(emitted(&plan_json(&full_plan())), documented("The plan"));
}

#[test]
fn what_a_smoke_check_sends_is_not_told() {
    let mut plan = plan(vec![]);
    plan.releases.push(release());
    assert!(!plan_json(&plan).to_string().contains("not shown"));
}

#[test]
fn every_key_of_the_report_is_documented_and_no_other() {
    let mut report = report(vec![
        ("secret/a", failed("no", "hint")),
        ("run_service/api", Outcome::Applied),
        ("secret/b", Outcome::Skipped(Skipped::Needs(address("secret/a")))),
    ]);
    report.notes.push(note("run_service/api", "was not judged"));
    report.revisions.insert(address("run_service/api"), "api-0a1b2c3d".into());
    let mut plan = full_plan();
    plan.changes[1].after = Some(json!({"image": "r/api@sha256:1f"}));
    let found = emitted(&report_json(&plan, &report));
    let own = found.into_iter().filter(|key| !key.starts_with("plan.")).collect::<BTreeSet<_>>();
    assert_eq!(own, documented("The report of apply"));
}

fn problem() -> Diagnostic {
    let place = Location { file: "x.yaml".into(), line: 1, column: 1 };
    Diagnostic::error("unknown-key", "m").at(place, 1).hint("h")
}

/// The document that a verb answers with.
fn answer(verb: impl Fn(&Out)) -> BTreeSet<String> {
    let (out, stdout, _) = captured::out(Format::Json);
    verb(&out);
    emitted(&serde_json::from_str(&stdout.text()).unwrap())
}

#[test]
fn every_key_of_the_other_answers_is_documented_and_no_other() {
    let environments = BTreeMap::from([("dev".to_owned(), vec![problem()])]);
    let checked = Checked { environments, ..Checked::default() };
    assert_eq!(answer(|out| out.validated(&checked)), documented("The answer of validate"));
    let row = SecretRow {
        name: "a".into(),
        id: "a-dev".into(),
        tenant: Some("acme".into()),
        versions: 1,
        enabled: 1,
        newest_enabled: Some(1),
        created: Some("2026-11-21T10:50:28Z".into()),
        readers: vec!["services.api".into()],
        environments: vec!["staging".into()],
        other_readers: Vec::new(),
    };
    let list = SecretList { environment: "dev".into(), rows: vec![row], undeclared: vec!["b".into()] };
    assert_eq!(
        answer(|out| out.secrets(&list, jiff::Timestamp::UNIX_EPOCH)),
        documented("The answer of secrets list")
    );
    let secret = TenantSecret { name: "acme/a".into(), id: "acme-a".into(), protected: false };
    let tenant = TenantRow {
        slug: "acme".into(),
        name: "Acme".into(),
        schema: Some("acme".into()),
        secrets: vec![secret.clone()],
        jobs: vec!["migrate-acme".into()],
        location: Some("x.yaml:1:1".into()),
    };
    let tenants = answer(|out| out.tenants("dev", std::slice::from_ref(&tenant)));
    assert_eq!(tenants, documented("The answer of tenants list"));
    let edit = TenantEdit {
        environment: "dev".into(),
        slug: "acme".into(),
        added: true,
        file: "x.yaml".into(),
        line: 1,
        environments: vec!["dev".into()],
        secrets: vec![secret],
    };
    let refused = Err(CliError::user("no"));
    let edited = [Ok(full_plan()), refused].map(|plan| answer(|out| out.tenant_edited(&edit, Some(&plan))));
    let above = ["plan.", "error."];
    let own = edited.into_iter().flatten().filter(|key| !above.iter().any(|above| key.starts_with(above)));
    let own = own.collect::<BTreeSet<_>>();
    assert_eq!(own, documented("The answer of tenants add and tenants remove"));
    assert_eq!(answer(|out| out.secret_set("dev", "a", "a-dev", 2)), documented("The answer of secrets set"));
    let started = answer(|out| out.sandbox_started("http://127.0.0.1:1", Path::new("state")));
    assert_eq!(started, documented("The answer of sandbox"));
    let row = BuildRow {
        service: "api".into(),
        image: "r/api".into(),
        digest: "sha256:1".into(),
        tags: vec!["src-1".into()],
        built: true,
        size: Some(1),
        sent: Some(1),
        milliseconds: 1,
    };
    let next = Some("deployer apply dev".to_owned());
    let built = BuildAnswer { environment: "dev".into(), builds: vec![row], next };
    assert_eq!(answer(|out| out.built(&built)), documented("The answer of build"));
    let linted = Linted { files: vec!["Dockerfile".into()], findings: vec![problem()], ..Linted::default() };
    assert_eq!(answer(|out| out.linted(&linted)), documented("The answer of lint"));
    let posted = Posted { action: Action::Created, url: "https://x".into() };
    let comment = CommentAnswer { key: Key::of("plan"), pull_request: 7, posted: Some(posted) };
    assert_eq!(answer(|out| out.commented(&comment)), documented("The answer of comment"));
    let row = RenderRow {
        path: "a.yml".into(),
        template: Some("t.yml".into()),
        outcome: FileOutcome::Differs,
        by_hand: true,
        change: Some(("a\n".into(), "b\n".into())),
    };
    let rendered = RenderAnswer { check: true, refused: false, files: vec![row], remarks: vec!["r".into()] };
    assert_eq!(answer(|out| out.rendered(&rendered)), documented("The answer of render"));
    let reset = answer(|out| out.sandbox_reset(Path::new("state"), true));
    assert_eq!(reset, documented("The answer of sandbox reset"));
}

#[test]
fn every_key_of_an_error_is_documented_and_no_other() {
    let refusal = Refusal {
        address: address("secret/a"),
        why: "w".into(),
        hint: "h".into(),
        location: Some("x.yaml:1:1".into()),
    };
    let problems = Problems { diagnostics: vec![problem()], ..Problems::default() };
    let mut found = emitted(&super::error_json(&CliError::Plan(PlanError::Refused(vec![refusal]))));
    found.extend(emitted(&super::error_json(&CliError::Config(problems))));
    assert_eq!(found, documented("An error"));
}

#[test]
fn the_summary_counts_what_the_changes_are() {
    let summary = plan_json(&full_plan())["summary"].clone();
    assert_eq!(summary, json!({"add": 1, "change": 1, "remove": 0, "blocked": 1}));
}

#[test]
fn added_changed_and_removed_variables_stay_apart_when_hidden() {
    let before = json!({"env": {"CHANGED": "old-value", "GONE": "gone-value"}});
    let after = json!({"env": {"CHANGED": "new-value", "NEW": "fresh-value"}});
    let document = plan_json(&plan(vec![update("run_service/api", before, after)]));
    let fields = document["changes"][0]["fields"].as_array().unwrap().clone();
    let told: Vec<_> = fields
        .iter()
        .map(|f| (f["pointer"].as_str().unwrap(), f.get("old").is_some(), f.get("new").is_some()))
        .collect();
    assert_eq!(told, [("/env/CHANGED", true, true), ("/env/GONE", true, false), ("/env/NEW", false, true)]);
    assert!(!document.to_string().contains("-value"));
}

fn variables() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[A-C]", "[Q-Z]{4,9}", 0..4)
}

fn spec() -> impl Strategy<Value = Value> {
    (variables(), prop::option::of(variables()), any::<bool>()).prop_map(|(env, sidecar, has_env)| {
        let mut spec = json!({"image": "i", "sidecars": {}});
        if has_env {
            spec["env"] = json!(env);
        }
        if let Some(env) = sidecar {
            spec["sidecars"]["proxy"] = json!({"image": "p", "env": env});
        }
        spec
    })
}

/// The variables of a spec that must not be seen.
fn hidden_values(spec: &Value, shown: &str) -> Vec<String> {
    let maps = [spec.pointer("/env"), spec.pointer("/sidecars/proxy/env")];
    let entries = maps.into_iter().flatten().filter_map(Value::as_object).flatten();
    entries.filter(|(name, _)| *name != shown).map(|(_, value)| value.as_str().unwrap().to_owned()).collect()
}

proptest! {
    #[test]
    fn no_hidden_variable_appears_anywhere_in_the_json(before in spec(), after in spec()) {
        let mut plan = plan(vec![
            update("run_service/api", before.clone(), after.clone()),
            create("run_service/new", "create", after.clone()),
            delete("run_service/old", "delete", before.clone()),
        ]);
        plan.show_env = vec!["A".into()];
        let everything = Report { outcomes: vec![(Address { kind: "k".into(), name: "n".into() }, Outcome::Applied)], interrupted: false, ..Report::default() };
        let text = format!("{}{}", plan_json(&plan), report_json(&plan, &everything));
        let shown: Vec<_> = [&before, &after].iter().flat_map(|spec| {
            ["/env/A", "/sidecars/proxy/env/A"].map(|at| spec.pointer(at).and_then(Value::as_str).map(str::to_owned))
        }).flatten().collect();
        for value in hidden_values(&before, "A").into_iter().chain(hidden_values(&after, "A")) {
            let listed = shown.iter().any(|shown| shown.contains(&value));
            prop_assert!(listed || !text.contains(&value), "{value} in {text}");
        }
        for value in shown {
            prop_assert!(text.contains(&value));
        }
    }
}
