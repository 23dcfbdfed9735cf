//! The client: its options, its shared state, and `call`, the one wrapper around every request.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::Credentials;
use google_cloud_run_v2::client::{Executions, Jobs, Revisions, Services, Tasks};
use google_cloud_secretmanager_v1::client::SecretManagerService;
use tokio::sync::{OnceCell, Semaphore};

use super::api::{Access, Api, Method};
use super::auth;
use super::endpoint::Endpoint;
use super::error::{ErrorKind, GcpError};
use super::failure::{Failure, Stage};
use super::propagation::Fresh;
use super::rate::{Queue, Rates};
use super::retry::{Limits, Retry, decide};
use super::sleeper::{RealSleeper, Sleeper};
use super::turns::Turns;

/// How to reach Google.
#[derive(Debug, Clone)]
pub struct Options {
    /// A base URL that serves every API at `URL/HOST/path`; without it, Google's own hosts.
    pub endpoint: Option<String>,
    /// Keep to Google's documented quotas by waiting. Without it, only what the server refuses is waited out.
    pub paced: bool,
    /// Never look for credentials. For the sandbox, which must not make anyone log in. Only on loopback.
    pub anonymous: bool,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Time.
    pub sleeper: Arc<dyn Sleeper>,
    /// Log each request at level info (`-v`) instead of debug; the target is `deployer::http`.
    pub trace: bool,
    /// Who is at work, for records that people read.
    pub actor: String,
    /// Requests in flight at once, over all APIs; at least 1.
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            paced: true,
            anonymous: false,
            user_agent: concat!("deployer/", env!("CARGO_PKG_VERSION")).to_owned(),
            sleeper: Arc::new(RealSleeper::new()),
            trace: false,
            actor: "somebody".to_owned(),
            concurrency: 64,
        }
    }
}

/// How often a method was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestCount {
    /// Method id of Google's discovery documents.
    pub method: String,
    /// Requests sent, repetitions included.
    pub count: u64,
}

/// Google Cloud. Cheap to clone; all clones share connections, budgets and locks.
#[derive(Clone)]
pub struct Gcp {
    inner: Arc<Inner>,
    progress: Option<Progress>,
}

/// Hears in words what is being waited for.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

struct Inner {
    http: reqwest::Client,
    credentials: Credentials,
    endpoint: Endpoint,
    user_agent: String,
    actor: String,
    sleeper: Arc<dyn Sleeper>,
    limits: Limits,
    /// `None`: not paced.
    rates: Option<Rates>,
    slots: Semaphore,
    concurrency: usize,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    trace: bool,
    fresh: Fresh,
    policies: Mutex<HashMap<String, Arc<Turns>>>,
    services: OnceCell<Services>,
    jobs: OnceCell<Jobs>,
    revisions: OnceCell<Revisions>,
    executions: OnceCell<Executions>,
    tasks: OnceCell<Tasks>,
    secrets: OnceCell<SecretManagerService>,
}

impl fmt::Debug for Gcp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gcp").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}

/// One call, as its wrapper needs to know it.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'static Method,
    /// An infinitive for error messages: `create service api`.
    pub(crate) doing: &'a str,
    /// The resource's name or the request's path; never a query.
    pub(crate) resource: &'a str,
}

impl Gcp {
    /// Finds credentials and builds the transport. Sends nothing to any API.
    pub async fn connect(options: Options) -> Result<Self, GcpError> {
        let endpoint = Endpoint::parse(options.endpoint.as_deref())?;
        let limits = if endpoint.is_loopback() { Limits::LOOPBACK } else { Limits::GOOGLE };
        Self::with_limits(options, endpoint, limits).await
    }

