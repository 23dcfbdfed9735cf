//! A small stand-in for GitHub's REST API: comments on one pull request, in pages, with the refusals that tokens meet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Run, Workplace};

/// The token that may write.
pub const TOKEN: &str = "ghs_of-the-run";
/// Who its comments are of, and the only one that it may be told about.
pub const BOT: &str = "github-actions[bot]";

/// GitHub, as far as `deployer comment` knows it.
#[derive(Debug)]
pub struct Github {
    port: u16,
    shared: Arc<Mutex<Shared>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    comments: Vec<Comment>,
    next: u64,
    seen: Vec<String>,
    /// The next answers to writes: status, a header, and what is said.
    refusals: VecDeque<(u16, &'static str, &'static str)>,
    /// A comment that another job writes just before the next one is made.
    rival: Option<String>,
    /// The name of the token's owner; nothing for the token of a run.
    login: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Comment {
    pub id: u64,
    pub author: String,
    pub body: String,
}

impl Github {
    pub async fn start() -> Self {
        let shared: Arc<Mutex<Shared>> = Arc::new(Mutex::new(Shared { next: 1, ..Shared::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(answer).with_state((Arc::clone(&shared), port));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, shared, task }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.lock().unwrap())
    }

    /// A comment that is there before.
    pub fn says(&self, author: &str, body: &str) {
        self.with(|shared| shared.write(author, body));
    }

    /// The next write gets this answer in place of its own.
    pub fn refuses(&self, status: u16, header: &'static str, said: &'static str) {
        self.with(|shared| shared.refusals.push_back((status, header, said)));
    }

    /// Another job of the same key is faster by a moment.
    pub fn has_a_rival(&self, body: &str) {
        self.with(|shared| shared.rival = Some(body.to_owned()));
    }

    /// The token is one of a person.
    pub fn token_of(&self, login: &str) {
        self.with(|shared| shared.login = Some(login.to_owned()));
    }

    pub fn comments(&self) -> Vec<Comment> {
        self.with(|shared| shared.comments.clone())
    }

    /// `METHOD PATH?QUERY` of each request since the last time that this was asked.
    pub fn seen(&self) -> Vec<String> {
        self.with(|shared| std::mem::take(&mut shared.seen))
    }

    /// `deployer comment` as a step of a run for the pull request 7 has it; `from` is the repository of its branch.
    pub fn comment(&self, place: &Workplace, words: &str, from: &str) -> Run {
        let event = json!({"pull_request": {"number": 7, "head": {"repo": {"full_name": from}}}});
        place.write("event.json", &event.to_string());
        place
            .deployer(&format!("comment {words}"))
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_API_URL", format!("http://127.0.0.1:{}", self.port))
            .env("GITHUB_REPOSITORY", "octo-org/shop")
            .env("GITHUB_TOKEN", TOKEN)
            .env("GITHUB_EVENT_NAME", "pull_request")
            .env("GITHUB_EVENT_PATH", place.path("event.json"))
            .env("GITHUB_WORKFLOW", "Pull request")
            .env("GITHUB_JOB", "plan")
            .env("GITHUB_STEP_SUMMARY", place.path("summary.md"))
    }
}

impl Drop for Github {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn write(&mut self, author: &str, body: &str) -> u64 {
        let id = self.next;
        self.next += 1;
        self.comments.push(Comment { id, author: author.to_owned(), body: body.to_owned() });
        id
    }

    fn document(&self, id: u64) -> Value {
        let comment = self.comments.iter().find(|comment| comment.id == id).unwrap();
        let kind = if comment.author.ends_with("[bot]") { "Bot" } else { "User" };
        json!({
            "id": id,
            "body": comment.body,
            "html_url": format!("https://github.com/octo-org/shop/pull/7#issuecomment-{id}"),
            "user": {"login": comment.author, "type": kind},
        })
    }
}

type Shareds = (Arc<Mutex<Shared>>, u16);

async fn answer(
    State((shared, port)): State<Shareds>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut shared = shared.lock().unwrap();
    shared.seen.push(format!("{method} {uri}"));
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("authorization") != format!("Bearer {TOKEN}") {
        return json_answer(401, &json!({"message": "Bad credentials"}));
    }
    assert_eq!(header("accept"), "application/vnd.github+json");
    assert!(header("user-agent").starts_with("deployer/"), "GitHub refuses requests without an agent");
    assert_eq!(header("x-github-api-version"), "2022-11-28");
    if method != Method::GET
        && let Some((status, header, said)) = shared.refusals.pop_front()
    {
        let mut answer = json_answer(status, &json!({"message": said}));
        if let Some((name, value)) = header.split_once(": ") {
            answer
                .headers_mut()
                .insert(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        return answer;
    }
    let said = || {
        let document: Value = serde_json::from_slice(&body).unwrap();
        let text = document["body"].as_str().unwrap().to_owned();
        assert!(text.chars().count() <= 65_536, "GitHub takes no longer comment");
        text
    };
    let author = shared.login.clone().unwrap_or_else(|| BOT.to_owned());
    let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["user"]) => match &shared.login {
            Some(login) => json_answer(200, &json!({"login": login, "type": "User"})),
            None => json_answer(403, &json!({"message": "Resource not accessible by integration"})),
        },
        ("GET", ["repos", "octo-org", "shop", "issues", "7", "comments"]) => {
            page(&shared, uri.query().unwrap_or_default(), port)
        }
        ("POST", ["repos", "octo-org", "shop", "issues", "7", "comments"]) => {
            if let Some(rival) = shared.rival.take() {
                shared.write(&author, &rival);
            }
            let id = shared.write(&author, &said());
            json_answer(201, &shared.document(id))
        }
        (verb @ ("PATCH" | "DELETE"), ["repos", "octo-org", "shop", "issues", "comments", id]) => {
            let id = id.parse::<u64>().unwrap();
            let Some(at) = shared.comments.iter().position(|comment| comment.id == id) else {
                return json_answer(404, &json!({"message": "Not Found"}));
            };
            assert_eq!(shared.comments[at].author, author, "a comment of somebody else is touched");
            if verb == "DELETE" {
                shared.comments.remove(at);
                return axum::http::StatusCode::NO_CONTENT.into_response();
            }
            shared.comments[at].body = said();
            json_answer(200, &shared.document(id))
        }
        _ => json_answer(404, &json!({"message": "Not Found"})),
    }
}

/// A hundred comments, and where the next ones are.
fn page(shared: &Shared, query: &str, port: u16) -> Response {
    let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let size: usize = of("per_page").unwrap_or("30").parse().unwrap();
    let page: usize = of("page").unwrap_or("1").parse().unwrap();
    assert!((1..=100).contains(&size) && page >= 1, "{query}");
    let ids = shared.comments.iter().map(|comment| comment.id).skip((page - 1) * size);
    let documents: Vec<_> = ids.take(size).map(|id| shared.document(id)).collect();
    let mut answer = json_answer(200, &Value::from(documents));
    if page * size < shared.comments.len() {
        let link = format!("<http://127.0.0.1:{port}/x?per_page={size}&page={}>; rel=\"next\"", page + 1);
        answer.headers_mut().insert("link", link.parse().unwrap());
    }
    answer
}

fn json_answer(status: u16, document: &Value) -> Response {
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    (status, [("content-type", "application/json")], document.to_string()).into_response()
}
