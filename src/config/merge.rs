//! Lays overlays over the base, and classes under services: maps merge, everything else replaces, `null` removes.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::tree::{Entry, Findings, Map, Node, Place, Tree, join};

/// Lays `over` over `base`. A `null` stays in the result, as a mark that something is to go; see [`drop_nulls`].
///
/// Keys keep the order of the base; new ones follow. Where both sides have a value, the place is the winner's.
pub(crate) fn lay_over(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Tree::Map(below), Tree::Map(above)) => {
            for (name, entry) in above {
                match below.get_mut(&name) {
                    Some(existing) => {
                        existing.key = entry.key;
                        lay_over(&mut existing.node, entry.node);
                    }
                    None => {
                        below.insert(name, entry);
                    }
                }
            }
        }
        (_, value) => *base = Node { value, ..over },
    }
}

/// Takes out the key at this path, if it is there.
pub(crate) fn take_out(node: &mut Node, path: &[&str]) {
    let Some(map) = node.as_map_mut() else { return };
    match path {
        [] => {}
        [last] => drop(map.shift_remove(*last)),
        [first, rest @ ..] => {
            if let Some(entry) = map.get_mut(*first) {
                take_out(&mut entry.node, rest);
            }
        }
    }
}

/// Takes out every key whose value is `null`, and tells where.
///
/// Inside of `v2` a null is part of the patch (RFC 7396: clear the field) and stays.
pub(crate) fn drop_nulls(node: &mut Node) -> BTreeMap<String, Place> {
    let mut removed = BTreeMap::new();
    drop_nulls_at("", node, &mut removed);
    removed
}

fn drop_nulls_at(path: &str, node: &mut Node, removed: &mut BTreeMap<String, Place>) {
    let Tree::Map(map) = &mut node.value else { return };
    map.retain(|name, entry| {
        let keep = entry.node.value != Tree::Null;
        if !keep {
            removed.insert(join(path, name), entry.key);
        }
        keep
    });
    for (name, entry) in map.iter_mut() {
        let path = join(path, name);
        if !is_patch(&path) {
            drop_nulls_at(&path, &mut entry.node, removed);
        }
    }
}

fn is_patch(path: &str) -> bool {
    let parts: Vec<&str> = path.split('.').collect();
    matches!(parts.as_slice(), ["defaults", "v2"] | ["services" | "classes", _, "v2"])
}

/// Paths of the nulls in `over` that have nothing to remove in `base`.
pub(crate) fn idle_nulls(base: &Node, over: &Node) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    idle_nulls_at("", Some(base), over, &mut found);
    found
}

fn idle_nulls_at(path: &str, base: Option<&Node>, over: &Node, found: &mut Vec<(String, Place)>) {
    for (name, entry) in over.as_map().into_iter().flatten() {
        let path = join(path, name);
        let below = base.and_then(|base| base.get(name));
        if entry.node.value == Tree::Null {
            // What defaults or a class say can be taken out by a service, and what a service says by a job: only the service's own keys are known here.
            let inherited = ["services.", "jobs.", "migrations."].iter().any(|map| path.starts_with(map))
                && path.matches('.').count() >= 2;
            if below.is_none() && !inherited {
                found.push((path, entry.key));
            }
        } else if !is_patch(&path) {
            idle_nulls_at(&path, below, &entry.node, found);
        }
    }
}

/// Gives every service what `defaults` and its class say, below what it says itself.
pub(crate) fn expand_services(root: &mut Node, findings: &mut Findings) {
    let defaults = root.get("defaults").filter(|node| node.as_map().is_some()).cloned();
    let classes = root.get("classes").and_then(Node::as_map).cloned().unwrap_or_default();
    let Some(services) =
        root.as_map_mut().and_then(|map| map.get_mut("services")).and_then(|entry| entry.node.as_map_mut())
    else {
        return;
    };
    for (name, entry) in services.iter_mut() {
        let path = join("services", name);
        if entry.node.as_map().is_some() {
            expand_service(&path, entry, defaults.as_ref(), &classes, findings);
        }
    }
}

