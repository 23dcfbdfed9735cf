//! Builds the binary of an image with Cargo.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{BuildError, Listener, Program};
use crate::config::model::CargoBuild;

/// What Cloud Run runs, and the one target of it that every installation of Rust on Linux has.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where the sources seem to lie in what the compiler writes into the binary: the same on every machine.
const PLACE: &str = "/src";

/// The Cargo that runs this process, or the one of `PATH`.
pub(super) fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub(super) fn absent(error: &std::io::Error) -> BuildError {
    BuildError::new(format!("Cargo does not run: {error}")).hint("install Rust: https://rustup.rs")
}

/// Builds the program and reads it. `listener` hears what Cargo says: progress, warnings, and why it failed.
pub fn compile(
    build: &CargoBuild,
    program: &Program,
    context: &Path,
    listener: Listener<'_>,
) -> Result<Vec<u8>, BuildError> {
    let mut child = Command::new(self::program())
        .args(words(build, program))
        .current_dir(context)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| absent(&error))?;
    let (messages, said) = (child.stdout.take(), child.stderr.take());
    let executable = std::thread::scope(|scope| {
        scope.spawn(|| hear(said, listener));
        executable(messages, &program.bin)
    });
    let status = child.wait().map_err(|error| absent(&error))?;
    let Program { package, bin, .. } = program;
    if !status.success() {
        return Err(BuildError::new(format!(
            "Cargo could not build `{bin}` of the package `{package}`: see above"
        )));
    }
    let path = executable.ok_or_else(|| {
        BuildError::new(format!("Cargo built `{bin}` of the package `{package}` and did not say where it is"))
    })?;
    std::fs::read(&path)
        .map_err(|error| BuildError::new(format!("{} cannot be read: {error}", path.display())))
}

/// The command line without its first word.
///
/// Flags for the compiler stand at the end, for the last step alone: so they join whatever `RUSTFLAGS` and the user's
/// configuration say, and packages that were compiled before are not compiled again.
fn words(build: &CargoBuild, program: &Program) -> Vec<String> {
    let mut words: Vec<String> = ["rustc", "--locked", "--package", &program.package, "--bin", &program.bin]
        .iter()
        .map(|word| (*word).to_owned())
        .collect();
    words.extend(["--profile".to_owned(), build.profile.clone()]);
    words.extend(["--target", TARGET, "--message-format", "json-render-diagnostics"].map(str::to_owned));
    if !build.default_features {
        words.push("--no-default-features".to_owned());
    }
    if !build.features.is_empty() {
        words.extend(["--features".to_owned(), build.features.join(",")]);
    }
    words.push("--".to_owned());
    words.extend(["--remap-path-prefix".to_owned(), format!("{}={PLACE}", program.workspace.display())]);
    if build.base.is_none() {
        words.extend(["-C", "target-feature=+crt-static"].map(str::to_owned));
    }
    words
}

fn hear(said: Option<impl Read>, listener: Listener<'_>) {
    let Some(said) = said else { return };
    for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
        listener(String::from_utf8_lossy(&line).trim_end());
    }
}

/// The path of the binary, from Cargo's messages: one JSON document in each line.
fn executable(messages: Option<impl Read>, bin: &str) -> Option<PathBuf> {
    let lines = BufReader::new(messages?).lines().map_while(Result::ok);
    // Read to the end, also when it is known: Cargo waits for somebody to read.
    lines.fold(None, |found, line| found_in(&line, bin).or(found))
}

fn found_in(line: &str, bin: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
    let is_it = text("/reason") == Some("compiler-artifact")
        && text("/target/name") == Some(bin)
        && message.pointer("/target/kind/0").and_then(Value::as_str) == Some("bin");
    text("/executable").filter(|_| is_it).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(base: Option<&str>) -> CargoBuild {
        CargoBuild {
            package: "shop-api".into(),
            bin: None,
            profile: "release".into(),
            features: vec!["metrics".into(), "tls".into()],
            default_features: true,
            base: base.map(str::to_owned),
        }
    }

    fn program() -> Program {
        Program {
            package: "shop-api".into(),
            bin: "api".into(),
            version: "1.0.0".into(),
            workspace: "/shop".into(),
        }
    }

    #[test]
    fn the_command_names_everything_and_links_statically() {
        assert_eq!(
            words(&build(None), &program()).join(" "),
            "rustc --locked --package shop-api --bin api --profile release --target x86_64-unknown-linux-gnu \
             --message-format json-render-diagnostics --features metrics,tls -- --remap-path-prefix /shop=/src \
             -C target-feature=+crt-static"
        );
    }

    #[test]
    fn features_of_the_package_can_be_left_out() {
        let build = CargoBuild { default_features: false, ..build(None) };
        assert!(
            words(&build, &program()).join(" ").contains(" --no-default-features --features metrics,tls ")
        );
        assert!(!words(&self::build(None), &program()).iter().any(|word| word == "--no-default-features"));
    }

    #[test]
    fn on_a_base_the_binary_may_be_dynamic() {
        let words = words(&build(Some("b@sha256:1")), &program()).join(" ");
        assert!(!words.contains("crt-static"), "{words}");
    }

    #[test]
    fn the_binary_is_found_among_messages_of_all_kinds() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"api","kind":["lib"]},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"tool","kind":["bin"]},"executable":"/t/tool"}
{"reason":"compiler-artifact","target":{"name":"api","kind":["bin"]},"executable":"/t/api"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(Some(messages.as_bytes()), "api"), Some(PathBuf::from("/t/api")));
        assert_eq!(executable(Some(messages.as_bytes()), "web"), None);
    }
}
