//! stub until merge
use crate::config::{Diagnostic, Texts};
pub fn render(problems: &[Diagnostic], _: &Texts, _: bool, _: usize) -> String {
    problems
        .iter()
        .map(|p| {
            format!(
                "{:?}: {} {} {} {:?}\n",
                p.severity,
                p.location.as_ref().map(ToString::to_string).unwrap_or_default(),
                p.path,
                p.message,
                p.hint
            )
        })
        .collect()
}
