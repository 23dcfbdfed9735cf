//! From the keys of the YAML to the [`Environment`]: defaults are given here, last, and nowhere else.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::container::{self, Names};
use super::diagnostic::{Diagnostic, did_you_mean};
use super::model::{Access, Environment, Generate, Metrics, Project, Registry, Secret, Service, Target, Vpc};
use super::rules::is_production;
use super::schema::{
    self, File, ImageTagsKeys, MetricsKeys, Named, RolloutKeys, SecretKeys, ServiceKeys, VpcKeys,
};
use super::tree::{Findings, Node, Part, join};
use super::{scalars, schema::Egress};

mod build;
mod github;
mod jobs;
mod local;
mod pipeline;
mod registry;
mod rollout;
mod tenants;

pub(crate) use jobs::MAX_NAME as MAX_JOB_NAME;

/// Fewest and most instances, requests and seconds of a service that says nothing.
const MIN_INSTANCES: u32 = 0;
const MAX_INSTANCES: u32 = 10;
const CONCURRENCY: u32 = 80;
const TIMEOUT: Limits = Limits { least: 1, most: 3600, default: 300 };
const PORT: u16 = 8080;
const METRICS_PATH: &str = "/metrics";
const METRICS_INTERVAL: Limits = Limits { least: 5, most: 300, default: 30 };
const DEFAULT_PATTERN: &str = "${name}-${env}";

/// What resolving needs beside the keys.
pub(crate) struct Context<'a> {
    pub(crate) environment: &'a str,
    /// The project's number that the caller knows.
    pub(crate) given_number: Option<u64>,
    /// The merged tree, for the order of the files.
    pub(crate) root: &'a Node,
    /// The merged values, for the digest.
    pub(crate) value: &'a Value,
}

/// Makes the environment. What is missing is reported and stands in as empty, so that the rest can be checked too.
pub(crate) fn resolve(file: File, context: &Context<'_>, findings: &mut Findings) -> Environment {
    if file.deployer.is_none() {
        require("deployer", "deployer: v1", "the version of the format", findings);
    }
    let system = required(file.system, "system", "system: my-system", "the name of the system", findings);
    let region = required(file.region, "region", "region: us-central1", "where to deploy to", findings);
    let project = resolve_project(file.project.unwrap_or_default(), context, findings);
    let guarded = is_production(context.environment);
    let registry = file.registry.map(|keys| registry::resolve(keys, findings));
    let mut secrets = resolve_secrets(file.secrets, guarded, context.root, findings);
    let written = in_file_order(file.services, context.root, "services");
    let tenants = {
        let services: Vec<&str> = written.iter().map(|(key, _)| key.as_str()).collect();
        tenants::resolve(file.tenants.unwrap_or_default(), &services, guarded, context.root, findings)
    };
    secrets.extend(tenants.secrets);
    let pattern = pattern(file.naming.and_then(|naming| naming.resource), context, findings);
    let around = Around {
        names: Names { secrets: &secrets },
        pattern: &pattern,
        project: &project.id,
        environment: context.environment,
        rollout: file.rollout.as_ref(),
        images: registry.as_ref().map(|registry| registry.prefix(&region, &project.id)),
    };
    let mut services = IndexMap::new();
    for (key, keys) in written {
        let service = resolve_service(&join("services", &key), &key, keys, &around, findings);
        services.insert(key, service);
    }
    let around = jobs::Around {
        names: Names { secrets: &secrets },
        services: &services,
        pattern: &pattern,
        project: &project.id,
        root: context.root,
    };
    let smoke = rollout::smoke(file.smoke, &services, context.root, findings);
    let tags = image_tags(file.image_tags, registry.as_ref(), findings);
    let jobs = jobs::resolve(file.jobs, file.migrations, &around, findings);
    let target = match file.target {
        Some(schema::Target::Sandbox) => Target::Sandbox,
        Some(schema::Target::Google) | None => Target::Google,
    };
    let local = file.local.zip(context.root.get("local")).map(|(keys, written)| {
        let around = local::Around { target, secrets: &secrets, services: &services, written };
        local::resolve(keys, &around, findings)
    });
    let ci = pipeline::ci(file.ci.unwrap_or_default(), context.root, findings);
    let github = file.github.map(|keys| github::resolve(keys, &ci, context.root, findings));
    Environment {
        name: context.environment.to_owned(),
        system,
        project,
        region,
        target,
        apis: file.apis.unwrap_or_default().into_iter().map(|api| api.0).collect(),
        registry,
        deploy_tag: tags.deploy,
        alias_tag: tags.alias,
        smoke,
        secrets,
        tenants: tenants.tenants,
        services,
        jobs,
        github,
        ci,
        local: local.unwrap_or_default(),
        show_env: file.plan.and_then(|plan| plan.show_env).unwrap_or_default(),
        sources: findings.sources(),
        digest: digest(context.value),
    }
}

