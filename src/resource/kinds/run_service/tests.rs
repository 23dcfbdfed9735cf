//! What is written is what is read: the round trip of a spec through Google's document.

use proptest::prelude::*;
use serde_json::json;

use super::live;
use super::metrics::{self, MetricsSpec};
use super::spec::{COMPLETE, NEWEST_SERVES, ProbeSpec, READY, ServiceContainer, Spec};
use super::write;
use super::{RunService, full_name, shift_traffic};
use crate::gcp::{ErrorKind, Gcp, Options, Service};
use crate::resource::kinds::container::{ContainerSpec, VolumeSpec, VpcSpec};
use crate::resource::{Kind, Ownership, Place};

fn place() -> Place {
    Place {
        project: "p-1".into(),
        project_number: 12,
        region: "us-central1".into(),
        ownership: Ownership::new("shop", "dev"),
    }
}

/// The document that Google would hold after `spec` was written and rolled out.
fn stored(mut doc: serde_json::Value, spec: &Spec) -> serde_json::Value {
    write::manage(&mut doc, spec, &place(), true);
    write::name_revision(&mut doc, "api", "1");
    doc["name"] = json!("projects/p-1/locations/us-central1/services/api");
    let revision = doc["template"]["revision"].clone();
    doc["latestCreatedRevision"] = revision.clone();
    doc["latestReadyRevision"] = revision.clone();
    doc["traffic"] = write::all_traffic_to(revision.as_str().unwrap());
    doc["trafficStatuses"] = doc["traffic"].clone();
    doc
}

fn names() -> impl Strategy<Value = String> {
    "[A-Z]{1,6}"
}

fn probe() -> impl Strategy<Value = ProbeSpec> {
    (
        prop_oneof![Just(0), Just(1), Just(2)],
        prop::option::of(1_u16..),
        0_u32..240,
        1_u32..5,
        5_u32..20,
        1_u32..9,
    )
        .prop_map(
            |(kind, port, initial_delay_seconds, timeout_seconds, period_seconds, failure_threshold)| {
                ProbeSpec {
                    path: (kind == 0).then(|| "/health".to_owned()),
                    tcp: kind == 1,
                    grpc: (kind == 2).then(String::new),
                    port: port.filter(|port| *port != 8080),
                    initial_delay_seconds,
                    timeout_seconds,
                    period_seconds,
                    failure_threshold,
                }
            },
        )
}

prop_compose! {
    fn container(main: bool)(
        image in "[a-z]{1,8}",
        args in prop::collection::vec("[a-z]{1,4}", 0..3),
        cpu in prop_oneof![Just("1"), Just("500m"), Just("2")],
        memory in prop_oneof![Just("512Mi"), Just("1Gi")],
        cpu_idle in any::<bool>(),
        startup_cpu_boost in any::<bool>(),
        env in prop::collection::btree_map(names(), ".{0,5}", 0..4),
        variables in prop::collection::btree_map("S_[A-Z]{1,5}", "[a-z]{1,5}:[1-9]", 0..3),
        files in prop::collection::btree_map("/[a-z]{1,4}/k", "[a-z]{1,5}:latest", 0..3),
        volumes in prop::collection::btree_map("/tmp[a-z]{1,2}", Just("64Mi"), 0..2),
        startup_probe in prop::option::of(probe()),
        liveness_probe in prop::option::of(probe()),
        readiness_probe in prop::option::of(probe()),
    ) -> ServiceContainer {
        let common = ContainerSpec {
            image, command: Vec::new(), args, cpu: cpu.into(), memory: memory.into(),
            env, secrets: variables.into_iter().chain(files).collect(),
            volumes: volumes.into_iter().map(|(path, size)| (path, VolumeSpec { in_memory: size.into() })).collect(),
        };
        ServiceContainer {
            common, port: main.then_some(8080), cpu_idle, startup_cpu_boost, startup_probe, liveness_probe, readiness_probe, depends_on: Vec::new(),
        }
    }
}

fn metrics() -> MetricsSpec {
    metrics::spec(&crate::config::model::Metrics { path: "/metrics".into(), port: 8080, interval: 30 })
}

