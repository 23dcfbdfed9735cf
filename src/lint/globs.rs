//! Patterns of branches and tags as triggers of workflows have them.

/// Whether a name passes the list: patterns in their order, those with `!` take names out again. By GitHub's document of
/// filter patterns.
pub(super) fn pass(patterns: &[String], name: &str) -> bool {
    patterns.iter().fold(false, |passes, pattern| match pattern.strip_prefix('!') {
        Some(pattern) => passes && !matches(pattern, name),
        None => passes || matches(pattern, name),
    })
}

/// `*` is anything but a slash, `**` anything. Patterns with `?`, `+` and `[]` are taken to match: nobody is told that something
/// is impossible because it was not understood.
fn matches(pattern: &str, name: &str) -> bool {
    if pattern.contains(['?', '+', '[', '\\']) {
        return true;
    }
    glob(pattern.as_bytes(), name.as_bytes())
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', b'*', rest @ ..] => {
            (0..=name.len()).any(|skip| glob(rest, name.get(skip..).unwrap_or_default()))
        }
        [b'*', rest @ ..] => {
            let reach = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
            (0..=reach).any(|skip| glob(rest, name.get(skip..).unwrap_or_default()))
        }
        [byte, rest @ ..] => name
            .split_first()
            .is_some_and(|(first, name)| byte.eq_ignore_ascii_case(first) && glob(rest, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(patterns: &[&str], name: &str) -> bool {
        pass(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>(), name)
    }

    #[test]
    fn stars_stop_at_slashes_and_two_do_not() {
        assert!(passes(&["releases/*"], "releases/1") && !passes(&["releases/*"], "releases/1/2"));
        assert!(passes(&["releases/**"], "releases/1/2") && passes(&["**"], "a/b"));
        assert!(passes(&["v*"], "v1.2.3") && !passes(&["v*"], "main"));
    }

    #[test]
    fn a_later_pattern_takes_names_out_again() {
        assert!(!passes(&["**", "!main"], "main") && passes(&["**", "!main"], "dev"));
    }

    #[test]
    fn what_is_not_understood_matches() {
        assert!(passes(&["v[12].+"], "main"));
    }
}
