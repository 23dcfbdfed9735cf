//! Quantities of Cloud Run in one canonical spelling each, so that `1000m` and `1`, or `1024Mi` and `1Gi`, are
//! no difference.

/// Canonical CPU: whole CPUs as a number, anything else in thousandths (`500m`). `None` when it is no CPU count.
pub fn cpu(text: &str) -> Option<String> {
    let milli = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<u64>().ok()?,
        None => decimal_thousandths(text)?,
    };
    Some(if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") })
}

/// `0.5` in thousandths, without going through floating point.
fn decimal_thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

/// Canonical memory: in the largest of `Gi`, `Mi`, `Ki` that divides it, else plain bytes. `None` when it is no
/// size (Kubernetes quantities: `Ki`, `Mi`, `Gi`, and the decimal `k`, `M`, `G`).
pub fn memory(text: &str) -> Option<String> {
    let bytes = bytes(text)?;
    let units = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let unit = units.iter().find(|(_, size)| bytes > 0 && bytes % size == 0);
    Some(unit.map_or_else(|| bytes.to_string(), |(unit, size)| format!("{}{unit}", bytes / size)))
}

/// A size in bytes.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_cpu_count_are_one() {
        for same in ["1", "1.0", "1000m"] {
            assert_eq!(cpu(same).as_deref(), Some("1"));
        }
        assert_eq!(cpu("0.5").as_deref(), Some("500m"));
        assert_eq!(cpu("0.08").as_deref(), Some("80m"));
        assert_eq!([cpu("lots"), cpu(""), cpu("-1"), cpu("1.2345")], [None, None, None, None]);
    }

    #[test]
    fn spellings_of_one_size_are_one() {
        for same in ["1Gi", "1024Mi", "1073741824"] {
            assert_eq!(memory(same).as_deref(), Some("1Gi"));
        }
        assert_eq!(memory("512Mi").as_deref(), Some("512Mi"));
        assert_eq!(memory("512M").as_deref(), Some("500000Ki"));
        assert_eq!([memory("512MB"), memory("Mi"), memory("99999999999Gi")], [None, None, None]);
    }
}
