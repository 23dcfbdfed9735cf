//! Circles among things that wait for each other.

use indexmap::IndexMap;

/// Things by name with the names of those that they wait for.
pub(crate) type Waits<'a> = IndexMap<&'a str, Vec<&'a str>>;

/// A circle through each edge that closes one, its first name again at the end, in the order of the names.
pub(crate) fn circles(waits: &Waits<'_>) -> Vec<Vec<String>> {
    let mut search = Search { waits, done: Vec::new(), way: Vec::new(), found: Vec::new() };
    for name in waits.keys() {
        search.visit(name);
    }
    search.found
}

struct Search<'a> {
    waits: &'a Waits<'a>,
    /// Names from which everything has been looked at.
    done: Vec<&'a str>,
    way: Vec<&'a str>,
    found: Vec<Vec<String>>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, name: &'a str) {
        if self.done.contains(&name) {
            return;
        }
        if let Some(start) = self.way.iter().position(|open| *open == name) {
            let circle = self.way.iter().skip(start).chain([&name]);
            self.found.push(circle.map(|name| (*name).to_owned()).collect());
            return;
        }
        self.way.push(name);
        let waits = self.waits;
        for next in waits.get(name).into_iter().flatten() {
            self.visit(next);
        }
        self.way.pop();
        self.done.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(edges: &[(&'static str, &[&'static str])]) -> Vec<String> {
        let waits: Waits<'_> = edges.iter().map(|(name, waits)| (*name, waits.to_vec())).collect();
        circles(&waits).into_iter().map(|circle| circle.join(" ")).collect()
    }

    #[test]
    fn a_circle_is_found_from_outside_of_it() {
        assert_eq!(found(&[("s", &["a"]), ("a", &["b"]), ("b", &["a"])]), ["a b a"]);
    }

    #[test]
    fn waiting_for_oneself_is_a_circle() {
        assert_eq!(found(&[("a", &["a"])]), ["a a"]);
    }

    #[test]
    fn several_ways_to_one_place_are_no_circle() {
        assert!(found(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]).is_empty());
    }

    #[test]
    fn every_circle_is_found() {
        assert_eq!(found(&[("a", &["b"]), ("b", &["a"]), ("c", &["c"])]), ["a b a", "c c"]);
    }
}