/// The tags of images; one that people push cannot be the one that follows what serves.
fn image_tags(
    keys: Option<ImageTagsKeys>,
    registry: Option<&Registry>,
    findings: &mut Findings,
) -> ImageTagsKeys {
    let keys = keys.unwrap_or_default();
    let idle = match registry {
        None if findings.is_broken("registry") => None,
        None => Some(("there is no `registry` whose images could bear it", "add `registry`, or remove it")),
        Some(registry) if registry.immutable_tags => {
            Some(("the tags of `registry` cannot be moved", "remove it, or `immutable_tags`"))
        }
        Some(_) => None,
    };
    if let Some((message, hint)) = idle.filter(|_| keys.alias.is_some()) {
        let diagnostic = Diagnostic::error("image-tags", message).label("moves nothing").hint(hint);
        findings.add(Part::Key, "image_tags.alias", diagnostic);
    }
    let alias = keys.alias.as_deref();
    let taken =
        alias.is_some_and(|alias| keys.deploy.as_deref() == Some(alias) || alias.starts_with("serving-"));
    if taken {
        let message = "the alias would be moved by others too: by a build, or as the tag of what serves";
        let diagnostic = Diagnostic::error("image-tags", message)
            .label("not its own")
            .hint("take a tag that neither is `image_tags.deploy` nor starts with `serving-`");
        findings.add(Part::Value, "image_tags.alias", diagnostic);
    }
    keys
}

fn required(value: Option<String>, path: &str, example: &str, what: &str, findings: &mut Findings) -> String {
    value.unwrap_or_else(|| {
        require(path, example, what, findings);
        String::new()
    })
}

/// Reports that `path` is missing, unless it was there and wrong.
pub(super) fn require(path: &str, example: &str, what: &str, findings: &mut Findings) {
    if findings.is_broken(path) {
        return;
    }
    let key = path.rsplit('.').next().unwrap_or(path);
    let diagnostic = Diagnostic::error("required-key", format!("`{key}` is missing: {what}"))
        .label("misses a key")
        .hint(format!("add `{example}`"));
    findings.add(Part::Key, path, diagnostic);
}

fn resolve_project(keys: schema::ProjectKeys, context: &Context<'_>, findings: &mut Findings) -> Project {
    let id =
        required(keys.id, "project.id", "project: {id: my-project-id}", "the Google Cloud project", findings);
    let number = keys.number.and_then(|number| number.0.parse().ok()).or(context.given_number);
    let placeholder = id.contains("example") || id.contains("your-");
    if placeholder {
        let message = format!("`{id}` is a placeholder, not a project");
        let diagnostic = Diagnostic::warning("placeholder-project", message)
            .label("a placeholder")
            .hint("fine on the sandbox; write your own project's id before you deploy to Google");
        findings.add(Part::Value, "project.id", diagnostic);
    }
    Project { id, number, placeholder }
}

