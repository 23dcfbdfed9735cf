//! Images, packages, versions and tags; cleanup; and what Cloud Run asks.

use super::*;
use crate::services::artifactregistry::holds;
use crate::services::run::image::parse;

const PACKAGE: &str = "repositories/images/packages/api";

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

#[test]
fn an_image_is_a_package_a_version_and_a_tag() {
    let mut registry = Registry::with_images(&json!({}));
    let pushed = registry.push(&json!({"image": format!("{REGISTRY}/images/web/api:v1")})).unwrap();
    let digest = pushed["digest"].as_str().unwrap().to_owned();
    assert_eq!(pushed["uri"], format!("{REGISTRY}/images/web/api@{digest}"));
    let package = registry.read("repositories/images/packages/web%2Fapi").unwrap();
    assert_eq!(package["name"], format!("{LOCATION}/repositories/images/packages/web%2Fapi"));
    assert_eq!(package["displayName"], "web/api");
    let version = registry
        .read(&format!("repositories/images/packages/web%2Fapi/versions/{digest}?view=FULL"))
        .unwrap();
    assert_eq!(version["relatedTags"][0]["version"], version["name"]);
    let tag = registry.read("repositories/images/packages/web%2Fapi/tags/v1").unwrap();
    assert_eq!(tag["version"], version["name"]);
    let image = registry.read(&format!("repositories/images/dockerImages/web%2Fapi@{digest}")).unwrap();
    assert_eq!(image["uri"], pushed["uri"]);
    assert_eq!(image["tags"], json!(["v1"]));
    assert_eq!(image["uploadTime"], "2027-06-01T12:00:00.000000Z");
    assert_eq!(image["imageSizeBytes"], version["metadata"]["imageSizeBytes"]);
    let repository = registry.read("repositories/images").unwrap();
    assert_eq!(repository["sizeBytes"], image["imageSizeBytes"]);
}

#[test]
fn the_tags_of_a_version_show_in_the_full_view_only() {
    let mut registry = Registry::with_images(&json!({}));
    registry.image("api:v1");
    let listed = |registry: &mut Registry, view: &str| {
        let listed = registry.read(&format!("{PACKAGE}/versions{view}")).unwrap();
        listed["versions"][0].get("relatedTags").is_some()
    };
    assert!(!listed(&mut registry, ""));
    assert!(!listed(&mut registry, "?view=BASIC"));
    assert!(listed(&mut registry, "?view=FULL"));
    assert!(listed(&mut registry, "?view=2"));
    assert_eq!(code(registry.read(&format!("{PACKAGE}/versions?view=ALL"))), Code::InvalidArgument);
}

#[test]
fn images_are_ordered_and_paged() {
    let mut registry = Registry::with_images(&json!({}));
    for (letter, time) in
        [('a', "2027-05-02T00:00:00Z"), ('b', "2027-05-03T00:00:00Z"), ('c', "2027-05-01T00:00:00Z")]
    {
        let push = json!({"image": format!("{REGISTRY}/images/api"), "digest": digest(letter),
            "uploadTime": time, "tags": [format!("v-{letter}")]});
        registry.push(&push).unwrap();
    }
    let images = "repositories/images/dockerImages";
    let newest: Vec<String> = ['b', 'a', 'c'].map(|letter| format!("api@{}", digest(letter))).to_vec();
    assert_eq!(registry.ids(&format!("{images}?orderBy=upload_time%20desc"), "dockerImages"), newest);
    assert_eq!(registry.ids(&format!("{images}?orderBy=uploadTime"), "dockerImages")[0], newest[2]);
    let first = registry.read(&format!("{images}?pageSize=2")).unwrap();
    assert_eq!(first["dockerImages"].as_array().unwrap().len(), 2);
    assert!(first["nextPageToken"].is_string());
    assert_eq!(code(registry.read(&format!("{images}?orderBy=age"))), Code::InvalidArgument);
    let updated = registry.read(PACKAGE).unwrap()["updateTime"].clone();
    assert_eq!(updated, "2027-05-03T00:00:00.000000Z");
}

#[test]
fn an_image_pushed_again_moves_its_tag() {
    let mut registry = Registry::with_images(&json!({}));
    let (first, second) = (registry.image("api:v1"), registry.image("api:v1"));
    assert_ne!(first, second);
    let tag = registry.read(&format!("{PACKAGE}/tags/v1")).unwrap();
    assert!(tag["version"].as_str().unwrap().ends_with(&second));
    assert_eq!(registry.ids(&format!("{PACKAGE}/versions"), "versions").len(), 2);
}

