//! One canonical spelling for amounts and times, so that two spellings of one value never differ in a plan.

/// Thousandths of a CPU in `1`, `0.5` or `500m`.
pub(crate) fn millicpus(text: &str) -> Option<u32> {
    if let Some(thousandths) = text.strip_suffix('m') {
        return thousandths.parse().ok();
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u32 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(part)
}

/// `1`, `2`, `500m`.
pub(crate) fn cpu(millicpus: u32) -> String {
    if millicpus.is_multiple_of(1000) { (millicpus / 1000).to_string() } else { format!("{millicpus}m") }
}

/// Kibibytes in `512Mi`.
pub(crate) fn kibibytes(text: &str) -> Option<u64> {
    let (number, factor) = match text.split_at_checked(text.len().checked_sub(2)?)? {
        (number, "Ki") => (number, 1),
        (number, "Mi") => (number, 1024),
        (number, "Gi") => (number, 1024 * 1024),
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The largest of `Ki`, `Mi`, `Gi` that divides the amount.
pub(crate) fn memory(kibibytes: u64) -> String {
    const MI: u64 = 1024;
    const GI: u64 = 1024 * 1024;
    if kibibytes.is_multiple_of(GI) {
        format!("{}Gi", kibibytes / GI)
    } else if kibibytes.is_multiple_of(MI) {
        format!("{}Mi", kibibytes / MI)
    } else {
        format!("{kibibytes}Ki")
    }
}

/// Seconds in `300`, `300s`, `5m`, `1h` or `30d`.
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let (number, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        b'd' => (&text[..text.len() - 1], 24 * 3600),
        _ => (text, 1),
    };
    number.parse::<u32>().ok()?.checked_mul(factor)
}

/// The largest of `s`, `m`, `h` that divides the time.
pub(crate) fn time(seconds: u32) -> String {
    match seconds {
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_amount_are_one() {
        assert_eq!(millicpus("0.5").map(cpu), Some("500m".into()));
        assert_eq!(millicpus("500m").map(cpu), Some("500m".into()));
        assert_eq!(millicpus("2").map(cpu), Some("2".into()));
        assert_eq!(millicpus("2000m").map(cpu), Some("2".into()));
        assert_eq!(millicpus("1.0").map(cpu), Some("1".into()));
        assert_eq!(kibibytes("1024Mi").map(memory), Some("1Gi".into()));
        assert_eq!(kibibytes("512Mi").map(memory), Some("512Mi".into()));
        assert_eq!(
            (seconds("300"), seconds("300s"), seconds("5m"), seconds("1h")),
            (Some(300), Some(300), Some(300), Some(3600))
        );
        assert_eq!(seconds("90m").map(time), Some("90m".into()));
        assert_eq!(seconds("30d").map(time), Some("720h".into()));
        assert_eq!(seconds("45").map(time), Some("45s".into()));
    }

    #[test]
    fn other_spellings_are_none() {
        assert_eq!(millicpus("0.1234"), None);
        assert_eq!(kibibytes("512MB"), None);
        assert_eq!(kibibytes("i"), None);
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds(""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_canonical_spelling_means_the_same(milli in 1_u32..9_000, kibi in 1_u64..1 << 40) {
            prop_assert_eq!(millicpus(&cpu(milli)), Some(milli));
            prop_assert_eq!(kibibytes(&memory(kibi)), Some(kibi));
        }
    }
}
