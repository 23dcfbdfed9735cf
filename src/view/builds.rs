//! The answer of `build`: which images there are now, and which of them had to be made.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::json::{FORMAT_VERSION, set};
use super::markdown::table_markdown;
use super::style::{Tone, printable};
use super::table::Head;
use super::{Format, Out};

/// The image of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRow {
    /// Key of the service in the YAML.
    pub service: String,
    /// Without tag and digest.
    pub image: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The tag of what it was made from first.
    pub tags: Vec<String>,
    /// Else it was there already.
    pub built: bool,
    /// Bytes of all layers, where the builder tells.
    pub size: Option<u64>,
    /// Bytes that the registry did not have.
    pub sent: Option<u64>,
    pub milliseconds: u64,
}

/// What `deployer build` has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildAnswer {
    pub environment: String,
    pub builds: Vec<BuildRow>,
    /// The command that releases them, where `apply` alone does not.
    pub next: Option<String>,
}

const HEADS: [Head; 5] = [
    Head::Words("Service"),
    Head::Words("Outcome"),
    Head::Words("Digest"),
    Head::Words("Size"),
    Head::Words("Time"),
];

impl BuildRow {
    /// `api: built, sha256:..., 1.2 MiB (0.1 MiB sent), 3.4 s`
    pub fn line(&self) -> String {
        let Self { service, digest, .. } = self;
        if !self.built {
            return format!("{service}: not changed, {digest} is there");
        }
        let size = self.size.map(|size| format!("{}{}, ", mebibytes(size), self.sent_of(size)));
        format!("{service}: built, {digest}, {}{}", size.unwrap_or_default(), self.time())
    }

    fn sent_of(&self, size: u64) -> String {
        let some = self.sent.filter(|sent| *sent != size);
        some.map(|sent| format!(" ({} sent)", mebibytes(sent))).unwrap_or_default()
    }

    fn time(&self) -> String {
        let tenths = self.milliseconds.div_ceil(100);
        format!("{}.{} s", tenths / 10, tenths % 10)
    }

    fn cells(&self) -> Vec<String> {
        let outcome = if self.built { "built" } else { "not changed" };
        let size = self.size.map(mebibytes).unwrap_or_default();
        vec![self.service.clone(), outcome.to_owned(), self.digest.clone(), size, self.time()]
    }

    fn json(&self) -> Value {
        let Self { service, image, digest, tags, built, size, sent, milliseconds } = self;
        let outcome = if *built { "built" } else { "unchanged" };
        let mut document = json!({
            "service": service, "image": image, "digest": digest, "tags": tags, "outcome": outcome,
            "milliseconds": milliseconds,
        });
        set(&mut document, "size", size.map(Value::from));
        set(&mut document, "sent", sent.map(Value::from));
        document
    }
}

/// Rounded up, so that nothing is nothing.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

impl Out {
    /// The answer of `build`.
    pub fn built(&self, answer: &BuildAnswer) {
        let BuildAnswer { environment, builds, next } = answer;
        match self.format() {
            Format::Human => {
                let mut text = String::new();
                for row in builds {
                    let _ = writeln!(text, "{}", printable(&row.line()));
                }
                let next = next.as_ref().map(|next| format!("release with: {next}"));
                text.extend(next.map(|next| self.style().labelled(Tone::Hint, "note", &next)));
                self.text(&text);
            }
            Format::Markdown => {
                let cells: Vec<_> = builds.iter().map(BuildRow::cells).collect();
                self.markdown(&table_markdown("Images", &HEADS, &cells, None));
            }
            Format::Json => {
                let mut document = json!({
                    "format_version": FORMAT_VERSION,
                    "environment": environment,
                    "builds": builds.iter().map(BuildRow::json).collect::<Vec<_>>(),
                });
                set(&mut document, "next", next.as_deref().map(Value::from));
                self.json(&document);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    pub(crate) fn row(built: bool) -> BuildRow {
        BuildRow {
            service: if built { "api" } else { "web" }.into(),
            image: "us-docker.pkg.dev/p/r/api".into(),
            digest: "sha256:0123".into(),
            tags: vec!["src-01".into()],
            built,
            size: built.then_some(3_000_000),
            sent: built.then_some(1),
            milliseconds: 1_201,
        }
    }

    fn answer() -> BuildAnswer {
        let next =
            Some("deployer apply staging --image api=us-docker.pkg.dev/p/r/api@sha256:0123".to_owned());
        BuildAnswer { environment: "staging".into(), builds: vec![row(true), row(false)], next }
    }

    #[test]
    fn people_see_what_was_built_and_how_to_release_it() {
        let (out, stdout, _) = captured::out(Format::Human);
        out.built(&answer());
        insta::assert_snapshot!(stdout.text(), @r"
        api: built, sha256:0123, 2.9 MiB (0.1 MiB sent), 1.3 s
        web: not changed, sha256:0123 is there
        note: release with: deployer apply staging --image api=us-docker.pkg.dev/p/r/api@sha256:0123
        ");
    }

    #[test]
    fn programs_see_numbers() {
        let (out, stdout, _) = captured::out(Format::Json);
        out.built(&answer());
        let document: Value = serde_json::from_str(&stdout.text()).unwrap();
        assert_eq!(document["builds"][0]["outcome"], json!("built"));
        assert_eq!(
            (&document["builds"][0]["size"], &document["builds"][0]["sent"]),
            (&json!(3_000_000), &json!(1))
        );
        assert_eq!(
            (&document["builds"][1]["outcome"], document["builds"][1].get("size")),
            (&json!("unchanged"), None)
        );
    }

    #[test]
    fn markdown_is_a_table() {
        let (out, stdout, _) = captured::out(Format::Markdown);
        out.built(&answer());
        assert!(
            stdout.text().contains("sha256:0123") && stdout.text().contains("not changed"),
            "{}",
            stdout.text()
        );
    }
}