#[test]
fn seeding_needs_a_docker_repository_and_good_names() {
    let mut registry = Registry::with_images(&json!({}));
    registry.create("wheels", &json!({"format": "PYTHON"})).unwrap();
    for (push, expected) in [
        (json!({"image": format!("{REGISTRY}/none/api:v1")}), Code::NotFound),
        (json!({"image": format!("{REGISTRY}/wheels/api:v1")}), Code::FailedPrecondition),
        (json!({"image": format!("{REGISTRY}/images")}), Code::InvalidArgument),
        (json!({"image": "gcr.io/p/api:v1"}), Code::InvalidArgument),
        (json!({"image": format!("{REGISTRY}/images/api"), "tags": ["a b"]}), Code::InvalidArgument),
        (json!({"image": format!("{REGISTRY}/images/api"), "digest": "sha256:1"}), Code::InvalidArgument),
        (json!({"image": format!("{REGISTRY}/images/api"), "uploadTime": "now"}), Code::InvalidArgument),
        (json!({"image": format!("{REGISTRY}/images/api"), "tag": "v1"}), Code::InvalidArgument),
        (json!({}), Code::InvalidArgument),
    ] {
        assert_eq!(code(registry.push(&push)), expected, "{push}");
    }
    assert_eq!(registry.read("repositories/images/packages").unwrap(), json!({}));
}

#[test]
fn tags_are_made_moved_and_deleted() {
    let mut registry = Registry::with_images(&json!({}));
    let (first, second) = (registry.image("api:v1"), registry.image("api:v2"));
    let version = |digest: &str| json!({"version": format!("{LOCATION}/{PACKAGE}/versions/{digest}")});
    let tags = format!("{PACKAGE}/tags");
    registry.call("POST", &format!("{tags}?tagId=live"), &version(&first)).unwrap();
    assert_eq!(
        code(registry.call("POST", &format!("{tags}?tagId=live"), &version(&first))),
        Code::AlreadyExists
    );
    let moved =
        registry.call("PATCH", &format!("{tags}/live?updateMask=version"), &version(&second)).unwrap();
    assert_eq!(moved["version"], version(&second)["version"]);
    let filter = format!("{tags}?filter=version%3D%22{LOCATION}/{PACKAGE}/versions/{second}%22");
    assert_eq!(registry.ids(&filter, "tags"), ["live", "v2"]);
    assert_eq!(registry.call("DELETE", &format!("{tags}/live"), &Value::Null).unwrap(), json!({}));
    assert_eq!(registry.ids(&tags, "tags"), ["v1", "v2"]);
    assert_eq!(code(registry.read(&format!("{tags}/live"))), Code::NotFound);
}

#[test]
fn a_tag_points_to_a_version_of_its_package() {
    let mut registry = Registry::with_images(&json!({}));
    let (digest, other) = (registry.image("api:v1"), registry.image("web:v1"));
    let tags = format!("{PACKAGE}/tags");
    let at = |package: &str, digest: &str| json!({"version": format!("{LOCATION}/repositories/images/packages/{package}/versions/{digest}")});
    for (id, body, expected) in [
        ("live", at("api", &other), Code::NotFound),
        ("live", at("web", &other), Code::InvalidArgument),
        ("live", json!({}), Code::InvalidArgument),
        ("-live", at("api", &digest), Code::InvalidArgument),
    ] {
        assert_eq!(
            code(registry.call("POST", &format!("{tags}?tagId={id}"), &body)),
            expected,
            "{id} {body}"
        );
    }
    let mask = format!("{tags}/v1?updateMask=nothing");
    assert_eq!(code(registry.call("PATCH", &mask, &at("api", &digest))), Code::InvalidArgument);
}

