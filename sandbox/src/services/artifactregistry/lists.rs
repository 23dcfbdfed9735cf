//! `filter` and `orderBy` of the list methods.

use std::cmp::Ordering;

use serde_json::Value;

use super::{DEFAULT_PAGE, MAX_PAGE};
use crate::call::{Call, page};
use crate::error::{Answer, Status};
use crate::protojson::camel_case;

/// A page of what `filter` lets through, in the order that `orderBy` says; without it, by name.
///
/// `filterable` are the fields that the list's filter takes; an empty list means that it has none.
pub(super) fn answer(mut items: Vec<Value>, key: &str, call: &Call, filterable: &[&str]) -> Answer {
    let filter = Filter::parse(call.query.str("filter"), filterable)?;
    let order = Order::parse(call.query.str("orderBy"))?;
    items.retain(|item| filter.matches(item));
    items.sort_by(|a, b| order.compare(a, b));
    page(items, key, call, DEFAULT_PAGE, MAX_PAGE)
}

/// Terms `field="pattern"`, joined by `AND`. Patterns have `*` for any characters, and case does not matter.
struct Filter(Vec<(String, String)>);

impl Filter {
    fn parse(text: Option<&str>, fields: &[&str]) -> Result<Self, Status> {
        let text = text.unwrap_or_default();
        let mut terms = Vec::new();
        for term in text.split(" AND ").map(str::trim).filter(|term| !term.is_empty()) {
            let refused = || Status::invalid("filter", format!("The list cannot be filtered by '{term}'."));
            let (field, pattern) = term.split_once('=').ok_or_else(refused)?;
            let pattern = pattern.trim().trim_matches('"');
            if !fields.contains(&field.trim()) || pattern.is_empty() {
                return Err(refused());
            }
            terms.push((field.trim().to_owned(), pattern.to_lowercase()));
        }
        Ok(Self(terms))
    }

    fn matches(&self, item: &Value) -> bool {
        self.0.iter().all(|(field, pattern)| {
            let held = item[field.as_str()].as_str().unwrap_or_default().to_lowercase();
            is_like(&held, pattern)
        })
    }
}

/// Whether a text fits a pattern with `*`.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(tail)
}

/// Fields with whether they go down.
struct Order(Vec<(String, bool)>);

impl Order {
    /// Every field that a listed object can be ordered by.
    const FIELDS: [&str; 8] = [
        "name",
        "createTime",
        "updateTime",
        "uploadTime",
        "buildTime",
        "imageSizeBytes",
        "mediaType",
        "displayName",
    ];

    fn parse(text: Option<&str>) -> Result<Self, Status> {
        let mut keys = Vec::new();
        for part in text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut words = part.split_whitespace();
            let field = camel_case(words.next().unwrap_or_default());
            let down = match words.next().map(str::to_lowercase).as_deref() {
                None | Some("asc") => Some(false),
                Some("desc") => Some(true),
                Some(_) => None,
            };
            match down.filter(|_| words.next().is_none() && Self::FIELDS.contains(&field.as_str())) {
                Some(down) => keys.push((field, down)),
                None => {
                    return Err(Status::invalid(
                        "order_by",
                        format!("The list cannot be ordered by '{part}'."),
                    ));
                }
            }
        }
        Ok(Self(keys))
    }

    fn compare(&self, a: &Value, b: &Value) -> Ordering {
        let by_key = self.0.iter().map(|(field, down)| {
            let order = compare(&a[field.as_str()], &b[field.as_str()]);
            if *down { order.reverse() } else { order }
        });
        by_key.fold(Ordering::Equal, Ordering::then).then_with(|| compare(&a["name"], &b["name"]))
    }
}

/// int64 fields are strings of digits and compare as numbers.
fn compare(a: &Value, b: &Value) -> Ordering {
    let (a, b) = (a.as_str().unwrap_or_default(), b.as_str().unwrap_or_default());
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, fits) in
            [("my-repo", true), ("my-*", true), ("*repo", true), ("*-*", true), ("my", false), ("*my", false)]
        {
            assert_eq!(is_like("my-repo", pattern), fits, "{pattern}");
        }
        assert!(!is_like("ab", "ab*b"));
        assert!(is_like("a-x-b-c", "a*b*c"));
    }

    #[test]
    fn filters_take_their_own_fields_only_and_ignore_case() {
        let filter = Filter::parse(Some("name=\"P/My*\""), &["name"]).unwrap();
        assert!(filter.matches(&json!({"name": "p/my-tag"})));
        assert!(!filter.matches(&json!({"name": "p/other"})));
        for bad in ["version=\"a\"", "name", "name=\"\""] {
            assert!(Filter::parse(Some(bad), &["name"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn orders_go_up_or_down_and_sizes_are_numbers() {
        let mut items =
            [json!({"name": "a", "imageSizeBytes": "9"}), json!({"name": "b", "imageSizeBytes": "10"})];
        let order = Order::parse(Some("image_size_bytes desc")).unwrap();
        items.sort_by(|a, b| order.compare(a, b));
        assert_eq!(items[0]["name"], "b");
        for bad in ["size", "name up", "name desc desc"] {
            assert!(Order::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
