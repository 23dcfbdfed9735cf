//! Repositories: making, reading, changing and deleting them.

use super::*;

#[test]
fn a_repository_is_there_when_its_operation_is_done() {
    let mut registry = Registry::new();
    let operation =
        registry.call("POST", "repositories?repositoryId=images", &json!({"format": "DOCKER"})).unwrap();
    assert!(operation["name"].as_str().unwrap().starts_with(&format!("{LOCATION}/operations/")));
    assert_eq!(code(registry.read("repositories/images")), Code::NotFound);
    let made = registry.wait(&operation).unwrap();
    assert_eq!(made["@type"], "type.googleapis.com/google.devtools.artifactregistry.v1.Repository");
    assert_eq!(registry.read("repositories/images").unwrap()["name"], made["name"]);
}

#[test]
fn defaults_and_output_only_fields_are_filled_in() {
    let mut registry = Registry::new();
    let body = json!({
        "format": 1,
        "dockerConfig": {"immutableTags": false},
        "cleanupPolicyDryRun": false,
        "labels": {},
        "cleanupPolicies": {"old": {"action": "DELETE", "condition": {"olderThan": "86400.0s"}}},
        "createTime": "2000-01-01T00:00:00Z",
    });
    registry.create("images", &body).unwrap();
    let repository = registry.read("repositories/images").unwrap();
    assert_eq!(
        repository,
        json!({
            "name": format!("{LOCATION}/repositories/images"),
            "format": "DOCKER",
            "mode": "STANDARD_REPOSITORY",
            "dockerConfig": {},
            "cleanupPolicies": {
                "old": {"id": "old", "action": "DELETE", "condition": {"tagState": "ANY", "olderThan": "86400s"}},
            },
            "createTime": "2027-06-01T12:00:00.000000Z",
            "updateTime": "2027-06-01T12:00:00.000000Z",
            "registryUri": format!("{REGISTRY}/images"),
            "satisfiesPzi": true,
            "vulnerabilityScanningConfig": {
                "enablementState": "SCANNING_ACTIVE",
                "lastEnableTime": "2027-06-01T12:00:00.000000Z",
            },
        })
    );
}

#[test]
fn ids_places_and_formats_are_checked() {
    let mut registry = Registry::new();
    let docker = json!({"format": "DOCKER"});
    for id in ["Images", "1st", "", "a_b"] {
        assert_eq!(code(registry.create(id, &docker)), Code::InvalidArgument, "{id}");
    }
    assert_eq!(code(registry.create("images", &json!({}))), Code::InvalidArgument);
    assert_eq!(code(registry.create("images", &json!({"format": "TAR"}))), Code::InvalidArgument);
    let unspecified = json!({"format": "DOCKER", "disallowUnspecifiedMode": true});
    assert_eq!(code(registry.create("images", &unspecified)), Code::InvalidArgument);
    let elsewhere = "artifactregistry.googleapis.com/v1/projects/agent-army-dev/locations/mars/repositories";
    let target = format!("{elsewhere}?repositoryId=images");
    assert_eq!(code(testing::send(&mut registry.world, "POST", &target, &docker)), Code::InvalidArgument);
}

#[test]
fn a_name_is_taken_once() {
    let mut registry = Registry::with_images(&json!({}));
    assert_eq!(code(registry.create("images", &json!({"format": "DOCKER"}))), Code::AlreadyExists);
}

#[test]
fn of_two_creations_at_once_one_fails() {
    let mut registry = Registry::new();
    let body = json!({"format": "DOCKER"});
    let first = registry.call("POST", "repositories?repositoryId=images", &body).unwrap();
    let second = registry.call("POST", "repositories?repositoryId=images", &body).unwrap();
    assert!(registry.wait(&second).is_ok());
    assert_eq!(code(registry.wait(&first)), Code::AlreadyExists);
}

