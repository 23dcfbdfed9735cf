//! Answers for programs: every key is documented, and what is hidden from people is hidden here too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::out::captured;
use super::super::testing::{address, create, delete, note, plan, update};
use super::super::{
    BuildAnswer, BuildRow, CommentAnswer, FileOutcome, Format, Out, RenderAnswer, RenderRow, TenantEdit,
    TenantRow, TenantSecret, drift_json, plan_json, report_json,
};
use super::{drifted, failed, report};
use crate::apply::{Outcome, Report, Skipped};
use crate::config::model::Location;
use crate::config::{Checked, Diagnostic, Problems};
use crate::error::CliError;
use crate::github::{Action, Key, Posted};
use crate::inventory::{SecretList, SecretRow};
use crate::lint::Linted;
use crate::plan::{Health, Migration, Plan, PlanError, Refusal, Release, Smoke};
use crate::resource::{Address, Consequence};

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
        versions: vec!["v1".into()],
        migrations: vec![Migration {
            job: address("run_job/migrate-shared"),
            source: "migrations.shared".into(),
            needs: vec![address("run_job/migrate-first")],
            backward_compatible: true,
            digest: "d".into(),
        }],
        health: Some(Health { path: "/health".into(), attempts: 10, interval: 2, successes: 3 }),
        smoke: vec![Smoke {
            name: "ready".into(),
            service: "api".into(),
            method: "GET".into(),
            url: Some("https://shop.example.com".into()),
            path: "/ready".into(),
            headers: BTreeMap::from([("x-key".into(), "not shown".into())]),
            body: Some("not shown".into()),
            expect: vec![200],
            json: Some(json!(true)),
            text: Some("ok".into()),
            version: Some("version".into()),
            max_time: 5,
        }],
        unreachable: Some("its ingress is internal".into()),
        caller: Some("ci@p.iam.gserviceaccount.com".into()),
        open: false,
        opened_by: Some(address("run_grant/api")),
        after_opening: false,
    }
}

/// The keys that a section of the document describes: the first cell of its tables.
pub(super) fn documented(section: &str) -> BTreeSet<String> {
    let document = include_str!("../../../docs/plan-json.md");
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
pub(super) fn answer(verb: impl Fn(&Out)) -> BTreeSet<String> {
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
    let mut found = emitted(&super::super::error_json(&CliError::Plan(PlanError::Refused(vec![refusal]))));
    found.extend(emitted(&super::super::error_json(&CliError::Config(problems))));
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

#[test]
fn drift_in_json_is_the_plan_and_whether_there_is_any() {
    assert_eq!(drift_json(&drifted())["drift"], true);
    let none = drift_json(&plan(vec![]));
    assert_eq!(none["drift"], false);
    let found = emitted(&drift_json(&full_plan()));
    let own: BTreeSet<_> = found.difference(&documented("The plan")).cloned().collect();
    assert_eq!(own, documented("Drift"));
}
