//! `cargo xtask bench tenant-api`: what the API costs and how fast it answers, on a PostgreSQL and a Redis of its own.
//!
//! The server is a release build in production settings, the load comes from this process over connections that stay open.
//! CPU time is that of the server's process alone; requests per second and latencies also say how busy the machine is
//! with the load, PostgreSQL and Redis, which share it (`cargo run --release -p xtask -- bench tenant-api` takes least for the load).

mod api;
mod options;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::client::{Connection, Request, load, parallel};
use super::say;
use api::{Api, Backends, PASSWORD, PLATFORM_TOKEN};
use options::Options;
use report::{Report, Row, Storm};

/// Connections at once, for everything but logins.
const CLIENTS: usize = 8;

/// Clients that log in, beside which `/health` is asked.
const STORM: usize = 8;

/// Starts of which the median is shown.
const STARTS: usize = 7;

const SLUG: &str = "measured";
const EMAIL: &str = "admin@measured.example";
const ME: &str = "/api/v1/auth/me";

/// Measures and prints. The error says which step failed and why.
pub(crate) fn run(workspace: &Path, args: &[&str]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let program = super::build(workspace, "tenant-api", &options.profile)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let report = runtime.block_on(measure(&program, &options))?;
    print!("{}", report.table());
    Ok(())
}

async fn measure(program: &Path, options: &Options) -> Result<Report, String> {
    let backends = Backends::start().await?;
    say("making the first tenant");
    backends.provision(program, SLUG, EMAIL)?;
    let mut report = Report { profile: options.profile.clone(), ..Report::default() };
    for _ in 0..STARTS {
        report.starts.push(Api::start(program, &backends).await?.first_answer);
    }
    let api = Api::start(program, &backends).await?;
    report.idle_kib = api.resident_kib()?;
    let caller = Caller::log_in(&api).await?;
    let mut tenants = 1;
    for wanted in &options.tenants {
        say(&format!("{wanted} tenants: making them"));
        more_tenants(&api, tenants, *wanted).await?;
        tenants = tenants.max(*wanted);
        measure_routes(&api, &caller, &format!("{tenants} tenants"), options.time, &mut report).await?;
    }
    if options.keys > 0 {
        say(&format!("{} API keys: making them", options.keys));
        more_keys(&backends, &caller, options.keys).await?;
        let label = format!("{} keys", options.keys);
        report
            .rows
            .push(row(&api, "read by API key", &label, &caller.by_key(), CLIENTS, options.time).await?);
    }
    report.storm = Some(storm(&api, &caller, options.time).await?);
    report.loaded_kib = api.resident_kib()?;
    Ok(report)
}

/// The user of the measured tenant and what it calls with.
struct Caller {
    tenant: String,
    token: String,
    key: String,
}

impl Caller {
    async fn log_in(api: &Api) -> Result<Self, String> {
        let mut connection = Connection::open(api.port).await?;
        let platform = format!("Bearer {PLATFORM_TOKEN}");
        let list = Request::get("/api/v1/tenants", &[("authorization", &platform)]);
        let tenant = text(&connection.send(&list).await?.json()?[0]["id"])?;
        let login = login(&tenant);
        let token = text(&connection.send(&login).await?.json()?["access_token"])?;
        let make = Request::post(
            "/api/v1/auth/api-keys",
            &[("authorization", &format!("Bearer {token}"))],
            &json!({"name": "bench"}),
        );
        let key = text(&connection.send(&make).await?.json()?["key"])?;
        Ok(Self { tenant, token, key })
    }

    fn by_token(&self) -> Request {
        Request::get(ME, &[("authorization", &format!("Bearer {}", self.token))])
    }

    fn by_key(&self) -> Request {
        Request::get(ME, &[("x-api-key", &self.key)])
    }
}

fn login(tenant: &str) -> Request {
    let body = json!({"email": EMAIL, "password": PASSWORD});
    Request::post("/api/v1/auth/login", &[("x-tenant-id", tenant)], &body)
}

fn text(value: &serde_json::Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("the API answered something else: {value}"))
}

async fn measure_routes(
    api: &Api,
    caller: &Caller,
    label: &str,
    time: Duration,
    report: &mut Report,
) -> Result<(), String> {
    let requests = [
        ("health", Request::get("/health", &[]), CLIENTS),
        ("readiness", Request::get("/health/ready", &[]), CLIENTS),
        ("read by token", caller.by_token(), CLIENTS),
        ("read by API key", caller.by_key(), CLIENTS),
        ("login", login(&caller.tenant), 1),
    ];
    for (name, request, clients) in requests {
        say(&format!("{label}: {name}"));
        report.rows.push(row(api, name, label, &request, clients, time).await?);
    }
    Ok(())
}

async fn row(
    api: &Api,
    name: &'static str,
    label: &str,
    request: &Request,
    clients: usize,
    time: Duration,
) -> Result<Row, String> {
    // Opens the connections of the pool, and shows that the answer is the wanted one.
    load(api.port, request, clients, time / 10).await?;
    let before = api.cpu_ms()?;
    let load = load(api.port, request, clients, time).await?;
    let cpu_ms = (api.cpu_ms()? - before) / load.count();
    Ok(Row { name, label: label.to_owned(), cpu_ms, load })
}

async fn storm(api: &Api, caller: &Caller, time: Duration) -> Result<Storm, String> {
    say("a storm of logins");
    let (login, health) = (login(&caller.tenant), Request::get("/health", &[]));
    let (logins, health) =
        tokio::join!(load(api.port, &login, STORM, time), load(api.port, &health, 1, time));
    Ok(Storm { logins: logins?, health: health? })
}

/// Makes tenants until there are `wanted`, through the API.
async fn more_tenants(api: &Api, there: usize, wanted: usize) -> Result<(), String> {
    let platform = format!("Bearer {PLATFORM_TOKEN}");
    let requests = (there..wanted).map(|number| {
        let body = json!({"slug": format!("tenant-{number}"), "name": format!("Tenant {number}")});
        Request::post("/api/v1/tenants", &[("authorization", &platform)], &body)
    });
    parallel(api.port, Arc::new(requests.collect()), 4).await
}

/// Adds keys of the caller, as rows: through the API a million would take an hour.
async fn more_keys(backends: &Backends, caller: &Caller, wanted: u32) -> Result<(), String> {
    let tenant = &caller.tenant;
    let statement = format!(
        "SET app.current_tenant_id = '{tenant}';
         WITH made AS (
             INSERT INTO tenant_{SLUG}.api_keys (tenant_id, user_id, key_hash, name)
             SELECT '{tenant}', (SELECT id FROM tenant_{SLUG}.users LIMIT 1), md5(n::text) || md5(n::text), 'bench'
             FROM generate_series(1, {wanted}) n RETURNING id, tenant_id, key_hash)
         INSERT INTO shared.api_key_index (hash, tenant_id, key_id) SELECT key_hash, tenant_id, id FROM made;
         ANALYZE tenant_{SLUG}.api_keys, shared.api_key_index"
    );
    let failed = |error: sqlx::Error| format!("making keys: {error}");
    let mut owner = PgConnection::connect(&backends.owner_url()).await.map_err(failed)?;
    owner.execute(statement.as_str()).await.map_err(failed)?;
    owner.close().await.map_err(failed)
}
