//! The client: its options, its shared state, and `call`, the one wrapper around every request.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::Credentials;
use google_cloud_run_v2::client::{Revisions, Services};
use google_cloud_secretmanager_v1::client::SecretManagerService;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, Semaphore};

use super::api::Method;
use super::auth;
use super::endpoint::Endpoint;
use super::error::{ErrorKind, GcpError};
use super::failure::{Failure, Stage};
use super::propagation::Fresh;
use super::rate::Rates;
use super::retry::{Limits, Retry, decide};
use super::sleeper::{RealSleeper, Sleeper};

/// How to reach Google.
#[derive(Debug, Clone)]
pub struct Options {
    /// A base URL that serves every API at `URL/HOST/path`; without it, Google's own hosts.
    pub endpoint: Option<String>,
    /// Never look for credentials. For the sandbox, which must not make anyone log in. Only on loopback.
    pub anonymous: bool,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Time.
    pub sleeper: Arc<dyn Sleeper>,
    /// Log each request at level info (`-v`) instead of debug; the target is `deployer::http`.
    pub trace: bool,
    /// Requests in flight at once, over all APIs; at least 1.
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            anonymous: false,
            user_agent: concat!("deployer/", env!("CARGO_PKG_VERSION")).to_owned(),
            sleeper: Arc::new(RealSleeper::new()),
            trace: false,
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
}

struct Inner {
    http: reqwest::Client,
    credentials: Credentials,
    endpoint: Endpoint,
    user_agent: String,
    sleeper: Arc<dyn Sleeper>,
    limits: Limits,
    rates: Rates,
    slots: Semaphore,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    trace: bool,
    fresh: Fresh,
    policies: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    services: OnceCell<Services>,
    revisions: OnceCell<Revisions>,
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
        let concurrency = options.concurrency.max(1);
        let inner = Inner {
            http: http_client(&endpoint, &options.user_agent, concurrency, limits.attempt)?,
            credentials,
            endpoint,
            user_agent: options.user_agent,
            sleeper: options.sleeper,
            limits,
            rates: Rates::default(),
            slots: Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)),
            counts: Mutex::default(),
            trace: options.trace,
            fresh: Fresh::default(),
            policies: Mutex::default(),
            services: OnceCell::new(),
            revisions: OnceCell::new(),
            secrets: OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How often each method was called so far, by method id.
    pub fn requests(&self) -> Vec<RequestCount> {
        let counts = self.inner.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(method, count)| RequestCount { method: (*method).to_owned(), count: *count }).collect()
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
        let mut started = None;
        let mut patience = None;
        loop {
            self.await_budget(call.method).await;
            let started = *started.get_or_insert_with(|| self.now());
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
                    let error = GcpError::judge(call.doing, call.resource, host, failure, ambiguous);
                    if !self.will_pass(&error) {
                        return Err(error);
                    }
                    patience.get_or_insert_with(|| self.patience()).pause(&format!("{host} to be enabled")).await?;
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
        let wait = self.inner.rates.reserve(method.api, method.access, self.now());
        if !wait.is_zero() {
            tracing::info!(
                target: "deployer::http",
                host = method.api.host(),
                seconds = wait.as_secs(),
                "waiting: the quota of this minute is used up"
            );
            self.sleep(wait).await;
        }
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

    pub(crate) fn revisions_cell(&self) -> &OnceCell<Revisions> {
        &self.inner.revisions
    }

    pub(crate) fn secrets_cell(&self) -> &OnceCell<SecretManagerService> {
        &self.inner.secrets
    }

    /// The lock that serialises edits of one policy within this process.
    pub(crate) fn policy_lock(&self, resource: &str) -> Arc<AsyncMutex<()>> {
        let mut locks = self.inner.policies.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(resource.to_owned()).or_default())
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
