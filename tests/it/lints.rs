//! `deployer lint` over a repository, and over this one.

use crate::support::{Workplace, repository};

const WORKFLOW: &str = "\
on: push
jobs:
  deploy:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - run: deployer apply production --auto-approve
";

/// A repository with a shop in a folder of it.
fn place() -> Workplace {
    let shop = Workplace::shop();
    let place = Workplace::with(&[(".git/HEAD", ""), (".github/workflows/deploy.yml", WORKFLOW)]);
    place.write("Dockerfile", "FROM debian:12-slim\nCMD [\"app\"]\n");
    for name in ["base", "dev", "staging", "production"] {
        let path = format!("environments/{name}.yaml");
        place.write(&format!("shop/{path}"), &shop.read(&path));
    }
    place
}

#[tokio::test]
async fn what_is_found_has_a_rule_a_place_a_reason_and_a_mend() {
    let done = place().deployer("lint").within("shop").fails(1).await;
    insta::assert_snapshot!(done.stderr, @r#"
    warning[broad-permissions]: no `permissions` at the top: each job has what the repository's settings say, which may be to write everything
     --> .github/workflows/deploy.yml:2:1
      |
    2 | jobs:
      | ^^^^ rights of the settings
      |
      = key: permissions
      = hint: write `permissions: {}` at the top, and what each job needs in the job

    warning[checkout-keeps-token]: checkout leaves the token in `.git/config`, where every later step and every artifact of the folder has it
     --> .github/workflows/deploy.yml:6:15
      |
    6 |       - uses: actions/checkout@v4
      |               ^^^^^^^^^^^^^^^^^^^ keeps the token
      |
      = key: jobs.deploy.steps.0.uses
      = hint: with: {persist-credentials: false}

    error[unpinned-action]: `actions/checkout@v4` is whatever its owner, or who took the owner's account, moves that name to
     --> .github/workflows/deploy.yml:6:15
      |
    6 |       - uses: actions/checkout@v4
      |               ^^^^^^^^^^^^^^^^^^^ not a commit
      |
      = key: jobs.deploy.steps.0.uses
      = hint: actions/checkout@COMMIT # VERSION, with the 40 digits that `git ls-remote https://github.com/actions/checkout` shows

    error[unprotected-production]: this runs `deployer apply` without `environment`: whoever can push to a branch that starts this deploys to production
     --> .github/workflows/deploy.yml:7:14
      |
    7 |       - run: deployer apply production --auto-approve
      |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ nobody is asked
      |
      = key: jobs.deploy.steps.1
      = hint: add `environment: production` to the job, and reviewers to that environment in the repository's settings

    error[root-user]: no `USER` is named: whoever takes over the process is root in the container
     --> Dockerfile:1:1
      |
    1 | FROM debian:12-slim
      | ^^^^^^^^^^^^^^^^^^^ runs as root
      |
      = hint: add `USER 65532:65532` (or a user of the image) to the last stage, after what needs root

    3 errors, 2 warnings
    "#);
}

#[tokio::test]
async fn what_is_accepted_in_the_yaml_is_no_finding() {
    let place = place();
    let allow = "lint:\n  allow:\n    root-user: {Dockerfile: a tool for tests}\n    unprotected-production: {\".github/workflows/deploy.yml:jobs.deploy\": one person}\n    unpinned-action: {\".github/workflows/deploy.yml\": tests}\n    latest-tag: {gone: x}\n";
    let base = place.read("shop/environments/base.yaml");
    place.write("shop/environments/base.yaml", &format!("{base}{allow}"));
    let done = place.deployer("lint --output json").within("shop").ok().await.json();
    let rules = done["findings"].as_array().unwrap().iter().map(|found| found["rule"].as_str().unwrap());
    assert_eq!(rules.collect::<Vec<_>>(), ["broad-permissions", "checkout-keeps-token", "lint-allow"]);
    assert_eq!(done["files"], serde_json::json!([".github/workflows/deploy.yml", "Dockerfile"]));
    place.deployer("validate").within("shop").ok().await;
}

#[tokio::test]
async fn a_part_of_the_repository_can_be_named() {
    let place = place();
    let done = place.deployer("lint ../Dockerfile --output json").within("shop").fails(1).await.json();
    assert_eq!(done["files"], serde_json::json!(["Dockerfile"]));
    let nothing = place.deployer("lint environments").within("shop").fails(1).await;
    assert!(
        nothing.stderr.starts_with("error: there is no workflow and no Dockerfile in what was named\n"),
        "{nothing}"
    );
}

#[tokio::test]
async fn this_repository_has_no_findings() {
    let place = Workplace::empty();
    let done = place.deployer("lint -C").arg(repository()).done().await;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done}");
}

#[tokio::test]
async fn what_deployer_renders_has_no_findings() {
    let place = Workplace::with(&[(".git/HEAD", "")]);
    let rendered = repository().join("tests/it/rendered/.github/workflows");
    let mut count = 0;
    for entry in std::fs::read_dir(rendered).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        place.write(&format!(".github/workflows/{name}"), &std::fs::read_to_string(&path).unwrap());
        count += 1;
    }
    let done = place.deployer("lint").done().await;
    assert_eq!((done.stdout, done.stderr), (format!("ok: {count} files\n"), String::new()));
}
