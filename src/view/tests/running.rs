//! The answers about what runs: every key is documented, and people read what matters.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::out::captured;
use super::super::{
    CandidateRow, Drift, Format, LogsAnswer, MigrationRow, MigrationState, MigrationsAnswer, Out, Released,
    RollbackAnswer, RolledBack, RunAnswer, ServiceStatus, Serving, StatusAnswer, Trouble,
};
use super::json::{answer, documented};
use crate::apply::execution::{Execution, Failed, State};
use crate::gcp::LogEntry;

fn entry(text: &str, own: bool) -> LogEntry {
    LogEntry {
        time: Timestamp::UNIX_EPOCH,
        id: "1".into(),
        severity: "INFO".into(),
        text: text.into(),
        owner: "report-dev".into(),
        part: "report-dev-abcde".into(),
        own,
    }
}

fn execution(state: State) -> Execution {
    Execution {
        name: "report-dev-abcde".into(),
        state,
        created: Some(Timestamp::UNIX_EPOCH),
        completed: Some(Timestamp::UNIX_EPOCH),
        log_uri: Some("https://logs.example.com".into()),
    }
}

/// One that has every key.
fn failed() -> State {
    State::Failed(Failed {
        reason: "NON_ZERO_EXIT_CODE".into(),
        message: "Task 0 failed.".into(),
        exit: Some(7),
        signal: Some(9),
    })
}

fn migration(key: &str, state: MigrationState) -> MigrationRow {
    let release = (state != MigrationState::NotDeployed).then(|| "0123456789abcdef".to_owned());
    MigrationRow { migration: key.into(), job: format!("migrate-{key}-dev"), release, state }
}

fn said(verb: impl Fn(&Out)) -> (String, String) {
    let (out, stdout, stderr) = captured::out(Format::Human);
    verb(&out);
    (stdout.text(), stderr.text())
}

#[test]
fn every_key_of_run_migrate_and_logs_is_documented_and_no_other() {
    let ran = RunAnswer {
        environment: "dev".into(),
        job: "report".into(),
        execution: execution(failed()),
        entries: vec![entry("x", true)],
    };
    assert_eq!(answer(|out| out.ran(&ran)), documented("The answer of run"));
    let rows = vec![migration("a", MigrationState::Ran(execution(failed())))];
    let migrated = MigrationsAnswer { environment: "dev".into(), rows };
    assert_eq!(answer(|out| out.migrations(&migrated)), documented("The answer of migrate"));
    let logs =
        LogsAnswer { environment: "dev".into(), entries: vec![entry("x", true)], keys: BTreeMap::new() };
    assert_eq!(answer(|out| out.logs(&logs)), documented("The answer of logs"));
}

#[test]
fn every_key_of_status_and_rollback_is_documented_and_no_other() {
    let serving = Serving {
        revision: "api-1".into(),
        percent: 100,
        tag: Some("t".into()),
        image: "i".into(),
        sha: Some("s".into()),
        created: "1970-01-01T00:00:00Z".into(),
        ready: true,
    };
    let condition = Trouble::Condition { kind: "k".into(), reason: "r".into(), message: "m".into() };
    let traffic = Trouble::Traffic { desired: "d".into(), effective: "e".into() };
    let unready = Trouble::Unready { revision: "api-1".into() };
    let released = Released {
        revision: "api-1".into(),
        outcome: "failed".into(),
        who: "w".into(),
        when: "t".into(),
        reason: Some("r".into()),
    };
    let service = ServiceStatus {
        service: "api".into(),
        name: "api-dev".into(),
        url: "u".into(),
        serving: vec![serving],
        troubles: vec![Trouble::Missing, condition, Trouble::Reconciling, traffic, unready],
        released: Some(released),
    };
    let status = |drift| StatusAnswer {
        environment: "dev".into(),
        target: "google".into(),
        not_running: None,
        sandbox: "127.0.0.1:8787".parse().ok(),
        services: vec![service.clone()],
        drift,
    };
    let drifts = [Drift::Known(1), Drift::Unknown("w".into())];
    let found =
        drifts.map(|drift| answer(|out| out.status_of(&status(drift.clone()), Timestamp::UNIX_EPOCH)));
    let found: BTreeSet<_> = found.into_iter().flatten().collect();
    assert_eq!(found, documented("The answer of status"));

    let row = CandidateRow {
        revision: "api-1".into(),
        image: "i".into(),
        sha: Some("s".into()),
        when: "t".into(),
        who: Some("w".into()),
        outcome: Some("serving".into()),
        percent: 0,
        trouble: Some("t".into()),
        usual: false,
    };
    let (from, migrations) = (vec!["api-2".into()], vec!["m".into()]);
    let done = RolledBack { from, to: "api-1".into(), migrations, milliseconds: 1 };
    let rolled = RollbackAnswer {
        environment: "dev".into(),
        service: "api".into(),
        candidates: vec![row],
        done: Some(done),
    };
    let found = answer(|out| out.rolled_back(&rolled, Timestamp::UNIX_EPOCH));
    assert_eq!(found, documented("The answer of rollback"));
}

#[test]
fn lines_of_a_job_are_the_output_and_those_of_the_platform_are_not() {
    let (stdout, stderr) = said(|out| {
        let lines = out.job_lines();
        let tell = lines.said();
        tell(&entry("made by the job", true));
        tell(&entry("Container called exit(7).", false));
        assert_eq!(lines.taken().len(), 2);
    });
    assert_eq!((stdout.as_str(), stderr.as_str()), ("made by the job\n", "Container called exit(7).\n"));
}

#[test]
fn people_see_how_migrations_stand_and_what_runs_the_rest() {
    let rows = vec![
        migration("shared", MigrationState::Ran(execution(State::Succeeded))),
        migration("each/red", MigrationState::Ran(execution(failed()))),
        migration("each/blue", MigrationState::NeverRun),
        migration("later", MigrationState::NotDeployed),
    ];
    let (stdout, _) =
        said(|out| out.migrations(&MigrationsAnswer { environment: "dev".into(), rows: rows.clone() }));
    insta::assert_snapshot!(stdout, @r"
    MIGRATION  STATE         RELEASE       WHEN                 EXECUTION         TROUBLE
    shared     succeeded     0123456789ab  1970-01-01 00:00:00  report-dev-abcde
    each/red   failed        0123456789ab  1970-01-01 00:00:00  report-dev-abcde  Task 0 failed
    each/blue  not run       0123456789ab
    later      not deployed
    note: deployer migrate dev runs what has not succeeded
    ");
}
