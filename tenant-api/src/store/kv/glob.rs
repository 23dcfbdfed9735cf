//! Patterns as Redis understands them, for the store that is not Redis: `*`, `?`, `[abc]`, `[^a-c]`, and `\` before what is literal.

/// Whether `text` has this pattern, byte by byte as in Redis. Takes as many steps as the product of the two lengths at worst.
pub(super) fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // Where to go on after a `*` that has to swallow one byte more; only the last one can need it.
    let mut retry = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            retry = Some((rest, text));
            continue;
        }
        let Some((byte, left)) = text.split_first() else { return pattern.is_empty() };
        if let Some(rest) = element(pattern, *byte) {
            (pattern, text) = (rest, left);
        } else if let Some((after, [_, later @ ..])) = retry {
            retry = Some((after, later));
            (pattern, text) = (after, later);
        } else {
            return false;
        }
    }
}

/// What follows the first element of the pattern if that takes this byte.
fn element(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', b'^', class @ ..] => {
            Some(in_class(class, byte)).filter(|(found, _)| !found).map(|(_, rest)| rest)
        }
        [b'[', class @ ..] => Some(in_class(class, byte)).filter(|(found, _)| *found).map(|(_, rest)| rest),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Whether a class holds the byte, and what follows the class. One that is not closed ends with the pattern.
fn in_class(mut class: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut found = false;
    loop {
        class = match class {
            [] => return (found, class),
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
            [b']', rest @ ..] => return (found, rest),
            [from, b'-', to, rest @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_do_not_multiply_the_time() {
        let pattern = format!("{}b", "*a".repeat(500));
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }

    proptest! {
        #[test]
        fn no_pattern_panics_and_a_star_takes_everything(pattern in any::<Vec<u8>>(), text in any::<Vec<u8>>()) {
            let _ = matches(&pattern, &text);
            prop_assert!(matches(b"*", &text));
        }
    }
}
