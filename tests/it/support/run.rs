//! Runs the built binary in an environment that holds nothing of the machine's own settings.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Nobody listens on the discard port.
const CLOSED: &str = "127.0.0.1:9";

/// A run of `deployer` that has not been started yet.
#[derive(Clone, Debug)]
pub struct Run {
    folder: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// A run in `folder`. There is no way to log in to Google from here: no files, no metadata server.
    pub fn new(folder: &Path) -> Self {
        let home = folder.join(".home");
        let run = Self { folder: folder.to_owned(), args: Vec::new(), env: Vec::new(), stdin: Vec::new() };
        run.env("HOME", home.as_os_str()).env("GCE_METADATA_HOST", CLOSED).env("TZ", "UTC")
    }

    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets the run find Cargo and its caches: everything else of the surroundings is left out.
    #[must_use]
    pub fn with_cargo(self) -> Self {
        let mut run = self.env("CARGO", env!("CARGO")).env("CARGO_TERM_COLOR", "never");
        for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            if let Some(value) = std::env::var_os(name) {
                run = run.env(name, value);
            }
        }
        if let Some(home) = std::env::var_os("HOME") {
            // Where Cargo and rustup look when their own variables are not set.
            let home = PathBuf::from(home);
            for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
                if std::env::var_os(name).is_none() {
                    run = run.env(name, home.join(folder));
                }
            }
        }
        run
    }

    /// What the run reads from standard input, which then ends.
    #[must_use]
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        bytes.as_ref().clone_into(&mut self.stdin);
        self
    }

    /// Runs in another folder, relative to the first one or absolute.
    #[must_use]
    pub fn within(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = self.folder.join(folder);
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deployer"));
        command.args(&self.args).current_dir(&self.folder).env_clear().envs(self.env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the binary and leaves it running; its standard input is closed.
    pub fn spawn(&self) -> Child {
        let mut child = self.command().spawn().unwrap();
        // A program that does not read its input may have closed it.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        child
    }

    /// Runs to the end, beside the sandbox of this test.
    pub async fn done(self) -> Done {
        tokio::task::spawn_blocking(move || Done::from(self.spawn().wait_with_output().unwrap()))
            .await
            .unwrap()
    }

    /// Runs to the end, which has to be a success.
    pub async fn ok(self) -> Done {
        let words = self.args.clone();
        let done = self.done().await;
        assert_eq!(done.code, 0, "{words:?}\n{done}");
        done
    }

    /// Runs to the end, which has to be this exit code.
    pub async fn fails(self, code: i32) -> Done {
        let words = self.args.clone();
        let done = self.done().await;
        assert_eq!(done.code, code, "{words:?}\n{done}");
        done
    }
}

impl Done {
    /// The one JSON document on standard output.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Sends a signal to a program, as `kill` does; that is part of every shell, and a program of its own not everywhere.
pub fn signal(program: &Child, name: &str) {
    let kill = format!("kill -s {name} {}", program.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}