#[test]
fn immutable_tags_do_not_move_and_do_not_go() {
    let mut registry = Registry::with_images(&json!({"dockerConfig": {"immutableTags": true}}));
    let first = registry.image("api:v1");
    let again = json!({"image": format!("{REGISTRY}/images/api:v1")});
    assert_eq!(code(registry.push(&again)), Code::FailedPrecondition);
    assert_eq!(registry.ids(&format!("{PACKAGE}/versions"), "versions"), std::slice::from_ref(&first));
    let second = registry.image("api:v2");
    let body = json!({"version": format!("{LOCATION}/{PACKAGE}/versions/{second}")});
    let tag = format!("{PACKAGE}/tags/v1");
    assert_eq!(code(registry.call("PATCH", &tag, &body)), Code::FailedPrecondition);
    assert_eq!(code(registry.call("DELETE", &tag, &Value::Null)), Code::FailedPrecondition);
    assert_eq!(
        code(registry.delete(&format!("{PACKAGE}/versions/{first}?force=true"))),
        Code::FailedPrecondition
    );
    assert_eq!(code(registry.delete(PACKAGE)), Code::FailedPrecondition);
    registry.push(&json!({"image": format!("{REGISTRY}/images/api:v1"), "digest": first})).unwrap();
    registry.call("POST", &format!("{PACKAGE}/tags?tagId=v3"), &body).unwrap();
    registry.delete("repositories/images").unwrap();
}

#[test]
fn a_tagged_version_is_deleted_by_force_only() {
    let mut registry = Registry::with_images(&json!({}));
    let digest = registry.image("api:v1");
    let version = format!("{PACKAGE}/versions/{digest}");
    assert_eq!(code(registry.delete(&version)), Code::FailedPrecondition);
    registry.delete(&format!("{version}?force=true")).unwrap();
    assert_eq!(code(registry.read(&version)), Code::NotFound);
    assert_eq!(code(registry.read(&format!("{PACKAGE}/tags/v1"))), Code::NotFound);
    assert!(registry.read(PACKAGE).is_ok());
}

#[test]
fn a_version_that_is_tagged_meanwhile_stays() {
    let mut registry = Registry::with_images(&json!({}));
    let digest = registry.image("api");
    let version = format!("{PACKAGE}/versions/{digest}");
    let operation = registry.call("DELETE", &version, &Value::Null).unwrap();
    let body = json!({"version": format!("{LOCATION}/{version}")});
    registry.call("POST", &format!("{PACKAGE}/tags?tagId=live"), &body).unwrap();
    assert_eq!(code(registry.wait(&operation)), Code::FailedPrecondition);
    assert!(registry.read(&version).is_ok());
}

#[test]
fn a_package_goes_with_its_versions_and_tags() {
    let mut registry = Registry::with_images(&json!({}));
    registry.image("api:v1");
    registry.image("api-next:v1");
    registry.delete(PACKAGE).unwrap();
    assert_eq!(registry.ids("repositories/images/packages", "packages"), ["api-next"]);
    assert_eq!(registry.ids("repositories/images/dockerImages", "dockerImages").len(), 1);
    assert_eq!(code(registry.read(&format!("{PACKAGE}/tags"))), Code::NotFound);
}

#[test]
fn versions_are_deleted_in_batches() {
    let mut registry = Registry::with_images(&json!({}));
    let names: Vec<String> =
        (0..2).map(|_| format!("{LOCATION}/{PACKAGE}/versions/{}", registry.image("api"))).collect();
    let batch = format!("{PACKAGE}/versions:batchDelete");
    let dry = registry.call("POST", &batch, &json!({"names": names, "validateOnly": true})).unwrap();
    assert_eq!(dry["done"], true);
    assert_eq!(registry.ids(&format!("{PACKAGE}/versions"), "versions").len(), 2);
    let operation = registry.call("POST", &batch, &json!({"names": names})).unwrap();
    registry.wait(&operation).unwrap();
    assert!(registry.ids(&format!("{PACKAGE}/versions"), "versions").is_empty());
    assert_eq!(code(registry.call("POST", &batch, &json!({"names": names}))), Code::NotFound);
    assert_eq!(code(registry.call("POST", &batch, &json!({}))), Code::InvalidArgument);
}

