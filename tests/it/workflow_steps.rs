//! The scripts inside of rendered workflows, run as GitHub would run them. Where `jq` is not installed, one line says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Workplace, repository};

/// The script of the step with this name, in the system with everything that is rendered.
fn script_of(workflow: &str, job: &str, step: &str) -> String {
    let path = repository().join(format!("tests/it/rendered/.github/workflows/{workflow}.yml"));
    let text = fs::read_to_string(path).unwrap();
    let document: Value = serde_saphyr::from_str(&text).unwrap();
    let steps = document["jobs"][job]["steps"].as_array().unwrap();
    let found =
        steps.iter().find(|each| each["name"] == step).unwrap_or_else(|| panic!("{job}: no step {step}"));
    found["run"].as_str().unwrap().to_owned()
}

/// The runners of GitHub have `jq`; this machine may not.
#[expect(clippy::print_stdout, reason = "what was not looked at is told")]
fn has_jq() -> bool {
    let has = Command::new("jq").arg("--version").output().is_ok();
    if !has {
        println!("skipped: jq is not installed");
    }
    has
}

/// A folder with what a runner gives to a step.
struct Step {
    place: Workplace,
}

impl Step {
    fn new() -> Self {
        let place = Workplace::empty();
        place.write("output", "");
        place.write("temp/x", "");
        place.write("calls", "");
        Self { place }
    }

