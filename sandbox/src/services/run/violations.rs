//! The problems found in one request, all of them: Google answers one 400 that lists every bad field.

use crate::error::{Code, Status};
use serde_json::{Value, json};

/// Collects (field, what is wrong) pairs.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<(String, String)>);

impl Violations {
    /// Notes a problem of `field` (a JSON path such as `template.containers[0].image`).
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push((field.into(), message.into()));
    }

    /// Notes a problem unless `holds`.
    pub(super) fn check(&mut self, holds: bool, field: impl Into<String>, message: impl Into<String>) {
        if !holds {
            self.add(field, message);
        }
    }

    /// Takes over the problems of a part that stands at `at`: `template.x` becomes `AT.template.x`.
    pub(super) fn nest(&mut self, at: &str, part: Self) {
        self.0.extend(part.0.into_iter().map(|(field, message)| (format!("{at}.{field}"), message)));
    }

    /// 400 INVALID_ARGUMENT with a `google.rpc.BadRequest` when there was any problem.
    pub(super) fn into_result(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> =
            self.0.iter().map(|(field, message)| format!("{field}: {message}")).collect();
        let violations: Vec<Value> =
            self.0.iter().map(|(field, message)| json!({"field": field, "description": message})).collect();
        let detail =
            json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations});
        Err(Status::new(Code::InvalidArgument, lines.join("\n")).with_detail(detail))
    }

    #[cfg(test)]
    pub(super) fn fields(&self) -> Vec<&str> {
        self.0.iter().map(|(field, _)| field.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named_in_one_answer() {
        let mut found = Violations::default();
        found.add("a", "is bad");
        found.check(true, "b", "is fine");
        found.check(false, "c", "is worse");
        let status = found.into_result().unwrap_err();
        assert_eq!(status.code, Code::InvalidArgument);
        assert_eq!(status.message, "a: is bad\nc: is worse");
        assert_eq!(status.details[0]["fieldViolations"][1]["field"], "c");
    }

    #[test]
    fn problems_of_a_part_are_named_from_the_whole() {
        let (mut whole, mut part) = (Violations::default(), Violations::default());
        part.add("template.timeout", "is bad");
        whole.nest("template", part);
        assert_eq!(whole.fields(), ["template.template.timeout"]);
    }

    #[test]
    fn no_problem_is_no_error() {
        assert_eq!(Violations::default().into_result(), Ok(()));
    }
}
