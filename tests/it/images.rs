//! Images of the system's own registry: which one a release takes, what a tag becomes, and what cleanup must not delete.

use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, Done, PROJECT, REGION, Workplace, shop};

const BASE: &str = shop!(
    r#"registry: {repository: shop, retention: {delete_untagged_after: 30d}}
services:
  api: {name: "api-${env}", startup_probe: /s}
  site: {name: "site-${env}", image: us-docker.pkg.dev/cloudrun/container/hello, startup_probe: /s}
jobs:
  backup: {service: api, name: "backup-${env}", command: [backup]}
"#
);

const PREFIX: &str = "us-central1-docker.pkg.dev/agent-army-example/shop";
const REPOSITORY: &str =
    "/artifactregistry.googleapis.com/v1/projects/agent-army-example/locations/us-central1/repositories/shop";

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

fn image(letter: char) -> String {
    format!("{PREFIX}/api@{}", digest(letter))
}

/// `dev` and `staging` in one project; nothing is there yet.
async fn empty(base: &str) -> Rig {
    let place = Workplace::with(&[
        ("environments/base.yaml", base),
        ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
        ("environments/staging.yaml", "deployer: v1\nenvironment: staging\ntarget: sandbox\n"),
    ]);
    Rig::of(place, Cloud::fresh().await)
}

/// The repository is there, with nothing in it.
async fn founded(base: &str) -> Rig {
    let rig = empty(base).await;
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    rig
}

/// Somebody pushes an image; `at` is a day of 2026.
async fn push(rig: &Rig, name: &str, letter: char, tags: &[&str], at: &str) {
    let uploaded = format!("2026-{at}T00:00:00Z");
    let body = json!({"image": format!("{PREFIX}/{name}"), "tags": tags, "digest": digest(letter), "uploadTime": uploaded});
    let (status, answer) = rig.cloud.send(Method::POST, "/__sandbox/artifacts", Some(&body)).await;
    assert_eq!(status, 200, "{answer}");
}

