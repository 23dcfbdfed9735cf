//! Editing tenants: what is written, what is kept, and when nothing is written at all.

use serde_json::{Value, json};

use crate::rig::Rig;
use crate::support::{Cloud, PROJECT, Workplace};

const BASE: &str = r#"# The shop.
deployer: v1
environment: base
system: shop
project: {id: agent-army-example, number: "123456789012"}
region: us-central1
secrets:
  pink-crm-key: {}   # of the catalogue
tenants:
  secrets: [crm-key]
  readers: [front]
  list:
    # the first one
    red: {}
    blue-shoes: {name: "Blue, Shoes"}

services:
  front: {name: "front-${env}", image: us-docker.pkg.dev/cloudrun/container/hello}
"#;

const DEV: &str = "deployer: v1\nenvironment: dev\ntarget: sandbox\n";
const STAGING: &str = "deployer: v1\nenvironment: staging\ntenants:\n  list:\n    own: {}  # here\n";

const FILES: [&str; 3] = ["environments/base.yaml", "environments/dev.yaml", "environments/staging.yaml"];

fn place() -> Workplace {
    Workplace::with(&[(FILES[0], BASE), (FILES[1], DEV), (FILES[2], STAGING)])
}

fn texts(place: &Workplace) -> [String; 3] {
    FILES.map(|file| place.read(file))
}

#[tokio::test]
async fn an_edit_changes_one_line_and_no_other() {
    let place = place();
    let run = place.deployer("tenants add dev acme --no-plan --name").arg("Acme: Inc.");
    run.ok().await;
    let line = "    blue-shoes: {name: \"Blue, Shoes\"}\n";
    let expected = BASE.replace(line, &format!("{line}    acme: {{name: \"Acme: Inc.\"}}\n"));
    assert_eq!(texts(&place), [expected, DEV.into(), STAGING.into()]);
    let list = place.deployer("tenants list dev --output json").ok().await.json();
    assert_eq!(list["tenants"][2]["name"], "Acme: Inc.");
    place.deployer("tenants remove dev acme --no-plan").ok().await;
    assert_eq!(texts(&place), [BASE, DEV, STAGING]);
}

#[tokio::test]
async fn a_name_is_no_interpolation() {
    let place = place();
    place.deployer("tenants add dev acme --no-plan --name").arg("${env} $$").ok().await;
    let list = place.deployer("tenants list dev --output json").ok().await.json();
    assert_eq!(list["tenants"][2]["name"], "${env} $$");
}

#[tokio::test]
async fn the_overlay_is_edited_where_it_has_the_map() {
    let place = place();
    let done = place.deployer("tenants add staging acme --no-plan --output json").ok().await.json();
    let expected = STAGING.replace("own: {}  # here\n", "own: {}  # here\n    acme: {}\n");
    assert_eq!(texts(&place), [BASE.into(), DEV.into(), expected]);
    assert_eq!(done["edit"]["environments"], json!(["staging"]));
    assert_eq!(done["edit"]["file"], FILES[2]);
    assert_eq!(done["edit"]["line"], 6);
}

#[tokio::test]
async fn an_overlay_takes_out_what_the_base_declares_with_a_null() {
    let place = place();
    let done = place.deployer("tenants remove staging red --no-plan --output json").ok().await.json();
    assert_eq!(done["edit"]["secrets"][0]["id"], "red-crm-key");
    assert_eq!(place.read(FILES[2]), format!("{STAGING}    red: null\n"));
    assert_eq!(place.read(FILES[0]), BASE);
    // And back again: the null goes.
    place.deployer("tenants add staging red --no-plan").ok().await;
    let list = place.deployer("tenants list staging --output json").ok().await.json();
    assert_eq!(list["tenants"].as_array().unwrap().len(), 3);
    assert!(!place.read(FILES[2]).contains("null"));
}