#[test]
fn lists_are_of_one_location_filtered_and_paged() {
    let mut registry = Registry::new();
    for id in ["b-images", "a-images", "charts"] {
        registry.create(id, &json!({"format": "DOCKER"})).unwrap();
    }
    assert_eq!(registry.ids("repositories", "repositories"), ["a-images", "b-images", "charts"]);
    assert_eq!(registry.ids("repositories?orderBy=name%20desc", "repositories")[0], "charts");
    let filter = format!("repositories?filter=name%3D%22{LOCATION}/repositories/*images%22");
    assert_eq!(registry.ids(&filter, "repositories"), ["a-images", "b-images"]);
    let first = registry.read("repositories?pageSize=2").unwrap();
    let token = first["nextPageToken"].as_str().unwrap();
    let rest = registry.ids(&format!("repositories?pageSize=2&pageToken={token}"), "repositories");
    assert_eq!(rest, ["charts"]);
    let other = format!("artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/us/repositories");
    assert_eq!(testing::get(&mut registry.world, &other).unwrap(), json!({}));
    assert_eq!(code(registry.read("repositories?filter=format%3DDOCKER")), Code::InvalidArgument);
}

#[test]
fn a_mask_changes_what_it_names_and_nothing_else() {
    let mut registry = Registry::with_images(&json!({"description": "old", "labels": {"a": "1", "b": "2"}}));
    let body = json!({"description": "new", "labels": {"a": "3"}, "cleanupPolicyDryRun": true});
    let changed = registry.patch("?updateMask=description,labels.a", &body).unwrap();
    assert_eq!(changed["description"], "new");
    assert_eq!(changed["labels"], json!({"a": "3", "b": "2"}));
    assert!(changed.get("cleanupPolicyDryRun").is_none());
    let changed = registry.patch("?updateMask=labels", &json!({})).unwrap();
    assert!(changed.get("labels").is_none());
}

#[test]
fn without_a_mask_what_was_sent_changes() {
    let mut registry = Registry::with_images(&json!({"description": "old", "labels": {"a": "1"}}));
    let changed = registry.patch("", &json!({"description": "new"})).unwrap();
    assert_eq!((&changed["description"], &changed["labels"]["a"]), (&json!("new"), &json!("1")));
}

#[test]
fn a_star_replaces_all_that_can_change() {
    let mut registry = Registry::with_images(&json!({"description": "old", "labels": {"a": "1"}}));
    let changed = registry.patch("?updateMask=*", &json!({"description": "new"})).unwrap();
    assert_eq!(changed["description"], "new");
    assert!(changed.get("labels").is_none());
    assert_eq!((&changed["format"], &changed["mode"]), (&json!("DOCKER"), &json!("STANDARD_REPOSITORY")));
}

#[test]
fn a_repository_that_was_read_can_be_sent_back() {
    let mut registry = Registry::with_images(&json!({"description": "old"}));
    let read = registry.read("repositories/images").unwrap();
    assert_eq!(registry.patch("", &read).unwrap(), read);
    assert_eq!(registry.patch("?updateMask=*", &read).unwrap(), read);
}

#[test]
fn immutable_fields_are_refused() {
    let mut registry = Registry::with_images(&json!({}));
    for (field, value) in [
        ("format", json!("NPM")),
        ("mode", json!("VIRTUAL_REPOSITORY")),
        ("kmsKeyName", json!("projects/p/locations/us/keyRings/r/cryptoKeys/k")),
    ] {
        let status = registry.patch(&format!("?updateMask={field}"), &json!({field: value})).unwrap_err();
        assert_eq!(status.code, Code::InvalidArgument);
        assert!(status.message.contains(field), "{status}");
        assert!(registry.patch("", &json!({field: value})).is_err());
    }
    assert!(registry.patch("?updateMask=format", &json!({"format": "DOCKER"})).is_ok());
}

#[test]
fn a_mask_must_name_fields_that_there_are() {
    let mut registry = Registry::with_images(&json!({}));
    for bad in ["nothing", "dockerConfig.nothing", "description.a", "cleanupPolicies.a.action"] {
        assert_eq!(code(registry.patch(&format!("?updateMask={bad}"), &json!({}))), Code::InvalidArgument);
    }
    let body = json!({"dockerConfig": {"immutableTags": true}});
    let changed = registry.patch("?updateMask=docker_config.immutable_tags,createTime", &body).unwrap();
    assert_eq!(changed["dockerConfig"]["immutableTags"], true);
}

