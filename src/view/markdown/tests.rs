//! What stands in a comment on a pull request, and that nothing in it can break out of its place.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::document::LIMIT;
use super::{drift_markdown, error_markdown, plan_markdown, report_markdown, validation_markdown};
use crate::apply::{Failure, Outcome, Report, Skipped};
use crate::config::model::Location;
use crate::config::{Checked, Diagnostic};
use crate::error::CliError;
use crate::plan::{Change, Plan, PlanError, Refusal};
use crate::resource::{Address, Consequence};
use crate::view::Format;
use crate::view::out::captured;
use crate::view::testing::{address, create, delete, note, plan, update};

fn sample() -> Plan {
    let mut service = update(
        "run_service/api-dev",
        json!({"memory": "512Mi", "env": {"A": "old-value", "RULES": "a\nb\n"}}),
        json!({"memory": "1Gi", "env": {"A": "new-value", "RULES": "a\nc\n"}}),
    )
    .at("environments/dev.yaml:7:3")
    .leads_to(Consequence::NewRevision);
    service.field("/memory").location = Some("environments/base.yaml:44:13".into());
    let spec = json!({"image": "i:v1", "cpu": "1", "memory": "1Gi", "port": 80, "env": {"A": "secret-ish"}});
    let mut plan = plan(vec![
        create("secret/database-url-dev", "create", json!({"labels": {}})).at("environments/base.yaml:21:3"),
        create("run_service/worker-dev", "create", spec)
            .blocked("secret x has no value: run `deployer secrets set dev x`"),
        service,
        delete("run_grant/api-dev:invoker:allUsers", "revoke", json!({}))
            .leads_to(Consequence::AccessNarrowed),
    ]);
    plan.notes.push(note("secret/old", "is ours and no longer declared: it stays; `--prune` deletes it"));
    plan.show_env = vec!["RULES".into()];
    plan
}

