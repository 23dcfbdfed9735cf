//! Whom instances run as: the user that their image names.

use serde_json::{Value, json};

use super::stage::{File, InPlaceOf as _, Stage, app, options, stage, staged, with};

/// Whether the sandbox may choose whom instances run as.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

const FILES: &[File<'_>] = &[
    ("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1234:70::/srv:/bin/false\n", 0),
    ("etc/group", "root:x:0:\nweb:x:70:\n", 0),
    ("srv/", "", 0),
    ("srv/who", "web", 0),
    ("srv/data/", "", 1234),
];

/// The service `api`, whose image is to be run as `user`.
async fn served(stage: &Stage, user: &str) {
    let image = stage.push_for_user(user, FILES).await;
    stage.serve("api", app("serve").in_place_of(&image)).await;
}

/// User and group of the instance, as the kernel tells it.
async fn own(stage: &Stage) -> (String, String) {
    let status = stage.text("api", "/file/proc/self/status").await;
    let first = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    (first("Uid:"), first("Gid:"))
}

/// Whether the kernel lets somebody who is not root mount and be somebody else. What an instance needs more than that,
/// every Linux has.
fn kernel_grants_namespaces() -> bool {
    use std::os::unix::process::CommandExt as _;
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "unshare", "--user", "--map-user=1", "true"]);
    if is_root() {
        command.uid(65_534).gid(65_534);
    }
    cfg!(target_os = "linux") && command.status().is_ok_and(|status| status.success())
}

#[tokio::test]
async fn an_instance_has_a_root_of_its_own_where_the_kernel_grants_one() {
    let stage = stage().await;
    served(&stage, "web").await;
    let expected = kernel_grants_namespaces();
    assert_eq!(stage.is_isolated().await, expected);
    assert_eq!(stage.ask("api", "/file/srv/who").await.status(), if expected { 200 } else { 404 });
}

async fn expect(stage: &Stage, user: &str, group: &str) {
    // Where it may choose nothing and nothing is hidden, all of them are the sandbox's user.
    if is_root() || stage.is_isolated().await {
        assert_eq!(own(stage).await, (user.to_owned(), group.to_owned()));
    }
}

#[tokio::test]
async fn an_instance_is_the_user_whom_its_image_names() {
    let stage = stage().await;
    served(&stage, "web").await;
    expect(&stage, "1234", "70").await;
    let image = stage.push_for_user("65532:65531", FILES).await;
    let operation = stage.update("api", app("serve").in_place_of(&image)).await;
    assert_eq!(operation.get("error"), None, "{operation}");
    expect(&stage, "65532", "65531").await;
}

#[tokio::test]
async fn without_a_root_of_its_own_it_is_that_user_too() {
    let mut options = options();
    options.runtime.isolate = false;
    let stage = staged(options).await;
    served(&stage, "web").await;
    expect(&stage, "1234", "70").await;
}

#[tokio::test]
async fn who_asks_for_root_gets_it_in_its_own_root_alone() {
    let stage = stage().await;
    served(&stage, "").await;
    if stage.is_isolated().await {
        expect(&stage, "0", "0").await;
        assert_eq!(stage.text("api", "/write/srv/mine").await, "", "and may write what is root's");
    } else {
        assert_ne!(own(&stage).await.0, "0");
    }
}

#[tokio::test]
async fn a_user_may_write_its_own_files_and_not_those_of_root() {
    let stage = stage().await;
    served(&stage, "web").await;
    // Without a root of its own the paths are the machine's.
    if is_root() && stage.is_isolated().await {
        assert_eq!(stage.ask("api", "/write/srv/mine").await.status(), 500);
    }
    if stage.is_isolated().await {
        for mine in ["srv/data/mine", "tmp/mine"] {
            assert_eq!(stage.text("api", &format!("/write/{mine}")).await, "", "{mine}");
        }
    }
}

#[tokio::test]
async fn a_secret_that_only_its_owner_may_read_is_the_users() {
    let stage = stage().await;
    stage.secret("db", "sesame").await;
    let image = stage.push_for_user("web", FILES).await;
    let mut service = app("serve").in_place_of(&image);
    service = with(service, "volumeMounts", json!([{"name": "keys", "mountPath": "/run/keys"}]));
    service["template"]["volumes"] = json!([{"name": "keys", "secret": {"secret": "db",
        "items": [{"version": "latest", "path": "db.txt", "mode": 0o400}]}}]);
    stage.serve("api", service).await;
    if stage.is_isolated().await {
        assert_eq!(stage.text("api", "/file/run/keys/db.txt").await, "sesame");
    }
}

#[tokio::test]
async fn a_user_whom_the_image_does_not_know_fails_the_revision() {
    let stage = stage().await;
    let image = stage.push_for_user("ghost", FILES).await;
    let operation: Value = stage.create("api", app("serve").in_place_of(&image)).await;
    let said = operation["error"]["message"].as_str().unwrap();
    assert!(said.contains("the user 'ghost', which its /etc/passwd does not have"), "{said}");
}
