//! Requests to GitHub's REST API: headers, pages, what it refuses, and how long it wants us to wait.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{GithubError, Run};

/// Longest time that GitHub may ask for before a command gives up: a minute, as its secondary limits do.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Requests of one kind before a limit is taken as final.
const ATTEMPTS: u32 = 4;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most pages of 100 that are read.
const MAX_PAGES: u32 = 100;
/// Characters of what GitHub says that are told.
const MAX_SAID: usize = 300;

/// A way to GitHub with a token.
pub(super) struct Client {
    http: reqwest::Client,
    api: String,
    token: String,
    /// What the pauses before tries are made of; nothing on this machine, where nobody is to be spared.
    pub(super) pause: Duration,
}

/// What is asked, in words that fit behind "may not" and "asked to".
pub(super) type Doing = &'static str;

impl Client {
    pub(super) fn new(run: &Run) -> Result<Self, GithubError> {
        let agent = concat!("deployer/", env!("CARGO_PKG_VERSION"));
        let http = reqwest::Client::builder().user_agent(agent).timeout(TIMEOUT).build();
        let http = http.map_err(|error| GithubError::Place(said_of(&error)))?;
        let pause = if run.api.starts_with("https") { Duration::from_secs(1) } else { Duration::ZERO };
        Ok(Self { http, api: run.api.clone(), token: run.token.clone(), pause })
    }

    /// All items of a list, page after page.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        doing: Doing,
    ) -> Result<Vec<T>, GithubError> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let path = format!("{path}?per_page=100&page={page}");
            let answer = self.send(&Method::GET, &path, None, doing).await?;
            let more = has_next(answer.headers());
            all.extend(read::<Vec<T>>(answer, doing).await?);
            if !more {
                break;
            }
        }
        Ok(all)
    }

    /// Sends a request and reads its answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        doing: Doing,
    ) -> Result<T, GithubError> {
        read(self.send(method, path, body, doing).await?, doing).await
    }

    /// Sends a request, again where GitHub asked to wait, which means that it was not done; a read also after other trouble.
    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        doing: Doing,
    ) -> Result<Response, GithubError> {
        let mut attempt = 1;
        loop {
            let result = self.once(method, path, body, doing).await;
            let wait = match &result {
                Err(Refused::Wait(wait)) => *wait,
                Err(Refused::For(error)) if *method == Method::GET && error.passes() => self.pause * attempt,
                _ => Duration::MAX,
            };
            if attempt == ATTEMPTS || wait > MAX_WAIT {
                return result.map_err(Refused::into_error);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        doing: Doing,
    ) -> Result<Response, Refused> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.api))
            .bearer_auth(&self.token)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| {
            Refused::For(GithubError::Unreachable { doing, said: said_of(&error.without_url()) })
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let wait = wait(status, answer.headers(), Timestamp::now());
        let said = message(&answer.text().await.unwrap_or_default());
        let secondary = status == StatusCode::FORBIDDEN && said.to_lowercase().contains("rate limit");
        if let Some(wait) = wait.or(secondary.then_some(MAX_WAIT)) {
            return Err(Refused::Wait(wait));
        }
        Err(Refused::For(match status {
            StatusCode::UNAUTHORIZED => GithubError::Token,
            StatusCode::FORBIDDEN => GithubError::Forbidden { doing, said },
            _ => GithubError::Answered { doing, status: status.as_u16(), said },
        }))
    }
}

/// Why a request was not done.
enum Refused {
    /// GitHub wants to be asked later.
    Wait(Duration),
    For(GithubError),
}

impl Refused {
    fn into_error(self) -> GithubError {
        match self {
            Self::Wait(wait) => GithubError::Limited { seconds: wait.as_secs() },
            Self::For(error) => error,
        }
    }
}

/// How long GitHub asks to wait: `retry-after` in seconds, or until `x-ratelimit-reset` once nothing remains; a minute where a 429
/// says neither. By GitHub's document of the limits of its REST API.
fn wait(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if !matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(seconds));
    }
    if number("x-ratelimit-remaining") == Some(0)
        && let Some(reset) = number("x-ratelimit-reset")
    {
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        return Some(Duration::from_secs(reset.saturating_sub(now)));
    }
    (status == StatusCode::TOO_MANY_REQUESTS).then_some(MAX_WAIT)
}

/// The header `link` names a next page.
fn has_next(headers: &HeaderMap) -> bool {
    let links = headers.get_all("link").iter().filter_map(|link| link.to_str().ok());
    links.flat_map(|link| link.split(',')).any(|link| link.contains("rel=\"next\""))
}

async fn read<T: DeserializeOwned>(answer: Response, doing: Doing) -> Result<T, GithubError> {
    answer
        .json()
        .await
        .map_err(|error| GithubError::Unreadable { doing, said: said_of(&error.without_url()) })
}

/// What GitHub says in the body of a refusal.
fn message(body: &str) -> String {
    let document: Value = serde_json::from_str(body).unwrap_or_default();
    let said = document["message"].as_str().unwrap_or("no reason is given").trim().trim_end_matches('.');
    said.chars().take(MAX_SAID).collect()
}

fn said_of(error: &dyn std::error::Error) -> String {
    crate::error::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(status: u16, headers: &[(&'static str, &str)]) -> Option<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let now = Timestamp::from_second(1_000).unwrap();
        wait(StatusCode::from_u16(status).unwrap(), &map, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn github_says_in_two_ways_how_long_to_wait() {
        assert_eq!(asked(429, &[("retry-after", "7")]), Some(7));
        assert_eq!(asked(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1030")]), Some(30));
        assert_eq!(asked(429, &[]), Some(60));
    }

    #[test]
    fn a_refusal_is_no_limit() {
        assert_eq!(asked(403, &[("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", "1030")]), None);
        assert_eq!(asked(404, &[("retry-after", "7")]), None);
    }

    #[test]
    fn a_next_page_stands_in_the_link() {
        let of =
            |link: &str| has_next(&HeaderMap::from_iter([(reqwest::header::LINK, link.parse().unwrap())]));
        assert!(of("<https://x/?page=1>; rel=\"prev\", <https://x/?page=3>; rel=\"next\""));
        assert!(!of("<https://x/?page=1>; rel=\"first\""));
    }
}