prop_compose! {
    fn spec()(
        main in container(true),
        sidecars in prop::collection::btree_map("[a-z]{2,5}", container(false), 0..3),
        (min_instances, max_instances, concurrency) in (0_u32..3, 3_u32..9, 1_u32..100),
        metrics in prop::option::of(Just(metrics())),
        session_affinity in any::<bool>(),
        ingress in prop_oneof![Just("all"), Just("internal"), Just("internal-and-cloud-load-balancing")],
        access in prop::option::of(Just("no_iam_check".to_owned())),
        labels in prop::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..3),
        network in prop::option::of(any::<bool>()),
        audience in prop::option::of("[a-z]{1,3}"),
    ) -> Spec {
        let vpc = network.map(|connector| VpcSpec {
            connector: connector.then(|| "c".to_owned()),
            network: (!connector).then(|| "n".to_owned()),
            subnet: None,
            tags: Vec::new(),
            egress: "all-traffic".into(),
        });
        Spec {
            main, sidecars, metrics, service_account: "api@p-1.iam.gserviceaccount.com".into(), min_instances, max_instances,
            concurrency, timeout: "60s".into(), execution_environment: "gen2".into(), session_affinity,
            ingress: ingress.into(), access, labels, vpc,
            v2: audience.map(|a| ("customAudiences".to_owned(), json!([a]))).into_iter().collect(),
            image_replaces: None, traffic: NEWEST_SERVES.into(), newest_revision: READY.into(),
            last_release: COMPLETE.into(), last_trouble: None, gated: false, migrations: Vec::new(),
        }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_what_is_observed(spec in spec()) {
        prop_assert_eq!(live::spec(&stored(json!({}), &spec)).unwrap(), spec);
    }

    #[test]
    fn a_spec_laid_over_another_replaces_it(before in spec(), after in spec()) {
        let doc = stored(stored(json!({}), &before), &after);
        prop_assert_eq!(live::spec(&doc).unwrap(), after);
    }

    #[test]
    fn fields_that_nobody_manages_stay(before in spec(), after in spec()) {
        let mut doc = stored(json!({}), &before);
        doc["template"]["nodeSelector"] = json!({"accelerator": "nvidia-l4"});
        doc["template"]["containers"][0]["workingDir"] = json!("/srv");
        doc["template"]["volumes"] = json!([{"name": "share", "nfs": {"server": "10.0.0.2"}}]);
        doc["template"]["containers"][0]["volumeMounts"] = json!([{"name": "share", "mountPath": "/share"}]);
        doc["description"] = json!("by hand");
        let doc = stored(doc, &after);
        prop_assert_eq!(&doc["template"]["nodeSelector"]["accelerator"], "nvidia-l4");
        prop_assert_eq!(&doc["template"]["containers"][0]["workingDir"], "/srv");
        prop_assert_eq!(&doc["template"]["volumes"][0]["name"], "share");
        prop_assert_eq!(&doc["template"]["containers"][0]["volumeMounts"][0]["mountPath"], "/share");
        prop_assert_eq!(&doc["description"], "by hand");
    }

    #[test]
    fn without_a_new_revision_the_template_keeps_every_byte(before in spec(), after in spec()) {
        let doc = stored(json!({}), &before);
        let mut changed = doc.clone();
        write::manage(&mut changed, &after, &place(), false);
        prop_assert_eq!(&changed["template"], &doc["template"]);
    }
}

#[test]
fn a_collector_that_somebody_changed_is_a_container_like_others() {
    let spec = Spec { metrics: Some(metrics()), ..plain_spec() };
    let mut doc = stored(json!({}), &spec);
    doc["template"]["containers"][0]["name"] = json!("app");
    let mut doc = stored(doc, &spec);
    assert_eq!(doc["template"]["containers"][1]["dependsOn"], json!(["app"]));
    assert_eq!(live::spec(&doc).unwrap(), spec);
    doc["template"]["containers"][1]["resources"]["limits"]["memory"] = json!("1Gi");
    let changed = live::spec(&doc).unwrap();
    assert_eq!((changed.metrics, changed.sidecars["collector"].common.memory.as_str()), (None, "1Gi"));
}