    /// `connect` with a say in how patient calls are.
    pub(crate) async fn with_limits(
        options: Options,
        endpoint: Endpoint,
        limits: Limits,
    ) -> Result<Self, GcpError> {
        let credentials = if options.anonymous && endpoint.is_loopback() {
            auth::anonymous()
        } else {
            auth::credentials(endpoint.is_loopback()).await?
        };
        let concurrency = options.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let inner = Inner {
            http: http_client(&endpoint, &options.user_agent, concurrency, limits.attempt)?,
            credentials,
            endpoint,
            user_agent: options.user_agent,
            actor: options.actor,
            sleeper: options.sleeper,
            limits,
            rates: options.paced.then(Rates::default),
            slots: Semaphore::new(concurrency),
            concurrency,
            counts: Mutex::default(),
            trace: options.trace,
            fresh: Fresh::default(),
            policies: Mutex::default(),
            services: OnceCell::new(),
            jobs: OnceCell::new(),
            revisions: OnceCell::new(),
            executions: OnceCell::new(),
            tasks: OnceCell::new(),
            secrets: OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner), progress: None })
    }

    /// The same client, telling `progress` what it waits for.
    #[must_use]
    pub fn telling(&self, progress: Progress) -> Self {
        Self { inner: Arc::clone(&self.inner), progress: Some(progress) }
    }

    /// Tells whoever listens what is being done or waited for.
    pub fn tell(&self, text: &str) {
        tracing::debug!(target: "deployer::wait", "{text}");
        if let Some(progress) = &self.progress {
            progress(text);
        }
    }

    /// Who is at work, for records that people read.
    pub fn actor(&self) -> &str {
        &self.inner.actor
    }

    /// The time of now for such records: RFC 3339 in UTC, to the second.
    pub fn timestamp(&self) -> String {
        let now = jiff::Timestamp::now();
        jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
    }

    /// How often each method was called so far, by method id.
    pub fn requests(&self) -> Vec<RequestCount> {
        let counts = self.inner.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(method, count)| RequestCount { method: (*method).to_owned(), count: *count })
            .collect()
    }

    /// Requests that have been sent and not been answered.
    pub fn in_flight(&self) -> usize {
        self.inner.concurrency - self.inner.slots.available_permits()
    }

    /// All items of a list. `send` gets the token of a page, empty for the first one, and answers its items and the token of
    /// the next, empty after the last.
    pub(crate) async fn all_pages<T, F, Fut>(&self, call: &Call<'_>, send: F) -> Result<Vec<T>, GcpError>
    where
        F: Fn(String) -> Fut,
        Fut: Future<Output = Result<(Vec<T>, String), Failure>>,
    {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let (items, next) = self.call(call, || send(token.clone())).await?;
            all.extend(items);
            if next.is_empty() {
                return Ok(all);
            }
            token = next;
        }
    }

    /// Sends until it succeeds or repeating is no use. The error's `ambiguous` says whether any attempt may have
    /// taken effect.
    pub(crate) async fn call<T, F, Fut>(&self, call: &Call<'_>, send: F) -> Result<T, GcpError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let mut ambiguous = false;
        let mut attempt = 1;
        let mut first = None;
        let mut patience = None;
        loop {
            self.await_budget(call.method).await;
            let started = *first.get_or_insert_with(|| self.now());
            let failure = match self.attempt(call, attempt, &send).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            ambiguous |= failure.ambiguous();
            let elapsed = self.now().saturating_sub(started);
            let verdict =
                decide(&self.inner.limits, &failure, call.method.repeatable, attempt, elapsed, random());
            match verdict {
                Retry::After(pause) => self.sleep(pause).await,
                Retry::GiveUp => {
                    let host = call.method.api.host();
                    let error = GcpError::judge(call.doing, call.resource, call.method, failure, ambiguous);
                    let error = self.inner.endpoint.named_in(error);
                    if !self.will_pass(&error) {
                        return Err(error);
                    }
                    patience
                        .get_or_insert_with(|| self.patience())
                        .pause(&format!("{host} to be enabled"))
                        .await?;
                    // What was waited for is no failed attempt: from here the call has all of its patience again.
                    (attempt, first) = (0, None);
                }
            }
            attempt += 1;
        }
    }

    /// One attempt in one slot, counted and logged.
    async fn attempt<T, F, Fut>(&self, call: &Call<'_>, attempt: u32, send: &F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        // The semaphore is never closed, so that there always is a slot to wait for.
        let slot = self.inner.slots.acquire().await.ok();
        self.count(call.method);
        let start = self.now();
        let outcome = send().await;
        drop(slot);
        let status = outcome.as_ref().map_or_else(Failure::word, |_| "200".to_owned());
        self.log(call, attempt, &status, self.now().saturating_sub(start));
        outcome
    }

    fn log(&self, call: &Call<'_>, attempt: u32, status: &str, took: Duration) {
        let Call { method, resource, .. } = call;
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if self.inner.trace {
            tracing::info!(target: "deployer::http", method = method.id, verb = method.verb, path = resource, status, ms, attempt);
        } else {
            tracing::debug!(target: "deployer::http", method = method.id, verb = method.verb, path = resource, status, ms, attempt);
        }
    }

    fn count(&self, method: &Method) {
        let mut counts = self.inner.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(method.id).or_insert(0) += 1;
    }

    async fn await_budget(&self, method: &Method) {
        let Some(rates) = &self.inner.rates else { return };
        let Method { api, access, .. } = *method;
        let wait = rates.reserve(api, access, self.now());
        if wait.is_zero() {
            return;
        }
        self.tell_of_queue(rates, api, access);
        self.sleep(wait).await;
        rates.resume(api, access);
        self.tell_of_queue(rates, api, access);
    }

    fn tell_of_queue(&self, rates: &Rates, api: Api, access: Access) {
        let Some(queue) = rates.news(api, access, self.now()) else { return };
        let kind = match access {
            Access::Read => "reads",
            Access::Write => "writes",
        };
        let (host, Queue { waiting, longest, quota }) = (api.host(), queue);
        let requests =
            if waiting == 1 { "1 request waits".to_owned() } else { format!("{waiting} requests wait") };
        let seconds = longest.as_secs().max(1);
        self.tell(&format!("{requests} up to {seconds} s for the quota of {host}: {quota} {kind} a minute"));
    }

    /// Does nothing for a while, as the clock of this client has it.
    pub async fn rest_a_while(&self, duration: Duration) {
        self.sleep(duration).await;
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.inner.sleeper.sleep(duration).await;
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.sleeper.now()
    }

    pub(crate) fn fresh(&self) -> &Fresh {
        &self.inner.fresh
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.inner.endpoint.is_loopback()
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.inner.http
    }

    pub(crate) fn user_agent(&self) -> &str {
        &self.inner.user_agent
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Cells of the official clients, which are built on first use: each costs some milliseconds.
    pub(crate) fn services_cell(&self) -> &OnceCell<Services> {
        &self.inner.services
    }

    pub(crate) fn jobs_cell(&self) -> &OnceCell<Jobs> {
        &self.inner.jobs
    }

    pub(crate) fn revisions_cell(&self) -> &OnceCell<Revisions> {
        &self.inner.revisions
    }

    pub(crate) fn executions_cell(&self) -> &OnceCell<Executions> {
        &self.inner.executions
    }

    pub(crate) fn tasks_cell(&self) -> &OnceCell<Tasks> {
        &self.inner.tasks
    }

    pub(crate) fn secrets_cell(&self) -> &OnceCell<SecretManagerService> {
        &self.inner.secrets
    }

    /// The lock that serialises edits of one policy within this process.
    pub(crate) fn policy_turns(&self, resource: &str) -> Arc<Turns> {
        let mut all = self.inner.policies.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(resource.to_owned()).or_default())
    }
}

