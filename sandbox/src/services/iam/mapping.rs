//! What a provider says of the tokens that it takes: issuer, audiences, attribute mapping, attribute condition.

use serde_json::Value;

use crate::error::Status;

/// The fields of which a provider has exactly one.
pub(super) const SOURCES: [&str; 4] = ["aws", "oidc", "saml", "x509"];

/// An issuer that everybody can have tokens of: who takes them must say which ones.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

const MAX_CONDITION: usize = 4096;
const MAX_CUSTOM_ATTRIBUTES: usize = 50;
const MAX_ATTRIBUTE_KEY: usize = 100;
const MAX_EXPRESSION: usize = 2048;
const MAX_AUDIENCES: usize = 10;
const MAX_AUDIENCE: usize = 256;
const MAX_DISCOVERY_URI: usize = 2000;
const MAX_ACTORS: usize = 3;

/// 400 for the first thing that is wrong.
pub(super) fn check(provider: &Value) -> Result<(), Status> {
    if SOURCES.into_iter().filter(|source| provider[*source].is_object()).count() != 1 {
        return Err(Status::invalid(
            "provider_config",
            "Exactly one of aws, oidc, saml and x509 is required.",
        ));
    }
    if provider["oidc"].is_object() {
        check_oidc(&provider["oidc"])?;
    }
    if provider["actorProviders"].as_array().is_some_and(|actors| actors.len() > MAX_ACTORS) {
        let message = format!("At most {MAX_ACTORS} actor providers can be given.");
        return Err(Status::invalid("actor_providers", message));
    }
    check_mapping(provider)?;
    check_condition(provider)
}

fn check_oidc(oidc: &Value) -> Result<(), Status> {
    let issuer = oidc["issuerUri"].as_str().unwrap_or_default();
    if !issuer.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        return Err(Status::invalid("oidc.issuer_uri", "The issuer must be an https:// URI."));
    }
    let audiences = oidc["allowedAudiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let too_long =
        |audience: &Value| audience.as_str().is_some_and(|text| text.chars().count() > MAX_AUDIENCE);
    if audiences.len() > MAX_AUDIENCES || audiences.iter().any(too_long) {
        return Err(Status::invalid(
            "oidc.allowed_audiences",
            format!("At most {MAX_AUDIENCES} audiences of at most {MAX_AUDIENCE} characters are allowed."),
        ));
    }
    if let Some(uri) = oidc["discoveryUri"].as_str().filter(|uri| !uri.is_empty())
        && (uri.len() > MAX_DISCOVERY_URI || origin(uri) != origin(issuer) || !uri.contains("/.well-known/"))
    {
        return Err(Status::invalid(
            "oidc.discovery_uri",
            "The discovery URI must have the issuer's host and a path with /.well-known/.",
        ));
    }
    if let Some(keys) = oidc["jwksJson"].as_str().filter(|keys| !keys.is_empty())
        && !serde_json::from_str::<Value>(keys).is_ok_and(|keys| keys["keys"].is_array())
    {
        return Err(Status::invalid("oidc.jwks_json", "The JWKS must be a JSON object with a list of keys."));
    }
    Ok(())
}

/// `https://host:port`
fn origin(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("https://")?;
    let host = rest.split('/').next()?;
    uri.get(.."https://".len() + host.len())
}

fn check_mapping(provider: &Value) -> Result<(), Status> {
    let invalid = |message: String| Err(Status::invalid("attribute_mapping", message));
    let mapping = provider["attributeMapping"].as_object();
    let pairs = || mapping.into_iter().flatten();
    let subject = pairs().any(|(key, value)| key == "google.subject" && *value != "");
    // AWS has a mapping of its own while nothing is mapped, and X.509 one of the subject.
    let has_default = provider["oidc"].is_null() && provider["saml"].is_null();
    let defaulted = has_default && pairs().next().is_none();
    if !subject && !defaulted {
        return invalid("The attribute mapping must include google.subject.".into());
    }
    if pairs().filter(|(key, _)| key.starts_with("attribute.")).count() > MAX_CUSTOM_ATTRIBUTES {
        return invalid(format!("At most {MAX_CUSTOM_ATTRIBUTES} custom attributes can be mapped."));
    }
    for (key, value) in pairs() {
        let custom = key.strip_prefix("attribute.").is_some_and(is_attribute);
        if !custom && key != "google.subject" && key != "google.groups" {
            return invalid(format!(
                "'{key}' cannot be mapped: google.subject, google.groups and attribute.NAME can."
            ));
        }
        let length = value.as_str().unwrap_or_default().chars().count();
        if length == 0 || length > MAX_EXPRESSION {
            return invalid(format!(
                "The expression for '{key}' must have 1 to {MAX_EXPRESSION} characters."
            ));
        }
    }
    Ok(())
}

