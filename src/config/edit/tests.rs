//! What an edit changes, and what it leaves alone.

use super::text::{Unsafe, insert, remove, scalar};

const PATH: [&str; 3] = ["tenants", "list", "acme"];

fn added(text: &str) -> String {
    insert(text, &PATH, "{name: Acme}").unwrap()
}

fn removed(text: &str, slug: &str) -> String {
    remove(text, &["tenants", "list", slug]).unwrap()
}

#[test]
fn an_entry_goes_behind_the_last_one_of_a_block_map() {
    let text = "a: 1 # one\ntenants:\n    list:\n        old: {}  # first\n        # second\n        new:\n            name: New\n\n# end\nz: 2\n";
    let expected = text.replace("name: New\n", "name: New\n        acme: {name: Acme}\n");
    assert_eq!(added(text), expected);
}

#[test]
fn an_entry_goes_into_braces() {
    let at = |list: &str| added(&format!("tenants: {{list: {list}}} # x\n"));
    assert_eq!(at("{}"), "tenants: {list: {acme: {name: Acme}}} # x\n");
    assert_eq!(at("{a: {name: '},'}}"), "tenants: {list: {a: {name: '},'}, acme: {name: Acme}}} # x\n");
    assert_eq!(at("{a: {},}"), "tenants: {list: {a: {}, acme: {name: Acme},}} # x\n");
}

#[test]
fn braces_over_several_lines_keep_their_comments() {
    let text = "tenants:\n  list: {\n    a: {}, # one\n    b: {}  # two\n  }\n";
    assert_eq!(
        added(text),
        "tenants:\n  list: {\n    a: {}, # one\n    b: {},  # two\n    acme: {name: Acme}\n  }\n"
    );
    assert_eq!(removed(text, "a"), "tenants:\n  list: {\n    b: {}  # two\n  }\n");
    assert_eq!(removed(text, "b"), "tenants:\n  list: {\n    a: {} # one\n  }\n");
}

#[test]
fn maps_that_are_missing_are_made() {
    assert_eq!(added("a: 1"), "a: 1\ntenants:\n  list:\n    acme: {name: Acme}\n");
    assert_eq!(
        added("tenants:\n  secrets: [x]\nb: 2\n"),
        "tenants:\n  secrets: [x]\n  list:\n    acme: {name: Acme}\nb: 2\n"
    );
    assert_eq!(added("tenants: {secrets: [x]}\n"), "tenants: {secrets: [x], list: {acme: {name: Acme}}}\n");
    assert_eq!(
        added("tenants:\n  list: # none\nb: 2\n"),
        "tenants:\n  list: # none\n    acme: {name: Acme}\nb: 2\n"
    );
    assert_eq!(added("tenants:\n  list: ~\n"), "tenants:\n  list: {acme: {name: Acme}}\n");
}

#[test]
fn line_ends_stay_as_they_are() {
    let text = "tenants:\r\n  list:\r\n    a: {}\r\nb: 2\r\n";
    assert_eq!(added(text), text.replace("a: {}\r\n", "a: {}\r\n    acme: {name: Acme}\r\n"));
    assert_eq!(removed(&added(text), "acme"), text);
}

#[test]
fn an_entry_goes_with_its_own_lines_only() {
    let text = "tenants:\n  list:\n    # the first\n    a:\n      # inside\n      name: |\n        A\n\n    b: {} # two\n  # end\n  schema: x\n";
    assert_eq!(removed(text, "a"), "tenants:\n  list:\n\n    b: {} # two\n  # end\n  schema: x\n");
    assert_eq!(removed(text, "b"), text.replace("    b: {} # two\n", ""));
}

#[test]
fn comments_right_above_an_entry_go_with_it_and_no_others() {
    let text = "tenants:\n  list:\n    # all of them\n\n      # deeper\n    # about a\n    # and more of it\n    a: {}\n    # about b\n    b: {}\n";
    assert_eq!(
        removed(text, "a"),
        "tenants:\n  list:\n    # all of them\n\n      # deeper\n    # about b\n    b: {}\n"
    );
    assert_eq!(removed(text, "b"), text.replace("    # about b\n    b: {}\n", ""));
    let braces = "tenants:\n  list: {\n    # about a\n    a: {},\n    # about b\n    b: {}\n  }\n";
    assert_eq!(removed(braces, "a"), "tenants:\n  list: {\n    # about b\n    b: {}\n  }\n");
}

#[test]
fn a_map_that_loses_its_last_entry_stays_a_map() {
    assert_eq!(
        removed("tenants:\n  list: # all\n    a: {name: A}\nb: 1\n", "a"),
        "tenants:\n  list: {} # all\nb: 1\n"
    );
    assert_eq!(removed("tenants: {list: {a: {}}}\n", "a"), "tenants: {list: {}}\n");
}

#[test]
fn adding_and_removing_gives_the_old_text_again() {
    for text in [
        "tenants:\n  list:\n    a: {}\n",
        "tenants:\n  list: {a: {name: \"x, y\"}}\n",
        "\"tenants\":\n  'list':\n    a: {name: 'it''s'}\n    b:\n      name: B\n",
        "x: [1, 2]\ntenants:\n    secrets: [k]\n    list: {a: {}, b: {}}\n    readers: [api]\n",
    ] {
        assert_eq!(removed(&added(text), "acme"), text);
    }
}

#[test]
fn what_other_places_share_is_not_edited() {
    let text = "x: &t {a: {}}\ntenants:\n  list: *t\n";
    assert_eq!(insert(text, &PATH, "{}"), Err(Unsafe));
    assert_eq!(remove(text, &["tenants", "list", "a"]), Err(Unsafe));
    let merged = "x: &t {a: {}}\ntenants:\n  list:\n    <<: *t\n    b: {}\n";
    assert_eq!(remove(merged, &["tenants", "list", "a"]), Err(Unsafe));
}

#[test]
fn an_anchor_of_its_own_is_no_obstacle() {
    assert_eq!(added("tenants:\n  list: &t {a: {}}\n"), "tenants:\n  list: &t {a: {}, acme: {name: Acme}}\n");
}

#[test]
fn words_that_mean_something_else_get_quotes() {
    for (text, written) in [
        ("Acme Inc.", "Acme Inc."),
        ("Müller", "Müller"),
        ("null", "\"null\""),
        ("1e5", "\"1e5\""),
        ("A: b", "\"A: b\""),
        ("a\nb", "\"a\\nb\""),
        ("", "\"\""),
        ("{x}", "\"{x}\""),
    ] {
        assert_eq!(scalar(text), written);
    }
}