fn resolve_secrets(
    keys: Option<Named<SecretKeys>>,
    guarded: bool,
    root: &Node,
    findings: &mut Findings,
) -> IndexMap<String, Secret> {
    let mut secrets = IndexMap::new();
    for (alias, keys) in in_file_order(keys, root, "secrets") {
        let path = join("secrets", &alias);
        let id = keys.id.unwrap_or_else(|| alias.clone());
        if !is_secret_id(&id) {
            let diagnostic = Diagnostic::error("wrong-value", format!("`{id}` cannot be the id of a secret"))
                .label("not valid")
                .hint("letters, digits, dashes and underscores, at most 255; set `id` if the name here should stay");
            findings.add(Part::Key, &path, diagnostic);
        }
        let secret = Secret {
            path,
            id,
            generate: keys.generate.map(|generate| match generate {
                schema::Generate::Hex32 => Generate::Hex32,
                schema::Generate::Base64 => Generate::Base64,
                schema::Generate::Uuid => Generate::Uuid,
            }),
            optional: keys.optional.unwrap_or(false),
            description: keys.description,
            labels: text_map(keys.labels),
            locations: keys.locations.unwrap_or_default(),
            tenant: None,
            readers: Vec::new(),
            protect: keys.protect.unwrap_or(guarded),
        };
        secrets.insert(alias, secret);
    }
    secrets
}

fn is_secret_id(id: &str) -> bool {
    (1..=255).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn pattern(written: Option<String>, context: &Context<'_>, findings: &mut Findings) -> String {
    let pattern = written.unwrap_or_else(|| DEFAULT_PATTERN.to_owned());
    if !pattern.contains("${name}") {
        let diagnostic =
            Diagnostic::error("naming", "`naming.resource` has no `${name}`, so all names would be equal")
                .label("no `${name}`")
                .hint("write `${name}-${env}`");
        findings.add(Part::Value, "naming.resource", diagnostic);
    }
    pattern.replace("${env}", context.environment)
}

/// What services refer to.
struct Around<'a> {
    names: Names<'a>,
    /// `naming.resource` with everything but `${name}` filled in.
    pattern: &'a str,
    project: &'a str,
    environment: &'a str,
    /// What the file says for all services.
    rollout: Option<&'a RolloutKeys>,
    /// Where the system's own images live.
    images: Option<String>,
}

fn resolve_service(
    path: &str,
    key: &str,
    keys: ServiceKeys,
    around: &Around<'_>,
    findings: &mut Findings,
) -> Service {
    let name = keys.name.unwrap_or_else(|| around.pattern.replace("${name}", key));
    let service_account = match keys.service_account {
        Some(account) => account_id(&join(path, "service_account"), &account, around.project, findings),
        None => name.clone(),
    };
    let mut own = keys.container;
    own.image = own.image.or_else(|| around.images.as_ref().map(|images| format!("{images}/{key}")));
    if keys.build.is_some() {
        // Without a registry `build` itself is what is wrong.
        own.image.get_or_insert_default();
    }
    let image = own.image.clone();
    rollout::probes(keys.health.as_ref(), &mut own);
    let mut main = container::resolve(path, own, &around.names, findings);
    let port = keys.port.unwrap_or(PORT);
    main.port = Some(port);
    let below_one = scalars::millicpus(&main.cpu).is_some_and(|millicpus| millicpus < 1000);
    let mut sidecars = IndexMap::new();
    for (sidecar, keys) in keys.sidecars.into_iter().flatten() {
        let path = format!("{path}.sidecars.{sidecar}");
        sidecars
            .insert(sidecar, container::resolve(&path, keys.unwrap_or_default(), &around.names, findings));
    }
    Service {
        name,
        service_account,
        roles: keys.roles.unwrap_or_default().into_iter().map(|role| role.0).collect(),
        min_instances: keys.min_instances.unwrap_or(MIN_INSTANCES),
        max_instances: keys.max_instances.unwrap_or(MAX_INSTANCES),
        concurrency: keys.concurrency.unwrap_or(if below_one { 1 } else { CONCURRENCY }),
        timeout: seconds(&join(path, "timeout"), keys.timeout.map(|time| time.0), TIMEOUT, findings),
        execution_environment: match keys.execution_environment {
            Some(schema::ExecutionEnvironment::Gen1) => "gen1".into(),
            None if below_one => "gen1".into(),
            Some(schema::ExecutionEnvironment::Gen2) | None => "gen2".into(),
        },
        session_affinity: keys.session_affinity.unwrap_or(false),
        ingress: match keys.ingress {
            None | Some(schema::Ingress::All) => "all".into(),
            Some(schema::Ingress::Internal) => "internal".into(),
            Some(schema::Ingress::InternalAndCloudLoadBalancing) => {
                "internal-and-cloud-load-balancing".into()
            }
        },
        access: access(path, keys.access, keys.allow_unauthenticated, findings),
        labels: text_map(keys.labels),
        vpc: keys.vpc.map(|vpc| resolve_vpc(&join(path, "vpc"), vpc, findings)),
        main,
        sidecars,
        metrics: keys.metrics.map(|keys| resolve_metrics(&join(path, "metrics"), keys, port, findings)),
        build: keys.build.and_then(|keys| {
            let images = around.images.as_deref();
            let service =
                build::Built { key, image: image.as_deref(), images, environment: around.environment };
            build::resolve(path, keys, &service, findings)
        }),
        health: rollout::health(path, keys.rollout, around.rollout, keys.health, findings),
        protect: keys.protect.unwrap_or(false),
        v2: keys.v2.map(|patch| Value::Object(patch.into_iter().collect())),
    }
}