    /// What stands in for a program.
    fn program(&self, name: &str, text: &str) {
        self.place.write(&format!("bin/{name}"), text);
        let permissions = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.place.path(&format!("bin/{name}")), permissions).unwrap();
    }

    fn git(&self, words: &str) -> String {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let mut command = Command::new("git");
        let done =
            command.arg("-C").arg(self.place.root()).args(identity).args(words.split(' ')).output().unwrap();
        assert!(done.status.success(), "{words}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Runs a script to its end, which has to be a success, and gives what it told the steps that follow.
    fn run(&self, script: &str, env: &[(&str, &str)]) -> String {
        self.place.write("output", "");
        let path = format!("{}:{}", self.place.path("bin").display(), std::env::var("PATH").unwrap());
        let file = |name: &str| -> PathBuf { self.place.path(name) };
        let done = Command::new("bash")
            .args(["-e", "-c", script])
            .current_dir(self.place.root())
            .env_clear()
            .env("PATH", path)
            .env("HOME", file(".home"))
            .env("GITHUB_OUTPUT", file("output"))
            .env("RUNNER_TEMP", file("temp"))
            .env("CALLS", file("calls"))
            .envs(env.iter().copied())
            .output()
            .unwrap();
        let told = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{}\n{}", told.0, told.1);
        self.place.read("output")
    }
}

#[test]
fn only_suites_with_changed_files_are_found() {
    if !has_jq() {
        return;
    }
    let step = Step::new();
    let script = script_of("test", "changes", "Find the suites whose files have changed");
    let suites = r#"{"api":["services/api/**"],"worker":["worker/**","Cargo.lock"]}"#;
    step.git("init -q -b main");
    step.place.write("services/api/src/main.py", "1");
    step.place.write("Cargo.lock", "1");
    step.git("add services Cargo.lock");
    step.git("commit -q -m one");
    let base = step.git("rev-parse HEAD");
    let changed = |base: &str| step.run(&script, &[("BASE", base), ("SUITES", suites)]);
    assert_eq!(changed(&base), "suites=[]\n");
    step.place.write("Cargo.lock", "2");
    step.git("commit -q -a -m two");
    assert_eq!(changed(&base), "suites=[\"worker\"]\n");
    step.place.write("services/api/src/main.py", "2");
    step.git("commit -q -a -m three");
    assert_eq!(changed(&base), "suites=[\"api\",\"worker\"]\n");
    // A new branch and a run by hand have nothing to be compared with: everything counts.
    for unknown in ["", "0000000000000000000000000000000000000000"] {
        assert_eq!(changed(unknown), "suites=[\"api\",\"worker\"]\n");
    }
}

#[test]
fn drift_opens_one_issue_changes_it_and_closes_it() {
    if !has_jq() {
        return;
    }
    let step = Step::new();
    step.program("gh", "#!/bin/sh\necho \"$*\" >> \"$CALLS\"\n[ \"$2\" = list ] && cat issues\nexit 0\n");
    let script = script_of("drift", "issue-staging", "Open, change or close the issue");
    let title = "staging in shop is not as its YAML says";
    let run = |drift: &str, issues: &str| {
        step.place.write("issues", issues);
        step.place.write("calls", "");
        step.run(&script, &[("DRIFT", drift), ("TITLE", title)]);
        step.place.read("calls").lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let open = format!(
        "[{{\"number\": 6, \"title\": \"{title}, again\"}}, {{\"number\": 7, \"title\": \"{title}\"}}]"
    );
    assert_eq!(run("false", "[]"), Vec::<String>::new());
    assert_eq!(run("true", "[]"), [format!("issue create --title {title} --body-file drift.md")]);
    assert_eq!(run("true", &open), ["issue edit 7 --body-file drift.md"]);
    assert_eq!(run("false", &open), ["issue close 7 --comment What exists is as the YAML says again."]);
}

#[test]
fn the_exit_code_of_drift_is_told_and_a_failure_stays_one() {
    let step = Step::new();
    let script = script_of("drift", "drift-staging", "Compare what exists with the YAML");
    for (code, told) in [("0", "drift=false\n"), ("2", "drift=true\n")] {
        step.program("deployer", &format!("#!/bin/sh\necho '# drift'\nexit {code}\n"));
        assert_eq!(step.run(&script, &[("ENVIRONMENT", "staging")]), told);
        assert_eq!(step.place.read("drift.md"), "# drift\n");
    }
    step.program("deployer", "#!/bin/sh\nexit 1\n");
    let path = format!("{}:{}", step.place.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-e", "-c", &script]).current_dir(step.place.root()).env("PATH", path);
    let done = command.env("ENVIRONMENT", "staging").env("GITHUB_OUTPUT", step.place.path("output")).output();
    assert_eq!(done.unwrap().status.code(), Some(1));
}

#[test]
fn built_images_are_told_by_digest_and_planned_in_every_environment() {
    if !has_jq() {
        return;
    }
    let step = Step::new();
    step.git("init -q -b main");
    step.git("commit -q --allow-empty -m one");
    let commit = step.git("rev-parse HEAD");
    let answer = r#"{"builds": [{"service": "api", "image": "r/api", "digest": "sha256:1"}, {"service": "worker", "image": "r/worker", "digest": "sha256:2"}]}"#;
    step.program("deployer", &format!("#!/bin/sh\necho \"$*\" >> \"$CALLS\"\necho '{answer}'\n"));
    let build = script_of("deploy", "deploy-staging", "Build what changed and push it");
    let told = step.run(&build, &[("ENVIRONMENT", "staging")]);
    assert_eq!(step.place.read("calls"), format!("build staging --tag {commit} --output json\n"));
    let images = "--image api=r/api@sha256:1 --image worker=r/worker@sha256:2";
    assert_eq!(told, format!("image-api=r/api@sha256:1\nimage-worker=r/worker@sha256:2\nimages={images}\n"));
    for (environment, job) in [("staging", "deploy-staging"), ("production", "deploy-production")] {
        step.place.write("calls", "");
        let plan = script_of("deploy", job, "Plan");
        step.place.write("summary", "");
        let summary = step.place.path("summary");
        let summary = summary.to_str().unwrap();
        step.run(
            &plan,
            &[("ENVIRONMENT", environment), ("IMAGES", images), ("GITHUB_STEP_SUMMARY", summary)],
        );
        let calls = step.place.read("calls");
        let said = format!("plan {environment} --layer release --tag {commit} {images} -o ");
        assert!(calls.starts_with(&said), "{calls}");
    }
}

#[test]
fn the_image_that_serves_is_scanned() {
    if !has_jq() {
        return;
    }
    let step = Step::new();
    let answer = r#"{"services": [
        {"service": "api", "serving": [{"percent": 0, "image": "r/new"}, {"percent": 100, "image": "r/old"}]},
        {"service": "worker", "serving": []}]}"#;
    step.place.write("answer", answer);
    step.program("deployer", "#!/bin/sh\ncat answer\n");
    let script = script_of("scan", "scan-staging", "Ask which images serve");
    assert_eq!(step.run(&script, &[("ENVIRONMENT", "staging")]), "image-api=r/old\n");
}

#[test]
fn rolling_back_names_a_revision_only_where_one_is_given() {
    let step = Step::new();
    step.program("deployer", "#!/bin/sh\necho \"$*\" >> \"$CALLS\"\n");
    let script = script_of("rollback", "rollback-staging", "Send the traffic back");
    for (revision, said) in [
        ("", "rollback staging api --auto-approve\n"),
        ("api-1; true", "rollback staging api --to api-1; true --auto-approve\n"),
    ] {
        step.place.write("calls", "");
        step.run(&script, &[("ENVIRONMENT", "staging"), ("SERVICE", "api"), ("REVISION", revision)]);
        assert_eq!(step.place.read("calls"), said);
    }
}
