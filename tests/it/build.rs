//! `deployer build`: a small package becomes an image in the sandbox's registry, and a release.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, Done, Run, Workplace, shop};

const BASE: &str = shop!(
    r#"registry: {repository: shop}
services:
  api:
    name: api-${env}
    port: 8080
    startup_probe: /
    build: {builder: cargo, package: tiny}
"#
);

const MANIFEST: &str = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"tiny\"\nversion = \"0.1.0\"\n";
/// Answers every request on the port that it is told.
const MAIN: &str = r#"use std::io::{Read, Write};
fn main() {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    for stream in std::net::TcpListener::bind(("127.0.0.1", port)).unwrap().incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
    }
}
"#;
const IMAGE: &str = "us-central1-docker.pkg.dev/agent-army-example/shop/api";

const REPOSITORY: &str =
    "/artifactregistry.googleapis.com/v1/projects/agent-army-example/locations/us-central1/repositories/shop";
const MEMBER: &str = "serviceAccount:api-dev@agent-army-example.iam.gserviceaccount.com";

/// A system of one service with the sources of its image; the sandbox has nothing yet.
async fn rig() -> Rig {
    let place = Workplace::with(&[
        ("environments/base.yaml", BASE),
        ("environments/dev.yaml", "deployer: v1\nenvironment: dev\ntarget: sandbox\n"),
        ("environments/staging.yaml", "deployer: v1\nenvironment: staging\ntarget: google\n"),
        ("Cargo.toml", MANIFEST),
        ("Cargo.lock", LOCK),
        ("src/main.rs", MAIN),
    ]);
    Rig::of(place, Cloud::fresh().await)
}

/// The same with the repository.
async fn founded() -> Rig {
    let rig = rig().await;
    deployer(&rig, "apply dev --layer foundation --auto-approve").ok().await;
    rig
}

/// A run that finds Cargo.
fn deployer(rig: &Rig, words: &str) -> Run {
    rig.deployer(words).with_cargo()
}

async fn built(rig: &Rig, words: &str) -> Value {
    let answer = deployer(rig, &format!("{words} --output json")).ok().await.json();
    answer["builds"][0].clone()
}

/// A document or blob of the registry.
async fn pulled(rig: &Rig, what: &str) -> Vec<u8> {
    let url = format!("{}/v2/{IMAGE}/{what}", rig.cloud.url());
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).header("Accept", accept).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{what}");
    answer.bytes().await.unwrap().to_vec()
}

async fn manifest(rig: &Rig, reference: &str) -> Value {
    serde_json::from_slice(&pulled(rig, &format!("manifests/{reference}")).await).unwrap()
}

