//! What runs on this machine beside the sandbox: that it is for the sandbox, and that its names are there.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::super::diagnostic::{Diagnostic, did_you_mean};
use super::super::model::{Local, LocalProgram, LocalServer, Secret, Service, Target};
use super::super::schema::{LocalImage, LocalKeys, LocalServiceKeys};
use super::super::tree::{Findings, Node, Part, join};
use super::{in_file_order, require, unknown_service};

/// What the keys refer to.
pub(super) struct Around<'a> {
    pub(super) target: Target,
    pub(super) secrets: &'a IndexMap<String, Secret>,
    pub(super) services: &'a IndexMap<String, Service>,
    /// `local` in the files, for their order.
    pub(super) written: &'a Node,
}

pub(super) fn resolve(keys: LocalKeys, around: &Around<'_>, findings: &mut Findings) -> Local {
    if around.target != Target::Sandbox {
        let diagnostic = Diagnostic::error(
            "local",
            "`local` is for the sandbox, and this environment is not",
        )
        .label("not on the sandbox")
        .hint(
            "move it into the file of an environment with `target: sandbox`; to rehearse this one with \
                 `--sandbox`, it needs none",
        );
        findings.add(Part::Key, "local", diagnostic);
        return Local::default();
    }
    let mut servers = IndexMap::new();
    let mut given = BTreeSet::new();
    for (name, keys) in in_file_order(keys.services, around.written, "services") {
        let path = join("local.services", &name);
        if let Some(server) = server(&path, keys, around, &mut given, findings) {
            servers.insert(name, server);
        }
    }
    Local { servers, commands: commands(keys.run, around, findings) }
}

fn server(
    path: &str,
    keys: LocalServiceKeys,
    around: &Around<'_>,
    given: &mut BTreeSet<String>,
    findings: &mut Findings,
) -> Option<LocalServer> {
    for (key, alias) in [("url_secret", &keys.url_secret), ("owner_url_secret", &keys.owner_url_secret)] {
        if let Some(alias) = alias {
            check_secret(&join(path, key), alias, around.secrets, given, findings);
        }
    }
    let Some(image) = keys.image else {
        require(&join(path, "image"), "image: postgres", "what it is", findings);
        return None;
    };
    let Some(url_secret) = keys.url_secret else {
        let what = "the secret that gets its URL";
        require(&join(path, "url_secret"), "url_secret: database-url", what, findings);
        return None;
    };
    let (program, scheme) = match image {
        LocalImage::Postgres => {
            let database = keys.database.unwrap_or_else(|| "main".to_owned());
            (LocalProgram::Postgres { database, owner_url_secret: keys.owner_url_secret }, "postgresql")
        }
        LocalImage::Redis => {
            let idle = [
                ("database", keys.database.is_some()),
                ("owner_url_secret", keys.owner_url_secret.is_some()),
            ];
            for (key, _) in idle.iter().filter(|(_, written)| *written) {
                let message = format!("`{key}` does nothing here: it is for `image: postgres`");
                let diagnostic =
                    Diagnostic::error("local", message).label("does nothing").hint("take it out");
                findings.add(Part::Key, &join(path, key), diagnostic);
            }
            (LocalProgram::Redis, "redis")
        }
    };
    let url_scheme = keys.url_scheme.unwrap_or_else(|| scheme.to_owned());
    Some(LocalServer { program, url_secret, url_scheme })
}

/// The secret has to be in the catalogue, and one server alone may fill it.
fn check_secret(
    path: &str,
    alias: &str,
    secrets: &IndexMap<String, Secret>,
    given: &mut BTreeSet<String>,
    findings: &mut Findings,
) {
    let Some(secret) = secrets.get(alias) else {
        let diagnostic = Diagnostic::error("unknown-secret", format!("there is no secret `{alias}`"))
            .label("unknown secret");
        let diagnostic = match did_you_mean(alias, secrets.keys().map(String::as_str)) {
            Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
            None => diagnostic.hint(format!("add it to the catalogue: `secrets: {{{alias}: {{}}}}`")),
        };
        return findings.add(Part::Value, path, diagnostic);
    };
    if !given.insert(alias.to_owned()) {
        let diagnostic =
            Diagnostic::error("local", format!("`{alias}` gets two URLs, and services read one"))
                .label("a second one")
                .hint("give each URL a secret of its own");
        findings.add(Part::Value, path, diagnostic);
    } else if secret.generate.is_some() {
        let message = format!("`{alias}` gets a URL here, and a value by `generate`");
        let diagnostic = Diagnostic::error("local", message)
            .label("two values")
            .hint(format!("take `generate` out of `secrets.{alias}`, or give the URL a secret of its own"));
        findings.add(Part::Value, path, diagnostic);
    }
}

fn commands(
    written: Option<super::Named<Vec<String>>>,
    around: &Around<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, Vec<String>> {
    let mut commands = BTreeMap::new();
    for (service, words) in in_file_order(written, around.written, "run") {
        let path = join("local.run", &service);
        if !around.services.contains_key(&service) {
            let known: Vec<_> = around.services.keys().map(String::as_str).collect();
            findings.add(Part::Key, &path, unknown_service(&service, &known));
        } else if words.first().is_none_or(|program| program.trim().is_empty()) {
            let diagnostic = Diagnostic::error("wrong-value", "the command has no program")
                .label("empty")
                .hint("write the program and its arguments, e.g. `[python3, -m, http.server, \"8080\"]`");
            findings.add(Part::Value, &path, diagnostic);
        } else {
            commands.insert(service, words);
        }
    }
    commands
}