/// A repository that keeps the newest version and what is tagged `live`, and deletes what is older than a day.
fn with_policies(dry_run: bool) -> (Registry, [String; 3]) {
    let mut registry = Registry::with_images(&json!({
        "cleanupPolicyDryRun": dry_run,
        "cleanupPolicies": {
            "newest": {"action": "KEEP", "mostRecentVersions": {"keepCount": 1}},
            "live": {"action": "KEEP", "condition": {"tagState": "TAGGED", "tagPrefixes": ["live"]}},
            "old": {"action": "DELETE", "condition": {"olderThan": "86400s"}},
        },
    }));
    let digests = ['a', 'b', 'c'].map(digest);
    for (index, (digest, tag)) in digests.iter().zip(["v3", "v2", "live-1"]).enumerate() {
        let time = format!("2027-05-{:02}T00:00:00Z", 20 - index);
        let push =
            json!({"image": format!("{REGISTRY}/images/api:{tag}"), "digest": digest, "uploadTime": time});
        registry.push(&push).unwrap();
    }
    (registry, digests)
}

#[test]
fn cleanup_deletes_what_no_policy_keeps() {
    let (mut registry, digests) = with_policies(false);
    let report = registry.clean_up(&json!({"project": PROJECT}));
    assert_eq!(report["wouldDelete"], json!([]));
    assert_eq!(
        report["deleted"],
        json!([{
            "name": format!("{LOCATION}/{PACKAGE}/versions/{}", digests[1]),
            "uri": format!("{REGISTRY}/images/api@{}", digests[1]),
            "tags": ["v2"],
            "policy": "old",
        }])
    );
    assert_eq!(registry.ids(&format!("{PACKAGE}/versions"), "versions"), [&*digests[0], &digests[2]]);
    assert_eq!(registry.ids(&format!("{PACKAGE}/tags"), "tags"), ["live-1", "v3"]);
    assert_eq!(registry.clean_up(&json!({}))["deleted"], json!([]));
}

#[test]
fn a_dry_run_deletes_nothing_and_says_what_it_would() {
    let (mut registry, digests) = with_policies(true);
    let report = registry.clean_up(&json!({}));
    assert_eq!(report["deleted"], json!([]));
    assert!(report["wouldDelete"][0]["name"].as_str().unwrap().ends_with(&digests[1]));
    assert_eq!(registry.ids(&format!("{PACKAGE}/versions"), "versions").len(), 3);
}

#[test]
fn cleanup_is_of_one_project_when_one_is_named() {
    let (mut registry, _) = with_policies(false);
    assert_eq!(registry.clean_up(&json!({"project": "agent-army"}))["deleted"], json!([]));
    assert_eq!(registry.clean_up(&json!({}))["deleted"].as_array().unwrap().len(), 1);
    assert!(clean_up(&mut registry.world, b"{\"projekt\": 1}").is_err());
}

#[test]
fn cleanup_spares_immutable_tags() {
    let (mut registry, _) = with_policies(false);
    registry.patch("", &json!({"dockerConfig": {"immutableTags": true}})).unwrap();
    assert_eq!(registry.clean_up(&json!({}))["deleted"], json!([]));
}

#[test]
fn the_registry_knows_what_it_holds() {
    let mut registry = Registry::with_images(&json!({}));
    let digest = registry.image("web/api:v1");
    let has = |reference: &str| holds(&registry.world, &parse(reference).unwrap());
    assert_eq!(has(&format!("{REGISTRY}/images/web/api:v1")), Some(true));
    assert_eq!(has(&format!("{REGISTRY}/images/web/api@{digest}")), Some(true));
    assert_eq!(has(&format!("{REGISTRY}/images/web/api:gone@{digest}")), Some(true));
    assert_eq!(has(&format!("{REGISTRY}/images/web/api:v2")), Some(false));
    assert_eq!(has(&format!("{REGISTRY}/images/web/api")), Some(false));
    assert_eq!(has(&format!("{REGISTRY}/none/web/api:v1")), Some(false));
    assert_eq!(has(&format!("{REGISTRY}/images")), Some(false));
    assert_eq!(has("europe-west1-docker.pkg.dev/other-project/images/api:v1"), None);
    assert_eq!(has("gcr.io/agent-army-dev/api:v1"), None);
    assert_eq!(has("nginx"), None);
}

#[test]
fn what_a_remote_repository_passes_on_is_not_ours_to_say() {
    let mut registry = Registry::new();
    let body = json!({"format": "DOCKER", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": {}});
    registry.create("hub", &body).unwrap();
    let image = format!("{REGISTRY}/hub/library/nginx:1.27");
    assert_eq!(holds(&registry.world, &parse(&image).unwrap()), None);
    assert_eq!(code(registry.push(&json!({"image": image}))), Code::FailedPrecondition);
}
