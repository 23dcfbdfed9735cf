//! Rendered files: those that are committed are as they would be rendered, and what becomes of edits.

use crate::support::{Workplace, repository};

/// Systems of this repository whose rendered files are committed: its own, and one with everything that is rendered.
const SYSTEMS: [&str; 2] = [".", "tests/it/rendered"];

const BASE: &str = "deployer: v1
system: shop
project: {id: shop-example}
region: us-central1
ci: {setup: [uv], steps: [uv run pytest]}
github:
  repository: octo-org/shop
  workflows:
    test: {on: {push: [main]}, run: ci}
    nightly: {on: {schedule: \"3 4 * * *\"}, run: ci}
";
const DEV: &str = "deployer: v1\nenvironment: dev\ntarget: sandbox\n";
const TEST: &str = ".github/workflows/test.yml";

fn shop() -> Workplace {
    Workplace::with(&[("environments/base.yaml", BASE), ("environments/dev.yaml", DEV)])
}

#[tokio::test]
async fn what_is_committed_is_what_would_be_rendered() {
    for system in SYSTEMS {
        let folder = repository().join(system);
        // `deployer render -C FOLDER` mends it: read the difference.
        Workplace::empty().deployer("render --check -C").arg(folder).ok().await;
    }
}

#[tokio::test]
async fn rendering_twice_changes_nothing() {
    let place = shop();
    let first = place.deployer("render").ok().await;
    assert!(first.stdout.contains("created    .github/workflows/test.yml"), "{first}");
    let text = place.read(TEST);
    assert!(text.starts_with("# Rendered by deployer from templates/workflows/ci.yml"), "{text}");
    let second = place.deployer("render").ok().await;
    assert!(second.stdout.contains("2 files, 0 changed."), "{second}");
    assert_eq!(place.read(TEST), text);
}

#[tokio::test]
async fn a_check_fails_with_a_diff_and_writes_nothing() {
    let place = shop();
    place.deployer("render").ok().await;
    let before = place.read(TEST);
    place.edit("environments/base.yaml", "[uv run pytest]", "[uv run pytest -v]");
    let done = place.deployer("render --check").fails(1).await;
    assert!(
        done.stdout.contains("-      - run: \"uv run pytest\"\n+      - run: \"uv run pytest -v\""),
        "{done}"
    );
    assert_eq!(place.read(TEST), before);
    let json = place.deployer("render --check --output json").fails(1).await.json();
    assert_eq!(json["files"][1]["outcome"], "differs");
    place.deployer("render --only .github/workflows/test.yml").ok().await;
    let left = place.deployer("render --check").fails(1).await;
    assert!(left.stdout.contains("differs    .github/workflows/nightly.yml"), "{left}");
    assert!(left.stdout.contains("unchanged  .github/workflows/test.yml"), "{left}");
}

#[tokio::test]
async fn an_edit_by_hand_stays_unless_it_is_forced() {
    let place = shop();
    place.deployer("render").ok().await;
    place.edit(TEST, "timeout-minutes: 30", "timeout-minutes: 31");
    place.edit("environments/base.yaml", "3 4 * * *", "4 4 * * *");
    let done = place.deployer("render").fails(1).await;
    assert!(done.stdout.contains("refused    .github/workflows/test.yml  changed by hand"), "{done}");
    assert!(done.stdout.contains("-    timeout-minutes: 31\n+    timeout-minutes: 30"), "{done}");
    assert!(done.stderr.contains("deployer render --force"), "{done}");
    assert!(place.read(TEST).contains("timeout-minutes: 31"));
    assert!(place.read(".github/workflows/nightly.yml").contains("3 4 * * *"), "nothing at all is written");
    place.deployer("render --force").ok().await;
    place.deployer("render --check").ok().await;
}

#[tokio::test]
async fn a_file_that_somebody_else_wrote_is_never_written_over() {
    let place = shop();
    place.write(TEST, "name: mine\n");
    let done = place.deployer("render").fails(1).await;
    assert!(
        done.stdout.contains("refused    .github/workflows/test.yml  was not rendered by deployer"),
        "{done}"
    );
    assert_eq!(place.read(TEST), "name: mine\n");
}

#[tokio::test]
async fn what_is_asked_for_no_more_is_removed() {
    let place = shop();
    place.deployer("render").ok().await;
    place.edit("environments/base.yaml", "    nightly: {on: {schedule: \"3 4 * * *\"}, run: ci}\n", "");
    let check = place.deployer("render --check").fails(1).await;
    assert!(check.stdout.contains("left       .github/workflows/nightly.yml"), "{check}");
    place.deployer("render").ok().await;
    assert!(!place.path(".github/workflows/nightly.yml").exists());
    place.deployer("render --check").ok().await;
}

#[tokio::test]
async fn a_template_of_the_user_replaces_the_built_in_one() {
    let place = shop();
    place.write("templates/workflows/ci.yml", "name: <{ name }>\n# mine\n");
    place.write("templates/workflows/cii.yml", "");
    let done = place.deployer("render").ok().await;
    assert!(place.read(TEST).ends_with("name: test\n# mine\n"), "{}", place.read(TEST));
    assert!(done.stderr.contains("replaces no template; did you mean `workflows/ci.yml`?"), "{done}");
}

#[tokio::test]
async fn a_template_that_is_wrong_is_told_with_its_place_and_what_there_is() {
    let place = shop();
    place.write("templates/workflows/ci.yml", "name: x\n  <{ nmae }>\n");
    let done = place.deployer("render").fails(1).await;
    let said =
        "templates/workflows/ci.yml:2:6: Variable `nmae` is not defined. Available variables: actions, ";
    assert!(done.stderr.contains(said), "{done}");
    place.write("templates/workflows/ci.yml", "<% if name %>\n");
    let done = place.deployer("render").fails(1).await;
    assert!(done.stderr.contains("templates/workflows/ci.yml:"), "{done}");
}

#[tokio::test]
async fn a_path_that_is_not_rendered_is_told_with_those_that_are() {
    let done = shop().deployer("render --only .github/workflows/tests.yml").fails(1).await;
    assert!(done.stderr.contains("did you mean `.github/workflows/test.yml`?"), "{done}");
}

#[tokio::test]
async fn without_git_one_line_says_what_was_not_looked_at() {
    // The folder of a test is in no repository, and nothing of git can be found: PATH is empty.
    let done = shop().deployer("render").env("PATH", "").ok().await;
    assert_eq!(
        done.stderr.matches("whether the branches of the workflows exist was not looked at").count(),
        1,
        "{done}"
    );
}

#[tokio::test]
async fn a_branch_that_does_not_exist_is_told() {
    let place = shop();
    let git = |words: &str| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(place.root()).args(identity).args(words.split(' '));
        assert!(command.output().unwrap().status.success(), "{words}");
    };
    let render = || place.deployer("render").env("PATH", std::env::var_os("PATH").unwrap());
    git("init -q -b mian");
    let none = render().ok().await;
    assert!(none.stderr.contains("there is no commit yet"), "{none}");
    git("commit -q --allow-empty -m one");
    let done = render().ok().await;
    let said = "workflow `test` starts on the branch `main`, which this repository does not have; did you mean `mian`?";
    assert!(done.stderr.contains(said), "{done}");
    git("branch main");
    git("checkout -q --detach");
    let detached = render().ok().await;
    assert!(!detached.stderr.contains("branch"), "{detached}");
}
