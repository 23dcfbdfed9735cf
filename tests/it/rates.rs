//! A system of 1,000 services keeps to Google's documented quotas, in a time of its own: nobody waits, and the sandbox
//! counts requests by the same clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deployer::apply::{self, Event, Interrupt, Observer, Report};
use deployer::config::{self, Inputs};
use deployer::gcp::{Gcp, Options, Sleeper};
use deployer::plan::{self, Plan};
use deployer::planner::{Planner, Release};
use deployer::resource::registry::Registry;
use futures::FutureExt;
use futures::future::BoxFuture;
use gcp_sandbox::{Clock, ManualClock};
use tokio::sync::oneshot;

use crate::support::{Cloud, Workplace, shop};

const SERVICES: usize = 1_000;

/// A project may have a hundred accounts.
const ACCOUNTS: usize = 90;

const SECRETS: usize = 700;

const SECRET: &str = "  NAME: {generate: hex32}\n";

const SERVICE: &str = "  NAME: {image: us-docker.pkg.dev/cloudrun/container/hello, service_account: ACCOUNT, \
    access: public, secrets: {KEY: SECRET}}\n";

const MINUTE: Duration = Duration::from_mins(1);

/// Time that passes when everybody waits for it.
#[derive(Debug, Clone)]
struct VirtualTime {
    clock: ManualClock,
    start: jiff::Timestamp,
    /// Who waits, by when and in which order they came.
    waiting: Arc<Mutex<Waiting>>,
}

type Waiting = BTreeMap<(Duration, u64), oneshot::Sender<()>>;

impl VirtualTime {
    fn new() -> Self {
        let start = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        Self { clock: ManualClock::new(start), start, waiting: Arc::default() }
    }

    /// Runs `work` to its end. Where nothing is on its way any more, everybody waits, and the next one's time comes.
    async fn drive<T>(&self, gcp: &Gcp, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            for _ in 0..64 {
                if let Some(done) = work.as_mut().now_or_never() {
                    return done;
                }
                tokio::task::yield_now().await;
            }
            if gcp.in_flight() == 0 {
                self.next();
            }
        }
    }

    fn next(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        let Some(((until, _), wake)) = waiting.pop_first() else { return };
        self.clock.advance(until.saturating_sub(self.now()));
        // Who does not wait any more need not be woken.
        let _ = wake.send(());
    }
}

impl Sleeper for VirtualTime {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap();
        let order = waiting.len() as u64;
        let mut key = (self.now() + duration, order);
        while waiting.contains_key(&key) {
            key.1 += 1;
        }
        waiting.insert(key, wake);
        async { woken.await.unwrap_or_default() }.boxed()
    }

    fn now(&self) -> Duration {
        Duration::try_from(self.clock.now().duration_since(self.start)).unwrap_or_default()
    }
}

/// What people are told.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn hear(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Observer for Told {
    fn on(&self, event: Event<'_>) {
        if let Event::Waiting(_, text) = event {
            self.hear(text);
        }
    }
}

fn system() -> Workplace {
    let mut base = shop!("secrets:\n").to_owned();
    for n in 0..SECRETS {
        base.push_str(&SECRET.replace("NAME", &format!("k{n}")));
    }
    base.push_str("services:\n");
    for n in 0..SERVICES {
        let account = format!("runner-{:02}", n % ACCOUNTS);
        let secret = format!("k{}", n % SECRETS);
        let service = SERVICE.replace("NAME", &format!("s{n}"));
        base.push_str(&service.replace("ACCOUNT", &account).replace("SECRET", &secret));
    }
    let dev = "deployer: v1\nenvironment: dev\ntarget: sandbox\n";
    Workplace::with(&[("environments/base.yaml", &base), ("environments/dev.yaml", dev)])
}

#[tokio::test]
async fn a_thousand_services_stay_inside_the_quotas_and_say_what_they_wait_for() {
    let time = VirtualTime::new();
    let clock: Arc<dyn Clock> = Arc::new(time.clock.clone());
    let cloud =
        Cloud::start(gcp_sandbox::Options { quotas: true, clock: Some(clock), ..Cloud::options() }).await;
    let options = Options {
        endpoint: Some(cloud.url()),
        anonymous: true,
        sleeper: Arc::new(time.clone()),
        ..Options::default()
    };
    let told = Told::default();
    let gcp = Gcp::connect(options).await.unwrap();
    let gcp = gcp.telling({
        let told = told.clone();
        Arc::new(move |text: &str| told.hear(text))
    });
    let place = system();
    let env = config::load(place.root(), "dev", &Inputs::default()).unwrap().environment;
    let registry = Registry::standard();
    let planner = Planner {
        registry: &registry,
        gcp: &gcp,
        env: &env,
        others: &[],
        number: env.project.number,
        target: "sandbox",
    };
    let plan = async || -> Plan {
        let options = plan::Options::default();
        let work = planner.plan(Release::default(), &options);
        time.drive(&gcp, work).await.unwrap().plan
    };

    let first = plan().await;
    assert!(first.changes.len() > 2 * SERVICES, "{}", first.changes.len());
    let (_stop, interrupt) = Interrupt::new();
    let before = time.now();
    let observer: Arc<dyn Observer> = Arc::new(told.clone());
    let applied = apply::apply(&registry, &gcp, &first, observer, &interrupt);
    let report: Report = time.drive(&gcp, applied).await;
    assert!(
        report.all_applied(),
        "{:?}",
        report.outcomes.iter().find(|(_, outcome)| outcome_failed(outcome))
    );
    let took = time.now().saturating_sub(before);

    refused_for_quota(&cloud).await;
    // A service and a policy for each, by 180 writes a minute: neither faster nor much slower than that.
    let least = u32::try_from(2 * SERVICES / 180 - 1).unwrap() * MINUTE;
    assert!(took >= least && took < least + 6 * MINUTE, "{took:?} and not about {least:?}");
    let lines = told.take();
    let secrets = |line: &&String| line.contains("for the quota of secretmanager.googleapis.com");
    assert!(lines.iter().any(|line| secrets(&line)), "{lines:#?}");
    let lines: Vec<_> =
        lines.iter().filter(|line| line.contains("for the quota of run.googleapis.com")).collect();
    assert!(lines.iter().any(|line| line.ends_with("180 writes a minute")), "{lines:#?}");
    // Nobody reads a line for each request.
    assert!((5..100).contains(&lines.len()), "{lines:#?}");

    cloud.forget_calls().await;
    let before = time.now();
    assert_eq!(plan().await.changes.len(), 0);
    refused_for_quota(&cloud).await;
    assert!(time.now() < before + 3 * MINUTE, "{:?} after {before:?}", time.now());
}

fn outcome_failed(outcome: &apply::Outcome) -> bool {
    !matches!(outcome, apply::Outcome::Applied)
}

async fn refused_for_quota(cloud: &Cloud) {
    let refused: Vec<_> = cloud.calls().await.into_iter().filter(|call| call.status == Some(429)).collect();
    assert!(refused.is_empty(), "{} requests were refused, first {:?}", refused.len(), refused.first());
}
