//! Secrets (Secret Manager v1): the containers. Values are `secret_value`, readers are `secret_grant`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::labels;
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError};
use crate::resource::{
    Consequence, Declared, Edit, Facts, FieldPolicy, Kind, Layer, Observed, Ownership, Place, Scope, Settle,
};

pub struct Secret;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `automatic`, or the regions of a user-managed replication, sorted.
    pub locations: Vec<String>,
}

/// Annotations of a secret; Secret Manager allows no `/` in their keys.
const LABELS: &str = "deployer-labels";
const DESCRIPTION: &str = "description";

/// `projects/P/secrets/ID`.
pub fn full_name(project: &str, id: &str) -> String {
    format!("projects/{project}/secrets/{id}")
}

/// The secret as the sandbox, `secrets set` and `apply` create it.
pub fn document(spec: &Spec, place: &Place) -> Value {
    let replicas: Vec<_> = spec.locations.iter().map(|location| json!({"location": location})).collect();
    let replication = if replicas.is_empty() {
        json!({"automatic": {}})
    } else {
        json!({"userManaged": {"replicas": replicas}})
    };
    let mut doc = json!({"replication": replication});
    manage(&mut doc, spec, place);
    doc
}

/// The declared spec of one secret of the catalogue.
pub fn spec(secret: &crate::config::model::Secret) -> Spec {
    let mut locations = secret.locations.clone();
    locations.sort_unstable();
    Spec { description: secret.description.clone(), labels: secret.labels.clone(), locations }
}

fn manage(doc: &mut Value, spec: &Spec, place: &Place) {
    labels::write(doc, LABELS, &spec.labels, &place.ownership);
    labels::annotate(doc, DESCRIPTION, spec.description.clone());
}

fn observed(doc: &Value) -> Result<Spec, GcpError> {
    let unreadable = |what: &str| GcpError::unreadable(format!("secret {}", doc["name"]), what.to_owned());
    let replication = &doc["replication"];
    let mut locations = Vec::new();
    if let Some(replicas) = replication["userManaged"]["replicas"].as_array() {
        for replica in replicas {
            let location =
                replica["location"].as_str().ok_or_else(|| unreadable("a replica without a location"))?;
            locations.push(location.to_owned());
        }
    } else if !replication["automatic"].is_object() {
        return Err(unreadable("no replication"));
    }
    locations.sort_unstable();
    let description = doc["annotations"][DESCRIPTION].as_str().map(str::to_owned);
    Ok(Spec { description, labels: labels::read(doc, LABELS), locations })
}

impl Kind for Secret {
    const NAME: &'static str = "secret";
    const API: &'static str = "secretmanager.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/secretmanager.viewer";
    type Spec = Spec;

    fn declare(env: &Environment, _: &Facts) -> Vec<Declared<Spec>> {
        let secrets = env.secrets.values();
        secrets
            .map(|secret| Declared::new(&secret.id, &secret.path, spec(secret)).protected(secret.protect))
            .collect()
    }

    fn field_policy(pointer: &str) -> FieldPolicy {
        if pointer.starts_with("/locations") { FieldPolicy::Immutable } else { FieldPolicy::InPlace }
    }

    fn consequences(_: Option<&Spec>, after: Option<&Spec>) -> Vec<Consequence> {
        if after.is_none() { vec![Consequence::Irreversible] } else { Vec::new() }
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let docs = gcp.list_secrets(&scope.project).await?;
        let observed = docs.iter().map(|doc| {
            let name = doc["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
            let owner = Ownership::owner_by_labels(doc);
            Ok(Observed::new(name, observed(doc)?, owner))
        });
        observed.collect()
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        gcp.create_secret(&place.project, name, document(spec, place)).await?;
        Ok(Settle::Done)
    }

    async fn update(gcp: &Gcp, place: &Place, edit: Edit<'_, Spec>) -> Result<Settle, GcpError> {
        let name = full_name(&place.project, edit.name);
        let live = gcp.secret(&name).await?.ok_or_else(|| GcpError::moved(&name))?;
        if observed(&live)? != *edit.before {
            return Err(GcpError::moved(&name));
        }
        let mut doc = live.clone();
        manage(&mut doc, edit.after, place);
        let body = json!({"labels": doc["labels"], "annotations": doc["annotations"]});
        gcp.patch_secret(&name, body, &["labels", "annotations"], live["etag"].as_str()).await?;
        Ok(Settle::Done)
    }

    async fn delete(gcp: &Gcp, place: &Place, name: &str, spec: &Spec) -> Result<Settle, GcpError> {
        let name = full_name(&place.project, name);
        let Some(live) = gcp.secret(&name).await? else { return Ok(Settle::Done) };
        if observed(&live)? != *spec || !place.ownership.same_system(&live) {
            return Err(GcpError::moved(&name));
        }
        gcp.delete_secret(&name, live["etag"].as_str()).await?;
        Ok(Settle::Done)
    }
}
