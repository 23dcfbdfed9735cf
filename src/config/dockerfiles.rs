//! Rendered Dockerfiles beside all environments: one file is of one service, and the same in each of them.

use std::collections::BTreeMap;

use super::across::{Between, placed};
use super::diagnostic::Diagnostic;
use super::model::{Builder, Environment, Recipe};

/// What a file is rendered from, and for whom.
struct Owner<'e> {
    environment: &'e Environment,
    service: &'e str,
    port: Option<u16>,
    recipe: &'e Recipe,
}

/// All that is wrong between two services, or between two environments.
pub(super) fn check(usable: &[&Environment]) -> Vec<Between> {
    let mut first: BTreeMap<String, Owner<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for environment in usable {
        for (service, declared) in &environment.services {
            let Some(build) = &declared.build else { continue };
            let Builder::Docker(docker) = &build.builder else { continue };
            let Some(recipe) = &docker.recipe else { continue };
            let path = docker.path_in(&build.context);
            let owner = Owner { environment, service, port: declared.main.port, recipe };
            match first.get(&path) {
                Some(other) => found.extend(unequal(&path, &owner, other)),
                None => drop(first.insert(path, owner)),
            }
        }
    }
    found
}

fn unequal(path: &str, one: &Owner<'_>, other: &Owner<'_>) -> Option<Between> {
    let (message, hint) = if one.service != other.service {
        let message = format!("`{}` and `{}` would both be rendered to `{path}`", other.service, one.service);
        (message, "give one of them another `dockerfile`")
    } else if one.recipe != other.recipe || one.port != other.port {
        let (name, first) = (&one.environment.name, &other.environment.name);
        let message = format!("`{first}` and `{name}` would render `{path}` otherwise, and it is one file");
        (message, "say it in the base alone")
    } else {
        return None;
    };
    let diagnostic = Diagnostic::error("build", message).label("the same file").hint(hint);
    let at = format!("services.{}.build", one.service);
    let names = [one.environment.name.clone(), other.environment.name.clone()];
    Some((names, placed(one.environment, &at, diagnostic)))
}
