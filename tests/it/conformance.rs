//! Every kind, field by field: what is created reads back as declared, each field that changes is the one thing that
//! the plan shows, and in the end everything can be deleted. A kind or a field that is not in these tables fails.

use std::collections::{BTreeMap, BTreeSet};

use deployer::resource::registry::Registry;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, Workplace, service_path, shop};

const BASE: &str = shop!(
    r#"apis: [vision.googleapis.com]
registry:
  repository: shop
  description: Images
  labels: {stage: raw}
  retention: {keep_last: 5, delete_untagged_after: 30d, dry_run: false}
  immutable_tags: false
secrets:
  alpha: {generate: hex32, description: First, labels: {team: red}}
  beta: {}
services:
  web:
    name: web
    service_account: web-runner
    image: us-docker.pkg.dev/cloudrun/container/hello
    command: [serve]
    args: [--fast]
    port: 8080
    cpu: 1
    memory: 2Gi
    cpu_idle: true
    startup_cpu_boost: false
    env: {COLOR: red}
    secrets: {ALPHA: alpha}
    volumes: {/cache: {in_memory: 64Mi}}
    startup_probe: {path: /s, port: 8081, initial_delay_seconds: 1, period_seconds: 10, timeout_seconds: 5, failure_threshold: 3}
    liveness_probe: /l
    readiness_probe: /r
    depends_on: [proxy]
    sidecars:
      proxy: {image: us-docker.pkg.dev/cloudrun/container/hello, cpu: 0.5, startup_probe: {tcp: true, port: 9000}}
      extra: {image: us-docker.pkg.dev/cloudrun/container/hello, cpu: 0.5, startup_probe: {grpc: true, port: 9001}}
    min_instances: 0
    max_instances: 3
    concurrency: 80
    timeout: 300s
    execution_environment: gen2
    session_affinity: false
    ingress: all
    access: private
    labels: {tier: front}
    vpc: {network: default, subnet: default, tags: [a], egress: all-traffic}
    v2: {customAudiences: [https://one.example.com]}
    roles: [roles/cloudtrace.agent]
  own:
    name: own
    service_account: own-runner
    image: us-central1-docker.pkg.dev/agent-army-example/shop/own@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    startup_probe: /s
github:
  repository: octo-org/shop
  repository_id: 900000001
  owner_id: 900000002
  identity: {pool: github, provider: actions, plan: ci-plan, deploy: ci-deploy}
jobs:
  nightly:
    name: nightly
    service_account: night-runner
    image: us-docker.pkg.dev/cloudrun/container/job
    command: [work, --all]
    cpu: 4
    memory: 4Gi
    env: {KIND: full}
    secrets: {NIGHT_KEY: beta}
    volumes: {/scratch: {in_memory: 32Mi}}
    timeout: 700s
    max_retries: 2
    tasks: 2
    parallelism: 1
    labels: {kind: backup}
    vpc: {connector: projects/agent-army-example/locations/us-central1/connectors/one}
"#
);

const DEV: &str = "deployer: v1\nenvironment: dev\ntarget: sandbox\n";

/// An edit of the base, and the fields of the service `web` that alone may change: `(from, to, sorted pointers)`.
const SERVICE_EDITS: &[(&str, &str, &[&str])] = &[
    (
        "    image: us-docker.pkg.dev/cloudrun/container/hello\n",
        "    image: us-docker.pkg.dev/cloudrun/container/hello:v2\n",
        &["/image"],
    ),
    ("command: [serve]", "command: [run, it]", &["/command"]),
    ("args: [--fast]", "args: []", &["/args"]),
    ("port: 8080\n", "port: 8088\n", &["/port"]),
    ("cpu: 1\n", "cpu: 2\n", &["/cpu"]),
    ("memory: 2Gi", "memory: 3Gi", &["/memory"]),
    ("cpu_idle: true", "cpu_idle: false", &["/cpu_idle"]),
    ("startup_cpu_boost: false", "startup_cpu_boost: true", &["/startup_cpu_boost"]),
    ("COLOR: red", "COLOR: blue", &["/env/COLOR"]),
    ("COLOR: blue", "COLOR: blue, SIZE: 5", &["/env/SIZE"]),
    ("COLOR: blue, SIZE: 5", "SIZE: 5", &["/env/COLOR"]),
    ("secrets: {ALPHA: alpha}", "secrets: {ALPHA: \"alpha:latest\"}", &["/secrets/ALPHA"]),
    (
        "secrets: {ALPHA: \"alpha:latest\"}",
        "secrets: {ALPHA: alpha, /etc/alpha/key: alpha}",
        &["/secrets/ALPHA", "/secrets/~1etc~1alpha~1key"],
    ),
    ("in_memory: 64Mi", "in_memory: 96Mi", &["/volumes/~1cache/in_memory"]),
    ("path: /s,", "path: /started,", &["/startup_probe/path"]),
    ("port: 8081", "port: 8082", &["/startup_probe/port"]),
    ("initial_delay_seconds: 1", "initial_delay_seconds: 2", &["/startup_probe/initial_delay_seconds"]),
    ("period_seconds: 10", "period_seconds: 11", &["/startup_probe/period_seconds"]),
    ("timeout_seconds: 5", "timeout_seconds: 6", &["/startup_probe/timeout_seconds"]),
    ("failure_threshold: 3", "failure_threshold: 4", &["/startup_probe/failure_threshold"]),
    ("path: /started, port: 8082", "tcp: true, port: 8082", &["/startup_probe/path", "/startup_probe/tcp"]),
    ("tcp: true, port: 8082", "grpc: ready, port: 8082", &["/startup_probe/grpc", "/startup_probe/tcp"]),
    ("liveness_probe: /l", "liveness_probe: {grpc: true}", &["/liveness_probe/grpc", "/liveness_probe/path"]),
    ("    liveness_probe: {grpc: true}\n", "", &["/liveness_probe"]),
    ("readiness_probe: /r", "readiness_probe: /ready", &["/readiness_probe/path"]),
    ("depends_on: [proxy]", "depends_on: [proxy, extra]", &["/depends_on"]),
    ("cpu: 0.5, startup_probe: {tcp", "cpu: 0.25, startup_probe: {tcp", &["/sidecars/proxy/cpu"]),
    (
        "cpu: 0.5, startup_probe: {grpc",
        "env: {A: b}, cpu: 0.5, startup_probe: {grpc",
        &["/sidecars/extra/env/A"],
    ),
    ("min_instances: 0", "min_instances: 1", &["/min_instances"]),
    ("max_instances: 3", "max_instances: 4", &["/max_instances"]),
    ("concurrency: 80", "concurrency: 20", &["/concurrency"]),
    ("timeout: 300s", "timeout: 60s", &["/timeout"]),
    ("execution_environment: gen2", "execution_environment: gen1", &["/execution_environment"]),
    ("session_affinity: false", "session_affinity: true", &["/session_affinity"]),
    ("ingress: all", "ingress: internal", &["/ingress"]),
    ("access: private", "access: no_iam_check", &["/access"]),
    ("access: no_iam_check", "access: private", &["/access"]),
    ("tier: front", "tier: back", &["/labels/tier"]),
    ("labels: {tier: back}", "labels: {}", &["/labels/tier"]),
    ("subnet: default", "subnet: other", &["/vpc/subnet"]),
    ("network: default, subnet: other", "network: wide, subnet: other", &["/vpc/network"]),
    ("tags: [a]", "tags: [b, a]", &["/vpc/tags"]),
    ("egress: all-traffic", "egress: private-ranges-only", &["/vpc/egress"]),
    ("https://one.example.com", "https://two.example.com", &["/v2/customAudiences"]),
    ("    v2: {customAudiences: [https://two.example.com]}\n", "", &["/v2/customAudiences"]),
];

/// The same for the job `nightly`.
const JOB_EDITS: &[(&str, &str, &[&str])] = &[
    ("container/job\n", "container/job:v2\n", &["/image"]),
    ("command: [work, --all]", "command: [work, --some]", &["/args"]),
    ("command: [work, --some]", "command: [toil, --some]", &["/command"]),
    ("cpu: 4\n", "cpu: 6\n", &["/cpu"]),
    ("memory: 4Gi", "memory: 5Gi", &["/memory"]),
    ("KIND: full", "KIND: part", &["/env/KIND"]),
    ("NIGHT_KEY: beta", "NIGHT_KEY: \"beta:latest\"", &["/secrets/NIGHT_KEY"]),
    ("in_memory: 32Mi", "in_memory: 48Mi", &["/volumes/~1scratch/in_memory"]),
    ("timeout: 700s", "timeout: 800s", &["/timeout"]),
    ("max_retries: 2", "max_retries: 0", &["/max_retries"]),
    ("tasks: 2", "tasks: 3", &["/tasks"]),
    ("parallelism: 1", "parallelism: 2", &["/parallelism"]),
    ("labels: {kind: backup}", "labels: {kind: copy}", &["/labels/kind"]),
    ("connectors/one", "connectors/two", &["/vpc/connector"]),
];

/// Edits that are about other objects than the service alone: `(from, to, changes)`, a change being
/// `verb address pointers...`.
const OTHER_EDITS: &[(&str, &str, &[&str])] = &[
    ("description: First", "description: The first", &["update secret/alpha /description"]),
    ("labels: {team: red}", "labels: {team: blue}", &["update secret/alpha /labels/team"]),
    (", labels: {team: blue}", "", &["update secret/alpha /labels/team"]),
    // Nothing makes a second value.
    ("generate: hex32", "generate: uuid", &[]),
    (
        "apis: [vision.googleapis.com]",
        "apis: [vision.googleapis.com, translate.googleapis.com]",
        &["enable api/translate.googleapis.com"],
    ),
    // APIs are never disabled.
    ("apis: [vision.googleapis.com, translate.googleapis.com]", "apis: []", &[]),
    (
        "secrets: {ALPHA: alpha",
        "secrets: {BETA: beta, ALPHA: alpha",
        &["grant secret_grant/beta:secretAccessor:web-runner", "update run_service/web /secrets/BETA"],
    ),
    (
        "secrets: {BETA: beta, ",
        "secrets: {",
        &["revoke secret_grant/beta:secretAccessor:web-runner", "update run_service/web /secrets/BETA"],
    ),
    (
        "    roles: [roles/cloudtrace.agent]\n",
        "    roles: [roles/cloudtrace.agent]\n    metrics: {port: 8080}\n",
        &[
            "grant project_grant/agent-army-example:monitoring.metricWriter:web-runner",
            "update run_service/web /metrics",
        ],
    ),
    (
        "    metrics: {port: 8080}\n",
        "",
        &[
            "revoke project_grant/agent-army-example:monitoring.metricWriter:web-runner",
            "update run_service/web /metrics",
        ],
    ),
    ("access: private", "access: public", &["grant run_grant/web:invoker:allUsers"]),
    ("access: public", "access: private", &["revoke run_grant/web:invoker:allUsers"]),
    ("description: Images", "description: Our images", &["update repository/shop /description"]),
    ("labels: {stage: raw}", "labels: {stage: fine}", &["update repository/shop /labels/stage"]),
    // Nothing remembers whose a label is that the YAML does not name.
    ("  labels: {stage: fine}\n", "", &[]),
    ("keep_last: 5", "keep_last: 6", &["update repository/shop /retention/keep_last"]),
    (
        "delete_untagged_after: 30d",
        "delete_untagged_after: 36h",
        &["update repository/shop /retention/delete_untagged_after"],
    ),
    ("dry_run: false", "dry_run: true", &["update repository/shop /retention/dry_run"]),
    (
        "{keep_last: 6, delete_untagged_after: 36h, dry_run: true}",
        "{keep_last: 6}",
        &["update repository/shop /retention/delete_untagged_after /retention/dry_run"],
    ),
    (
        "shop/own@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "shop/own@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        &["update run_service/own /image", "move image_tag/own:serving-dev /digest"],
    ),
    // A tag that serves stays, and is told.
    ("immutable_tags: false", "immutable_tags: true", &["update repository/shop /immutable_tags"]),
    ("immutable_tags: true", "immutable_tags: false", &["update repository/shop /immutable_tags"]),
    (
        "repository_id: 900000001",
        "repository_id: 900000003",
        &[
            "update identity_provider/github/actions /condition",
            "grant account_grant/ci-plan:iam.workloadIdentityUser:principalSet:123456789012/github/attribute.repository_id/900000003",
            "grant account_grant/ci-deploy:iam.workloadIdentityUser:principalSet:123456789012/github/attribute.repository_id/900000003",
            "revoke account_grant/ci-plan:iam.workloadIdentityUser:principalSet:123456789012/github/attribute.repository_id/900000001",
            "revoke account_grant/ci-deploy:iam.workloadIdentityUser:principalSet:123456789012/github/attribute.repository_id/900000001",
        ],
    ),
    (
        "    service_account: web-runner\n",
        "    service_account: web-worker\n",
        &[
            "create service_account/web-worker",
            "grant secret_grant/alpha:secretAccessor:web-worker",
            "grant project_grant/agent-army-example:cloudtrace.agent:web-worker",
            "revoke project_grant/agent-army-example:cloudtrace.agent:web-runner",
            "grant account_grant/web-worker:iam.serviceAccountUser:ci-deploy",
            "revoke account_grant/web-runner:iam.serviceAccountUser:ci-deploy",
            "revoke secret_grant/alpha:secretAccessor:web-runner",
            "update run_service/web /service_account",
        ],
    ),
    (
        "    service_account: night-runner\n",
        "    service_account: day-runner\n",
        &[
            "create service_account/day-runner",
            "grant secret_grant/beta:secretAccessor:day-runner",
            "grant account_grant/day-runner:iam.serviceAccountUser:ci-deploy",
            "revoke account_grant/night-runner:iam.serviceAccountUser:ci-deploy",
            "revoke secret_grant/beta:secretAccessor:night-runner",
            "update run_job/nightly /service_account",
        ],
    ),
    (
        "services:\n",
        "services:\n  site: {name: site, image: us-docker.pkg.dev/cloudrun/container/hello, startup_probe: /s, service_account: web-worker}\n",
        &["create run_service/site"],
    ),
];

/// Fields that no edit can change in place, and why.
const OTHERWISE: [(&str, &[&str]); 14] = [
    ("api", &[]),
    // Always the same, and immutable.
    ("repository", &["format", "mode"]),
    // One repository; who uses an image is in no tag.
    ("image_tag", &["repository", "used_by"]),
    // Follows from the account's id; the scenario `adopting` mends one.
    ("service_account", &["display_name"]),
    // Always the same; `identity` mends what others change.
    ("identity_pool", &["display_name"]),
    ("identity_provider", &["display_name", "issuer", "mapping"]),
    // Immutable, see `an_immutable_field_is_refused`.
    ("secret", &["locations"]),
    // Made once; `version` and `generate` matter for the first value only.
    ("secret_value", &["generate", "version"]),
    // All of a grant is in its name: another one is a grant and a revoke.
    ("secret_grant", &["on", "role", "member"]),
    ("run_grant", &["on", "role", "member"]),
    ("project_grant", &["on", "role", "member"]),
    ("account_grant", &["on", "role", "member"]),
    // Drift that the YAML cannot ask for, see `drift_that_the_yaml_has_no_word_for_is_seen_and_mended`.
    // `bad_releases` has releases that did not pass.
    ("run_service", &["traffic", "newest_revision", "last_release"]),
    // Jobs have one environment; for `readiness` see `jobs`.
    ("run_job", &["execution_environment", "readiness"]),
];

/// The changes of a plan in the form of the tables.
async fn changes(rig: &Rig) -> (BTreeSet<String>, Value) {
    let plan = rig.deployer("plan dev --output json").ok().await.json();
    let changes = plan["changes"].as_array().unwrap().iter().map(|change| {
        let fields = change["fields"].as_array().unwrap().iter();
        let pointers: BTreeSet<_> = fields.map(|field| field["pointer"].as_str().unwrap()).collect();
        let words = [change["verb"].as_str().unwrap(), change["address"].as_str().unwrap()];
        words.into_iter().chain(pointers).collect::<Vec<_>>().join(" ")
    });
    (changes.collect(), plan.clone())
}

async fn rig() -> Rig {
    let files = [("environments/base.yaml", BASE), ("environments/dev.yaml", DEV)];
    Rig::of(Workplace::with(&files), Cloud::fresh().await)
}

/// Everything is applied, with images in the registry for `own`. Answers the plan of what comes after the foundation.
async fn applied(rig: &Rig) -> Value {
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    for letter in ["a", "b"] {
        let image =
            format!("us-central1-docker.pkg.dev/agent-army-example/shop/own@sha256:{}", letter.repeat(64));
        let (status, answer) =
            rig.cloud.send(Method::POST, "/__sandbox/artifacts", Some(&json!({ "image": image }))).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (_, plan) = changes(rig).await;
    rig.apply().ok().await;
    plan
}

async fn edit_and_apply(rig: &Rig, from: &str, to: &str, expected: BTreeSet<String>) {
    rig.edit(from, to);
    let (found, _) = changes(rig).await;
    assert_eq!(found, expected, "{from:?} -> {to:?}");
    rig.apply().ok().await;
    rig.settled(to).await;
}

/// The fields of each kind's specs, from what the plans create.
fn declared_fields(plans: [&Value; 2]) -> BTreeMap<String, BTreeSet<String>> {
    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for change in plans.iter().flat_map(|plan| plan["changes"].as_array().unwrap()) {
        let of_kind = fields.entry(change["kind"].as_str().unwrap().to_owned()).or_default();
        of_kind.extend(change["after"].as_object().unwrap().keys().cloned());
    }
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_every_kind_changes_alone_and_settles() {
    let rig = rig().await;
    // A plan would want the images, and those the repository.
    let first = rig.deployer("drift dev --output json").fails(2).await.json();
    let second = applied(&rig).await;
    rig.settled("what is created reads back as declared").await;
    let mut covered: BTreeSet<(String, String)> = BTreeSet::new();
    let mut cover = |address: &str, pointer: &str| {
        let kind = address.split('/').next().unwrap();
        covered.insert((kind.to_owned(), pointer.split('/').nth(1).unwrap().to_owned()));
    };
    for (address, edits) in [("run_service/web", SERVICE_EDITS), ("run_job/nightly", JOB_EDITS)] {
        for (from, to, pointers) in edits {
            pointers.iter().for_each(|pointer| cover(address, pointer));
            let change = format!("update {address} {}", pointers.join(" "));
            edit_and_apply(&rig, from, to, BTreeSet::from([change])).await;
        }
    }
    for (from, to, expected) in OTHER_EDITS {
        for words in expected.iter().map(|change| change.split(' ').collect::<Vec<_>>()) {
            words[2..].iter().for_each(|pointer| cover(words[1], pointer));
        }
        edit_and_apply(&rig, from, to, expected.iter().map(ToString::to_string).collect()).await;
    }

    let mut declared = declared_fields([&first, &second]);
    for kind in Registry::standard().kinds() {
        // An API's spec is empty, there is no grant to the public in the base, and there are grants that the YAML
        // cannot ask for.
        let fields = declared.remove(kind.name()).unwrap_or_default();
        assert!(
            !fields.is_empty()
                || ["api", "run_grant", "job_grant", "repository_grant"].contains(&kind.name()),
            "the base declares no {}",
            kind.name()
        );
        for field in fields {
            let otherwise = OTHERWISE
                .iter()
                .any(|(name, fields)| *name == kind.name() && fields.contains(&field.as_str()));
            let edited = covered.contains(&(kind.name().to_owned(), field.clone()));
            assert!(edited || otherwise, "no edit changes the field `{field}` of {}", kind.name());
        }
    }
    assert!(declared.is_empty(), "{declared:?}");

    everything_goes(&rig).await;
}

/// Prunes all that was declared.
async fn everything_goes(rig: &Rig) {
    let head = BASE.split("apis:").next().unwrap();
    rig.place.write("environments/base.yaml", head);
    let noted = rig.deployer("plan dev --output json").ok().await.json();
    assert!(!noted["notes"].as_array().unwrap().is_empty(), "undeclared objects are told: {noted}");
    rig.apply().arg("--prune").ok().await;
    rig.settled("after pruning").await;
    let state = rig.cloud.state().await;
    for collection in [
        "run.services",
        "run.jobs",
        "secretmanager.secrets",
        "iam.serviceAccounts",
        "artifactregistry.repositories",
    ] {
        let left = state[collection].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(left, 0, "{collection}: {}", state[collection]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_field_is_refused() {
    let rig = rig().await;
    applied(&rig).await;
    rig.edit("description: First", "description: First, locations: [europe-west1]");
    rig.cloud.forget_calls().await;
    let done = rig.apply().fails(1).await;
    assert!(done.stderr.contains("secrets.alpha.locations cannot be changed once it exists"), "{done}");
    assert_eq!(rig.cloud.writes().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_that_the_yaml_has_no_word_for_is_seen_and_mended() {
    let rig = rig().await;
    applied(&rig).await;
    rig.edit("COLOR: red", "COLOR: blue");
    rig.apply().ok().await;
    let path = service_path("web");
    let live = rig.cloud.read(&path).await;
    let revisions = rig.cloud.state().await["run.revisions"].as_object().unwrap().clone();
    let newest = live["latestCreatedRevision"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let of_web = revisions.keys().filter(|name| name.contains("/services/web/"));
    let old = of_web.map(|name| name.rsplit('/').next().unwrap()).find(|name| *name != newest).unwrap();
    let target =
        json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": old, "percent": 100}]);
    let body = json!({"traffic": target, "template": live["template"]});
    let (status, answer) =
        rig.cloud.console("PATCH", &format!("{path}?updateMask=traffic"), Some(&body)).await;
    assert_eq!(status, 200, "{answer}");
    let (found, _) = changes(&rig).await;
    assert_eq!(found, BTreeSet::from(["update run_service/web /traffic".to_owned()]));
    rig.apply().ok().await;
    rig.settled("traffic is back").await;

    // Somebody's template asks for a secret version that does not exist, so its revision never becomes ready.
    let mut template = rig.cloud.read(&path).await["template"].take();
    template.as_object_mut().unwrap().remove("revision");
    let missing =
        json!({"name": "GHOST", "valueSource": {"secretKeyRef": {"secret": "alpha", "version": "99"}}});
    template["containers"][0]["env"].as_array_mut().unwrap().push(missing);
    let body = json!({"template": template});
    rig.cloud.console("PATCH", &format!("{path}?updateMask=template"), Some(&body)).await;
    let (found, _) = changes(&rig).await;
    let change = found.iter().next().unwrap();
    assert!(change.contains("/newest_revision") && change.contains("/secrets/GHOST"), "{found:?}");
    rig.apply().ok().await;
    rig.settled("a good revision serves").await;
}