#[test]
fn server_defaults_and_order_are_no_difference() {
    let doc = json!({
        "name": "projects/p-1/locations/r/services/api", "ingress": "INGRESS_TRAFFIC_ALL", "launchStage": "GA",
        "template": {"serviceAccount": "x@y", "timeout": "300s", "maxInstanceRequestConcurrency": 80,
            "containers": [{"image": "a", "ports": [{"name": "http1", "containerPort": 8080}],
                "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}, "cpuIdle": true},
                "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
                "startupProbe": {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1,
                    "tcpSocket": {"port": 8080}}}]}
    });
    let spec = live::spec(&doc).unwrap();
    assert_eq!((spec.main.common.cpu.as_str(), spec.main.startup_probe), ("1", None));
    assert_eq!(spec.main.common.env.len(), 2);
}

#[test]
fn asking_for_the_startup_probe_that_cloud_run_fills_in_is_asking_for_none() {
    let asked = |port: Option<u16>| ProbeSpec {
        tcp: true,
        port,
        timeout_seconds: 240,
        period_seconds: 240,
        failure_threshold: 1,
        ..ProbeSpec::default()
    };
    assert!(live::is_default_startup_probe(&asked(None)));
    assert!(!live::is_default_startup_probe(&asked(Some(9000))), "another port is another probe");
}

#[test]
fn a_service_that_cannot_be_read_is_an_error_that_names_it() {
    let error =
        live::spec(&json!({"name": "projects/p/locations/r/services/odd", "template": {}})).unwrap_err();
    assert!(error.to_string().contains("services/odd"), "{error}");
}

#[test]
fn pinned_and_split_traffic_is_seen() {
    let doc = |traffic: serde_json::Value| {
        let base = json!({
            "name": "projects/p-1/locations/r/services/api", "latestCreatedRevision": "x/revisions/api-2",
            "latestReadyRevision": "x/revisions/api-2", "template": {"containers": [{"image": "a"}]},
            "traffic": traffic, "trafficStatuses": traffic,
        });
        live::spec(&base).unwrap().traffic
    };
    let kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";
    assert_eq!(doc(json!([{"type": kind, "revision": "api-2", "percent": 100}])), NEWEST_SERVES);
    assert_eq!(doc(json!([{"type": kind, "revision": "api-1", "percent": 100}])), "100% api-1");
    let split = json!([{"revision": "api-2", "percent": 40}, {"revision": "api-1", "percent": 60}]);
    assert_eq!(doc(split), "40% api-2, 60% api-1");
    let latest = json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]);
    assert_eq!(doc(latest), "100% whatever is latest");
    let tagged = json!([{"revision": "api-2", "percent": 100}, {"revision": "api-1", "tag": "old"}]);
    assert_eq!(doc(tagged), NEWEST_SERVES);
}

#[test]
fn a_failed_revision_is_seen_with_its_reason() {
    let doc = json!({
        "name": "projects/p-1/locations/r/services/api", "latestCreatedRevision": "x/revisions/api-2",
        "latestReadyRevision": "x/revisions/api-1", "template": {"containers": [{"image": "a"}]},
        "terminalCondition": {"state": "CONDITION_FAILED", "revisionReason": "HEALTH_CHECK_CONTAINER_ERROR"},
    });
    assert_eq!(live::spec(&doc).unwrap().newest_revision, "api-2 failed (HEALTH_CHECK_CONTAINER_ERROR)");
}

#[test]
fn traffic_is_held_by_name_while_a_candidate_starts() {
    let live = json!({"trafficStatuses": [
        {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "revision": "x/revisions/api-1", "percent": 100},
        {"revision": "api-0", "tag": "old"}]});
    let held = write::all_traffic_to("api-1").as_array().unwrap().clone();
    let with_candidate = write::with_candidate(held.clone(), "api", "api-2");
    assert_eq!(with_candidate[1]["tag"], "candidate");
    assert_eq!(with_candidate[1].get("percent"), None);
    assert_eq!(write::hold_traffic(&live, "api", "api-2"), with_candidate);
    assert_eq!(write::hold_traffic(&json!({}), "api", "api-2"), write::all_traffic_to("api-2"));
    // There is no room for the tag.
    assert_eq!(write::hold_traffic(&live, &"a".repeat(40), "api-2"), json!(held));
}

