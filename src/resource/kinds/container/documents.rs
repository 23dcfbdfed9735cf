//! How the documents of services and jobs are looked at and deleted.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use serde_json::Value;

use crate::gcp::{Gcp, GcpError, RunObject};
use crate::resource::{Kind, Observed, Ownership, Place, Scope};

/// All of a kind in the region, each as `spec` reads it; the declared ones once Cloud Run is done with what it is doing
/// to them.
pub async fn observe<K: Kind, O: RunObject>(
    gcp: &Gcp,
    scope: &Scope,
    spec: fn(&Value) -> Result<K::Spec, GcpError>,
) -> Result<Vec<Observed<K::Spec>>, GcpError> {
    let docs = gcp.list_objects::<O>(&scope.project, &scope.region).await?;
    let declared: BTreeSet<_> = scope.names::<K>().collect();
    let settled = docs.into_iter().map(|doc| async {
        let reconciling = doc["reconciling"].as_bool().unwrap_or(false);
        if reconciling && declared.contains(short_name(&doc)) {
            let name = doc["name"].as_str().unwrap_or_default().to_owned();
            return gcp.settled_object::<O>(&name).await;
        }
        Ok(Some(doc))
    });
    let docs = try_join_all(settled).await?;
    let observed = docs.iter().flatten().map(|doc| {
        let owner = Ownership::owner_by_labels(doc);
        Ok(Observed::new(short_name(doc), spec(doc)?, owner))
    });
    observed.collect()
}

/// Deletes one of the system that `is_planned` still takes for what the plan saw; one that is not there is fine.
pub async fn delete<O: RunObject>(
    gcp: &Gcp,
    place: &Place,
    full_name: &str,
    is_planned: impl Fn(&Value) -> Result<bool, GcpError>,
) -> Result<(), GcpError> {
    let Some(live) = gcp.object::<O>(full_name).await? else { return Ok(()) };
    if !is_planned(&live)? || !place.ownership.same_system(&live) {
        return Err(GcpError::moved(full_name));
    }
    gcp.delete_object::<O>(full_name, live["etag"].as_str()).await
}

fn short_name(doc: &Value) -> &str {
    doc["name"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}
