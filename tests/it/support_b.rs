//! A checkout in a temporary folder, the real binary run in it, and a sandbox with its control endpoint.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use gcp_sandbox::{Options, ProjectSeed, Sandbox};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The repository of this crate.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that holds `environments/`, and the endpoint that commands in it use.
pub(crate) struct Checkout {
    folder: TempDir,
    pub(crate) endpoint: Option<String>,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Fails the test with everything that was printed unless the exit code is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

impl Checkout {
    /// With the repository's own environments.
    pub(crate) fn of_repository() -> Self {
        let checkout = Self { folder: TempDir::new().unwrap(), endpoint: None };
        let target = checkout.path().join("environments");
        std::fs::create_dir(&target).unwrap();
        for entry in std::fs::read_dir(repository().join("environments")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
        }
        checkout
    }

    /// With `base` as its base and an environment `dev` on the sandbox.
    pub(crate) fn with_base(base: &str) -> Self {
        let checkout = Self { folder: TempDir::new().unwrap(), endpoint: None };
        std::fs::create_dir(checkout.path().join("environments")).unwrap();
        checkout.write("base.yaml", base);
        checkout.write("dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n");
        checkout
    }

    /// Commands go to `url`.
    pub(crate) fn at(mut self, url: &str) -> Self {
        self.endpoint = Some(url.to_owned());
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of `environments/`.
    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path().join("environments").join(file), text).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path().join("environments").join(file)).unwrap()
    }

    /// Replaces the one place where `from` stands.
    #[track_caller]
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}:\n{text}");
        self.write(file, &text.replace(from, to));
    }

    /// `deployer ARGS` in this folder, in an environment without the tester's own settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deployer"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.path());
        if let Some(url) = &self.endpoint {
            command.env("DEPLOYER_ENDPOINT", url);
        }
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args)).await
    }

    /// Runs with this text on standard input.
    pub(crate) async fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let file = self.path().join("input");
        std::fs::write(&file, input).unwrap();
        let mut command = self.command(args);
        command.stdin(std::fs::File::open(file).unwrap());
        finish(command).await
    }

    pub(crate) async fn apply(&self) -> Ran {
        self.run(&["apply", "dev", "--auto-approve"]).await
    }

    /// Plans and expects nothing to do.
    #[track_caller]
    pub(crate) fn settled(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let ran = self.run(&["plan", "dev", "--detailed-exitcode"]).await;
            assert_eq!(ran.code, Some(0), "{caller}: the plan is not empty\n{}", ran.all());
        }
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }
}

/// Runs to the end without blocking the test's runtime, which serves the sandbox.
pub(crate) async fn finish(mut command: Command) -> Ran {
    tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap()
}

/// A child that runs, and what it has printed in the end.
pub(crate) struct Running {
    child: Child,
    output: oneshot::Receiver<(String, String)>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, output) = oneshot::channel();
        std::thread::spawn(move || {
            let errors = std::thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).map(|_| text)
            });
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            // Nobody may be interested any more.
            let _ = sender.send((text, errors.join().unwrap().unwrap()));
        });
        Self { child, output }
    }

    /// Resolves when the child has closed its output.
    pub(crate) async fn ended(&mut self) {
        let (stdout, stderr) = (&mut self.output).await.unwrap();
        let (sender, receiver) = oneshot::channel();
        self.output = receiver;
        sender.send((stdout, stderr)).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) async fn wait(mut self) -> Ran {
        let (stdout, stderr) = self.output.await.unwrap();
        let status = tokio::task::spawn_blocking(move || self.child.wait()).await.unwrap().unwrap();
        Ran { code: status.code(), stdout, stderr }
    }
}

/// A sandbox in this process, and a client that is nobody's product.
pub(crate) struct Cloud {
    sandbox: Option<Sandbox>,
    http: reqwest::Client,
    url: String,
}

/// A call that the sandbox answered.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Call {
    pub(crate) method: Option<String>,
    pub(crate) write: bool,
}

impl Cloud {
    /// With no state but the project of the repository's environments.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let projects = [("agent-army-example", 123_456_789_012), ("shop-sandbox-1", 210_987_654_321)];
        let projects = projects.map(|(id, number)| ProjectSeed { id: id.into(), number: Some(number) }).into();
        let sandbox = gcp_sandbox::start(Options { projects, ..options }).await.unwrap();
        let url = sandbox.url();
        Self { sandbox: Some(sandbox), http: reqwest::Client::new(), url }
    }

    /// With a copy of what the folder `state` holds.
    pub(crate) async fn clone_of(state: &Path, into: &TempDir) -> Self {
        for entry in std::fs::read_dir(state).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), into.path().join(entry.file_name())).unwrap();
        }
        Self::with(Options { state: Some(into.path().to_owned()), ..Options::default() }).await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn stop(mut self) {
        self.sandbox.take().unwrap().stop().await;
    }

    /// Sends a request as somebody in the console would.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Adds a fault and tells its id.
    pub(crate) async fn fault(&self, spec: Value) -> String {
        let (status, answer) = self.send(Method::POST, "/__sandbox/faults", Some(spec)).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Resolves once the fault has struck.
    pub(crate) async fn reached(&self, fault: &str) {
        self.get(&format!("/__sandbox/faults/{fault}/reached")).await;
    }

    pub(crate) async fn hits(&self, fault: &str) -> u64 {
        self.get(&format!("/__sandbox/faults/{fault}")).await["hits"].as_u64().unwrap()
    }

    pub(crate) async fn without_faults(&self) {
        self.send(Method::DELETE, "/__sandbox/faults", None).await;
    }

    pub(crate) async fn calls(&self) -> Vec<Call> {
        let answer = self.get("/__sandbox/calls").await;
        serde_json::from_value(answer["calls"].clone()).unwrap()
    }

    pub(crate) async fn forget_calls(&self) {
        self.send(Method::DELETE, "/__sandbox/calls", None).await;
    }

    /// All documents of a collection, by name.
    pub(crate) async fn documents(&self, collection: &str) -> serde_json::Map<String, Value> {
        let state = self.get("/__sandbox/state").await;
        state[collection].as_object().cloned().unwrap_or_default()
    }
}

/// The folder of the conformance proxy, or why it cannot be used.
pub(crate) fn conformance() -> Option<PathBuf> {
    let folder = std::env::var_os("DEPLOYER_CONFORMANCE")
        .map_or_else(|| repository().join("../shared/conformance"), PathBuf::from);
    folder.join("conformance_proxy.py").is_file().then_some(folder)
}

