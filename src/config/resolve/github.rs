//! The GitHub repository and its identity: the numbers that make the identity safe are asked for.

use super::super::diagnostic::Diagnostic;
use super::super::model::{Github, Identity};
use super::super::pipeline::Ci;
use super::super::schema::{GithubKeys, IdentityKeys};
use super::super::tree::{Findings, Node, Part};
use super::{pipeline, required};

pub(super) fn resolve(keys: GithubKeys, ci: &Ci, root: &Node, findings: &mut Findings) -> Github {
    let repository = required(
        keys.repository,
        "github.repository",
        "repository: OWNER/NAME",
        "the repository that the environments belong to",
        findings,
    );
    let repository_id = keys.repository_id.map(|number| number.0);
    let owner_id = keys.owner_id.map(|number| number.0);
    let identity = keys.identity.map(|identity| resolve_identity(identity, findings));
    if identity.is_some() {
        for (path, what, missing) in [
            ("github.repository_id", "number of the repository", repository_id.is_none()),
            ("github.owner_id", "number of the repository's owner", owner_id.is_none()),
        ] {
            if missing && !findings.is_broken(path) {
                findings.add(Part::Key, path, missing_number(path, what, &repository));
            }
        }
    }
    let workflows = pipeline::workflows(keys.workflows, ci, root, findings);
    Github {
        repository,
        repository_id: repository_id.unwrap_or_default(),
        owner_id: owner_id.unwrap_or_default(),
        identity,
        workflows,
    }
}

/// Both numbers come from one call, so the hint has it.
fn missing_number(path: &str, what: &str, repository: &str) -> Diagnostic {
    let key = path.rsplit('.').next().unwrap_or(path);
    let repository = if repository.is_empty() { "OWNER/NAME" } else { repository };
    let message = format!(
        "`{key}` is missing: the {what}, because a name can be given up and taken by somebody else, who could then sign in"
    );
    Diagnostic::error("required-key", message).label("misses a key").hint(format!(
        "`gh api repos/{repository} --jq '.id, .owner.id'` prints `repository_id` and `owner_id`"
    ))
}

fn resolve_identity(keys: IdentityKeys, findings: &mut Findings) -> Identity {
    let pool = required(
        keys.pool.map(|id| id.0),
        "github.identity.pool",
        "pool: github",
        "the id of the workload identity pool",
        findings,
    );
    let provider = required(
        keys.provider.map(|id| id.0),
        "github.identity.provider",
        "provider: github",
        "the id of the provider in the pool",
        findings,
    );
    Identity { pool, provider, plan: keys.plan.map(|id| id.0), deploy: keys.deploy.map(|id| id.0) }
}