#[test]
fn a_plan_stands_in_sections_with_details_that_can_be_opened() {
    insta::assert_snapshot!(plan_markdown(&sample()), @r"
    ### Plan for agent-army/dev: 2 to add, 1 to change, 1 to remove; 1 waits for a person

    Project `agent-army-example`, region `us-central1`, on the sandbox.

    | Kind | Add | Change | Remove |
    |---|---:|---:|---:|
    | `run_grant` |  |  | 1 |
    | `run_service` | 1 | 1 |  |
    | `secret` | 1 |  |  |

    #### What follows from it

    * **new revision**: `run_service/api-dev`
    * **access narrowed**: `run_grant/api-dev:invoker:allUsers`

    #### Waiting for you

    * secret x has no value: run `deployer secrets set dev x`<br>needed by `run_service/worker-dev`

    #### To remove (1)

    * `- revoke` `run_grant/api-dev:invoker:allUsers`: access narrowed

    #### To change (1)

    <details><summary><code>~ update</code> <code>run_service/api-dev</code>: <code>new revision</code></summary>

    Asked for at `environments/dev.yaml:7:3`

    ```diff
    - services.api.env.A: (redacted)
    + services.api.env.A: (redacted)
      services.api.env.RULES:
        a
    -   b
    +   c
    - services.api.memory: 512Mi
    + services.api.memory: 1Gi
    ```

    </details>

    #### To add (2)

    * `+ create` `secret/database-url-dev` (`environments/base.yaml:21:3`)

    <details><summary><code>+ create</code> <code>run_service/worker-dev</code>: <code>waits</code></summary>

    ```diff
    + image: i:v1
    + port: 80
    + cpu: 1
    + memory: 1Gi
    + env.A: (redacted)
    ```

    </details>

    #### Notes

    * `secret/old` is ours and no longer declared: it stays; `--prune` deletes it
    ");
}

#[test]
fn a_plan_without_changes_says_so_and_for_which_part() {
    let text = plan_markdown(&Plan { part: Some("--layer release".into()), ..plan(vec![]) });
    insta::assert_snapshot!(text, @r"
    ### No changes in what was looked at: --layer release

    Project `agent-army-example`, region `us-central1`, on the sandbox.
    ");
}

#[test]
fn drift_has_its_own_words() {
    assert!(
        drift_markdown(&Plan { part: Some("--layer release".into()), ..sample() })
            .contains("; only a part was looked at: `--layer release`.")
    );
    insta::assert_snapshot!(drift_markdown(&sample()), @r"
    ### dev has drifted from its YAML: 4 objects differ in 6 places

    Project `agent-army-example`, region `us-central1`, on the sandbox.

    2 missing, 1 differs, 1 not declared. Values: `-` live, `+` YAML.

    #### What is not declared (1)

    * `- not declared` `run_grant/api-dev:invoker:allUsers`

    #### What is not as declared (1)

    <details><summary><code>~ differs</code> <code>run_service/api-dev</code></summary>

    Asked for at `environments/dev.yaml:7:3`

    ```diff
    - services.api.env.A: (redacted)
    + services.api.env.A: (redacted)
      services.api.env.RULES:
        a
    -   b
    +   c
    - services.api.memory: 512Mi
    + services.api.memory: 1Gi
    ```

    </details>

    #### What is missing (2)

    * `+ missing` `secret/database-url-dev` (`environments/base.yaml:21:3`)

    <details><summary><code>+ missing</code> <code>run_service/worker-dev</code></summary>

    ```diff
    + image: i:v1
    + port: 80
    + cpu: 1
    + memory: 1Gi
    + env.A: (redacted)
    ```

    </details>

    #### Notes

    * `secret/old` is ours and no longer declared: it stays; `--prune` deletes it
    ");
}

#[test]
fn a_report_says_what_failed_and_what_to_do() {
    let failure = Failure {
        message: "permission denied".into(),
        hints: vec!["grant `roles/x`".into()],
        log: Vec::new(),
    };
    let outcomes = vec![
        (address("secret/database-url-dev"), Outcome::Failed(failure)),
        (address("run_service/worker-dev"), Outcome::Skipped(Skipped::Blocked("do a; do b".into()))),
        (address("run_service/api-dev"), Outcome::Applied),
        (address("run_grant/api-dev:invoker:allUsers"), Outcome::Unknown),
    ];
    let text = report_markdown(&sample(), &Report { outcomes, interrupted: false, ..Report::default() });
    let (own, _) = text.split_once("#### Planned").unwrap();
    insta::assert_snapshot!(own, @r"
    ### Not complete: applied 1, failed 1, skipped 1, unknown 1 (agent-army/dev)

    Project `agent-army-example`, region `us-central1`, on the sandbox.

    #### Failed

    * `secret/database-url-dev`: permission denied<br>hint: grant `roles/x`

    #### May be half done

    * `run_grant/api-dev:invoker:allUsers`

    #### Skipped

    * `run_service/worker-dev`: do a<br>do b

    #### Next

    * mend what failed, then run `deployer apply dev` again: what is applied stays, the rest follows
    * do what the skipped changes wait for, then run `deployer apply dev` again

    #### What exists now

    * `api-dev`: <https://api-dev-123456789012.us-central1.run.app>
    ");
}

#[test]
fn an_error_is_told_with_its_hints_and_is_the_only_answer() {
    let (out, stdout, stderr) = captured::out(Format::Markdown);
    out.failure(&CliError::user("no such environment: `x`").hint("there are dev and staging"));
    out.plan(&sample());
    assert_eq!(stderr.text(), "error: no such environment: `x`\nhint: there are dev and staging\n");
    insta::assert_snapshot!(stdout.text(), @r"
    ### Error: `deployer` could not do its work

    #### Why

    * no such environment: `x`

    #### What to do

    * there are dev and staging
    ");
}

#[test]
fn every_refusal_is_told() {
    let refusal = |at: &str, location: Option<&str>| Refusal {
        address: address(at),
        why: "it belongs to other/dev".into(),
        hint: "use --adopt".into(),
        location: location.map(str::to_owned),
    };
    let refused =
        PlanError::Refused(vec![refusal("secret/a", Some("x.yaml:1:1")), refusal("secret/b", None)]);
    insta::assert_snapshot!(error_markdown(&CliError::Plan(refused)), @r"
    ### Error: `deployer` could not do its work

    #### Why

    * this cannot be planned

    #### Refused

    * `secret/a` (`x.yaml:1:1`): it belongs to other/dev<br>hint: use --adopt
    * `secret/b`: it belongs to other/dev<br>hint: use --adopt
    ");
}

#[test]
fn validation_lists_the_environments_and_every_problem() {
    let place = Location { file: "environments/base.yaml".into(), line: 3, column: 5 };
    let problem = Diagnostic::error("unknown-key", "there is no key `memroy`")
        .path("services.api.memroy")
        .hint("did you mean `memory`?")
        .at(place, 6);
    let environments =
        BTreeMap::from([("dev".to_owned(), vec![problem]), ("staging".to_owned(), Vec::new())]);
    let text = validation_markdown(&Checked { environments, ..Checked::default() });
    insta::assert_snapshot!(text, @r"
    ### The configuration is not valid

    #### Not ok

    * `dev`

    #### Ok

    * `staging`

    #### 1 error

    * `unknown-key` at `environments/base.yaml:3:5`: there is no key `memroy`<br>key: `services.api.memroy`<br>hint: did you mean `memory`?
    ");
}

#[test]
fn the_variables_that_the_json_hides_are_hidden() {
    let text = plan_markdown(&sample()) + &drift_markdown(&sample());
    for value in ["old-value", "new-value", "secret-ish"] {
        assert!(!text.contains(value), "{value} in {text}");
    }
    assert!(text.contains("- services.api.env.A: (redacted)\n+ services.api.env.A: (redacted)\n"));
    assert!(text.contains("-   b\n+   c\n"));
}

#[test]
fn what_has_no_room_is_counted_by_kind_and_action() {
    let text = |at: usize| format!("{at}-{}", "v".repeat(400));
    let mut changes: Vec<_> = (0..400)
        .map(|at| {
            // Each changes another field, so that none is like another.
            let key = format!("key-{at}");
            update(&format!("run_service/web-{at}"), json!({&key: text(at)}), json!({&key: "new"}))
        })
        .collect();
    changes.push(delete("secret/last", "delete", json!({})));
    let text = plan_markdown(&plan(changes));
    assert!(text.len() <= LIMIT);
    assert!(text.contains("of these without details"), "{text}");
    assert!(text.contains("* `- delete` `secret/last`\n"));
    well_formed(&text);
    let long = |at| {
        create(&format!("k{}/{}", at % 60, "n".repeat(2_000)), "create", json!({}))
            .leads_to(Consequence::AccessWidened)
    };
    let text = plan_markdown(&plan((0..200).map(long).collect()));
    assert!(text.len() <= LIMIT);
    assert!(text.contains(" `create k30`") && text.contains(", and others\n"), "{text}");
    well_formed(&text);
}

#[test]
fn what_follows_stands_first_and_the_gravest_of_it_before_the_rest() {
    let mut changes: Vec<_> = (0..12)
        .map(|at| {
            let service = format!("run_service/s-{at}");
            update(&service, json!({"memory": "1Gi"}), json!({"memory": "2Gi"}))
                .leads_to(Consequence::NewRevision)
        })
        .collect();
    changes.push(
        create("run_grant/a:invoker:allUsers", "grant", json!({})).leads_to(Consequence::AccessWidened),
    );
    changes.push(delete("secret/a", "delete", json!({})).leads_to(Consequence::Irreversible));
    let text = plan_markdown(&plan(changes));
    let (_, rest) = text.split_once("#### What follows from it\n\n").unwrap();
    insta::assert_snapshot!(rest.split("\n\n").next().unwrap(), @r"
    * **irreversible**: `secret/a`
    * **access widened**: `run_grant/a:invoker:allUsers`
    * **new revision**: `run_service/s-0`, `run_service/s-1`, `run_service/s-2`, `run_service/s-3`, `run_service/s-4`, `run_service/s-5`, `run_service/s-6`, `run_service/s-7`, `run_service/s-8`, `run_service/s-9`, and 2 more
    ");
    assert!(text.find("What follows").unwrap() < text.find("#### To").unwrap());
}

#[test]
fn ten_thousand_hostile_changes_fit_and_read_the_same_every_time() {
    let hostile = |at: usize| format!("`</details>`|@octocat #{at}\n<!-- x --> [a](b)");
    let changes = (0..10_000).map(|at| match at % 3 {
        0 => create(&format!("kind|{}/{}", at % 50, hostile(at)), "create", json!({"x": hostile(at)})),
        1 => {
            let (before, after) = (json!({"env": {"A": hostile(at)}, "y": 1}), json!({"y": hostile(at)}));
            update(&format!("run_service/{}", hostile(at)), before, after)
        }
        _ => delete(&format!("secret/{}", hostile(at)), "delete", json!({}))
            .leads_to(Consequence::Irreversible),
    });
    let plan = plan(changes.collect());
    let text = plan_markdown(&plan);
    assert!(text.len() <= LIMIT, "{}", text.len());
    well_formed(&text);
    assert!(text.contains("3334 to add, 3333 to change, 3333 to remove"));
    assert!(text.contains("| `kind\\|10` | 67 |  |  |\n") && text.contains("| others | "), "{text}");
    assert_eq!(text, plan_markdown(&plan));
}

#[test]
fn groups_are_told_before_single_changes_when_room_is_short() {
    let long = "n".repeat(300);
    let gone = |at| delete(&format!("secret/{long}-{at}"), "delete", json!({}));
    let mut changes: Vec<_> = (0..300).map(gone).collect();
    changes.extend((0..50).map(|at| create(&format!("run_service/web-{at}"), "create", json!({}))));
    let text = plan_markdown(&plan(changes));
    assert!(text.len() <= LIMIT);
    assert!(text.contains("* `+ create` `run_service`: 50 objects<br>`web-0`, "), "{text}");
    assert!(text.contains(" `delete secret`\n"), "{text}");
}

#[test]
fn hidden_variables_that_differ_are_told_once() {
    let changed = |at: usize| {
        let env = |value: String| json!({"env": {"KEY": value}});
        update(&format!("run_service/s-{at}"), env(format!("old-{at}")), env(format!("new-{at}")))
    };
    let text = plan_markdown(&plan((0..50).map(changed).collect()));
    assert_eq!(text.matches("(redacted)").count(), 2, "{text}");
    assert!(!text.contains("old-") && !text.contains("new-"), "{text}");
}

/// Blocks of code and details are closed, nothing outside of code is a tag but ours, and nobody is mentioned.
fn well_formed(text: &str) {
    let (mut fence, mut open): (Option<usize>, i32) = (None, 0);
    for line in text.lines() {
        let ticks = line.trim_start().chars().take_while(|c| *c == '`').count();
        let bare = line.trim_matches([' ', '`']).is_empty();
        match fence {
            Some(length) if ticks >= length && bare => fence = None,
            Some(_) => {}
            None if ticks >= 3 && line.ends_with("diff") && line.len() == ticks + 4 => fence = Some(ticks),
            None => {
                // A line that begins with a tag is HTML: a code span does not hide anything there.
                let outside =
                    if line.starts_with("<details>") { without_elements(line) } else { without_code(line) };
                open += i32::try_from(outside.matches("<details>").count()).unwrap();
                open -= i32::try_from(outside.matches("</details>").count()).unwrap();
                assert!((0..=1).contains(&open), "{line}");
                let ours = [
                    "<details>",
                    "</details>",
                    "<summary>",
                    "</summary>",
                    "<code>",
                    "</code>",
                    "<br>",
                    "<https:",
                ];
                let rest = ours.iter().fold(outside.clone(), |text, tag| text.replace(tag, ""));
                assert!(!rest.contains('<'), "{line}");
                let mention = outside.match_indices('@').any(|(at, _)| {
                    let before = outside[..at].chars().next_back();
                    let after = &outside[at + 1..];
                    before.is_none_or(|c| !c.is_alphanumeric()) && !after.starts_with("&#8203;")
                });
                assert!(!mention, "{line}");
            }
        }
    }
    assert_eq!(fence, None, "a block of code is open:\n{text}");
    assert_eq!(open, 0, "details are open:\n{text}");
}

/// A line of HTML without what stands in `code`.
fn without_elements(line: &str) -> String {
    let mut pieces = line.split("<code>");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once("</code>").expect("closed").1)
}

/// A line without its code spans, as CommonMark finds them.
fn without_code(line: &str) -> String {
    let (mut outside, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('`') {
        let escaped = rest[..at].chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
        if escaped {
            outside.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        }
        outside.push_str(&rest[..at]);
        let run = rest[at..].chars().take_while(|c| *c == '`').count();
        let inner = &rest[at + run..];
        let mut from = 0;
        let end = loop {
            let Some(tick) = inner[from..].find('`').map(|tick| tick + from) else { break None };
            let length = inner[tick..].chars().take_while(|c| *c == '`').count();
            if length == run {
                break Some(tick);
            }
            from = tick + length;
        };
        let end = end.unwrap_or_else(|| panic!("a code span is open: {line}"));
        outside.push_str("(code)");
        rest = &inner[end + run..];
    }
    outside + rest
}

/// Text that would like to break out.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "```",
        "`",
        "``",
        "</details>",
        "<details>",
        "<!--",
        "<script>",
        "@octocat",
        "#12",
        "|",
        "\n",
        "\n\n",
        "    ",
        "\\",
        "a",
        "b-c",
        "https://x.y/z",
        "\u{1b}[2J",
        "* ",
        "&lt;",
        "~~~",
        "$x$",
        "]( ",
        "\r",
        "1. ",
        "é",
    ]);
    prop::collection::vec(pieces, 0..7).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        20 => nasty().prop_map(Value::from),
        5 => prop::collection::btree_map(nasty(), nasty(), 0..6).prop_map(|map| json!(map)),
        5 => prop::collection::vec(nasty(), 0..3).prop_map(Value::from),
        1 => (0..40_000_usize).prop_map(|length| Value::from("`".repeat(length))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let spec = || prop::collection::btree_map(nasty(), value(), 0..6).prop_map(|map| json!(map));
    let blocked = prop::option::of(nasty());
    (0..3_u8, nasty(), nasty(), spec(), spec(), blocked, 0..6_u8).prop_map(
        |(action, kind, name, before, after, blocked, kinds)| {
            let at = "k/n";
            let mut change = match action {
                0 => create(at, "create", after),
                1 => update(at, before, after),
                _ => delete(at, "delete", before),
            };
            change.address = Address { kind: if kinds == 0 { kind } else { format!("kind-{kinds}") }, name };
            change.blocked = blocked;
            change
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_plan_is_well_formed_and_within_the_limit(
        changes in prop::collection::vec(change(), 0..60),
        notes in prop::collection::vec(nasty(), 0..4),
        message in nasty(),
        names in prop::collection::vec(nasty(), 4),
    ) {
        let mut plan = plan(changes);
        plan.notes = notes.iter().map(|text| note("secret/a", text)).collect();
        plan.place.project.clone_from(&names[0]);
        plan.place.region.clone_from(&names[1]);
        plan.place.ownership.environment.clone_from(&names[2]);
        plan.target.clone_from(&names[3]);
        let failure = Failure { message: message.clone(), hints: vec![message.clone()], log: Vec::new() };
        let outcomes = plan.changes.iter().map(|change| (change.address.clone(), Outcome::Failed(failure.clone())));
        let report = Report { outcomes: outcomes.collect(), interrupted: false, ..Report::default() };
        let refusals = plan.changes.iter().map(|change| Refusal {
            address: change.address.clone(),
            why: message.clone(),
            hint: message.clone(),
            location: Some(message.clone()),
        });
        let refused = CliError::Plan(PlanError::Refused(refusals.collect()));
        let texts = [
            plan_markdown(&Plan { part: Some(message.clone()), ..plan.clone() }),
            drift_markdown(&plan),
            report_markdown(&plan, &report),
            error_markdown(&refused),
            error_markdown(&CliError::user(message)),
        ];
        for text in texts {
            prop_assert!(text.len() <= LIMIT, "{} bytes", text.len());
            well_formed(&text);
        }
    }
}
