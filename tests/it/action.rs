//! The action's own scripts, as a workflow runs them: a release of GitHub's stand-in is installed, and a command runs on the sandbox.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Cloud, Workplace, repository};

/// What stands in for `gh`: releases are folders of `RELEASES`, and each call is written down.
const GH: &str = r#"#!/bin/sh
echo "$*" >> "$GH_CALLS"
case "$1 $2" in
  "release download") cp "$RELEASES/$3/"* "$7/" ;;
  "attestation verify") exit "$UNATTESTED" ;;
  *) exit 64 ;;
esac
"#;

/// What a runner of GitHub gives to a step.
struct Runner {
    place: Workplace,
    unattested: &'static str,
}

impl Runner {
    /// With a release of this version, which is the deployer of this test.
    fn new() -> Self {
        let place = Workplace::agent_army();
        let runner = Self { place, unattested: "0" };
        for folder in ["bin", "temp", "release"] {
            fs::create_dir_all(runner.place.path(folder)).unwrap();
        }
        runner.place.write("output", "");
        runner.place.write("path", "");
        runner.place.write("calls", "");
        script(&runner.place.path("bin/gh"), GH);
        script(
            &runner.place.path("release/deployer"),
            &format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_deployer")),
        );
        fs::create_dir_all(runner.release()).unwrap();
        let packed = runner.release().join(archive());
        let tar = Command::new("tar")
            .arg("-czf")
            .arg(&packed)
            .arg("-C")
            .arg(runner.place.path("release"))
            .arg("deployer")
            .output();
        assert!(tar.unwrap().status.success());
        let sum = sha256(&packed);
        runner.sums(&format!("{}  other.tar.gz\n{sum}  {}\n", "0".repeat(64), archive()));
        runner
    }

    fn release(&self) -> PathBuf {
        self.place.path("releases").join(concat!("v", env!("CARGO_PKG_VERSION")))
    }

    fn sums(&self, text: &str) {
        fs::write(self.release().join("SHA256SUMS"), text).unwrap();
    }

    /// Runs one of the action's scripts to its end.
    async fn step(&self, script: &str, env: &[(&str, &str)]) -> Output {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap();
        let installed = self.place.read("path");
        let installed = installed.trim_end();
        command
            .arg(repository().join("action").join(script))
            .current_dir(self.place.root())
            .env_clear()
            .env("PATH", format!("{installed}:{}:{path}", self.place.path("bin").display()))
            .env("HOME", self.place.path(".home"))
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_ACTION_PATH", repository())
            .env("GITHUB_OUTPUT", self.place.path("output"))
            .env("GITHUB_PATH", self.place.path("path"))
            .env("RUNNER_TEMP", self.place.path("temp"))
            .env("REPOSITORY", "octo-org/deployer")
            .env("RELEASES", self.place.path("releases"))
            .env("GH_CALLS", self.place.path("calls"))
            .env("UNATTESTED", self.unattested)
            .envs(env.iter().copied());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn refuses(&self, env: &[(&str, &str)], said: &str) {
        let done = self.step("install.sh", env).await;
        let stdout = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains(said), "{stdout}");
        assert_eq!(self.place.read("path"), "", "nothing is installed");
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The name of this machine's archive.
fn archive() -> String {
    let system = if cfg!(target_os = "macos") { "apple-darwin" } else { "unknown-linux-gnu" };
    format!("deployer-{}-{system}.tar.gz", std::env::consts::ARCH)
}

fn sha256(path: &Path) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(fs::read(path).unwrap()))
}

/// What a step told the steps that follow, from lines `NAME=VALUE` and `NAME<<END`, VALUE, `END`.
fn outputs(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((name, end)) = line.split_once("<<") {
            let value: Vec<_> = lines.by_ref().take_while(|line| *line != end).collect();
            found.insert(name.to_owned(), value.join("\n"));
        } else if let Some((name, value)) = line.split_once('=') {
            found.insert(name.to_owned(), value.to_owned());
        }
    }
    found
}

fn ok(done: &Output) {
    let told = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{}\n{}", told.0, told.1);
}

#[tokio::test]
async fn the_version_of_the_pinned_commit_is_installed_after_checksum_and_attestation() {
    let runner = Runner::new();
    let done = runner.step("install.sh", &[]).await;
    ok(&done);
    assert!(String::from_utf8_lossy(&done.stdout).contains(concat!("deployer ", env!("CARGO_PKG_VERSION"))));
    let calls = runner.place.read("calls");
    assert!(calls.contains("release download v") && calls.contains("--repo octo-org/deployer"), "{calls}");
    assert!(calls.contains("--signer-workflow octo-org/deployer/.github/workflows/release.yml"), "{calls}");
    // A second step of the same job takes what is there.
    ok(&runner.step("install.sh", &[]).await);
    assert_eq!(runner.place.read("calls"), calls);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused() {
    let runner = Runner::new();
    runner.sums(&format!("{}  {}\n", "1".repeat(64), archive()));
    runner.refuses(&[], "is not what release v").await;
    assert!(!runner.place.read("calls").contains("attestation"), "a wrong file is not even asked about");
}

#[tokio::test]
async fn a_file_that_the_release_does_not_name_is_refused() {
    let runner = Runner::new();
    runner.sums(&format!("{}  x{}\n", sha256(&runner.release().join(archive())), archive()));
    runner.refuses(&[], "does not name").await;
}

#[tokio::test]
async fn what_nobody_attests_is_refused() {
    let runner = Runner { unattested: "1", ..Runner::new() };
    runner.refuses(&[], "nothing attests that octo-org/deployer has built").await;
}

#[tokio::test]
async fn a_version_that_is_not_there_or_is_none_is_refused() {
    let runner = Runner::new();
    runner.refuses(&[("VERSION", "99.0.0")], "release v99.0.0 of octo-org/deployer has no ").await;
    runner.refuses(&[("VERSION", "1.0/../x")], "'1.0/../x' is no version").await;
}

#[tokio::test]
async fn a_command_runs_and_tells_the_steps_that_follow_what_came_of_it() {
    let runner = Runner::new();
    ok(&runner.step("install.sh", &[]).await);
    let cloud = Cloud::fresh().await;
    let url = cloud.url();
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = format!("us-docker.pkg.dev/cloudrun/container/hello@{digest}");
    let args = format!("--auto-approve --image api={image}");
    let apply = [
        ("COMMAND", "apply"),
        ("ENVIRONMENT", "dev"),
        ("ARGS", args.as_str()),
        ("DEPLOYER_ENDPOINT", url.as_str()),
    ];
    ok(&runner.step("run.sh", &apply).await);
    let told = outputs(&runner.place.read("output"));
    assert_eq!(told["changed"], "true");
    assert!(told["revision"].starts_with("agent-army-api-dev-"), "{told:?}");
    assert_eq!(told["digest"], digest);
    assert!(told["url"].starts_with("https://agent-army-api-dev-"), "{told:?}");
    runner.place.write("output", "");
    let plan = [("COMMAND", "plan"), ("ENVIRONMENT", "dev"), ("DEPLOYER_ENDPOINT", url.as_str())];
    ok(&runner.step("run.sh", &plan).await);
    assert_eq!(outputs(&runner.place.read("output"))["changed"], "false");
    cloud.stop().await;
}

#[tokio::test]
async fn a_command_that_fails_fails_the_step_as_it_did() {
    let runner = Runner::new();
    ok(&runner.step("install.sh", &[]).await);
    let done = runner.step("run.sh", &[("COMMAND", "plan"), ("ENVIRONMENT", "nowhere")]).await;
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("there is no environment `nowhere`"));
}