#[test]
fn what_a_change_makes_is_checked_too() {
    let mut registry = Registry::with_images(&json!({}));
    let body = json!({"cleanupPolicies": {"a": {"action": "DELETE"}}});
    assert_eq!(code(registry.patch("?updateMask=cleanupPolicies", &body)), Code::InvalidArgument);
    assert!(registry.read("repositories/images").unwrap().get("cleanupPolicies").is_none());
}

#[test]
fn scanning_follows_the_repository_and_the_api() {
    let mut registry = Registry::with_images(&json!({}));
    let body = json!({"vulnerabilityScanningConfig": {"enablementConfig": "DISABLED"}});
    let changed = registry.patch("", &body).unwrap();
    assert_eq!(changed["vulnerabilityScanningConfig"]["enablementState"], "SCANNING_DISABLED");
    let python = registry.create("wheels", &json!({"format": "PYTHON"})).unwrap();
    assert_eq!(python["vulnerabilityScanningConfig"]["enablementState"], "SCANNING_UNSUPPORTED");
    assert_eq!(python["registryUri"], "europe-west1-python.pkg.dev/agent-army-dev/wheels");
    let disable = "serviceusage.googleapis.com/v1/projects/agent-army-dev/services/containerscanning.googleapis.com:disable";
    testing::send(&mut registry.world, "POST", disable, &json!({})).unwrap();
    for _ in 0..25 {
        registry.read("repositories").unwrap();
    }
    registry.create("other", &json!({"format": "DOCKER"})).unwrap();
    let other = registry.read("repositories/other").unwrap();
    assert_eq!(other["vulnerabilityScanningConfig"]["enablementState"], "SCANNING_DISABLED");
}

#[test]
fn deleting_a_repository_takes_all_with_it() {
    let mut registry = Registry::with_images(&json!({}));
    registry.image("api:v1");
    let binding = json!({"role": "roles/artifactregistry.reader", "members": ["allUsers"]});
    let policy = json!({"policy": {"bindings": [binding]}});
    registry.call("POST", "repositories/images:setIamPolicy", &policy).unwrap();
    let operation = registry.call("DELETE", "repositories/images", &Value::Null).unwrap();
    assert!(registry.read("repositories/images").is_ok());
    let response = registry.wait(&operation).unwrap();
    assert_eq!(response, json!({"@type": "type.googleapis.com/google.protobuf.Empty"}));
    assert_eq!(code(registry.read("repositories/images")), Code::NotFound);
    assert_eq!(code(registry.delete("repositories/images")), Code::NotFound);

    registry.create("images", &json!({"format": "DOCKER"})).unwrap();
    assert_eq!(registry.read("repositories/images/packages").unwrap(), json!({}));
    assert_eq!(registry.read("repositories/images:getIamPolicy").unwrap(), json!({"etag": "ACAB"}));
}

#[test]
fn a_late_deletion_spares_the_next_repository_of_the_name() {
    let mut registry = Registry::with_images(&json!({}));
    let late = registry.call("DELETE", "repositories/images", &Value::Null).unwrap();
    registry.delete("repositories/images").unwrap();
    registry.create("images", &json!({"format": "DOCKER"})).unwrap();
    registry.wait(&late).unwrap();
    assert!(registry.read("repositories/images").is_ok());
}

#[test]
fn policies_are_kept_by_repository() {
    let mut registry = Registry::with_images(&json!({}));
    let member = "user:a@example.com";
    let policy =
        json!({"policy": {"bindings": [{"role": "roles/artifactregistry.reader", "members": [member]}]}});
    registry.call("POST", "repositories/images:setIamPolicy", &policy).unwrap();
    let read = registry.read("repositories/images:getIamPolicy?options.requestedPolicyVersion=3").unwrap();
    assert_eq!(read["bindings"][0]["members"][0], member);
    let asked = json!({"permissions": ["artifactregistry.repositories.get"]});
    let held = registry.call("POST", "repositories/images:testIamPermissions", &asked).unwrap();
    assert_eq!(held["permissions"], asked["permissions"]);
    assert_eq!(code(registry.call("POST", "repositories/none:setIamPolicy", &policy)), Code::NotFound);
}
