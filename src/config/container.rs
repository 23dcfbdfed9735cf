//! One container: its keys become the model, its secret references and probes their parsed form.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use indexmap::IndexMap;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::merge;
use super::model::{Container, Probe, ProbeAction, Secret, SecretRef};
use super::resolve::{require, text_map};
use super::scalars;
use super::schema::{ContainerKeys, Grpc, Named, ProbeFields, ProbeKeys, VolumeKeys};
use super::tree::{Findings, Part, join};

const MILLICPUS: u32 = 1000;
const MEMORY_KIBIBYTES: u64 = 512 * 1024;
/// Where `secret_files` are mounted.
const SECRETS_FOLDER: &str = "/secrets";

/// Names that a container may refer to.
pub(crate) struct Names<'a> {
    pub(crate) secrets: &'a IndexMap<String, Secret>,
}

/// The container at `path`, with defaults; without its port, which only a service has.
pub(crate) fn resolve(
    path: &str,
    keys: ContainerKeys,
    names: &Names<'_>,
    findings: &mut Findings,
) -> Container {
    let image = keys.image.unwrap_or_else(|| {
        let what =
            "each container names an image that exists; a service may also have a `registry` and a `build`";
        // A registry would have given a service its image: what is wrong with it has been reported.
        if !findings.is_broken("registry") {
            require(
                &join(path, "image"),
                "image: us-docker.pkg.dev/cloudrun/container/hello",
                what,
                findings,
            );
        }
        String::new()
    });
    let (secrets, mut files) = secret_references(&join(path, "secrets"), keys.secrets, names, findings);
    secret_files(
        &join(path, "secret_files"),
        keys.secret_files.unwrap_or_default(),
        &mut files,
        names,
        findings,
    );
    let mut probe = |key: &str, keys| resolve_probe(&join(path, key), keys, findings);
    let startup_probe = probe("startup_probe", keys.startup_probe);
    let liveness_probe = probe("liveness_probe", keys.liveness_probe);
    let readiness_probe = probe("readiness_probe", keys.readiness_probe);
    Container {
        image,
        command: keys.command.unwrap_or_default(),
        args: keys.args.unwrap_or_default(),
        port: None,
        cpu: scalars::cpu(keys.cpu.and_then(|cpu| scalars::millicpus(&cpu.0)).unwrap_or(MILLICPUS)),
        memory: scalars::memory(
            keys.memory.and_then(|memory| scalars::kibibytes(&memory.0)).unwrap_or(MEMORY_KIBIBYTES),
        ),
        cpu_idle: keys.cpu_idle.unwrap_or(true),
        startup_cpu_boost: keys.startup_cpu_boost.unwrap_or(false),
        env: text_map(keys.env),
        secrets,
        files,
        in_memory: in_memory(&join(path, "volumes"), keys.volumes, findings),
        startup_probe,
        liveness_probe,
        readiness_probe,
        depends_on: keys.depends_on.unwrap_or_default(),
    }
}

type References = BTreeMap<String, SecretRef>;

/// Environment variables and files of `secrets`.
fn secret_references(
    path: &str,
    written: Option<Named<String>>,
    names: &Names<'_>,
    findings: &mut Findings,
) -> (References, References) {
    let (mut variables, mut files) = (References::new(), References::new());
    for (name, text) in text_map(written) {
        let path = join(path, &name);
        let Some(reference) = secret_reference(&path, &text, names, findings) else { continue };
        if name.starts_with('/') {
            if is_file_path(&path, &name, findings) {
                files.insert(name, reference);
            }
        } else {
            variables.insert(name, reference);
        }
    }
    (variables, files)
}

/// `x` and `x:version` as the file `/secrets/x/x`.
fn secret_files(
    path: &str,
    written: Vec<String>,
    files: &mut References,
    names: &Names<'_>,
    findings: &mut Findings,
) {
    for (position, text) in written.into_iter().enumerate() {
        let path = join(path, &position.to_string());
        let Some(reference) = secret_reference(&path, &text, names, findings) else { continue };
        let file = format!("{SECRETS_FOLDER}/{0}/{0}", reference.alias);
        match files.entry(file) {
            Entry::Vacant(free) => {
                free.insert(reference);
            }
            Entry::Occupied(taken) => {
                let message = format!("`{}` is there twice", taken.key());
                let diagnostic = Diagnostic::error("secret-path", message)
                    .label("the second one")
                    .hint("keep one of the two");
                findings.add(Part::Value, &path, diagnostic);
            }
        }
    }
}

fn secret_reference(path: &str, text: &str, names: &Names<'_>, findings: &mut Findings) -> Option<SecretRef> {
    let (alias, version) = match text.split_once(':') {
        Some((alias, version)) => (alias, Some(version)),
        None => (text, None),
    };
    if let Some(version) = version.filter(|version| !is_version(version)) {
        let diagnostic = Diagnostic::error("secret-version", format!("`{version}` is no version of a secret"))
            .label("not a version")
            .hint("write a number (`alias:7`), `latest`, a version alias, or nothing for the newest one at the time of the plan");
        findings.add(Part::Value, path, diagnostic);
        return None;
    }
    if !names.secrets.contains_key(alias) {
        if !findings.is_broken(&join("secrets", alias)) {
            let diagnostic = unknown_secret(alias, names, findings);
            findings.add(Part::Value, path, diagnostic);
        }
        return None;
    }
    Some(SecretRef { alias: alias.to_owned(), version: version.map(str::to_owned) })
}

