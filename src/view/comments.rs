//! The answer of `comment`, and what the text of the comment is made of.

use serde_json::json;

use super::json::{FORMAT_VERSION, set};
use super::markdown::{answer_markdown, cut};
use super::{Format, Out};
use crate::github::{Action, Key, LIMIT, Posted};

/// What became of a comment.
#[derive(Clone, Debug)]
pub struct CommentAnswer {
    pub key: Key,
    pub pull_request: u64,
    /// Nothing where the token of a fork's run may not write.
    pub posted: Option<Posted>,
}

/// The beginning of `text` that fits into the comment of `key`.
pub fn comment_text(text: &str, key: &Key) -> String {
    let note = "*The rest does not fit into a comment; the summary of the run has more.*";
    cut(text, LIMIT - key.marker().len() - 1, note)
}

impl Out {
    /// The answer of `comment`.
    pub fn commented(&self, answer: &CommentAnswer) {
        let CommentAnswer { key, pull_request, posted } = answer;
        let action = match posted.as_ref().map(|posted| posted.action) {
            Some(Action::Created) => "created",
            Some(Action::Updated) => "updated",
            Some(Action::Unchanged) => "unchanged",
            None => "refused",
        };
        let sentence = match posted {
            Some(Posted { action: Action::Unchanged, url }) => format!("The comment says so already: {url}"),
            Some(Posted { url, .. }) => format!("The comment was {action}: {url}"),
            None => format!(
                "Pull request {pull_request} comes from a fork, whose runs have a token that only reads: there is no comment, and the summary of this run has the text"
            ),
        };
        match self.format() {
            Format::Human if posted.is_none() => self.warning(&sentence),
            Format::Human => self.line(&sentence),
            Format::Markdown => self.markdown(&answer_markdown(&sentence, &[])),
            Format::Json => {
                let mut comment =
                    json!({"action": action, "key": key.to_string(), "pull_request": pull_request});
                set(&mut comment, "url", posted.as_ref().map(|posted| posted.url.as_str().into()));
                self.json(&json!({"format_version": FORMAT_VERSION, "comment": comment}));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_cut_below_what_github_takes() {
        let key = Key::of("plan");
        let text = comment_text(&"* a line with an é in it\n".repeat(10_000), &key);
        let whole = format!("{}\n{text}", key.marker());
        assert!(whole.len() <= LIMIT && whole.len() > LIMIT - 200, "{}", whole.len());
        assert!(whole.ends_with("the summary of the run has more.*\n"));
    }
}
