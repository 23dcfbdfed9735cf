//! Sequential round trips: the longest chain of requests in which each started after the one before had ended.

/// One request: when the sandbox began it and when it answered, in milliseconds on one clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) start: f64,
    pub(super) end: f64,
}

/// The length of the longest chain; `None` when there is nothing to tell it from.
///
/// Taking whichever request ends first of those that may come next leaves the most room for the rest, so the first
/// chain found is a longest one.
pub(super) fn longest(spans: &[Span]) -> Option<usize> {
    let mut by_end = spans.to_vec();
    by_end.sort_by(|a, b| a.end.total_cmp(&b.end));
    let mut length = 0;
    let mut last = f64::NEG_INFINITY;
    for span in by_end {
        if span.start >= last {
            length += 1;
            last = span.end;
        }
    }
    (length > 0).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(f64, f64)]) -> Vec<Span> {
        pairs.iter().map(|(start, end)| Span { start: *start, end: *end }).collect()
    }

    #[test]
    fn requests_side_by_side_are_one_round_trip() {
        assert_eq!(longest(&spans(&[(0.0, 50.0), (1.0, 51.0), (2.0, 52.0)])), Some(1));
    }

    #[test]
    fn requests_one_after_the_other_add_up() {
        assert_eq!(longest(&spans(&[(110.0, 160.0), (0.0, 50.0), (55.0, 105.0)])), Some(3));
    }

    #[test]
    fn a_long_request_does_not_hide_a_chain_beside_it() {
        let together = [(0.0, 300.0), (0.0, 50.0), (50.0, 100.0), (101.0, 151.0), (310.0, 360.0)];
        assert_eq!(longest(&spans(&together)), Some(4));
    }

    #[test]
    fn no_requests_make_no_statement() {
        assert_eq!(longest(&[]), None);
    }
}
