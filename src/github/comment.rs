//! The one comment of a key on a pull request: found by its marker and its author, rewritten where it differs.

use std::fmt;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::Client;
use super::{GithubError, Run};

/// Most bytes of a comment with its marker. GitHub takes 65,536 characters.
pub const LIMIT: usize = 65_000;

/// Times that all is done again after trouble in the middle.
const ROUNDS: u32 = 3;

/// Characters of a key that are kept as they are.
const MAX_KEY: usize = 80;

/// Which comment of a pull request is meant. Shown to nobody: it stands in an HTML comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// A key of any text. What could end the HTML comment is replaced, and a digest keeps such keys apart.
    pub fn of(text: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ' ' | ':');
        let shown: String = text
            .chars()
            .map(|c| if plain(c) { c } else { '_' })
            .take(MAX_KEY)
            .collect::<String>()
            .replace("--", "__");
        if shown == text {
            return Self(shown);
        }
        let digest = hex::encode(Sha256::digest(text.as_bytes()));
        Self(format!("{shown} {}", digest.chars().take(16).collect::<String>()))
    }

    /// The first line of the comment.
    pub fn marker(&self) -> String {
        format!("<!-- deployer-comment: {} -->", self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of the comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Created,
    Updated,
    /// It says so already: nothing was written, and nobody gets a mail.
    Unchanged,
}

/// The comment as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub action: Action,
    /// Where people find it.
    pub url: String,
}

/// The fields of GitHub's issue comment that are needed here.
#[derive(Clone, Debug, Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    html_url: String,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    login: String,
    #[serde(rename = "type", default)]
    kind: String,
}

/// Makes the comment of `key` on the pull request `number` say `text`.
///
/// `text` with its marker must be shorter than what GitHub takes. After an answer that was lost everything is looked at again, so that
/// no comment is written twice.
pub async fn post(run: &Run, number: u64, key: &Key, text: &str) -> Result<Posted, GithubError> {
    let client = Client::new(run)?;
    let marker = key.marker();
    let wanted = Wanted {
        client: &client,
        repository: &run.repository,
        number,
        body: format!("{marker}\n{text}"),
        marker,
    };
    let mut round = 1;
    loop {
        match wanted.once().await {
            Err(error) if error.passes() && round < ROUNDS => tokio::time::sleep(client.pause * round).await,
            result => return result.map_err(|error| wanted.not_found(error)),
        }
        round += 1;
    }
}

struct Wanted<'a> {
    client: &'a Client,
    repository: &'a str,
    number: u64,
    marker: String,
    body: String,
}

impl Wanted<'_> {
    async fn once(&self) -> Result<Posted, GithubError> {
        match self.own().await?.as_slice() {
            [] => self.create().await,
            [first, others @ ..] => {
                let posted = self.rewrite(first).await?;
                self.remove(others).await?;
                Ok(posted)
            }
        }
    }

    /// Our comments of this key, the oldest first. There are several where two jobs began at the same time.
    async fn own(&self) -> Result<Vec<Comment>, GithubError> {
        let path = format!("/repos/{}/issues/{}/comments", self.repository, self.number);
        let mut found: Vec<Comment> = self.client.all(&path, "read comments on pull requests").await?;
        found.retain(|comment| {
            let body = comment.body.as_deref().unwrap_or_default();
            body.trim_start().lines().next().is_some_and(|line| line.trim_end() == self.marker)
        });
        if found.is_empty() {
            return Ok(found);
        }
        let login = self.login().await?;
        found.retain(|comment| comment.user.as_ref().is_some_and(|user| ours(user, login.as_deref())));
        found.sort_by_key(|comment| comment.id);
        Ok(found)
    }

    /// Whose token it is. A workflow's own token belongs to an app, which GitHub does not tell.
    async fn login(&self) -> Result<Option<String>, GithubError> {
        match self.client.ask::<User>(&Method::GET, "/user", None, "read who it belongs to").await {
            Ok(user) => Ok(Some(user.login)),
            Err(GithubError::Forbidden { .. } | GithubError::Answered { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self) -> Result<Posted, GithubError> {
        let path = format!("/repos/{}/issues/{}/comments", self.repository, self.number);
        let made: Comment =
            self.client.ask(&Method::POST, &path, Some(&self.document()), "comment on pull requests").await?;
        // Another job may have written the same comment meanwhile: the older one stays.
        if let [first, ..] = self.own().await?.as_slice()
            && first.id < made.id
        {
            let posted = self.rewrite(first).await?;
            self.remove(std::slice::from_ref(&made)).await?;
            return Ok(posted);
        }
        Ok(Posted { action: Action::Created, url: made.html_url })
    }

    async fn rewrite(&self, comment: &Comment) -> Result<Posted, GithubError> {
        if comment.body.as_deref().is_some_and(|body| same(body, &self.body)) {
            return Ok(Posted { action: Action::Unchanged, url: comment.html_url.clone() });
        }
        let path = self.path_of(comment);
        let written: Comment = self
            .client
            .ask(&Method::PATCH, &path, Some(&self.document()), "change its comments on pull requests")
            .await?;
        Ok(Posted { action: Action::Updated, url: written.html_url })
    }

    async fn remove(&self, comments: &[Comment]) -> Result<(), GithubError> {
        for comment in comments {
            let removed = self
                .client
                .send(&Method::DELETE, &self.path_of(comment), None, "remove its comments on pull requests")
                .await;
            match removed {
                Err(GithubError::Answered { status, .. }) if status == StatusCode::NOT_FOUND.as_u16() => {}
                removed => drop(removed?),
            }
        }
        Ok(())
    }

    fn path_of(&self, comment: &Comment) -> String {
        format!("/repos/{}/issues/comments/{}", self.repository, comment.id)
    }

    fn document(&self) -> Value {
        json!({ "body": self.body })
    }

    fn not_found(&self, error: GithubError) -> GithubError {
        match error {
            GithubError::Answered { status: 404 | 410, .. } => {
                GithubError::NotFound { number: self.number, repository: self.repository.to_owned() }
            }
            error => error,
        }
    }
}

/// Nobody else's comment is touched: anyone can write a marker.
fn ours(user: &User, login: Option<&str>) -> bool {
    match login {
        Some(login) => user.login.eq_ignore_ascii_case(login),
        None => user.kind == "Bot",
    }
}

/// GitHub keeps no line ends of other systems and nothing empty at the end.
fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").trim().to_owned();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_ends_its_html_comment() {
        for text in ["x --> <script>", "a--b", "--!>", "\n\n# head", &"k".repeat(500)] {
            let marker = Key::of(text).marker();
            let inner = marker.strip_prefix("<!--").unwrap().strip_suffix("-->").unwrap();
            assert!(!inner.contains("--") && !inner.contains(['>', '<', '\n']), "{marker}");
        }
        assert_eq!(Key::of("plan staging").marker(), "<!-- deployer-comment: plan staging -->");
    }

    #[test]
    fn keys_that_look_alike_stay_apart() {
        assert_ne!(Key::of("a>b"), Key::of("a<b"));
        assert_ne!(Key::of("a>b"), Key::of("a_b"));
    }

    #[test]
    fn only_the_author_counts_as_the_author() {
        let user = |login: &str, kind: &str| User { login: login.into(), kind: kind.into() };
        assert!(ours(&user("github-actions[bot]", "Bot"), None));
        assert!(!ours(&user("mona", "User"), None));
        assert!(ours(&user("Mona", "User"), Some("mona")));
        assert!(!ours(&user("github-actions[bot]", "Bot"), Some("mona")));
    }
}
