//! Times in the form of cron, as GitHub reads them: five fields of numbers, names, ranges, lists and steps.

/// A field: what it is called, its least and greatest number, and the names that stand for its numbers.
struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { what: "minute", least: 0, most: 59, names: &[] },
    Field { what: "hour", least: 0, most: 23, names: &[] },
    Field { what: "day of the month", least: 1, most: 31, names: &[] },
    Field {
        what: "month",
        least: 1,
        most: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    Field {
        what: "day of the week",
        least: 0,
        most: 6,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

/// What is wrong with a time; nothing, when it is right.
pub(crate) fn problem(text: &str) -> Option<String> {
    if text.starts_with('@') {
        return Some(format!("`{text}` is a short form that GitHub does not know"));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Some(format!("a schedule has 5 fields, and `{text}` has {}", fields.len()));
    }
    fields.iter().zip(&FIELDS).find_map(|(written, field)| {
        let wrong = written.split(',').find(|part| !field.takes(part))?;
        let Field { what, least, most, .. } = field;
        Some(format!("`{wrong}` is no {what}, which goes from {least} to {most}"))
    })
}

impl Field {
    /// `*`, `5`, `MON`, `1-5`, each perhaps with `/STEP`.
    fn takes(&self, part: &str) -> bool {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step_is_right =
            step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| (1..=self.most).contains(&step)));
        let range_is_right = match range.split_once('-') {
            _ if range == "*" => true,
            None => self.number(range).is_some(),
            Some((from, to)) => self.number(from).zip(self.number(to)).is_some_and(|(from, to)| from <= to),
        };
        step_is_right && range_is_right
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(position) = named {
            return Some(self.least + u32::try_from(position).ok()?);
        }
        let number: u32 = text.parse().ok()?;
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_github_takes_are_right() {
        for text in
            ["17 5 * * 1", "*/15 * * * *", "0 2 1,15 JAN-MAR MON-FRI", "0 0-23/2 * * *", "5 4 * * sun"]
        {
            assert_eq!(problem(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            ("0 5 * *", "5 fields"),
            ("60 5 * * 1", "`60` is no minute"),
            ("0 24 * * 1", "`24` is no hour"),
            ("0 5 0 * *", "`0` is no day of the month"),
            ("0 5 * 13 *", "`13` is no month"),
            ("0 5 * * 7", "`7` is no day of the week"),
            ("0 5 * * FRI-MON", "`FRI-MON` is no day of the week"),
            ("*/0 5 * * *", "`*/0` is no minute"),
            ("@daily", "short form"),
            ("", "5 fields"),
        ];
        for (text, said) in wrong {
            let problem = problem(text).unwrap_or_else(|| panic!("{text} is right"));
            assert!(problem.contains(said), "{problem}");
        }
    }
}
