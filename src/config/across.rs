//! All environments of a system together: what each one cannot see alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::diagnostic::{self, Diagnostic, Problems, Texts};
use super::lint::Allowed;
use super::model::{self, Environment, Github, Registry, Secret};
use super::tree::join;
use super::{Inputs, Loaded, dockerfiles, files, load_with_lints, workflows};

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
    validate_edited(root, wanted, inputs, &Texts::default())
}

/// Reads all environments, each of which has to be right alone and beside all others.
///
/// Fails with all problems of all of them.
pub fn load_all(root: &Path, inputs: &Inputs) -> Result<Vec<Loaded>, Problems> {
    let (checked, usable) = examined(root, &[], inputs, &Texts::default())?;
    if checked.has_errors() {
        return Err(Problems { diagnostics: checked.diagnostics(), sources: checked.sources });
    }
    Ok(usable.into_iter().map(|(loaded, _)| loaded).collect())
}

/// [`validate`] where the texts in `edited` stand for those of the files.
pub(super) fn validate_edited(
    root: &Path,
    wanted: &[String],
    inputs: &Inputs,
    edited: &Texts,
) -> Result<Checked, Problems> {
    examined(root, wanted, inputs, edited).map(|(checked, _)| checked)
}

/// What checking found, and the environments that can be used.
fn examined(
    root: &Path,
    wanted: &[String],
    inputs: &Inputs,
    edited: &Texts,
) -> Result<(Checked, Vec<(Loaded, Allowed)>), Problems> {
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
        match load_with_lints(root, name, inputs, edited) {
            Ok((loaded, allowed)) => {
                checked.take(name, loaded.warnings.clone(), loaded.sources.clone());
                usable.push((loaded, allowed));
            }
            Err(problems) => checked.take(name, problems.diagnostics, problems.sources),
        }
    }
    let environments: Vec<_> = usable.iter().map(|(loaded, _)| &loaded.environment).collect();
    for (names, diagnostic) in shared(&usable)
        .into_iter()
        .chain(workflows::check(&environments, &known))
        .chain(dockerfiles::check(&environments))
    {
        // Who asks for one of the two wants to know.
        if let Some(name) = names.iter().find(|name| asked.contains(name)) {
            checked.take(name, vec![diagnostic], Texts::default());
        }
    }
    Ok((checked, usable))
}

/// A problem between two environments, the one first in whose file it is shown.
pub(super) type Between = ([String; 2], Diagnostic);

/// Problems of what several environments have in common.
fn shared(usable: &[(Loaded, Allowed)]) -> Vec<Between> {
    let mut found = run_by_turns(usable, "service", "shared-service", |environment| {
        let of =
            |(key, service): (&String, &model::Service)| (format!("services.{key}"), service.name.clone());
        environment.services.iter().map(of).collect()
    });
    found.extend(run_by_turns(usable, "job", "shared-job", |environment| {
        environment.jobs.values().map(|job| (job.path.clone(), job.name.clone())).collect()
    }));
    found.extend(shared_foundation(usable));
    let mut first: BTreeMap<(&str, &str), (&Environment, &str, &Secret)> = BTreeMap::new();
    for (loaded, allowed) in usable {
        let environment = &loaded.environment;
        for (alias, secret) in &environment.secrets {
            let key = (environment.project.id.as_str(), secret.id.as_str());
            let Some((other, other_alias, same)) = first.get(&key) else {
                first.insert(key, (environment, alias, secret));
                continue;
            };
            let path = &secret.path;
            if let Some(field) = difference(secret, same) {
                let one =
                    One { environment, path: format!("{path}.{field}"), what: "secret", id: &secret.id };
                let hint = "say it in the base, or put `${env}` into the `id`";
                found.push(unequal(&one, field, other, &format!("{}.{field}", same.path), hint));
            } else if signs(alias) || signs(other_alias) {
                let diagnostic = signing_key(environment, path, secret, &other.name);
                if !allowed.allows(diagnostic.rule, path) {
                    found.push(([environment.name.clone(), other.name.clone()], diagnostic));
                }
            }
        }
    }
    found
}

/// What runs under one name, and two environments would deploy by turns.
fn run_by_turns(
    usable: &[(Loaded, Allowed)],
    what: &str,
    rule: &'static str,
    named: impl Fn(&Environment) -> Vec<(String, String)>,
) -> Vec<Between> {
    let mut first: BTreeMap<(&str, &str, String), &str> = BTreeMap::new();
    let mut found = Vec::new();
    for (loaded, _) in usable {
        let environment = &loaded.environment;
        for (path, name) in named(environment) {
            let id = (environment.project.id.as_str(), environment.region.as_str(), name.clone());
            let Some(other) = first.get(&id).copied().filter(|other| *other != environment.name) else {
                first.insert(id, &environment.name);
                continue;
            };
            let message = format!(
                "`{other}` and `{}` would deploy one {what}, `{name}` in {}",
                environment.name, environment.project.id
            );
            let diagnostic = Diagnostic::error(rule, message)
                .label("the same in another environment")
                .hint("put `${env}` into its `name`, or give the environments projects of their own");
            let between = [environment.name.clone(), other.to_owned()];
            found.push((between, placed(environment, &join(&path, "name"), diagnostic)));
        }
    }
    found
}