/// The id in `id` or `id@PROJECT.iam.gserviceaccount.com`.
fn account_id(path: &str, written: &str, project: &str, findings: &mut Findings) -> String {
    if written == "default"
        || written.contains("-compute@")
        || written.ends_with("@appspot.gserviceaccount.com")
    {
        let diagnostic = Diagnostic::error(
            "default-account",
            "the project's default account is shared by everything in the project and usually an editor of it",
        )
        .label("a default account")
        .hint("leave `service_account` out: the service gets an account of its own");
        findings.add(Part::Value, path, diagnostic);
        findings.broken.insert(path.to_owned());
        return written.to_owned();
    }
    let Some((id, domain)) = written.split_once('@') else { return written.to_owned() };
    if domain != format!("{project}.iam.gserviceaccount.com") {
        let diagnostic =
            Diagnostic::error("not-supported-yet", "accounts of other projects are not supported yet")
                .label("another project")
                .hint("write the id alone, the part before the `@`");
        findings.add(Part::Value, path, diagnostic);
        findings.broken.insert(path.to_owned());
    }
    id.to_owned()
}

fn resolve_metrics(path: &str, keys: MetricsKeys, port: u16, findings: &mut Findings) -> Metrics {
    Metrics {
        path: keys.path.unwrap_or_else(|| METRICS_PATH.to_owned()),
        port: keys.port.unwrap_or(port),
        interval: seconds(
            &join(path, "interval"),
            keys.interval.map(|time| time.0),
            METRICS_INTERVAL,
            findings,
        ),
    }
}

/// Seconds that a key may say, and what it is when it says nothing.
#[derive(Clone, Copy)]
struct Limits {
    least: u32,
    most: u32,
    default: u32,
}

fn seconds(path: &str, written: Option<String>, limits: Limits, findings: &mut Findings) -> u32 {
    let Some(written) = written else { return limits.default };
    match scalars::seconds(&written) {
        Some(seconds) if (limits.least..=limits.most).contains(&seconds) => seconds,
        seconds => {
            let key = path.rsplit('.').next().unwrap_or(path);
            let small = seconds.is_some_and(|seconds| seconds < limits.least);
            let (side, limit, label) =
                if small { ("least", limits.least, "too small") } else { ("most", limits.most, "too large") };
            let message = format!("`{key}` is at {side} {}, and this is `{written}`", scalars::time(limit));
            findings.add(Part::Value, path, Diagnostic::error("out-of-range", message).label(label));
            limits.default
        }
    }
}

/// A service that is referred to and is not there.
fn unknown_service(name: &str, known: &[&str]) -> Diagnostic {
    let diagnostic = Diagnostic::error("unknown-service", format!("there is no service `{name}`"))
        .label("unknown service");
    match did_you_mean(name, known.iter().copied()) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None if known.is_empty() => diagnostic.hint("there are no `services`"),
        None => diagnostic.hint(format!("the services are: {}", known.join(", "))),
    }
}