fn says(done: &Done, texts: &[&str]) {
    for text in texts {
        assert!(done.stderr.contains(text), "{text} is not in:\n{done}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_and_pushed_and_not_built_again() {
    let rig = founded().await;
    let first = built(&rig, "build dev --tag v1").await;
    assert_eq!(first["outcome"], json!("built"));
    assert!(first["sent"].as_u64().unwrap() > 1000, "{first}");
    assert!(first["tags"][0].as_str().unwrap().starts_with("src-"), "{first}");
    let digest = first["digest"].as_str().unwrap();

    let config = manifest(&rig, "v1").await["config"]["digest"].as_str().unwrap().to_owned();
    let config: Value = serde_json::from_slice(&pulled(&rig, &format!("blobs/{config}")).await).unwrap();
    assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/tiny"]));

    let done = deployer(&rig, "build dev --tag v2").ok().await;
    assert_eq!(done.stdout, format!("api: not changed, {digest} is there\n"));
    assert_eq!(manifest(&rig, "v2").await, manifest(&rig, "v1").await);
    let forced = built(&rig, "build dev --force").await;
    assert_eq!((&forced["digest"], &forced["outcome"]), (&json!(digest), &json!("built")));
    assert_eq!(forced["sent"], json!(0), "the registry has all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_sources_in_another_folder_make_the_same_image() {
    let (one, other) = (founded().await, founded().await);
    let first = built(&one, "build staging").await;
    let second = built(&other, "build staging").await;
    assert_eq!((&first["digest"], &first["tags"]), (&second["digest"], &second["tags"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_builds_what_apply_misses() {
    let rig = rig().await;
    let plan = deployer(&rig, "plan dev").ok().await;
    assert!(plan.stdout.contains("not built: apply builds it"), "{plan}");
    let done = deployer(&rig, "apply dev --auto-approve").ok().await;
    says(&done, &["Making the repository shop", "api: built, sha256:"]);
    let serving = || async {
        let live = rig.cloud.service("api-dev").await;
        live["template"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let first = serving().await;
    assert!(first.starts_with(&format!("{IMAGE}@sha256:")), "{first}");
    deployer(&rig, "plan dev --detailed-exitcode").ok().await;

    // What is not a source changes nothing; what is, makes a release.
    rig.place.write("notes.txt", "x");
    rig.place.edit("environments/base.yaml", "package: tiny", "package: tiny, paths: [src]");
    deployer(&rig, "apply dev --auto-approve").ok().await;
    rig.place.write("notes.txt", "y");
    deployer(&rig, "plan dev --detailed-exitcode").ok().await;
    rig.place.edit("src/main.rs", "hello", "goodbye");
    let plan = deployer(&rig, "plan dev --detailed-exitcode").fails(2).await;
    assert!(plan.stdout.contains("not built: apply builds it"), "{plan}");
    deployer(&rig, "apply dev --auto-approve").ok().await;
    assert_ne!(serving().await, first);
    deployer(&rig, "plan dev --detailed-exitcode").ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elsewhere_a_release_says_its_image_and_build_tells_how() {
    let rig = founded().await;
    let done = deployer(&rig, "plan staging").fails(1).await;
    says(&done, &["not built: `deployer build staging api` builds it", "--tag TAG"]);
    let done = deployer(&rig, "build staging").ok().await;
    let note = "note: release with: deployer apply staging --image api=";
    assert!(done.stdout.contains(note), "{done}");
    let digest = done.stdout.split("sha256:").nth(1).unwrap().split(',').next().unwrap();
    let apply = format!("apply staging --auto-approve --image api={IMAGE}@sha256:{digest}");
    deployer(&rig, &apply).ok().await;
    // Sources that change are no drift: a release is chosen.
    rig.place.edit("src/main.rs", "hello", "goodbye");
    deployer(&rig, "plan staging --detailed-exitcode").ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_missing_is_told_before_anything_is_compiled() {
    let rig = rig().await;
    let done = deployer(&rig, "build dev").fails(1).await;
    says(
        &done,
        &["there is no repository `shop` in us-central1", "make it: deployer apply dev --layer foundation"],
    );
    assert!(!done.stderr.contains("Compiling"), "{done}");
    assert!(!rig.place.path("target").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_push_is_told_the_role() {
    let rig = founded().await;
    let token = rig.cloud.token_of("api-dev").await;
    let refused = || deployer(&rig, "build dev").env("GOOGLE_OAUTH_ACCESS_TOKEN", &token).fails(1);
    says(&refused().await, &["cannot look up the image", "roles/artifactregistry.reader"]);
    rig.cloud.grant(REPOSITORY, "roles/artifactregistry.reader", MEMBER).await;
    says(&refused().await, &["cannot push the image", "roles/artifactregistry.writer"]);
    rig.cloud.grant(REPOSITORY, "roles/artifactregistry.writer", MEMBER).await;
    deployer(&rig, "build dev").env("GOOGLE_OAUTH_ACCESS_TOKEN", &token).ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_error_is_shown_once() {
    let rig = founded().await;
    rig.place.write("src/main.rs", "fn main() {\n    missing();\n}\n");
    let done = deployer(&rig, "build dev").fails(1).await;
    assert_eq!(done.stderr.matches("cannot find function").count(), 1, "{done}");
    says(&done, &["`api` cannot be built: Cargo could not build `tiny`"]);
    assert_eq!(done.stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_that_needs_a_loader_needs_a_base() {
    let rig = founded().await;
    let done = deployer(&rig, "build dev").env("RUSTC_WRAPPER", dynamic(&rig)).fails(1).await;
    says(&done, &["the binary is not static: it needs ", "build.base"]);
}

const WRAPPER: &str = r#"#!/bin/sh
for word do
  shift
  case "$word" in target-feature=+crt-static) word=target-feature=-crt-static ;; esac
  set -- "$@" "$word"
done
exec "$@"
"#;

/// A compiler that links dynamically whatever it is told.
fn dynamic(rig: &Rig) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = rig.place.path("rustc.sh");
    rig.place.write("rustc.sh", WRAPPER);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_the_user_are_obeyed_beside_our_own() {
    let rig = founded().await;
    let main = "#[cfg(not(mine))]\ncompile_error!(\"the flag is lost\");\nfn main() {}\n";
    rig.place.write("src/main.rs", main);
    says(&deployer(&rig, "build dev").fails(1).await, &["the flag is lost"]);
    deployer(&rig, "build dev --force").env("RUSTFLAGS", "--cfg mine").ok().await;
    rig.place.write(".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"mine\"]\n");
    deployer(&rig, "build dev --force").ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_packages_are_told_what_there_is() {
    let rig = founded().await;
    rig.edit("package: tiny", "package: tinny");
    says(&deployer(&rig, "build dev").fails(1).await, &["there is no package `tinny`", "one of: tiny"]);
    rig.edit("package: tinny", "package: tiny");
    rig.place.write("src/bin/other.rs", MAIN);
    says(&deployer(&rig, "build dev").fails(1).await, &["has 2 binaries", "`build.bin`: other, tiny"]);
    std::fs::remove_file(rig.place.path("Cargo.toml")).unwrap();
    says(&deployer(&rig, "build dev").fails(1).await, &["there is no Cargo.toml", "`build.context`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_docker_the_way_out_is_told() {
    let rig = founded().await;
    rig.edit("{builder: cargo, package: tiny}", "{builder: docker}");
    says(&deployer(&rig, "build dev").fails(1).await, &["there is no `Dockerfile`"]);
    rig.place.write("Dockerfile", "FROM scratch\n");
    let done = deployer(&rig, "build dev").env("PATH", "").fails(1).await;
    says(&done, &["`builder: docker` needs Docker, and there is none", "`builder: cargo`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_cannot_be_built_are_told_apart() {
    let rig = founded().await;
    says(
        &deployer(&rig, "build dev web").fails(1).await,
        &["there is no service `web`", "with a `build`: api"],
    );
    rig.edit("build: {builder: cargo, package: tiny}", "image: us-docker.pkg.dev/cloudrun/container/hello");
    says(&deployer(&rig, "build dev").fails(1).await, &["no service of dev has a `build`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_lends_its_layers() {
    let rig = founded().await;
    let base = built(&rig, "build dev").await["digest"].as_str().unwrap().to_owned();
    rig.edit("package: tiny}", &format!("package: tiny, base: \"{IMAGE}@{base}\"}}"));
    let on_base = built(&rig, "build dev --tag based").await;
    assert_eq!(on_base["outcome"], json!("built"));
    let layers = |manifest: &Value| manifest["layers"].as_array().unwrap().clone();
    let (below, above) = (layers(&manifest(&rig, &base).await), layers(&manifest(&rig, "based").await));
    assert_eq!((above.len(), &above[0]), (2, &below[0]));
}