/// What a tag of `api` points to; nothing when it is not there.
async fn tagged(rig: &Rig, tag: &str) -> Option<String> {
    let path = format!("{REPOSITORY}/packages/api/tags/{tag}");
    let (status, answer) = rig.cloud.send(Method::GET, &path, None).await;
    (status == 200).then(|| answer["version"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
}

async fn serving(rig: &Rig, service: &str) -> String {
    let live = rig.cloud.service(service).await;
    live["template"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

async fn job_image(rig: &Rig, job: &str) -> String {
    let path = format!("/run.googleapis.com/v2/projects/{PROJECT}/locations/{REGION}/jobs/{job}");
    let live = rig.cloud.read(&path).await;
    live["template"]["template"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

/// `verb address` of each change.
async fn changes(rig: &Rig, words: &str) -> Vec<String> {
    let plan = rig.deployer(&format!("{words} --output json")).ok().await.json();
    let each = plan["changes"].as_array().unwrap().iter();
    each.map(|change| format!("{} {}", change["verb"].as_str().unwrap(), change["address"].as_str().unwrap()))
        .collect()
}

fn says(done: &Done, texts: &[&str]) {
    for text in texts {
        assert!(done.stderr.contains(text), "{text} is not in:\n{done}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_release_without_a_choice_is_refused_with_both_flags_and_the_newest_tags() {
    let rig = empty(BASE).await;
    rig.cloud.forget_calls().await;
    let done = rig.apply().fails(1).await;
    let push_first = format!("no images yet: push one to {PREFIX}/api");
    says(&done, &[&push_first, "--tag TAG", &format!("--image api={PREFIX}/api:TAG"), "run_service/api-dev"]);
    assert_eq!(rig.cloud.writes().await.len(), 0);

    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    for (letter, tag, day) in [
        ('1', "v1", "01-01"),
        ('2', "v2", "01-02"),
        ('3', "v3", "01-03"),
        ('6', "newest", "01-06"),
        ('4', "v4", "01-04"),
        ('5', "v5", "01-05"),
    ] {
        push(&rig, "api", letter, &[tag], day).await;
    }
    let done = rig.deployer("plan dev").fails(1).await;
    says(
        &done,
        &["newest tags: newest, v5, v4, v3, v2\n", "run_job/backup-dev", "--tag TAG", "--image api="],
    );
    let done = rig.deployer("plan dev --tag v9").fails(1).await;
    says(&done, &[&format!("there is no tag `v9` on {PREFIX}/api"), "newest tags: newest, v5, v4, v3, v2\n"]);
    let done = rig.deployer(&format!("plan dev --image api={PREFIX}/api:v9")).fails(1).await;
    says(&done, &[&format!("there is no tag `v9` on {PREFIX}/api"), "--tag TAG"]);

    rig.deployer("plan dev --layer foundation --detailed-exitcode").ok().await;
    let rest = changes(&rig, "plan dev --exclude run_service/api-dev --exclude run_job/backup-dev").await;
    assert!(rest.contains(&"create run_service/site-dev".to_owned()), "{rest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_becomes_the_digest_that_it_pointed_to_when_it_was_planned() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    push(&rig, "api", 'b', &["v2"], "01-02").await;
    rig.apply().args(["--tag", "v1"]).ok().await;
    assert_eq!(serving(&rig, "api-dev").await, image('a'));
    assert_eq!(job_image(&rig, "backup-dev").await, image('a'));
    assert_eq!(serving(&rig, "site-dev").await, "us-docker.pkg.dev/cloudrun/container/hello");
    assert_eq!(tagged(&rig, "serving-dev").await, Some(digest('a')));
    rig.settled("it keeps its digest").await;

    let version = format!(
        "{}/packages/api/versions/{}",
        &REPOSITORY["/artifactregistry.googleapis.com/v1/".len()..],
        digest('b')
    );
    let path = format!("{REPOSITORY}/packages/api/tags/v1?updateMask=version");
    assert_eq!(rig.cloud.console("PATCH", &path, Some(&json!({"version": version}))).await.0, 200);
    rig.settled("a tag that moves releases nothing").await;

    let expected =
        ["update run_service/api-dev", "update run_job/backup-dev", "move image_tag/api:serving-dev"];
    let mut found = changes(&rig, "plan dev --tag v2").await;
    assert_eq!(found.last().unwrap(), expected[2], "the tag follows the rollout: {found:?}");
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    rig.apply().args(["--tag", "v2"]).ok().await;
    assert_eq!(serving(&rig, "api-dev").await, image('b'));
    assert_eq!(tagged(&rig, "serving-dev").await, Some(digest('b')));
    rig.settled("released by its second tag").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_named_wins_over_the_tag_and_is_resolved_too() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    push(&rig, "api", 'b', &["v2"], "01-02").await;
    let named = format!("api={PREFIX}/api:v2");
    rig.apply().args(["--tag", "v1", "--image", &named]).ok().await;
    assert_eq!(serving(&rig, "api-dev").await, image('b'));
    rig.apply().args(["--image", "api=example.com/other/api:v7"]).ok().await;
    assert_eq!(serving(&rig, "api-dev").await, "example.com/other/api:v7");
    assert_eq!(
        tagged(&rig, "serving-dev").await,
        Some(digest('b')),
        "nothing of the registry serves: it stays"
    );
    let noted = rig.deployer("plan dev --output json").ok().await.json();
    assert_eq!(noted["notes"][0]["address"], "image_tag/api:serving-dev", "{noted}");
    rig.apply().arg("--prune").ok().await;
    assert_eq!(tagged(&rig, "serving-dev").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_without_an_own_image_is_an_error() {
    let base = BASE.replace(
        "{name: \"api-${env}\",",
        "{name: \"api-${env}\", image: us-docker.pkg.dev/cloudrun/container/hello,",
    );
    let rig = founded(&base).await;
    let done = rig.deployer("plan dev --tag v1").fails(1).await;
    says(&done, &["--tag releases images of the system's own registry", "--image SERVICE=REF"]);
    says(&rig.deployer("plan dev --tag a/b").fails(1).await, &["`a/b` is not a tag"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_keeps_what_serves() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    push(&rig, "api", 'b', &[], "01-02").await;
    rig.apply().args(["--tag", "v1"]).ok().await;
    let path = format!("{REPOSITORY}/packages/api/tags/v1");
    assert_eq!(rig.cloud.console("DELETE", &path, None).await.0, 200);
    let (status, answer) =
        rig.cloud.send(Method::POST, "/__sandbox/artifacts/cleanup", Some(&json!({}))).await;
    assert_eq!(status, 200);
    let deleted: Vec<_> =
        answer["deleted"].as_array().unwrap().iter().map(|image| image["uri"].as_str().unwrap()).collect();
    assert_eq!(deleted, [image('b')], "{answer}");
    assert_eq!(tagged(&rig, "serving-dev").await, Some(digest('a')));
    rig.settled("what serves is there").await;
    rig.edit("startup_probe: /s}\n  site", "startup_probe: /started}\n  site");
    rig.apply().ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_fails_moves_no_tag() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    push(&rig, "api", 'b', &["v2"], "01-02").await;
    rig.apply().args(["--tag", "v1"]).ok().await;
    rig.deployer("plan dev --tag v2 -o release.plan").ok().await;
    let version = format!("{REPOSITORY}/packages/api/versions/{}?force=true", digest('b'));
    assert_eq!(rig.cloud.console("DELETE", &version, None).await.0, 200);
    let done = rig.deployer("apply release.plan --auto-approve").fails(1).await;
    let told = format!("{}{}", done.stdout, done.stderr);
    assert!(told.contains("run_service/api-dev") && told.contains(&image('b')), "{done}");
    assert!(told.contains("image_tag/api:serving-dev"), "what was skipped is told: {done}");
    assert_eq!(tagged(&rig, "serving-dev").await, Some(digest('a')));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_somebody_moved_or_took_away_is_put_back() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    rig.apply().args(["--tag", "v1"]).ok().await;
    push(&rig, "api", 'b', &["serving-dev"], "01-02").await;
    assert_eq!(changes(&rig, "plan dev").await, ["move image_tag/api:serving-dev"]);
    rig.apply().ok().await;
    assert_eq!(tagged(&rig, "serving-dev").await, Some(digest('a')));
    let path = format!("{REPOSITORY}/packages/api/tags/serving-dev");
    assert_eq!(rig.cloud.console("DELETE", &path, None).await.0, 200);
    assert_eq!(changes(&rig, "plan dev").await, ["tag image_tag/api:serving-dev"]);
    rig.apply().ok().await;
    rig.settled("it is back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_of_one_repository_leave_each_others_tags_alone() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    for environment in ["dev", "staging"] {
        rig.deployer(&format!("apply {environment} --auto-approve --tag v1")).ok().await;
    }
    for environment in ["dev", "staging"] {
        rig.deployer(&format!("plan {environment} --prune --detailed-exitcode")).ok().await;
    }
    assert_eq!(tagged(&rig, "serving-staging").await, Some(digest('a')));
    rig.deployer("destroy dev --auto-approve").ok().await;
    assert_eq!(tagged(&rig, "serving-dev").await, None);
    assert_eq!(tagged(&rig, "serving-staging").await, Some(digest('a')));
    rig.deployer("plan staging --detailed-exitcode").ok().await;
    std::fs::remove_file(rig.place.path("environments/dev.yaml")).unwrap();
    rig.deployer("apply staging --auto-approve").ok().await;
    rig.deployer("destroy staging --auto-approve").ok().await;
    assert_eq!(rig.cloud.send(Method::GET, REPOSITORY, None).await.0, 404, "the last one takes it along");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_with_an_image_of_their_own_are_released_by_tag_too() {
    let base = BASE
        .replace("{service: api, name", "{name")
        .replace("registry: {repository: shop,", "tenants: {list: {red: {}}}\nregistry: {repository: shop,");
    let base = format!(
        "{base}  sync: {{image: {PREFIX}/api, name: \"sync-${{env}}-${{tenant.slug}}\", for_each: tenants}}\n"
    );
    let base = base.replace("command: [backup]}", &format!("image: {PREFIX}/backup, command: [backup]}}"));
    let rig = founded(&base).await;
    push(&rig, "api", 'a', &["v1", "v2"], "01-01").await;
    push(&rig, "backup", 'b', &["v1"], "01-01").await;
    let done = rig.deployer("plan dev --tag v2").fails(1).await;
    says(&done, &[&format!("there is no tag `v2` on {PREFIX}/backup"), "newest tags: v1\n"]);
    rig.apply().args(["--tag", "v1"]).ok().await;
    assert_eq!(job_image(&rig, "backup-dev").await, format!("{PREFIX}/backup@{}", digest('b')));
    assert_eq!(tagged(&rig, "serving-dev.jobs.sync").await, Some(digest('a')));
    rig.settled("jobs keep their digests").await;
    rig.edit("list: {red: {}}", "list: {red: {}, blue: {}}");
    rig.apply().ok().await;
    assert_eq!(job_image(&rig, "sync-dev-blue").await, image('a'), "a new tenant gets what the others have");
    rig.settled("with one more tenant").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tags_are_immutable_none_is_put_on_what_serves() {
    let rig = founded(&BASE.replace("repository: shop,", "repository: shop, immutable_tags: true,")).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    push(&rig, "api", 'b', &["v2"], "01-02").await;
    for tag in ["v1", "v2"] {
        rig.apply().args(["--tag", tag]).ok().await;
        rig.settled(tag).await;
    }
    assert_eq!(tagged(&rig, "serving-dev").await, None);
    assert_eq!(serving(&rig, "api-dev").await, image('b'));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_the_repository_is_mended_or_left_alone() {
    let rig = founded(BASE).await;
    let live = rig.cloud.read(REPOSITORY).await;
    let mut policies = live["cleanupPolicies"].clone();
    policies["keep-serving"]["condition"]["tagPrefixes"] = json!(["nothing-"]);
    policies["theirs"] = json!({"id": "theirs", "action": "KEEP", "mostRecentVersions": {"keepCount": 3}});
    let mut labels = live["labels"].clone();
    labels["cost-center"] = json!("7");
    let body =
        json!({"cleanupPolicies": policies, "labels": labels, "dockerConfig": {"immutableTags": true}});
    let path = format!("{REPOSITORY}?updateMask=cleanupPolicies,labels,dockerConfig");
    assert_eq!(rig.cloud.console("PATCH", &path, Some(&body)).await.0, 200);
    let plan = rig.deployer("plan dev --layer foundation --output json").ok().await.json();
    let fields = plan["changes"][0]["fields"].as_array().unwrap().iter();
    let pointers: Vec<_> = fields.map(|field| field["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/immutable_tags", "/retention/altered"], "{plan}");
    rig.deployer("apply dev --layer foundation --auto-approve").ok().await;
    let mended: Value = rig.cloud.read(REPOSITORY).await;
    assert_eq!(mended["cleanupPolicies"]["keep-serving"], live["cleanupPolicies"]["keep-serving"]);
    assert_eq!(mended["cleanupPolicies"]["theirs"]["mostRecentVersions"]["keepCount"], 3);
    assert_eq!(mended["labels"]["cost-center"], "7");
    assert_eq!(mended.get("dockerConfig").and_then(|config| config.get("immutableTags")), None);
    rig.deployer("plan dev --layer foundation --detailed-exitcode").ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_not_in_the_registry_is_refused_when_it_is_given_and_when_it_is_remembered() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    push(&rig, "api", 'b', &["v2"], "01-02").await;
    rig.cloud.forget_calls().await;
    let done = rig.apply().arg("--image").arg(format!("api={}", image('0'))).fails(1).await;
    let lost = format!("the image {} is not in the registry", image('0'));
    says(&done, &[&lost, "run_service/api-dev", "newest tags: v2, v1"]);
    assert_eq!(rig.cloud.writes().await.len(), 0);

    rig.apply().arg("--image").arg(format!("api={}", image('a'))).ok().await;
    let version = format!("{REPOSITORY}/packages/api/versions/{}?force=true", digest('a'));
    assert_eq!(rig.cloud.console("DELETE", &version, None).await.0, 200);
    let done = rig.deployer("plan dev").fails(1).await;
    says(&done, &[&format!("the image {} is not in the registry", image('a')), "--tag TAG"]);
    rig.apply().args(["--tag", "v2"]).ok().await;
    rig.settled("another release is the way out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untagged_image_that_cleanup_would_delete_is_not_released_where_tags_are_immutable() {
    let rig = founded(&BASE.replace("repository: shop,", "repository: shop, immutable_tags: true,")).await;
    push(&rig, "api", 'a', &[], "01-01").await;
    push(&rig, "api", 'b', &["v2"], "01-01").await;
    let release = |letter| format!("apply dev --auto-approve --image api={}", image(letter));
    let done = rig.deployer(&release('a')).fails(1).await;
    says(&done, &["has no tag", "delete_untagged_after", "gcloud artifacts docker tags add"]);
    rig.deployer(&release('b')).ok().await;
    let cleanup = rig.cloud.send(Method::POST, "/__sandbox/artifacts/cleanup", Some(&json!({}))).await;
    assert_eq!(cleanup.1["deleted"].as_array().unwrap().len(), 1, "{cleanup:?}");
    rig.settled("what serves is there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_gets_one_image() {
    let rig = empty(BASE).await;
    let done = rig.deployer("plan dev --image api=x --image site=y --image api=z").fails(1).await;
    says(&done, &["--image names `api` twice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_before_the_foundation_is_refused_and_says_what_comes_first() {
    let rig = empty(BASE).await;
    rig.cloud.forget_calls().await;
    for verb in ["plan dev", "apply dev --auto-approve"] {
        let words = format!("{verb} --layer release --image api={}", image('a'));
        let done = rig.deployer(&words).fails(1).await;
        says(&done, &["is not enabled in agent-army-example", "deployer apply ENV --layer foundation"]);
    }
    assert_eq!(rig.cloud.writes().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_to_run_again_has_the_flags_of_the_first() {
    let rig = founded(BASE).await;
    push(&rig, "api", 'a', &["v1"], "01-01").await;
    push(&rig, "api", 'b', &["v2"], "01-02").await;
    rig.apply().args(["--tag", "v1"]).ok().await;
    let named = format!("--image api={PREFIX}/api:v2");
    rig.deployer(&format!("plan dev --layer release --prune {named} -o next.plan")).ok().await;
    let version = format!("{REPOSITORY}/packages/api/versions/{}?force=true", digest('b'));
    assert_eq!(rig.cloud.console("DELETE", &version, None).await.0, 200);
    let again = format!("dev --layer release {named} --prune --endpoint {}", rig.cloud.url());
    let failed = rig.deployer("apply next.plan --auto-approve").fails(1).await;
    let next = format!("run `deployer apply {again}` again");
    assert!(failed.stdout.contains(&next), "{next} is not in:\n{failed}");
    rig.edit(
        "{service: api, name: \"backup-${env}\", command: [backup]}",
        "{service: api, name: \"backup-${env}\"}",
    );
    let moved = rig.deployer("apply next.plan --auto-approve").fails(1).await;
    says(&moved, &[&format!("deployer plan {again} -o next.plan")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_looks_for_the_image_first_and_refuses_one_that_is_gone() {
    let rig = founded(BASE).await;
    for (letter, tag, day) in [('a', "v1", "01-01"), ('b', "v2", "01-02")] {
        push(&rig, "api", letter, &[tag], day).await;
        rig.apply().args(["--tag", tag]).ok().await;
    }
    rig.cloud.forget_calls().await;
    let done = rig.deployer("rollback dev api --output json").ok().await.json();
    let methods: Vec<_> = rig.cloud.calls().await.into_iter().filter_map(|call| call.method).collect();
    let shift = methods.iter().position(|method| method.ends_with("services.patch")).unwrap();
    // Two reads that go together, the image, the write: three round trips.
    assert_eq!(shift, 3, "{methods:?}");
    assert!(methods[2].ends_with("dockerImages.get"), "{methods:?}");

    let newest = done["rolled_back"]["from"][0].as_str().unwrap();
    let version = format!("{REPOSITORY}/packages/api/versions/{}?force=true", digest('b'));
    assert_eq!(rig.cloud.console("DELETE", &version, None).await.0, 200);
    let gone = rig.deployer(&format!("rollback dev api --to {newest}")).fails(1).await;
    assert!(gone.stderr.contains(&format!("the image of {newest} is gone: {}", image('b'))), "{gone}");
}
