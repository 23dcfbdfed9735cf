//! The metadata server that instances ask who they are and for tokens.
//!
//! Clients take its address from `GCE_METADATA_HOST` and put a path behind it, so that a path in that address can say
//! which instance asks.

use std::net::SocketAddr;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::routing::percent_decode;
use crate::services::{iam as accounts, iamcredentials};
use crate::world::World;

/// Paths of the metadata server begin with this, then come project and account.
pub(crate) const PREFIX: &str = "/__metadata/";
/// Seconds that a token is good for.
const LIFETIME: i64 = 3600;

/// `HOST:PORT/PATH` for the instances of an account.
pub(super) fn host(address: SocketAddr, account: &str, project: &str) -> String {
    format!("{address}{PREFIX}{project}/{account}")
}

/// Answers a request to a path below [`PREFIX`].
pub(crate) fn serve(world: &mut World, path: &str, query: &str, headers: &HeaderMap) -> Response {
    let flavor = HeaderValue::from_static("Google");
    let mut response = if headers.get("metadata-flavor") == Some(&flavor) {
        match answer(world, path, query) {
            Some(Value::String(text)) => plain(StatusCode::OK, text),
            Some(value) => {
                let mut response = plain(StatusCode::OK, value.to_string());
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
            None => plain(StatusCode::NOT_FOUND, "The metadata server has nothing of this name.".to_owned()),
        }
    } else {
        plain(StatusCode::FORBIDDEN, "The header Metadata-Flavor: Google is missing.".to_owned())
    };
    response.headers_mut().insert("metadata-flavor", flavor);
    response
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/text"));
    response
}

fn answer(world: &mut World, path: &str, query: &str) -> Option<Value> {
    let mut parts = path.strip_prefix(PREFIX)?.splitn(3, '/');
    let (project, email) = (parts.next()?.to_owned(), percent_decode(parts.next()?)?);
    let asked = parts.next().unwrap_or_default().trim_end_matches('/');
    let Some(asked) = asked.strip_prefix("computeMetadata/v1") else {
        return asked.is_empty().then(|| json!("computeMetadata/"));
    };
    let asked: Vec<&str> = asked.split('/').filter(|part| !part.is_empty()).collect();
    match asked.as_slice() {
        [] => Some(json!("instance/\nproject/\n")),
        ["project", "project-id"] => Some(json!(project)),
        ["project", "numeric-project-id"] => Some(json!(world.project_number(&project).to_string())),
        ["universe", "universe-domain"] => Some(json!("googleapis.com")),
        ["instance", "service-accounts"] => Some(json!(format!("default/\n{email}/\n"))),
        ["instance", "service-accounts", name, rest @ ..] if *name == "default" || *name == email => {
            identity(world, &email, rest, query)
        }
        _ => None,
    }
}

fn identity(world: &mut World, email: &str, asked: &[&str], query: &str) -> Option<Value> {
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| percent_decode(value))
    };
    match asked {
        [] if parameter("recursive").is_some() => Some(
            json!({ "email": email, "aliases": ["default"], "scopes": ["https://www.googleapis.com/auth/cloud-platform"] }),
        ),
        [] => Some(json!("aliases\nemail\nidentity\nscopes\ntoken\n")),
        ["email"] => Some(json!(email)),
        ["aliases"] => Some(json!("default\n")),
        ["scopes"] => Some(json!("https://www.googleapis.com/auth/cloud-platform\n")),
        ["token"] => {
            let account = accounts::anywhere(world, email)?;
            let expires = world.instant().checked_add(SignedDuration::from_secs(LIFETIME)).ok()?;
            let token = world.issue_token(account["uniqueId"].as_str()?, expires);
            Some(json!({ "access_token": token, "expires_in": LIFETIME, "token_type": "Bearer" }))
        }
        ["identity"] => {
            let account = accounts::anywhere(world, email)?;
            Some(json!(iamcredentials::id_token(world, &account, &parameter("audience")?, true)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{send, world};

    const EMAIL: &str = "tenant-api@agent-army-dev.iam.gserviceaccount.com";

    fn ask(world: &mut World, what: &str) -> Option<Value> {
        let (path, query) = what.split_once('?').unwrap_or((what, ""));
        answer(world, &format!("{PREFIX}agent-army-dev/{EMAIL}/computeMetadata/v1/{path}"), query)
    }

    fn with_account() -> World {
        let mut world = world();
        let path = "/v1/projects/agent-army-dev/serviceAccounts";
        send(&mut world, "POST", path, &json!({"accountId": "tenant-api"})).unwrap();
        crate::testing::let_propagate(&mut world);
        world
    }

    #[test]
    fn an_instance_learns_its_project_and_its_account() {
        let mut world = with_account();
        assert_eq!(ask(&mut world, "project/project-id"), Some(json!("agent-army-dev")));
        assert_eq!(ask(&mut world, "instance/service-accounts/default/email"), Some(json!(EMAIL)));
        assert_eq!(ask(&mut world, "instance/service-accounts/other/email"), None);
    }

    #[test]
    fn its_token_makes_it_its_account() {
        let mut world = with_account();
        let token = ask(&mut world, "instance/service-accounts/default/token").unwrap();
        let account = world.account_of_token(token["access_token"].as_str().unwrap()).unwrap();
        assert_eq!(account.as_deref(), Some(EMAIL));
    }

    #[test]
    fn an_identity_token_is_for_the_audience_that_was_asked_for() {
        let mut world = with_account();
        let token =
            ask(&mut world, "instance/service-accounts/default/identity?audience=https%3A%2F%2Fa").unwrap();
        assert_eq!(token.as_str().unwrap().split('.').count(), 3);
        assert_eq!(ask(&mut world, "instance/service-accounts/default/identity"), None);
    }

    #[test]
    fn without_its_header_nothing_is_told() {
        let path = format!("{PREFIX}p/{EMAIL}/computeMetadata/v1/project/project-id");
        let response = serve(&mut world(), &path, "", &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
    }
}
