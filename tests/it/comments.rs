//! `deployer comment` against a stand-in for GitHub, and what runs of GitHub Actions are told beside it.

use crate::support::{BOT, Github, Workplace};

const REPOSITORY: &str = "octo-org/shop";
const MARKER: &str = "<!-- deployer-comment: Pull request/plan -->\n";

fn place() -> Workplace {
    Workplace::with(&[("plan.md", "### Plan for shop/dev: 1 to add\n")])
}

#[tokio::test]
async fn the_first_run_comments_and_the_next_ones_rewrite_it() {
    let (github, place) = (Github::start().await, place());
    let made = github.comment(&place, "--file plan.md --output json", REPOSITORY).ok().await.json();
    assert_eq!(made["comment"]["action"], "created");
    assert_eq!(made["comment"]["url"], "https://github.com/octo-org/shop/pull/7#issuecomment-1");
    assert_eq!(github.comments()[0].body, format!("{MARKER}### Plan for shop/dev: 1 to add\n"));

    github.seen();
    let same = github.comment(&place, "--file plan.md --output json", REPOSITORY).ok().await.json();
    assert_eq!(same["comment"]["action"], "unchanged");
    assert!(github.seen().iter().all(|request| request.starts_with("GET ")));

    let changed = github.comment(&place, "", REPOSITORY).stdin("### No changes\n").ok().await;
    assert_eq!(
        changed.stdout,
        "The comment was updated: https://github.com/octo-org/shop/pull/7#issuecomment-1\n"
    );
    let comments = github.comments();
    assert_eq!((comments.len(), comments[0].body.as_str()), (1, &*format!("{MARKER}### No changes\n")));
}

#[tokio::test]
async fn comments_of_other_keys_and_of_other_people_stay() {
    let (github, place) = (Github::start().await, place());
    github.says("mona", &format!("{MARKER}not yours"));
    github.says(BOT, "<!-- deployer-comment: staging -->\nanother job");
    github.says(BOT, &format!("a quotation of\n{MARKER}"));
    let before = github.comments().into_iter().map(|comment| comment.body).collect::<Vec<_>>();
    github.comment(&place, "--file plan.md", REPOSITORY).ok().await;
    let after = github.comments().into_iter().map(|comment| comment.body).collect::<Vec<_>>();
    assert_eq!(after[..3], before);
    assert_eq!(after.len(), 4);
}

#[tokio::test]
async fn a_token_of_a_person_changes_what_that_person_wrote() {
    let (github, place) = (Github::start().await, place());
    github.token_of("mona");
    github.says(BOT, &format!("{MARKER}of a bot"));
    github.says("mona", &format!("{MARKER}of mona"));
    github.comment(&place, "--file plan.md", REPOSITORY).ok().await;
    let comments = github.comments();
    assert!(comments[0].body.ends_with("of a bot") && comments[1].body.ends_with("1 to add\n"));
    assert_eq!(comments.len(), 2);
}

#[tokio::test]
async fn the_comment_is_found_on_a_later_page() {
    let (github, place) = (Github::start().await, place());
    for number in 0..230 {
        github.says("mona", &format!("comment {number}"));
    }
    github.says(BOT, &format!("{MARKER}old"));
    github.comment(&place, "--file plan.md", REPOSITORY).ok().await;
    assert_eq!(github.comments().len(), 231);
    let path = "/repos/octo-org/shop/issues";
    assert_eq!(
        github.seen(),
        [
            format!("GET {path}/7/comments?per_page=100&page=1"),
            format!("GET {path}/7/comments?per_page=100&page=2"),
            format!("GET {path}/7/comments?per_page=100&page=3"),
            "GET /user".to_owned(),
            format!("PATCH {path}/comments/231"),
        ]
    );
}

#[tokio::test]
async fn of_two_jobs_that_begin_at_once_one_comment_stays() {
    let (github, place) = (Github::start().await, place());
    github.has_a_rival(&format!("{MARKER}of the rival"));
    github.comment(&place, "--file plan.md", REPOSITORY).ok().await;
    let comments = github.comments();
    assert_eq!((comments.len(), comments[0].id), (1, 1));
    assert!(comments[0].body.ends_with("1 to add\n"));
}

#[tokio::test]
async fn passing_trouble_is_waited_out_and_nothing_is_written_twice() {
    let (github, place) = (Github::start().await, place());
    github.refuses(502, "", "Bad Gateway");
    github.refuses(429, "retry-after: 0", "slow down");
    github.refuses(403, "retry-after: 0", "You have exceeded a secondary rate limit");
    github.comment(&place, "--file plan.md", REPOSITORY).ok().await;
    assert_eq!(github.comments().len(), 1);
}

