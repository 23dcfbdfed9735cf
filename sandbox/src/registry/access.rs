//! Who calls the registry, and the way of a request into the `World`: credentials, project, API, permission, repository.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};

use super::place::Address;
use super::refusal::Refusal;
use crate::error::Status;
use crate::permissions::{Need, denied};
use crate::projects;
use crate::server::{Shared, lock};
use crate::services::artifactregistry::pushed;
use crate::services::serviceusage;
use crate::world::World;

const API: &str = "artifactregistry.googleapis.com";

/// What a request does, by the permission that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Pull,
    Push,
    DeleteBlob,
    DeleteTag,
    DeleteVersion,
}

impl Act {
    /// cloud.google.com/artifact-registry/docs/access-control
    pub(super) fn permission(self) -> &'static str {
        match self {
            Self::Pull => "artifactregistry.repositories.downloadArtifacts",
            Self::Push => "artifactregistry.repositories.uploadArtifacts",
            Self::DeleteBlob => "artifactregistry.repositories.deleteArtifacts",
            Self::DeleteTag => "artifactregistry.tags.delete",
            Self::DeleteVersion => "artifactregistry.versions.delete",
        }
    }
}

/// The access token of a request: a bearer's, or the password of the user `oauth2accesstoken`.
///
/// # Errors
/// 401 for credentials of another kind, which the sandbox cannot check.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let refused = || {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "The credentials cannot be used: give an access token as bearer, or as password of `oauth2accesstoken`.",
        )
    };
    let (scheme, rest) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(refused)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(rest.trim().to_owned()));
    }
    let decoded = STANDARD.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(refused)?;
    match pair.split_once(':') {
        Some(("oauth2accesstoken", token)) => Ok(Some(token.to_owned())),
        _ => Err(refused()),
    }
}

/// The account that a token stands for; `None` for an owner, as for all other APIs of the sandbox.
///
/// # Errors
/// 401 for a token of the sandbox that is not good any more.
pub(super) fn account(world: &World, token: Option<&str>) -> Result<Option<String>, Refusal> {
    Ok(token.map_or(Ok(None), |token| world.account_of_token(token))?)
}

/// Lets a request into the world: all of what `work` changes is journalled, or nothing of it happens.
///
/// # Errors
/// 401 and 403 as for all other APIs, 404 NAME_UNKNOWN without the repository, and what `work` refuses.
pub(super) fn enter<T>(
    shared: &Shared,
    token: Option<&str>,
    address: &Address,
    act: Act,
    work: impl FnOnce(&mut World) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut world = lock(&shared.world);
    world.advance();
    world.settle();
    let account = account(&world, token)?;
    if let Some(quotas) = &shared.quotas {
        let (project, location) = project_and_location(&address.repository);
        lock(quotas).take_for_registry(project, location, act != Act::Pull, world.instant().as_second())?;
    }
    let answer =
        admit(&mut world, account.as_deref(), &address.repository, act).and_then(|()| world.attempt(work));
    let kept = world.commit();
    kept.map_err(|error| Status::internal(format!("The change could not be journalled: {error}.")))?;
    answer
}

fn project_and_location(repository: &str) -> (&str, &str) {
    let mut segments = repository.split('/').skip(1).step_by(2);
    (segments.next().unwrap_or_default(), segments.next().unwrap_or_default())
}

fn admit(world: &mut World, account: Option<&str>, repository: &str, act: Act) -> Result<(), Refusal> {
    let (project, _) = project_and_location(repository);
    if account.is_some() && !world.has_project(project) {
        return Err(projects::refused(project).into());
    }
    world.use_project(project)?;
    serviceusage::gate(world, project, API)?;
    may(world, account, repository, act)?;
    Ok(pushed::check_repository(world, repository)?)
}

/// 403 DENIED when the caller is an account that lacks the permission on the repository.
pub(super) fn may(world: &World, account: Option<&str>, repository: &str, act: Act) -> Result<(), Refusal> {
    let need = Need::new(act.permission(), repository);
    if account.is_none_or(|account| world.may(account, &need)) { Ok(()) } else { Err(denied(&need).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Option<String>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        token(&headers)
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_password() {
        assert_eq!(read("Bearer abc").unwrap().as_deref(), Some("abc"));
        let basic = |pair: &str| read(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(basic("oauth2accesstoken:a:b").unwrap().as_deref(), Some("a:b"));
        assert_eq!(token(&HeaderMap::new()).unwrap(), None);
        for refused in [basic("_json_key:{}"), basic("somebody"), read("Digest x"), read("Basic !")] {
            assert_eq!(refused.unwrap_err().http, StatusCode::UNAUTHORIZED);
        }
    }
}