/// Registries and identities that environments share and do not agree on.
fn shared_foundation(usable: &[(Loaded, Allowed)]) -> Vec<Between> {
    let mut registries: BTreeMap<String, (&Environment, &Registry)> = BTreeMap::new();
    let mut aliases: BTreeMap<(String, &str), &Environment> = BTreeMap::new();
    let mut providers: BTreeMap<(&str, &str, &str), (&Environment, &Github)> = BTreeMap::new();
    let mut found = Vec::new();
    for environment in usable.iter().map(|(loaded, _)| &loaded.environment) {
        if let (Some(prefix), Some(registry)) = (environment.registry_prefix(), &environment.registry) {
            if let Some(alias) = &environment.alias_tag {
                let other = aliases.entry((prefix.clone(), alias)).or_insert(environment);
                if other.name != environment.name {
                    found.push(moved_by_turns(environment, other, alias));
                }
            }
            let (other, same) = registries.entry(prefix).or_insert((environment, registry));
            if let Some(field) = registry_difference(registry, same) {
                let path = format!("registry.{field}");
                let one = One { environment, path: path.clone(), what: "registry", id: &registry.repository };
                let hint = "say it in the base, or take another `repository`";
                found.push(unequal(&one, field, other, &path, hint));
            }
        }
        if let Some((github, identity)) =
            environment.github.as_ref().and_then(|github| Some((github, github.identity.as_ref()?)))
        {
            let id = (environment.project.id.as_str(), identity.pool.as_str(), identity.provider.as_str());
            let (other, same) = providers.entry(id).or_insert((environment, github));
            if let Some(field) = github_difference(github, same) {
                let path = format!("github.{field}");
                let one = One { environment, path: path.clone(), what: "provider", id: &identity.provider };
                let hint = "say it in the base, or take another `provider`";
                found.push(unequal(&one, field, other, &path, hint));
            }
        }
    }
    found
}

/// A tag that two environments would move.
fn moved_by_turns(environment: &Environment, other: &Environment, alias: &str) -> Between {
    let message =
        format!("`{}` and `{}` would move one tag, `{alias}`, by turns", other.name, environment.name);
    let diagnostic = Diagnostic::error("shared-alias", message)
        .label("the same in another environment")
        .hint("put `${env}` into it");
    ([environment.name.clone(), other.name.clone()], placed(environment, "image_tags.alias", diagnostic))
}

/// The first field in which two declarations of one repository differ. Protection is each environment's own.
fn registry_difference(one: &Registry, other: &Registry) -> Option<&'static str> {
    let Registry {
        repository: _,
        description,
        labels,
        keep_last,
        delete_untagged_after,
        dry_run,
        immutable_tags,
        protect: _,
    } = one;
    [
        ("description", *description != other.description),
        ("labels", *labels != other.labels),
        ("retention.keep_last", *keep_last != other.keep_last),
        ("retention.delete_untagged_after", *delete_untagged_after != other.delete_untagged_after),
        ("retention.dry_run", *dry_run != other.dry_run),
        ("immutable_tags", *immutable_tags != other.immutable_tags),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

/// The first field in which two declarations of one provider differ: whom it trusts.
fn github_difference(one: &Github, other: &Github) -> Option<&'static str> {
    if one.repository_id != other.repository_id {
        Some("repository_id")
    } else if one.owner_id != other.owner_id {
        Some("owner_id")
    } else {
        None
    }
}

/// The first field in which two declarations of one secret differ. Who reads it, and what protects it, is each environment's own.
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
    [
        ("generate", *generate != other.generate),
        ("description", *description != other.description),
        ("labels", *labels != other.labels),
        ("locations", *locations != other.locations),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

/// What one environment says of a shared object.
struct One<'a> {
    environment: &'a Environment,
    path: String,
    what: &'a str,
    id: &'a str,
}

fn unequal(one: &One<'_>, field: &str, other: &Environment, other_path: &str, hint: &str) -> Between {
    let One { environment, path, what, id } = one;
    let message = format!(
        "`{id}` is one {what} of `{}` and `{}`, and they do not agree on `{field}`",
        other.name, environment.name
    );
    let hint = match other.sources.find(other_path) {
        Some(location) => format!("`{}` says so at {location}; {hint}", other.name),
        None => hint.to_owned(),
    };
    let diagnostic =
        Diagnostic::error("unequal-shared", message).label("another environment says otherwise").hint(hint);
    ([environment.name.clone(), other.name.clone()], placed(environment, path, diagnostic))
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

pub(super) fn placed(environment: &Environment, path: &str, diagnostic: Diagnostic) -> Diagnostic {
    let diagnostic = diagnostic.path(path);
    match environment.sources.find(path) {
        Some(location) => diagnostic.at(location.clone(), 1),
        None => diagnostic,
    }
}