#[tokio::test]
async fn a_file_can_be_named() {
    let place = place();
    place.deployer("tenants add dev acme --no-plan --in environments/dev.yaml").ok().await;
    assert_eq!(place.read(FILES[1]), format!("{DEV}tenants:\n  list:\n    acme: {{}}\n"));
    place.deployer("tenants add dev other --no-plan --in base.yaml").ok().await;
    assert!(place.read(FILES[0]).contains("    other: {}\n"));
    let done = place.deployer("tenants add dev third --in staging.yaml").fails(1).await;
    assert!(done.stderr.contains("is no file of this environment"), "{done}");
}

#[tokio::test]
async fn what_is_wrong_is_not_written() {
    for (words, expected) in [
        ("tenants add dev Acme", "`Acme` cannot be the slug of a tenant"),
        ("tenants add dev red", "dev has the tenant `red` already at environments/base.yaml:14:5"),
        ("tenants remove dev rod", "did you mean `red`?"),
        ("tenants remove dev own", "dev has no tenant `own`"),
        // Its secret would have the id of one in the catalogue.
        ("tenants add dev pink", "pink-crm-key"),
        // The base counts for staging, where it would be there twice.
        ("tenants add prod acme", "there is no environment `prod`"),
    ] {
        let place = place();
        let done = place.deployer(words).fails(1).await;
        assert!(done.stderr.contains(expected), "{words}: {done}");
        assert_eq!(texts(&place), [BASE, DEV, STAGING], "{words}");
    }
}

#[tokio::test]
async fn a_plan_that_cannot_be_made_is_told_before_anything_is_written() {
    let place = place();
    let done = place.deployer("tenants add staging acme").fails(1).await;
    assert!(done.stderr.contains("is a placeholder"), "{done}");
    assert_eq!(texts(&place), [BASE, DEV, STAGING]);
}

#[tokio::test]
async fn a_wrong_slug_is_told_alone() {
    let place = place();
    let done = place.deployer("tenants add dev ../x --no-plan").fails(1).await;
    assert!(
        done.stderr.starts_with("error: `../x` cannot be the slug of a tenant: nothing was written\n"),
        "{done}"
    );
    assert_eq!(done.stderr.matches("hint: ").count(), 1, "{done}");
}

#[tokio::test]
async fn an_edit_is_told_when_the_plan_fails_after_it() {
    let rig = Rig::of(place(), Cloud::fresh().await);
    rig.cloud.fault(json!({"match": {"method": "*"}, "do": {"status": 403, "message": "not yours"}})).await;
    let done = rig.deployer("tenants add dev acme --output json").fails(1).await;
    let document = done.json();
    assert_eq!((&document["edit"]["tenant"], &document["edit"]["file"]), (&json!("acme"), &json!(FILES[0])));
    assert!(document["error"]["message"].as_str().unwrap().contains("not yours"), "{done}");
    assert!(document.get("plan").is_none(), "{done}");
    for form in ["human", "markdown"] {
        let done = rig.deployer(&format!("tenants remove dev acme --output {form}")).fails(1).await;
        assert!(done.stdout.contains("Removed the tenant `acme`"), "{done}");
        assert!(done.stderr.contains("not yours"), "{done}");
        rig.deployer("tenants add dev acme --no-plan").ok().await;
    }
}

#[tokio::test]
async fn before_a_first_release_the_plan_of_an_edit_is_shown() {
    let registry = "registry: {repository: shop}\nservices:\n  own: {name: \"own-${env}\"}\n";
    let place = place();
    place.write(FILES[0], &BASE.replace("services:\n", registry));
    let rig = Rig::of(place, Cloud::fresh().await);
    let done = rig.deployer("plan dev").fails(1).await;
    assert!(done.stderr.contains("--image own="), "{done}");
    let document = rig.deployer("tenants add dev acme --output json").ok().await.json();
    let changes = document["plan"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["address"] == "secret/acme-crm-key"), "{document}");
    let notes = document["plan"]["notes"].to_string();
    assert!(notes.contains("--image own="), "what apply would ask for is a note: {notes}");
}