fn unknown_secret(alias: &str, names: &Names<'_>, findings: &Findings) -> Diagnostic {
    let message = format!("there is no secret `{alias}` in the catalogue `secrets`");
    let diagnostic = Diagnostic::error("unknown-secret", message).label("unknown secret");
    if let Some(hint) = merge::removal_hint(findings, &join("secrets", alias)) {
        return diagnostic.hint(hint);
    }
    match did_you_mean(alias, names.secrets.keys().map(String::as_str)) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic.hint(format!("add `{alias}: {{}}` to `secrets` of the file")),
    }
}

/// `latest`, a number from 1, or an alias: a letter, then letters, digits, dashes and underscores.
fn is_version(version: &str) -> bool {
    let mut characters = version.chars();
    match characters.next() {
        Some('1'..='9') => version.len() <= 18 && characters.all(|character| character.is_ascii_digit()),
        Some(first) if first.is_ascii_alphabetic() => {
            version.len() <= 63 && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        }
        _ => false,
    }
}

/// Folders that belong to the system: nothing can be mounted there.
const RESERVED_FOLDERS: [&str; 5] = ["/", "/dev", "/proc", "/sys", "/etc"];

fn is_file_path(path: &str, file: &str, findings: &mut Findings) -> bool {
    let folder = folder_of(file);
    let clean = is_clean(file) && !RESERVED_FOLDERS.contains(&folder);
    if !clean {
        let diagnostic = Diagnostic::error("secret-path", format!("no secret can be mounted as `{file}`"))
            .label("not a place for a file")
            .hint("a secret takes a folder for itself, e.g. `/secrets/NAME/key.json`");
        findings.add(Part::Key, path, diagnostic);
    }
    clean
}

/// The folder of an absolute path; `/` for a file at the top.
pub(crate) fn folder_of(file: &str) -> &str {
    match file.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

fn is_clean(path: &str) -> bool {
    path.starts_with('/')
        && path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains([':', ','])
}

fn in_memory(
    path: &str,
    written: Option<Named<VolumeKeys>>,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    let mut directories = BTreeMap::new();
    for (directory, keys) in written.into_iter().flatten() {
        let path = join(path, &directory);
        if !is_clean(&directory) || RESERVED_FOLDERS.contains(&directory.as_str()) {
            let message = format!("`{directory}` cannot be a volume");
            let diagnostic = Diagnostic::error("volume-path", message)
                .label("not a directory for a volume")
                .hint("an absolute path such as `/tmp/cache`");
            findings.add(Part::Key, &path, diagnostic);
            continue;
        }
        match keys.unwrap_or_default().in_memory.and_then(|size| scalars::kibibytes(&size.0)) {
            Some(size) => {
                directories.insert(directory, scalars::memory(size));
            }
            None if findings.is_broken(&join(&path, "bucket")) => {}
            None => {
                require(&join(&path, "in_memory"), "in_memory: 64Mi", "other volumes go into `v2`", findings);
            }
        }
    }
    directories
}

/// Defaults of Cloud Run's own probes (`Probe` of its API v2).
const PERIOD_SECONDS: u32 = 10;
const TIMEOUT_SECONDS: u32 = 1;
const FAILURE_THRESHOLD: u32 = 3;

fn resolve_probe(path: &str, keys: Option<ProbeKeys>, findings: &mut Findings) -> Option<Probe> {
    let fields = match keys? {
        ProbeKeys::Path(http) => ProbeFields { path: Some(http), ..ProbeFields::default() },
        ProbeKeys::Full(fields) => *fields,
    };
    let action = action(path, &fields, findings)?;
    Some(Probe {
        action,
        initial_delay_seconds: fields.initial_delay_seconds.unwrap_or(0),
        timeout_seconds: fields.timeout_seconds.unwrap_or(TIMEOUT_SECONDS),
        period_seconds: fields.period_seconds.unwrap_or(PERIOD_SECONDS),
        failure_threshold: fields.failure_threshold.unwrap_or(FAILURE_THRESHOLD),
    })
}

fn action(path: &str, fields: &ProbeFields, findings: &mut Findings) -> Option<ProbeAction> {
    let port = fields.port;
    let mut actions = Vec::new();
    if let Some(http) = &fields.path {
        actions.push(ProbeAction::Http { path: http.clone(), port });
    }
    if fields.tcp == Some(true) {
        actions.push(ProbeAction::Tcp { port });
    }
    if let Some(Grpc(service)) = &fields.grpc {
        actions.push(ProbeAction::Grpc { service: service.clone(), port });
    }
    if actions.len() == 1 {
        return actions.pop();
    }
    if actions.is_empty() && ["path", "tcp", "grpc"].iter().any(|key| findings.is_broken(&join(path, key))) {
        return None;
    }
    let message = if actions.is_empty() {
        "the probe does not say what it asks for"
    } else {
        "the probe asks for more than one thing"
    };
    let diagnostic = Diagnostic::error("probe", message)
        .label(if actions.is_empty() { "asks for nothing" } else { "asks twice" })
        .hint("give it one of `path: /health`, `tcp: true` and `grpc: true`");
    findings.add(Part::Key, path, diagnostic);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_latest_or_aliases() {
        for version in ["1", "42", "latest", "blue-1", "B_2"] {
            assert!(is_version(version), "{version}");
        }
        for version in ["", "0", "-1", "1a", "a b", "a:b", "v/1"] {
            assert!(!is_version(version), "{version}");
        }
    }

    #[test]
    fn the_folder_of_a_file_is_its_parent() {
        assert_eq!(folder_of("/secrets/a/key.json"), "/secrets/a");
        assert_eq!(folder_of("/key.json"), "/");
    }

    #[test]
    fn paths_that_climb_are_not_clean() {
        assert!(is_clean("/secrets/a/b"));
        assert!(!is_clean("/secrets/../b") && !is_clean("/a//b") && !is_clean("/a/") && !is_clean("a"));
    }
}