#[test]
fn a_revision_gets_a_new_name_even_when_an_earlier_template_comes_back() {
    let name = |generation: &str| {
        let mut doc = json!({"template": {"timeout": "1s", "revision": "api-00000000"}});
        write::name_revision(&mut doc, "api", generation);
        doc["template"]["revision"].as_str().unwrap().to_owned()
    };
    assert_ne!(name("1"), name("2"));
    assert_eq!(name("1"), name("1"));
    assert!(name("1").starts_with("api-") && name("1").len() == 12);
}

#[test]
fn a_patch_masks_every_field_that_differs_and_no_other() {
    let live =
        json!({"name": "n", "etag": "e", "description": "old", "labels": {}, "template": {"timeout": "1s"}});
    let mut doc = live.clone();
    doc["buildConfig"] = json!({"functionTarget": "hello"});
    doc.as_object_mut().unwrap().remove("description");
    let (body, mask) = write::patch(&live, &doc);
    assert_eq!(
        mask,
        ["buildConfig", "description"],
        "without a mask, Cloud Run would replace the whole service"
    );
    assert_eq!(
        body,
        json!({"name": "n", "etag": "e", "buildConfig": doc["buildConfig"], "template": doc["template"]})
    );
}

/// Where a sandbox can be: ids of projects have six characters at least.
fn sandboxed() -> Place {
    Place { project: "shop-one".into(), ..place() }
}

/// A sandbox with the account that services run as.
async fn project() -> (gcp_sandbox::Sandbox, Gcp) {
    let project = gcp_sandbox::ProjectSeed { id: sandboxed().project, number: Some(12) };
    let apis = gcp_sandbox::Apis::All;
    let options = gcp_sandbox::Options { projects: vec![project], apis, ..gcp_sandbox::Options::default() };
    let sandbox = gcp_sandbox::start(options).await.unwrap();
    let options =
        Options { endpoint: Some(sandbox.url()), anonymous: true, paced: false, ..Options::default() };
    let gcp = Gcp::connect(options).await.unwrap();
    gcp.create_account("shop-one", "api-runtime", "Api", "").await.unwrap();
    (sandbox, gcp)
}

fn plain_spec() -> Spec {
    let doc = json!({"name": "n", "template": {"serviceAccount": "api-runtime@shop-one.iam.gserviceaccount.com",
        "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
        "containers": [{"image": "us-docker.pkg.dev/cloudrun/container/hello", "ports": [{"containerPort": 8080}]}]}});
    Spec { traffic: NEWEST_SERVES.into(), newest_revision: READY.into(), ..live::spec(&doc).unwrap() }
}

#[tokio::test]
async fn what_moved_since_the_plan_is_neither_deleted_nor_robbed_of_its_traffic() {
    let (sandbox, gcp) = project().await;
    let spec = plain_spec();
    RunService::create(&gcp, &sandboxed(), "api", &spec).await.unwrap();

    let late = shift_traffic(&gcp, &sandboxed(), "api", "api-00000000", |_| {}).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Conflict, "another run made the newest revision: {late}");

    let other = Spec { timeout: "1s".into(), ..spec.clone() };
    let changed = RunService::delete(&gcp, &sandboxed(), "api", &other).await.unwrap_err();
    assert_eq!(changed.kind, ErrorKind::Conflict);
    let mut theirs = sandboxed();
    theirs.ownership.system = "cafe".into();
    assert!(RunService::delete(&gcp, &theirs, "api", &spec).await.is_err());
    RunService::delete(&gcp, &sandboxed(), "api", &spec).await.unwrap();
    assert_eq!(gcp.object::<Service>(&full_name("shop-one", "us-central1", "api")).await.unwrap(), None);
    sandbox.stop().await;
}