#[tokio::test]
async fn what_cannot_be_edited_safely_is_left_to_the_author() {
    let place = place();
    let text = BASE.replace("    red: {}\n", "    <<: {red: {}}\n");
    place.write(FILES[0], &text);
    let done = place.deployer("tenants remove dev red --no-plan").fails(1).await;
    assert!(done.stderr.contains("cannot be edited safely"), "{done}");
    assert!(done.stderr.contains("edit it by hand, under `tenants.list`: remove `red`"), "{done}");
    assert_eq!(place.read(FILES[0]), text);
}

#[tokio::test]
async fn marks_and_line_ends_of_a_file_stay() {
    let place = place();
    let text = format!("\u{feff}{}", BASE.replace('\n', "\r\n"));
    place.write(FILES[0], &text);
    place.deployer("tenants add dev acme --no-plan").ok().await;
    let line = "    blue-shoes: {name: \"Blue, Shoes\"}\r\n";
    assert_eq!(place.read(FILES[0]), text.replace(line, &format!("{line}    acme: {{}}\r\n")));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_stays_a_link_and_a_file_keeps_its_mode() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = place();
    place.write("shared/all.yaml", BASE);
    let (real, link) = (place.path("shared/all.yaml"), place.path(FILES[0]));
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::remove_file(&link).unwrap();
    symlink("../shared/all.yaml", &link).unwrap();
    place.deployer("tenants add dev acme --no-plan").ok().await;
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(place.read("shared/all.yaml").contains("    acme: {}\n"));
}

#[tokio::test]
async fn the_list_of_secrets_tells_who_reads_them_and_what_nobody_declares() {
    let rig = Rig::of(place(), Cloud::fresh().await);
    rig.apply().ok().await;
    rig.deployer("secrets set dev crm-key --tenant red").stdin("r").ok().await;
    let path = |id: &str| format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/{id}");
    rig.cloud.grant(&path("red-crm-key"), "roles/secretmanager.secretAccessor", "user:ann@example.com").await;
    rig.deployer("tenants remove dev blue-shoes --no-plan").ok().await;
    rig.cloud.forget_calls().await;
    let list = rig.deployer("secrets list dev --output json").ok().await.json();
    assert_eq!(list["undeclared"], json!(["blue-shoes-crm-key"]));
    let red = &list["secrets"][1];
    assert_eq!(red["name"], "red/crm-key");
    assert_eq!(red["tenant"], "red");
    assert_eq!((&red["enabled"], &red["versions"]), (&json!(2), &json!(2)));
    assert_eq!(red["readers"], json!(["services.front"]));
    assert_eq!(red["other_readers"], json!(["user:ann@example.com"]));
    assert_eq!(list["secrets"][0]["readers"], json!([]));
    assert!(rig.cloud.writes().await.is_empty());
}

#[tokio::test]
async fn readers_of_other_environments_are_named_and_the_age_is_that_of_the_newest_enabled_version() {
    let staging = format!("{STAGING}target: sandbox\n");
    let place = Workplace::with(&[(FILES[0], BASE), (FILES[1], DEV), (FILES[2], staging.as_str())]);
    let rig = Rig::of(place, Cloud::fresh().await);
    rig.apply().ok().await;
    rig.apply_to("staging").ok().await;
    rig.deployer("secrets set dev crm-key --tenant red").stdin("r").ok().await;
    let versions =
        format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets/red-crm-key/versions");
    rig.cloud.console("POST", &format!("{versions}/2:disable"), Some(&json!({}))).await;
    let first = rig.cloud.read(&format!("{versions}/1")).await;
    let list = rig.deployer("secrets list dev --output json").ok().await.json();
    let rows = list["secrets"].as_array().unwrap();
    let red = rows.iter().find(|row| row["name"] == "red/crm-key").unwrap();
    assert_eq!(red["newest_enabled"], 1);
    // Google writes 3, 6 or 9 digits of a second, others as many as there are.
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time(&red["created"]), time(&first["createTime"]));
    assert_eq!(red["environments"], json!(["staging"]));
    assert_eq!(red["other_readers"], json!([]));
    let shown = rig.deployer("secrets list dev").ok().await;
    assert!(shown.stdout.contains("services.front, staging"), "{shown}");
    assert!(!shown.stdout.contains("serviceAccount:"), "{shown}");
}