fn expand_service(
    path: &str,
    entry: &mut Entry,
    defaults: Option<&Node>,
    classes: &Map,
    findings: &mut Findings,
) {
    let class = entry.node.get("class").or_else(|| defaults?.get("class"));
    let class_name = class.and_then(Node::as_text).map(str::to_owned);
    let class_place = class.map(|node| node.place);
    let mut layers: Vec<&Node> = defaults.into_iter().collect();
    if let Some(name) = &class_name {
        match classes.get(name) {
            Some(class) if class.node.as_map().is_some() => layers.push(&class.node),
            Some(class) if class.node.value != Tree::Null => {}
            _ => findings.add_at(class_place, unknown_class(path, name, classes)),
        }
    }
    if layers.is_empty() {
        return;
    }
    let mut merged = Node::new(Tree::Map(Map::new()), entry.node.place);
    for layer in layers {
        lay_over(&mut merged, layer.clone());
    }
    let own = std::mem::replace(&mut entry.node, merged);
    let place = own.place;
    lay_over(&mut entry.node, own);
    entry.node.place = place;
}

fn unknown_class(path: &str, name: &str, classes: &Map) -> Diagnostic {
    let known: Vec<&str> = classes.keys().map(String::as_str).collect();
    let hint = match did_you_mean(name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "there are no `classes`".to_owned(),
        None => format!("the classes are: {}", known.join(", ")),
    };
    Diagnostic::error("unknown-class", format!("there is no class `{name}`"))
        .path(join(path, "class"))
        .label("unknown class")
        .hint(hint)
}

/// Warns about nulls that remove nothing: mostly a misspelled key.
pub(crate) fn warn_idle_nulls(found: Vec<(String, Place)>, findings: &mut Findings) {
    for (path, place) in found {
        let hint = match path.split('.').collect::<Vec<_>>().as_slice() {
            ["secrets", name] => format!("write `{name}: {{}}` for a secret with nothing but its name"),
            _ => "is the key spelled as in the base? For an empty text write `\"\"`".to_owned(),
        };
        let diagnostic =
            Diagnostic::warning("null-removes-nothing", "this null removes a key that nothing has set")
                .path(path)
                .label("nothing to remove")
                .hint(hint);
        findings.add_at(Some(place), diagnostic);
    }
}

