//! IAM Credentials v1: short-lived tokens for service accounts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::call::{Call, Handler};
use crate::error::{Answer, Status};
use crate::permissions::{Need, denied};
use crate::services::iam as accounts;
use crate::world::World;

/// Seconds that a token is good for: both the default and, without an organisation policy, the most.
const LIFETIME: i64 = 3600;

const DELEGATION: &str = "iam.serviceAccounts.implicitDelegation";

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("iamcredentials.projects.serviceAccounts.generateAccessToken", generate_access_token),
        ("iamcredentials.projects.serviceAccounts.generateIdToken", generate_id_token),
    ]
}

/// The account that the caller itself has to reach when it goes through a chain of others, as address or unique id.
pub(crate) fn first_delegate(call: &Call) -> Option<&str> {
    if call.method.api != "iamcredentials" {
        return None;
    }
    delegates(call).next().and_then(account_in)
}

fn delegates(call: &Call) -> impl Iterator<Item = &str> {
    call.body["delegates"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn account_in(name: &str) -> Option<&str> {
    name.strip_prefix("projects/-/serviceAccounts/").filter(|account| !account.is_empty())
}

fn generate_access_token(world: &mut World, call: &Call) -> Answer {
    let account = account(world, call, "iam.serviceAccounts.getAccessToken")?;
    let scopes = call.body["scope"].as_array().map(Vec::as_slice).unwrap_or_default();
    if scopes.is_empty() || scopes.iter().any(|scope| scope.as_str().is_none_or(str::is_empty)) {
        return Err(Status::invalid("scope", "At least one scope is required, and none may be empty."));
    }
    let expires = after(world.instant(), lifetime(call)?)?;
    let token = world.issue_token(account["uniqueId"].as_str().unwrap_or_default(), expires);
    Ok(json!({ "accessToken": token, "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() }))
}

fn generate_id_token(world: &mut World, call: &Call) -> Answer {
    let account = account(world, call, "iam.serviceAccounts.getOpenIdToken")?;
    let Some(audience) = call.text("audience") else {
        return Err(Status::invalid("audience", "The audience is required."));
    };
    let token = id_token(world, &account, audience, call.body["includeEmail"] == true);
    Ok(json!({ "token": token }))
}

/// The token has the documented claims but no signature: the sandbox has no key that anybody would trust.
pub(crate) fn id_token(world: &World, account: &Value, audience: &str, with_email: bool) -> String {
    let now = world.instant().as_second();
    let mut claims = json!({
        "iss": "https://accounts.google.com",
        "aud": audience,
        "azp": account["uniqueId"],
        "sub": account["uniqueId"],
        "iat": now,
        "exp": now + LIFETIME,
    });
    if with_email {
        claims["email"] = account["email"].clone();
        claims["email_verified"] = json!(true);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims))
}

/// The enabled account of the request, once each delegate is known to reach the next one, and the last one it.
fn account(world: &World, call: &Call, permission: &str) -> Result<Value, Status> {
    if call.var("projects") != "-" {
        return Err(Status::invalid(
            "name",
            "The name must be projects/-/serviceAccounts/ACCOUNT: a project in place of `-` is not valid.",
        ));
    }
    let target = enabled(accounts::account(world, call)?)?;
    let mut chain = Vec::new();
    for name in delegates(call) {
        let account = account_in(name).ok_or_else(|| {
            Status::invalid("delegates", format!("'{name}' is not projects/-/serviceAccounts/ACCOUNT."))
        })?;
        let found = accounts::anywhere(world, account)
            .ok_or_else(|| Status::not_found(format!("Unknown service account: {account}.")))?;
        chain.push(enabled(found)?);
    }
    chain.push(target.clone());
    for (index, (from, to)) in chain.iter().zip(chain.iter().skip(1)).enumerate() {
        let permission = if index + 2 == chain.len() { permission } else { DELEGATION };
        let need = Need::new(permission, to["name"].as_str().unwrap_or_default());
        if !world.may(from["email"].as_str().unwrap_or_default(), &need) {
            return Err(denied(&need));
        }
    }
    Ok(target)
}

fn enabled(account: Value) -> Result<Value, Status> {
    if account["disabled"] == true {
        let email = account["email"].as_str().unwrap_or_default();
        return Err(Status::failed_precondition(format!("Service account {email} is disabled.")));
    }
    Ok(account)
}

fn lifetime(call: &Call) -> Result<SignedDuration, Status> {
    let most = SignedDuration::from_secs(LIFETIME);
    let Some(text) = call.text("lifetime") else { return Ok(most) };
    let seconds: Option<f64> = text.strip_suffix('s').and_then(|number| number.parse().ok());
    seconds
        .and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok())
        .filter(|asked| asked.is_positive() && *asked <= most)
        .ok_or_else(|| {
            let message = format!("The lifetime must be more than 0 and at most {LIFETIME} seconds.");
            Status::invalid("lifetime", message)
        })
}

fn after(now: Timestamp, lifetime: SignedDuration) -> Result<Timestamp, Status> {
    now.checked_add(lifetime).map_err(|_| Status::internal("The time of expiry cannot be told."))
}

#[cfg(test)]
mod tests;