#[tokio::test]
async fn a_long_limit_ends_the_command_and_says_for_how_long() {
    let (github, place) = (Github::start().await, place());
    github.refuses(403, "retry-after: 1800", "API rate limit exceeded");
    let done = github.comment(&place, "--file plan.md", REPOSITORY).fails(1).await;
    assert!(
        done.stderr.starts_with("error: GitHub takes no more requests of this token for 1800 s\n"),
        "{done}"
    );
}

#[tokio::test]
async fn a_token_that_only_reads_is_told_which_permission_is_missing() {
    let (github, place) = (Github::start().await, place());
    github.refuses(403, "", "Resource not accessible by integration");
    let done = github.comment(&place, "--file plan.md", REPOSITORY).fails(1).await;
    let told = "error: the token of this run may not comment on pull requests: Resource not accessible by integration\n";
    assert!(done.stderr.starts_with(told), "{done}");
    assert!(done.stderr.contains("`permissions: {pull-requests: write}`"), "{done}");
}

#[tokio::test]
async fn a_fork_gets_its_summary_and_no_failure() {
    let (github, place) = (Github::start().await, place());
    github.refuses(403, "", "Resource not accessible by integration");
    let done = github.comment(&place, "--file plan.md --output json", "mona/shop").ok().await;
    assert_eq!(done.json()["comment"]["action"], "refused");
    assert_eq!(place.read("summary.md"), "### Plan for shop/dev: 1 to add\n");
}

#[tokio::test]
async fn what_cannot_be_commented_on_is_told_with_its_mend() {
    let (github, place) = (Github::start().await, place());
    let said = async |words: &str, name: &str, value: &str| {
        github.comment(&place, words, REPOSITORY).env(name, value).fails(1).await.stderr
    };
    let wrong = said("--file plan.md", "GITHUB_TOKEN", "wrong").await;
    assert!(wrong.starts_with("error: GitHub does not accept the token\nhint: "), "{wrong}");
    let none = said("--file plan.md", "GITHUB_TOKEN", "").await;
    assert!(none.starts_with("error: GITHUB_TOKEN is not set\nhint: "), "{none}");
    let other = said("--file plan.md --pr 8", "X", "").await;
    assert!(
        other.starts_with("error: GitHub shows this token no pull request 8 in octo-org/shop\n"),
        "{other}"
    );
    let outside = said("--file plan.md", "GITHUB_REPOSITORY", "").await;
    assert!(outside.starts_with("error: GITHUB_REPOSITORY is not set"), "{outside}");
    let far = said("--file plan.md", "GITHUB_API_URL", "http://ghe.example").await;
    assert!(far.starts_with("error: GITHUB_API_URL is no place to send a token to"), "{far}");
    place.write("event.json", "{}");
    let push = place.path("push.json");
    place.write("push.json", "{\"ref\": \"refs/heads/main\"}");
    let push = said("--file plan.md", "GITHUB_EVENT_PATH", push.to_str().unwrap()).await;
    assert!(push.starts_with("error: this run belongs to no pull request"), "{push}");
    place.write("empty.md", "\n");
    let empty = said("--file empty.md", "X", "").await;
    assert!(empty.starts_with("error: empty.md is empty: there is nothing to comment\n"), "{empty}");
    assert!(github.comments().is_empty());
}

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_and_says_so() {
    let (github, place) = (Github::start().await, place());
    place
        .write("plan.md", &format!("<details>\n\n```diff\n{}```\n\n</details>\n", "+ line\n".repeat(20_000)));
    github.comment(&place, "--file plan.md", REPOSITORY).ok().await;
    let body = github.comments()[0].body.clone();
    assert!(body.len() <= 65_000, "{}", body.len());
    assert!(body.ends_with("+ line\n```\n\n</details>\n\n*The rest does not fit into a comment; the summary of the run has more.*\n"));
    assert!(place.read("summary.md").len() > 140_000);
}

#[tokio::test]
async fn a_run_of_actions_gets_annotations_and_outputs() {
    let place = Workplace::shop();
    let in_actions = |words: &str| {
        let run = place.deployer(words).env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", place.root());
        run.env("GITHUB_OUTPUT", place.path("output"))
    };
    in_actions("apply dev --output json").ok().await;
    let output = place.read("output");
    let values: Vec<&str> = output.lines().filter(|line| !line.contains("deployer_")).collect();
    let [changed, revision, digest, url] = values.as_slice() else { panic!("{output}") };
    assert_eq!((*changed, *digest), ("true", ""), "{output}");
    assert!(revision.starts_with("shop-web-dev-") && url.starts_with("https://shop-web-dev-"), "{output}");

    place.edit("environments/base.yaml", "memory:", "memroy:");
    let done = in_actions("validate dev").fails(1).await;
    let place_of = "::error file=environments/base.yaml,line=";
    assert!(
        done.stderr.lines().any(|line| line.starts_with(place_of) && line.contains("title=unknown-key::")),
        "{done}"
    );
    assert!(!done.stdout.contains("::error"), "{done}");
}