/// What the entry at `path` removed, for a better message about its absence.
pub(crate) fn removal_hint(findings: &Findings, path: &str) -> Option<String> {
    let place = findings.removed.get(path)?;
    let location = findings.files.location(*place)?;
    Some(format!("`{path}` is removed by the null at {location}; write `{{}}` to keep it"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Node {
        super::super::parse::parse(text, 0).unwrap()
    }

    fn merged(base: &str, over: &str) -> serde_json::Value {
        let mut base = parsed(base);
        lay_over(&mut base, parsed(over));
        drop_nulls(&mut base);
        super::super::tree::to_json(&base)
    }

    #[test]
    fn maps_merge_and_lists_replace() {
        let all = merged("a: {x: 1, y: [1, 2]}\n", "a: {y: [3], z: 4}\n");
        assert_eq!(all, serde_json::json!({"a": {"x": 1, "y": [3], "z": 4}}));
    }

    #[test]
    fn null_removes_and_an_empty_map_does_not() {
        assert_eq!(merged("a: {x: 1, y: 2}\n", "a: {x: null}\n"), serde_json::json!({"a": {"y": 2}}));
        assert_eq!(merged("a: {x: 1}\n", "a: {}\n"), serde_json::json!({"a": {"x": 1}}));
    }

    #[test]
    fn nulls_of_a_patch_stay() {
        let all = merged("services: {api: {v2: {a: 1}}}\n", "services: {api: {v2: {a: null}}}\n");
        assert_eq!(all, serde_json::json!({"services": {"api": {"v2": {"a": null}}}}));
        let none = merged("services: {api: {v2: {a: 1}}}\n", "services: {api: {v2: null}}\n");
        assert_eq!(none, serde_json::json!({"services": {"api": {}}}));
    }

    #[test]
    fn a_service_wins_over_its_class_and_the_class_over_defaults() {
        let mut root = parsed(
            "defaults: {cpu: 1, memory: 1Gi, port: 1}\nclasses: {big: {cpu: 4, memory: 4Gi}}\nservices: {api: {class: big, cpu: 8}}\n",
        );
        let mut findings = Findings::default();
        expand_services(&mut root, &mut findings);
        let json = super::super::tree::to_json(&root);
        assert_eq!(
            json["services"]["api"],
            serde_json::json!({"cpu": 8, "memory": "4Gi", "port": 1, "class": "big"})
        );
        assert!(findings.diagnostics.is_empty());
    }

    #[test]
    fn the_place_of_a_merged_value_is_the_winner() {
        let mut base = parsed("a: 1\n");
        lay_over(&mut base, parsed("# c\na: 2\n"));
        assert_eq!(base.as_map().unwrap()["a"].key.line, 2);
    }

    #[test]
    fn only_nulls_that_remove_nothing_are_idle() {
        let idle = idle_nulls(&parsed("a: {x: 1}\n"), &parsed("a: {x: null, y: null}\n"));
        assert_eq!(idle.into_iter().map(|(path, _)| path).collect::<Vec<_>>(), ["a.y"]);
    }

    fn trees() -> impl Strategy<Value = Node> {
        let at = |value| Node::new(value, Place::default());
        let leaf = prop_oneof![
            Just(at(Tree::Null)),
            any::<bool>().prop_map(move |value| at(Tree::Bool(value))),
            "[a-z]{0,3}".prop_map(move |value| at(Tree::Text(value))),
        ];
        let any_value = leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(move |items| at(Tree::List(items))),
                entries(inner).prop_map(at),
            ]
        });
        entries(any_value).prop_map(at)
    }

    fn entries(values: impl Strategy<Value = Node>) -> impl Strategy<Value = Tree> {
        prop::collection::btree_map("[a-d]", values, 0..4).prop_map(|entries| {
            let entry = |(name, node)| (name, Entry { key: Place::default(), node });
            Tree::Map(entries.into_iter().map(entry).collect())
        })
    }

    fn laid(base: &Node, over: &Node) -> Node {
        let mut result = base.clone();
        lay_over(&mut result, over.clone());
        result
    }

    /// Trees in which a key is a map in all of them or a scalar in all of them, as the schema makes sure.
    fn shaped(depth: u32) -> BoxedStrategy<Node> {
        let at = |value| Node::new(value, Place::default());
        let leaf = prop_oneof![Just(at(Tree::Null)), "[a-z]".prop_map(move |value| at(Tree::Text(value)))];
        let leaves = prop::collection::btree_map("[a-b]", leaf, 0..3);
        let maps = if depth == 0 {
            Just(BTreeMap::new()).boxed()
        } else {
            prop::collection::btree_map("[c-d]", shaped(depth - 1), 0..3).boxed()
        };
        (leaves, maps)
            .prop_map(move |(leaves, maps)| {
                let entry = |(name, node)| (name, Entry { key: Place::default(), node });
                at(Tree::Map(leaves.into_iter().chain(maps).map(entry).collect()))
            })
            .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn laying_over_is_associative_where_shapes_agree(a in shaped(2), b in shaped(2), c in shaped(2)) {
            prop_assert_eq!(laid(&laid(&a, &b), &c), laid(&a, &laid(&b, &c)));
        }

        #[test]
        fn laying_over_twice_is_laying_over_once(a in trees(), b in trees()) {
            prop_assert_eq!(laid(&laid(&a, &b), &b), laid(&a, &b));
        }

        #[test]
        fn the_overlay_wins_wherever_it_says_something(a in trees(), b in trees()) {
            let result = laid(&a, &b);
            prop_assert!(contains(&result, &b));
        }

        #[test]
        fn no_null_is_left_in_a_map(a in trees()) {
            let mut a = a;
            drop_nulls(&mut a);
            prop_assert!(without_null_in_maps(&a));
        }
    }

    fn contains(whole: &Node, part: &Node) -> bool {
        match (&whole.value, &part.value) {
            (Tree::Map(whole), Tree::Map(part)) => part
                .iter()
                .all(|(name, entry)| whole.get(name).is_some_and(|found| contains(&found.node, &entry.node))),
            (whole, part) => whole == part,
        }
    }

    fn without_null_in_maps(node: &Node) -> bool {
        node.as_map().is_none_or(|map| {
            map.values().all(|entry| entry.node.value != Tree::Null && without_null_in_maps(&entry.node))
        })
    }
}
