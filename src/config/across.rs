//! All environments of a system together: what each one cannot see alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::diagnostic::{self, Diagnostic, Problems, Texts};
use super::lint::Allowed;
use super::model::{Environment, Secret};
use super::{Inputs, Loaded, files, load_with_lints};

/// What checking environments found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Errors and warnings of each environment that was asked for, in the order of files and lines.
    pub environments: BTreeMap<String, Vec<Diagnostic>>,
    pub sources: Texts,
}

impl Checked {
    /// All problems in the order of files and lines; what several environments share is there once.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all: Vec<Diagnostic> = self.environments.values().flatten().cloned().collect();
        diagnostic::sort_and_dedup(&mut all);
        all
    }

    /// The environments that can be used (`true`) or not, by name.
    pub fn verdicts(&self) -> impl Iterator<Item = (&str, bool)> {
        self.environments.iter().map(|(name, found)| (name.as_str(), !found.iter().any(Diagnostic::is_error)))
    }

    pub fn has_errors(&self) -> bool {
        self.verdicts().any(|(_, good)| !good)
    }

    fn take(&mut self, name: &str, diagnostics: Vec<Diagnostic>, sources: Texts) {
        if let Some(found) = self.environments.get_mut(name) {
            found.extend(diagnostics);
            diagnostic::sort_and_dedup(found);
            self.sources.extend(sources);
        }
    }
}

/// Checks the environments `wanted`, or all when there are none, alone and against all others.
///
/// Fails only when there is no environment at all.
pub fn validate(root: &Path, wanted: &[String], inputs: &Inputs) -> Result<Checked, Problems> {
    let known = files::names(root)?;
    let asked = if wanted.is_empty() { &known } else { wanted };
    if asked.is_empty() {
        let nothing = Diagnostic::error("no-environments", "the folder `environments` holds no environment")
            .hint("make `environments/dev.yaml`:\n\n    deployer: v1\n    environment: dev");
        return Err(nothing.into());
    }
    let mut checked = Checked::default();
    checked.environments.extend(asked.iter().map(|name| (name.clone(), Vec::new())));
    let mut usable = Vec::new();
    for name in known.iter().chain(asked).collect::<BTreeSet<_>>() {
        match load_with_lints(root, name, inputs) {
            Ok((loaded, allowed)) => {
                checked.take(name, loaded.warnings.clone(), loaded.sources.clone());
                usable.push((loaded, allowed));
            }
            Err(problems) => checked.take(name, problems.diagnostics, problems.sources),
        }
    }
    for (name, diagnostic) in shared(&usable) {
        checked.take(&name, vec![diagnostic], Texts::default());
    }
    Ok(checked)
}

/// Problems of what several environments have in common, each with the environment that it is shown for.
fn shared(usable: &[(Loaded, Allowed)]) -> Vec<(String, Diagnostic)> {
    let mut found = shared_services(usable);
    let mut first: BTreeMap<(&str, &str), (&Environment, &str, &Secret)> = BTreeMap::new();
    for (loaded, allowed) in usable {
        let environment = &loaded.environment;
        for (alias, secret) in &environment.secrets {
            let key = (environment.project.id.as_str(), secret.id.as_str());
            let Some((other, other_alias, same)) = first.get(&key) else {
                first.insert(key, (environment, alias, secret));
                continue;
            };
            let path = secret.path.clone();
            let name = environment.name.clone();
            if let Some(field) = difference(secret, same) {
                found.push((name, unequal(environment, &path, secret, field, &other.name)));
            } else if signs(alias) || signs(other_alias) {
                let diagnostic = signing_key(environment, &path, secret, &other.name);
                if !allowed.allows(diagnostic.rule, &path) {
                    found.push((name, diagnostic));
                }
            }
        }
    }
    found
}

/// One Cloud Run service that two environments would deploy by turns.
fn shared_services(usable: &[(Loaded, Allowed)]) -> Vec<(String, Diagnostic)> {
    let mut first: BTreeMap<(&str, &str, &str), &Environment> = BTreeMap::new();
    let mut found = Vec::new();
    for (loaded, _) in usable {
        let environment = &loaded.environment;
        for (key, service) in &environment.services {
            let id = (environment.project.id.as_str(), environment.region.as_str(), service.name.as_str());
            let Some(other) = first.get(&id) else {
                first.insert(id, environment);
                continue;
            };
            let message = format!(
                "`{}` and `{}` would deploy one service, `{}` in {}",
                other.name, environment.name, service.name, environment.project.id
            );
            let diagnostic = Diagnostic::error("shared-service", message)
                .label("the same in another environment")
                .hint("put `${env}` into its `name`, or give the environments projects of their own");
            found.push((
                environment.name.clone(),
                placed(environment, &format!("services.{key}.name"), diagnostic),
            ));
        }
    }
    found
}

/// The first field in which two declarations of one secret differ.
fn difference(one: &Secret, other: &Secret) -> Option<&'static str> {
    let Secret {
        path: _,
        id: _,
        generate,
        optional: _,
        description,
        labels,
        locations,
        tenant: _,
        readers: _,
        protect: _,
    } = one;
    if *generate != other.generate {
        Some("generate")
    } else if *description != other.description {
        Some("description")
    } else if *labels != other.labels {
        Some("labels")
    } else if *locations != other.locations {
        Some("locations")
    } else {
        None
    }
}

fn unequal(environment: &Environment, path: &str, secret: &Secret, field: &str, other: &str) -> Diagnostic {
    let message = format!(
        "`{}` is one secret of `{other}` and `{}`, and they do not agree on `{field}`",
        secret.id, environment.name
    );
    let diagnostic = Diagnostic::error("unequal-shared", message)
        .label("another environment says otherwise")
        .hint("say it in the base, or put `${env}` into the `id`");
    placed(environment, &format!("{path}.{field}"), diagnostic)
}

fn signing_key(environment: &Environment, path: &str, secret: &Secret, other: &str) -> Diagnostic {
    let message = format!(
        "`{other}` and `{}` sign with one key, `{}`: a token of the one opens the other",
        environment.name, secret.id
    );
    let diagnostic = Diagnostic::warning("shared-signing-key", message)
        .label("shared by environments")
        .hint(format!("write `id: {}-${{env}}`", secret.id));
    placed(environment, path, diagnostic)
}

fn signs(alias: &str) -> bool {
    let alias = alias.to_lowercase();
    ["jwt", "signing", "secret-key", "secret_key"].iter().any(|word| alias.contains(word))
}

fn placed(environment: &Environment, path: &str, diagnostic: Diagnostic) -> Diagnostic {
    let diagnostic = diagnostic.path(path);
    match environment.sources.find(path) {
        Some(location) => diagnostic.at(location.clone(), 1),
        None => diagnostic,
    }
}