fn access(path: &str, access: Option<schema::Access>, open: Option<bool>, findings: &mut Findings) -> Access {
    if access.is_some() && open.is_some() {
        let diagnostic =
            Diagnostic::error("access", "`allow_unauthenticated` and `access` say the same thing twice")
                .label("one of the two")
                .hint("keep `access`");
        findings.add(Part::Key, &join(path, "allow_unauthenticated"), diagnostic);
    }
    match (access, open) {
        (Some(schema::Access::Public), _) | (None, Some(true)) => Access::Public,
        (Some(schema::Access::NoIamCheck), _) => Access::NoIamCheck,
        (Some(schema::Access::Private) | None, _) => Access::Private,
    }
}

fn resolve_vpc(path: &str, keys: VpcKeys, findings: &mut Findings) -> Vpc {
    let direct = keys.network.is_some() || keys.subnet.is_some() || keys.tags.is_some();
    if keys.connector.is_some() && direct {
        let diagnostic = Diagnostic::error(
            "vpc",
            "a service goes through a connector or directly into a network, not both",
        )
        .label("both ways")
        .hint("remove `connector`, or `network`, `subnet` and `tags`");
        findings.add(Part::Key, path, diagnostic);
    } else if keys.connector.is_none()
        && keys.network.is_none()
        && keys.subnet.is_none()
        && !findings.is_broken(path)
    {
        let diagnostic = if findings.is_broken("network") {
            // It counts on a key that nothing obeys yet, and goes with it.
            Diagnostic::error("not-supported-yet", "`vpc` without a network of its own is not supported yet")
                .label("which network?")
                .hint("remove it, or add `network` and `subnet`, or `connector`")
        } else {
            Diagnostic::error("vpc", "`vpc` says no way into a network")
                .label("no way")
                .hint("add `network` and `subnet`, or `connector`")
        };
        findings.add(Part::Key, path, diagnostic);
    }
    Vpc {
        connector: keys.connector,
        network: keys.network,
        subnet: keys.subnet,
        tags: keys.tags.unwrap_or_default(),
        egress: match keys.egress {
            Some(Egress::AllTraffic | Egress::AllTrafficUpper) => "all-traffic".into(),
            Some(Egress::PrivateRangesOnly | Egress::PrivateRangesOnlyUpper) | None => {
                "private-ranges-only".into()
            }
        },
    }
}

/// The entries of a map without nulls.
pub(super) fn text_map(map: Option<Named<String>>) -> BTreeMap<String, String> {
    map.into_iter().flatten().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// The entries of `map` in the order in which the files have them at the dotted `path`.
fn in_file_order<T: Default>(map: Option<Named<T>>, root: &Node, path: &str) -> Vec<(String, T)> {
    let mut map = map.unwrap_or_default();
    let node = path.split('.').try_fold(root, |node, key| node.get(key));
    let written = node.and_then(Node::as_map);
    let mut ordered = Vec::with_capacity(map.len());
    for key in written.into_iter().flat_map(|written| written.keys()) {
        if let Some(entry) = map.swap_remove(key) {
            ordered.push((key.clone(), entry.unwrap_or_default()));
        }
    }
    ordered
}

/// Hex SHA-256 of the value with its keys sorted.
fn digest(value: &Value) -> String {
    let mut canonical = String::new();
    write_canonical(value, &mut canonical);
    hex::encode(Sha256::digest(canonical.as_bytes()))
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (position, (key, value)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        let one = serde_json::from_str::<Value>(r#"{"a": 1, "b": {"c": [1, 2], "d": "x"}}"#).unwrap();
        let other = serde_json::from_str::<Value>(r#"{"b": {"d": "x", "c": [1, 2]}, "a": 1}"#).unwrap();
        assert_eq!(digest(&one), digest(&other));
        let third = serde_json::from_str::<Value>(r#"{"b": {"d": "x", "c": [2, 1]}, "a": 1}"#).unwrap();
        assert_ne!(digest(&one), digest(&third));
    }
}
