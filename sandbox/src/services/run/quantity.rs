//! Kubernetes-style quantities, as `resources.limits` of a container writes them.

/// Thousandths of a CPU of `1`, `0.5`, `1000m`; `None` when it is not a quantity.
pub(super) fn millis(cpu: &str) -> Option<i64> {
    if let Some(number) = cpu.strip_suffix('m') {
        return number.parse().ok().filter(|millis| *millis > 0);
    }
    let (whole, fraction) = cpu.split_once('.').unwrap_or((cpu, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction).filter(|millis| *millis > 0)
}

/// Bytes of `512Mi`, `1G`, `2Gi`, `1024Ki` or a plain number; `None` when it is not a quantity.
pub(super) fn bytes(memory: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("", 1),
    ];
    let digits = memory.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &memory[digits.len()..])?;
    if let Some((whole, fraction)) = digits.split_once('.') {
        let denominator = 10_i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let number: i64 = format!("{whole}{fraction}").parse().ok()?;
        return number.checked_mul(*factor).map(|scaled| scaled / denominator).filter(|size| *size > 0);
    }
    digits.parse::<i64>().ok()?.checked_mul(*factor).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_in_every_documented_form() {
        assert_eq!(["1", "1000m", "0.5", "2.0", "1.25"].map(millis), [1000, 1000, 500, 2000, 1250].map(Some));
    }

    #[test]
    fn what_is_not_a_cpu_is_refused() {
        assert_eq!(["", "m", "-1", "1e3", "0", "0.0001", "one"].map(millis), [None; 7]);
    }

    #[test]
    fn memory_is_read_with_both_kinds_of_units() {
        assert_eq!(
            ["512Mi", "1G", "1.5Gi", "64"].map(bytes),
            [Some(512 << 20), Some(1_000_000_000), Some(1536 << 20), Some(64)]
        );
    }

    #[test]
    fn what_is_not_a_memory_size_is_refused() {
        assert_eq!(["", "Mi", "1GB", "-1Mi", "0", "9999999999Ti"].map(bytes), [None; 6]);
    }
}