fn is_attribute(name: &str) -> bool {
    (1..=MAX_ATTRIBUTE_KEY).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn check_condition(provider: &Value) -> Result<(), Status> {
    let invalid = |message: String| Err(Status::invalid("attribute_condition", message));
    let condition = provider["attributeCondition"].as_str().unwrap_or_default();
    if condition.chars().count() > MAX_CONDITION {
        return invalid(format!("The attribute condition must not exceed {MAX_CONDITION} characters."));
    }
    let code = without_texts(condition);
    let issuer = provider["oidc"]["issuerUri"].as_str().and_then(origin);
    if issuer == Some(GITHUB) && !names(&code).any(|name| name.starts_with("assertion.")) {
        return invalid(format!(
            "The attribute condition must reference one of the provider's claims (assertion.NAME): anybody can have \
             tokens of {GITHUB}."
        ));
    }
    let mapping = &provider["attributeMapping"];
    let unmapped = names(&code).map(attribute_of).find(|name| {
        (name.starts_with("attribute.") || name.starts_with("google.")) && mapping.get(name).is_none()
    });
    match unmapped {
        Some(name) => invalid(format!("The attribute condition uses '{name}', which is not mapped.")),
        None => Ok(()),
    }
}

/// The expression with nothing between its quotes.
fn without_texts(expression: &str) -> String {
    let (mut code, mut open, mut escaped) = (String::new(), None, false);
    for character in expression.chars() {
        match open {
            None => {
                open = Some(character).filter(|character| ['"', '\''].contains(character));
                code.push(if open.is_some() { ' ' } else { character });
            }
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(quote) if quote == character => open = None,
            Some(_) => {}
        }
    }
    code
}

/// The dotted names of an expression.
fn names(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
        .filter(|name| name.split('.').count() > 1 && name.split('.').all(|part| !part.is_empty()))
}

/// `attribute.x` of `attribute.x.startsWith`.
fn attribute_of(name: &str) -> &str {
    name.match_indices('.').nth(1).map_or(name, |(end, _)| &name[..end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn github(condition: &str) -> Value {
        json!({
            "oidc": {"issuerUri": GITHUB},
            "attributeMapping": {"google.subject": "assertion.sub", "attribute.repository_id": "assertion.repository_id"},
            "attributeCondition": condition,
        })
    }

    #[test]
    fn the_condition_of_github_must_name_a_claim() {
        assert!(check(&github("assertion.repository_id == '1'")).is_ok());
        for condition in ["", "true", "'assertion.sub' == 'assertion.sub'", "attribute.repository_id == '1'"]
        {
            assert!(check(&github(condition)).is_err(), "{condition}");
        }
        let mut enterprise = github("true");
        enterprise["oidc"]["issuerUri"] = json!(format!("{GITHUB}/octo"));
        assert!(check(&enterprise).is_err());
        enterprise["oidc"]["issuerUri"] = json!("https://issuer.example");
        assert!(check(&enterprise).is_ok());
    }

    #[test]
    fn attributes_of_the_condition_must_be_mapped() {
        assert!(check(&github("assertion.sub != '' && attribute.repository_id.startsWith('1')")).is_ok());
        let error = check(&github("assertion.sub != '' && attribute.owner == '1'")).unwrap_err();
        assert!(error.message.contains("'attribute.owner'"), "{}", error.message);
        assert!(check(&github("assertion.sub != '' && 'x' in google.groups")).is_err());
        // What stands in quotes is no attribute.
        assert!(
            check(&github("assertion.sub == 'attribute.owner' || assertion.sub == \"a\\\"google.x\""))
                .is_ok()
        );
    }

    #[test]
    fn the_subject_must_be_mapped() {
        let mut provider = github("assertion.sub != ''");
        provider["attributeMapping"] = json!({"attribute.a": "assertion.a"});
        assert!(check(&provider).is_err());
        provider["attributeMapping"] = json!({});
        assert!(check(&provider).is_err());
        assert!(check(&json!({"aws": {"accountId": "1"}})).is_ok());
        assert!(
            check(&json!({"aws": {"accountId": "1"}, "attributeMapping": {"attribute.a": "a"}})).is_err()
        );
    }

    #[test]
    fn mapped_attributes_have_known_names_and_limits() {
        let mut provider = github("assertion.sub != ''");
        for (key, value) in [
            ("attribute.Upper".to_owned(), "a".to_owned()),
            ("attribute.".to_owned(), "a".to_owned()),
            (format!("attribute.{}", "a".repeat(101)), "a".to_owned()),
            ("subject".to_owned(), "a".to_owned()),
            ("attribute.a".to_owned(), String::new()),
            ("attribute.a".to_owned(), "a".repeat(2049)),
        ] {
            provider["attributeMapping"] = json!({"google.subject": "assertion.sub", key.clone(): value});
            assert!(check(&provider).is_err(), "{key}");
        }
        let many: serde_json::Map<String, Value> =
            (0..51).map(|n| (format!("attribute.a{n}"), json!("a"))).collect();
        provider["attributeMapping"] = Value::Object(many);
        provider["attributeMapping"]["google.subject"] = json!("assertion.sub");
        assert!(check(&provider).is_err());
    }

    #[test]
    fn an_oidc_issuer_is_https_and_its_other_fields_fit() {
        let with = |key: &str, value: Value| {
            let mut provider = github("assertion.sub != ''");
            provider["oidc"][key] = value;
            check(&provider).is_ok()
        };
        assert!(!with("issuerUri", json!("http://token.actions.githubusercontent.com")));
        assert!(!with("issuerUri", json!("")));
        assert!(with("allowedAudiences", json!(["a"])));
        assert!(!with("allowedAudiences", json!(["a".repeat(257)])));
        assert!(!with("allowedAudiences", json!(vec!["a"; 11])));
        assert!(with("discoveryUri", json!(format!("{GITHUB}/.well-known/openid-configuration"))));
        assert!(!with("discoveryUri", json!("https://elsewhere.example/.well-known/openid-configuration")));
        assert!(with("jwksJson", json!("{\"keys\": []}")));
        assert!(!with("jwksJson", json!("nonsense")));
    }

    #[test]
    fn a_provider_is_of_one_type() {
        assert!(check(&json!({"attributeMapping": {"google.subject": "a"}})).is_err());
        let mut two = github("assertion.sub != ''");
        two["aws"] = json!({"accountId": "1"});
        assert!(check(&two).is_err());
    }

    #[test]
    fn a_condition_has_a_limit() {
        let long = format!("assertion.sub != '{}'", "x".repeat(4096));
        assert!(check(&github(&long)).is_err());
    }
}
