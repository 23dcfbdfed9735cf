//! Tenants, and the secrets that each of them has.

use indexmap::IndexMap;

use super::super::diagnostic::Diagnostic;
use super::super::local::for_tenant;
use super::super::model::{Secret, Tenant};
use super::super::schema::TenantsKeys;
use super::super::tree::{Findings, Node, Part, join};
use super::{in_file_order, is_secret_id};

const SLUG_PATTERN: &str = "^[a-z0-9][a-z0-9-]{1,48}[a-z0-9]$";
const SECRET_ID: &str = "${tenant.slug}-${secret}";
/// Longest value of a label: secrets of tenants have one with the slug.
const MAX_SLUG: usize = 63;

/// The tenants, and their secrets by `SLUG/NAME`.
pub(super) struct Resolved {
    pub(super) tenants: IndexMap<String, Tenant>,
    pub(super) secrets: IndexMap<String, Secret>,
}

pub(super) fn resolve(
    keys: TenantsKeys,
    services: &[&str],
    protect: bool,
    root: &Node,
    findings: &mut Findings,
) -> Resolved {
    let list = root.get("tenants").unwrap_or(root);
    let written = in_file_order(keys.list, list, "list");
    let slugs: Vec<&str> = written.iter().map(|(slug, _)| slug.as_str()).collect();
    check_slugs(keys.slug.as_deref().unwrap_or(SLUG_PATTERN), &slugs, findings);
    let tenants: IndexMap<String, Tenant> = written
        .into_iter()
        .map(|(slug, keys)| {
            let name = keys.name.unwrap_or_else(|| slug.clone());
            (slug.clone(), Tenant { slug, name, schema: keys.schema })
        })
        .collect();
    let names = keys.secrets.unwrap_or_default();
    let id = keys.secret_id.unwrap_or_else(|| SECRET_ID.to_owned());
    check_secret_id(&id, names.len(), findings);
    let readers = readers(keys.readers.unwrap_or_default(), services, findings);
    let protect = keys.protect.unwrap_or(protect);
    let mut secrets = IndexMap::new();
    for tenant in tenants.values() {
        for (position, name) in names.iter().enumerate() {
            let secret = secret(tenant, name, position, &id, findings);
            let alias = format!("{}/{name}", tenant.slug);
            secrets.insert(alias, Secret { readers: readers.clone(), protect, ..secret });
        }
    }
    check_names(&names, findings);
    Resolved { tenants, secrets }
}

fn secret(tenant: &Tenant, name: &str, position: usize, id: &str, findings: &mut Findings) -> Secret {
    let id = for_tenant(id, &tenant.slug, &tenant.name, tenant.schema.as_deref()).replace("${secret}", name);
    if !is_secret_id(&id) && !findings.is_broken("tenants.secret_id") {
        let message = format!("`{id}` cannot be the id of a secret of the tenant `{}`", tenant.slug);
        let diagnostic = Diagnostic::error("wrong-value", message)
            .label("not valid")
            .hint("letters, digits, dashes and underscores, at most 255; see `tenants.secret_id`");
        findings.add(Part::Value, &format!("tenants.secrets.{position}"), diagnostic);
    }
    Secret {
        path: "tenants.secrets".to_owned(),
        id,
        generate: None,
        optional: false,
        description: None,
        labels: [("tenant".to_owned(), tenant.slug.clone())].into(),
        locations: Vec::new(),
        tenant: Some(tenant.slug.clone()),
        readers: Vec::new(),
        protect: false,
    }
}

/// Every slug matches the pattern as a whole, and can be the value of a label.
fn check_slugs(pattern: &str, slugs: &[&str], findings: &mut Findings) {
    if findings.is_broken("tenants.slug") {
        return;
    }
    // The same engine that checks the patterns of the schema.
    let whole = serde_json::json!({"type": "string", "pattern": format!("^(?:{pattern})$")});
    let Ok(validator) = jsonschema::validator_for(&whole) else {
        let diagnostic = Diagnostic::error("tenant-slug", format!("`{pattern}` is no regular expression"))
            .label("not a pattern")
            .hint(format!("leave it out for the usual one, `{SLUG_PATTERN}`"));
        findings.add(Part::Value, "tenants.slug", diagnostic);
        return;
    };
    for slug in slugs {
        let label = slug.len() <= MAX_SLUG
            && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        let hint = if !validator.is_valid(&serde_json::Value::String((*slug).to_owned())) {
            format!("the pattern of slugs (`tenants.slug`) is `{pattern}`")
        } else if !label || slug.is_empty() {
            format!(
                "whatever the pattern says, a slug is also a label: at most {MAX_SLUG} lower-case letters, digits, dashes and underscores"
            )
        } else {
            continue;
        };
        let diagnostic = Diagnostic::error("tenant-slug", format!("`{slug}` cannot be the slug of a tenant"))
            .label("not a slug")
            .hint(hint);
        findings.add(Part::Key, &format!("tenants.list.{slug}"), diagnostic);
    }
}

/// The pattern of ids tells tenants and secrets apart.
fn check_secret_id(id: &str, secrets: usize, findings: &mut Findings) {
    if findings.is_broken("tenants.secret_id") {
        return;
    }
    let missing = if !id.contains("${tenant.slug") && !id.contains("${tenant.schema}") {
        Some(("${tenant.slug}", "all tenants would share their secrets"))
    } else if secrets > 1 && !id.contains("${secret}") {
        Some(("${secret}", "all secrets of a tenant would be one"))
    } else {
        None
    };
    if let Some((name, so)) = missing {
        let diagnostic =
            Diagnostic::error("tenant-secret-id", format!("`tenants.secret_id` has no `{name}`, so {so}"))
                .label(format!("no `{name}`"))
                .hint(format!("write `{SECRET_ID}`"));
        findings.add(Part::Value, "tenants.secret_id", diagnostic);
        findings.broken.insert("tenants.secret_id".to_owned());
    }
}

fn readers(written: Vec<String>, services: &[&str], findings: &mut Findings) -> Vec<String> {
    let known = |(position, reader): (usize, String)| {
        if services.contains(&reader.as_str()) {
            return Some(reader);
        }
        let path = format!("tenants.readers.{position}");
        if !findings.is_broken(&join("services", &reader)) {
            findings.add(Part::Value, &path, super::unknown_service(&reader, services));
        }
        None
    };
    let mut readers: Vec<String> = written.into_iter().enumerate().filter_map(known).collect();
    readers.dedup();
    readers
}

fn check_names(names: &[String], findings: &mut Findings) {
    for (position, name) in names.iter().enumerate() {
        if names.iter().take(position).any(|earlier| earlier == name) {
            let diagnostic = Diagnostic::error("duplicate-name", format!("`{name}` is there twice"))
                .label("the second one")
                .hint("remove it");
            findings.add(Part::Value, &format!("tenants.secrets.{position}"), diagnostic);
        }
    }
}
