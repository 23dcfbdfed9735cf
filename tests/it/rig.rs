//! A workplace whose commands go to a sandbox of its own, and commands that are watched while they run.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Child;

use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::{Cloud, Done, Recorded, Run, Workplace, signal};

/// A folder with environments, and a sandbox that its commands use.
pub struct Rig {
    pub place: Workplace,
    pub cloud: Cloud,
    endpoint: String,
}

impl Rig {
    /// The environments of agent-army and an empty project.
    pub async fn fresh() -> Self {
        Self::of(Workplace::agent_army(), Cloud::fresh().await)
    }

    pub fn of(place: Workplace, cloud: Cloud) -> Self {
        let endpoint = cloud.url();
        Self { place, cloud, endpoint }
    }

    /// Commands go through what listens at `url`.
    pub fn through(mut self, url: &str) -> Self {
        url.clone_into(&mut self.endpoint);
        self
    }

    pub fn deployer(&self, words: &str) -> Run {
        // Nothing announces a metadata server: a loopback endpoint is reached without logging in.
        self.place.deployer(words).args(["--endpoint", &self.endpoint]).env("GCE_METADATA_HOST", "")
    }

    /// Applies `dev` without asking.
    pub fn apply(&self) -> Run {
        self.apply_to("dev")
    }

    /// Applies an environment without asking.
    pub fn apply_to(&self, environment: &str) -> Run {
        self.deployer(&format!("apply {environment} --auto-approve"))
    }

    /// Changes base.yaml.
    pub fn edit(&self, from: &str, to: &str) {
        self.place.edit("environments/base.yaml", from, to);
    }

    /// Fails unless there is nothing to do in `dev`.
    pub async fn settled(&self, context: &str) {
        self.settled_in("dev", context).await;
    }

    /// Fails unless there is nothing to do in an environment.
    pub async fn settled_in(&self, environment: &str, context: &str) {
        let done = self.deployer(&format!("plan {environment} --detailed-exitcode")).done().await;
        assert_eq!(done.code, 0, "{context}: the plan of {environment} is not empty\n{done}");
    }
}

/// A sandbox with a copy of the state that the folder `state` holds; it keeps its own in `copy`.
pub async fn cloud_from(state: &Path, copy: &TempDir) -> Cloud {
    cloud_with(Cloud::options(), state, copy).await
}

/// The same with other options.
pub async fn cloud_with(options: gcp_sandbox::Options, state: &Path, copy: &TempDir) -> Cloud {
    copy_folder(state, copy.path());
    Cloud::start(gcp_sandbox::Options { state: Some(copy.path().to_owned()), ..options }).await
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The state after these environments were applied.
pub async fn deployed(place: fn() -> Workplace, environments: &[&str]) -> TempDir {
    deployed_with(Cloud::options(), place, environments).await
}

/// The same with other options of the sandbox.
pub async fn deployed_with(
    options: gcp_sandbox::Options,
    place: fn() -> Workplace,
    environments: &[&str],
) -> TempDir {
    let state = TempDir::new().unwrap();
    let options = gcp_sandbox::Options { state: Some(state.path().to_owned()), ..options };
    let rig = Rig::of(place(), Cloud::start(options).await);
    for environment in environments {
        rig.apply_to(environment).ok().await;
    }
    rig.cloud.stop().await;
    state
}

/// How many of a run's writes every run makes: those that succeeded. Writes of one policy go together when they meet,
/// which they need not.
pub fn sure_writes(writes: &[Recorded]) -> usize {
    let alone =
        |call: &&Recorded| call.method.as_ref().is_some_and(|method| !method.ends_with("setIamPolicy"));
    writes.iter().filter(alone).filter(|call| call.status == Some(200)).count()
}

/// Fails unless exactly `wanted` is there.
pub async fn nothing_twice_or_lost(cloud: &Cloud, wanted: &BTreeSet<String>, context: &str) {
    let there = cloud.inventory().await;
    let differences: Vec<_> = there.symmetric_difference(wanted).collect();
    assert!(differences.is_empty(), "{context}: lost, or too much: {differences:#?}");
}

/// A command that runs and can be watched line by line.
pub struct Running {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    stdout: Option<std::thread::JoinHandle<String>>,
    stderr: String,
}

impl Running {
    pub fn start(run: &Run) -> Self {
        let mut child = run.spawn();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                // The test may have seen enough.
                let _ = sender.send(line.unwrap());
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            BufReader::new(stdout).read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, stdout: Some(stdout), stderr: String::new() }
    }

    /// The next line of standard error; nothing when it has ended.
    pub async fn line(&mut self) -> Option<String> {
        let line = self.lines.recv().await?;
        self.stderr.push_str(&line);
        self.stderr.push('\n');
        Some(line)
    }

    /// Resolves when standard error has said `text`.
    pub async fn says(&mut self, text: &str) {
        while let Some(line) = self.line().await {
            if line.contains(text) {
                return;
            }
        }
        panic!("it never said {text:?}:\n{}", self.stderr);
    }

    /// Resolves when standard error has ended.
    pub async fn ended(&mut self) {
        while self.line().await.is_some() {}
    }

    /// SIGKILL: nothing is finished, nothing is told.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        signal(&self.child, "INT");
    }

    pub async fn done(mut self) -> Done {
        self.ended().await;
        let stdout = self.stdout.take().unwrap();
        let mut child = self.child;
        let (status, stdout) =
            tokio::task::spawn_blocking(move || (child.wait().unwrap(), stdout.join().unwrap()))
                .await
                .unwrap();
        Done { code: status.code().unwrap_or(-1), stdout, stderr: self.stderr }
    }
}
