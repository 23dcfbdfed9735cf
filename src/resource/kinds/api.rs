//! Enabled APIs (Service Usage). They are enabled when something declared needs them, and never disabled.

use serde::{Deserialize, Serialize};

use super::identity_pool;
use crate::config::Environment;
use crate::gcp::{Gcp, GcpError};
use crate::resource::{
    Declared, Facts, Kind, Layer, Observed, Owner, Place, Scope, Settle, Undeclared, Verbs,
};

pub struct Api;

/// An API has no settings: it is enabled, or it is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {}

/// APIs that reading a project needs, whatever is declared in it.
const ALWAYS: [&str; 2] = ["cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com"];

/// APIs through which workflows of GitHub get tokens, beside the one in which their identity is declared.
const TOKENS: [&str; 2] = ["iamcredentials.googleapis.com", "sts.googleapis.com"];

/// Where the sidecar of a service with `metrics` sends what it collects.
const METRICS: &str = "monitoring.googleapis.com";

impl Kind for Api {
    const NAME: &'static str = "api";
    const API: &'static str = "serviceusage.googleapis.com";
    const LAYER: Layer = Layer::Foundation;
    const VIEWER: &'static str = "roles/serviceusage.serviceUsageViewer";
    const VERBS: Verbs = Verbs { create: "enable", update: "update", delete: "disable" };
    const UNDECLARED: Undeclared = Undeclared::Keep;
    type Spec = Spec;

    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Spec>> {
        let asked = env.apis.iter().enumerate();
        let asked: Vec<_> =
            asked.map(|(at, name)| Declared::new(name, format!("apis.{at}"), Spec {})).collect();
        let needed = ALWAYS.into_iter().chain(facts.needed_apis.iter().map(String::as_str));
        let tokens = TOKENS.into_iter().filter(|_| identity_pool::declared(env).is_some());
        let derived = needed.map(|name| (name, "project"));
        let derived = derived.chain(tokens.map(|name| (name, "github.identity")));
        let derived = derived.map(|(name, source)| (name, source.to_owned()));
        let collecting = env.services.iter().find(|(_, service)| service.metrics.is_some());
        let metrics = collecting.map(|(key, _)| (METRICS, format!("services.{key}.metrics")));
        let derived = derived.chain(metrics);
        let derived = derived.filter(|(name, _)| !env.apis.iter().any(|asked| asked == name));
        let mut derived: Vec<_> =
            derived.map(|(name, source)| Declared::new(name, source, Spec {})).collect();
        derived.sort_by(|a, b| a.name.cmp(&b.name));
        derived.dedup_by(|a, b| a.name == b.name);
        asked.into_iter().chain(derived).collect()
    }

    async fn observe(gcp: &Gcp, scope: &Scope) -> Result<Vec<Observed<Spec>>, GcpError> {
        let enabled = gcp.enabled_apis(&scope.project).await?;
        Ok(enabled.into_iter().map(|name| Observed::new(name, Spec {}, Owner::Foreign)).collect())
    }

    async fn create(gcp: &Gcp, place: &Place, name: &str, _: &Spec) -> Result<Settle, GcpError> {
        gcp.enable_apis(&place.project, &[name.to_owned()]).await?;
        Ok(Settle::Done)
    }
}