/// HTTP/2 towards TLS servers that offer it; HTTP/1.1 on plain loopback, past any proxy of the environment.
fn http_client(
    endpoint: &Endpoint,
    user_agent: &str,
    concurrency: usize,
    timeout: Duration,
) -> Result<reqwest::Client, GcpError> {
    let builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(concurrency)
        .connect_timeout(timeout / 3)
        .timeout(timeout);
    let builder = if endpoint.is_loopback() { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| {
        GcpError::new("prepare connections to Google Cloud", ErrorKind::Other, "the HTTP client cannot start")
            .with_source(error)
    })
}

/// A number in `0.0..1.0` that differs from process to process.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / (f64::from(u32::MAX) + 1.0))
}

/// The failure to build a request.
pub(crate) fn unbuildable(message: impl Into<String>) -> Failure {
    Failure::without_answer(Stage::Build, message, None)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};
    use crate::gcp::{PolicyOf, Service};

    fn project() -> Answer {
        Answer::json(200, json!({"name": "projects/42", "projectId": "p"}))
    }

    async fn at(url: &str, limits: Limits, sleeper: Arc<dyn Sleeper>) -> Gcp {
        let options = Options { anonymous: true, sleeper, ..Options::default() };
        Gcp::with_limits(options, Endpoint::parse(Some(url)).unwrap(), limits).await.unwrap()
    }

    #[tokio::test]
    async fn passing_troubles_are_repeated_and_counted() {
        let server = Server::start(vec![
            Answer::json(503, refusal(503, "UNAVAILABLE")),
            Answer::html(502),
            Answer::Drop,
            project(),
        ])
        .await;
        let gcp = server.gcp().await;
        assert_eq!(gcp.project("p").await.unwrap().number, 42);
        assert_eq!(server.sleeper.slept().len(), 3);
        let count = RequestCount { method: "cloudresourcemanager.projects.get".into(), count: 4 };
        assert_eq!(gcp.requests(), [count]);
    }

    #[tokio::test]
    async fn the_servers_wish_to_wait_is_obeyed_by_both_transports() {
        let busy = || Answer::json(429, refusal(429, "RESOURCE_EXHAUSTED")).header("Retry-After: 7");
        let server = Server::start(vec![busy(), project(), busy(), Answer::json(200, json!({}))]).await;
        let gcp = server.gcp().await;
        gcp.project("p").await.unwrap();
        gcp.list_objects::<Service>("p", "l").await.unwrap();
        assert_eq!(server.sleeper.slept(), [Duration::from_secs(7); 2]);
    }

    #[tokio::test]
    async fn a_call_gives_up_after_its_attempts() {
        let server = Server::serve(|_| Answer::json(503, refusal(503, "UNAVAILABLE"))).await;
        let error = server.gcp().await.project("p").await.unwrap_err();
        assert_eq!((&error.kind, error.status), (&ErrorKind::Unavailable, Some(503)));
        assert_eq!(server.requests().len(), 8);
        assert_eq!(error.to_string(), "cannot read project p: refused: UNAVAILABLE");
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_a_timeout_on_both_transports() {
        let server = Server::serve(|_| Answer::Hang).await;
        let limits = Limits { attempt: Duration::from_millis(80), attempts: 2, ..Limits::LOOPBACK };
        let gcp = server.gcp_with(limits).await;
        assert_eq!(gcp.project("p").await.unwrap_err().kind, ErrorKind::Timeout);
        assert_eq!(gcp.list_secrets("p").await.unwrap_err().kind, ErrorKind::Timeout);
        assert_eq!(server.requests().len(), 4);
    }

    #[tokio::test]
    async fn no_server_is_a_network_error_on_both_transports_with_and_without_tls() {
        let server = Server::start(Vec::new()).await;
        let (address, sleeper) = (server.address, server.sleeper.clone());
        drop(server);
        for scheme in ["http", "https"] {
            let gcp = at(&format!("{scheme}://{address}"), Limits::LOOPBACK, sleeper.clone()).await;
            for error in [
                gcp.project("p").await.unwrap_err(),
                gcp.list_objects::<Service>("p", "l").await.unwrap_err(),
            ] {
                assert_eq!(error.kind, ErrorKind::Network, "{scheme}: {error:?}");
                assert!(std::error::Error::source(&error).is_some(), "the cause is kept");
            }
        }
    }

    #[tokio::test]
    async fn both_transports_say_who_calls_and_send_no_token_when_anonymous() {
        let server = Server::start(vec![project(), Answer::json(200, json!({}))]).await;
        let gcp = server.gcp().await;
        gcp.project("p").await.unwrap();
        gcp.list_secrets("p").await.unwrap();
        for request in server.requests() {
            assert!(request.head.contains("user-agent: deployer/"), "{}", request.head);
            assert!(!request.head.contains("authorization"), "{}", request.head);
        }
    }

    /// Collects what is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_log_has_a_line_for_each_attempt_and_neither_query_nor_body() {
        // For all threads: what one thread hears of a line alone depends on who met that line first.
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let server = Server::start(vec![
            Answer::html(503),
            Answer::json(200, json!({"services": [{"name": "projects/1/services/in-the-body"}]})),
        ])
        .await;
        let gcp = server.gcp().await;
        gcp.enabled_apis("log-test").await.unwrap();
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let ours: Vec<_> = text
            .lines()
            .filter(|line| line.contains("deployer::http") && line.contains("log-test"))
            .collect();
        assert_eq!(ours.len(), 2, "{text}");
        for part in [
            "serviceusage.services.list",
            "GET",
            "v1/projects/log-test/services",
            "\"503\"",
            "attempt=1",
            "ms=",
        ] {
            assert!(ours[0].contains(part), "{part}: {}", ours[0]);
        }
        assert!(ours[1].contains("attempt=2") && ours[1].contains("\"200\""), "{}", ours[1]);
        let ours = ours.join("\n");
        assert!(
            !ours.contains("ENABLED") && !ours.contains("pageSize") && !ours.contains("in-the-body"),
            "{ours}"
        );
    }

    #[tokio::test]
    async fn an_api_that_was_just_enabled_is_waited_for_and_troubles_after_it_are_repeated() {
        let disabled = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "not used before",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
                "metadata": {"service": "run.googleapis.com"}}]}});
        let mut answers = vec![Answer::json(200, json!({"name": "operations/x", "done": true}))];
        answers.extend((0..9).map(|_| Answer::json(403, disabled.clone())));
        answers.extend([Answer::html(503), Answer::json(200, json!({})), Answer::json(403, disabled)]);
        let server = Server::start(answers).await;
        let gcp = server.gcp().await;
        gcp.enable_apis("p", &["run.googleapis.com".into()]).await.unwrap();
        assert!(gcp.list_objects::<Service>("p", "l").await.unwrap().is_empty());
        let other = server.gcp().await;
        let error = other.list_objects::<Service>("p", "l").await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::ServiceDisabled { .. }),
            "it was not this client that enabled it"
        );
    }

    #[tokio::test]
    async fn a_used_up_quota_is_waited_for() {
        let server = Server::serve(|_| Answer::json(200, json!({"etag": "e"}))).await;
        let gcp = server.gcp().await;
        let of = PolicyOf::Secret("projects/p/secrets/s".into());
        for _ in 0..601 {
            gcp.policy(&of).await.unwrap();
        }
        assert_eq!(server.sleeper.slept(), [Duration::from_mins(1)]);
    }

    #[test]
    fn calls_can_move_between_threads() {
        fn moves<T: Send>(_: impl Fn(Gcp) -> T) {}
        moves(|gcp: Gcp| async move { gcp.create_object::<Service>("p", "l", "s", json!({})).await });
        moves(|gcp: Gcp| async move { gcp.edit_policy(&PolicyOf::Project("p".into()), &[], &[]).await });
        moves(|gcp: Gcp| async move { gcp.enable_apis("p", &[]).await });
        moves(|gcp: Gcp| async move { gcp.list_secrets("p").await });
    }
}
