//! PostgreSQL and Redis that really stop, freeze and restart while requests come in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use private_servers::{Options, Postgres, Redis};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;

use crate::harness::{Answer, Api, send};

const ME: &str = "/api/v1/auth/me";
const ADMIN: &str = "a@b.com";
const PASSWORD: &str = "correct horse battery";

/// Longest time for any answer: the limit of a request is 8 s, the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(15);

/// When a service that does not recover has been waited for long enough.
const RECOVERY: Duration = Duration::from_mins(1);

/// The API on servers that nobody else uses.
struct World {
    postgres: Postgres,
    redis: Redis,
    api: Arc<Api>,
    key: String,
}

impl World {
    async fn start() -> Self {
        let options = Options::for_tests();
        let (postgres, redis) = tokio::join!(Postgres::start(&options), Redis::start());
        let (postgres, redis) = (postgres.unwrap(), redis.unwrap());
        let mut admin = PgConnection::connect(&postgres.admin_url()).await.unwrap();
        for statement in [
            "CREATE ROLE owner LOGIN PASSWORD 'pw'",
            "CREATE ROLE app LOGIN PASSWORD 'pw'",
            "CREATE DATABASE api OWNER owner",
        ] {
            admin.execute(statement).await.unwrap();
        }
        let variables = [
            ("DATABASE_URL", postgres.url("app", "pw", "api")),
            ("DATABASE_OWNER_URL", postgres.url("owner", "pw", "api")),
            ("REDIS_URL", redis.url()),
            ("PASSWORD_HASH_COST", "4".to_owned()),
            ("DATABASE_MAX_CONNECTIONS", "5".to_owned()),
            ("RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
            ("LOGIN_MAX_FAILURES", "5".to_owned()),
        ];
        let variables: BTreeMap<String, String> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let api = Api::on("api".to_owned(), variables, &[]).await;
        let key = key_of_first_admin(&api, &postgres).await;
        Self { postgres, redis, api: Arc::new(api), key }
    }

    async fn ready(&self) -> Answer {
        self.api.get("/health/ready").await
    }

    /// Waits until the service says that it is ready; its own word is what traffic is sent by.
    async fn recovered(&self) {
        let started = Instant::now();
        while self.ready().await.status != 200 {
            assert!(started.elapsed() < RECOVERY, "it does not recover");
            tokio::task::yield_now().await;
        }
    }

    /// What must be so whenever readiness says yes.
    async fn works(&self) {
        for _ in 0..10 {
            self.api.me_by_key(&self.key).await.expect(200);
        }
    }
}

/// A tenant with an admin; the API makes the key.
async fn key_of_first_admin(api: &Api, postgres: &Postgres) -> String {
    let tenant = api.tenant("acme").await;
    let mut owner = PgConnection::connect(&postgres.url("owner", "pw", "api")).await.unwrap();
    let insert = format!(
        "SET app.current_tenant_id = '{id}'; INSERT INTO {schema}.users (tenant_id, email, hashed_password, role) VALUES ('{id}', '{ADMIN}', '{hash}', 'admin')",
        id = tenant.id,
        schema = tenant.schema,
        hash = bcrypt::hash(PASSWORD, 4).unwrap(),
    );
    owner.execute(insert.as_str()).await.unwrap();
    let login = api.try_login(tenant.id, ADMIN, PASSWORD).await.expect(200);
    let token = login.body["access_token"].as_str().unwrap();
    let made = api.call(token, "POST", "/api/v1/auth/api-keys", &json!({"name": "key"})).await.expect(201);
    made.body["key"].as_str().unwrap().to_owned()
}

/// Clients that ask one after the other without pause until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<(u16, Value, Duration)>>,
}

impl Load {
    fn start(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..12 {
            let (api, key, stop) = (Arc::clone(&world.api), world.key.clone(), Arc::clone(&stop));
            clients.spawn(async move {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let answer = send(api.request("GET", ME).header("X-API-Key", &key)).await;
                    answers.push((answer.status, answer.body, started.elapsed()));
                }
                answers
            });
        }
        Self { stop, clients }
    }

    /// Stops and checks that every answer was one of the contract and in time. Tells how many were 200 and how many not.
    async fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.clients.join_all().await.concat();
        for (status, body, took) in &answers {
            assert!(*took < LONGEST, "{status} after {took:?}");
            match status {
                200 => assert_eq!(body["email"], ADMIN),
                503 => assert_eq!(body, &json!({"detail": "Service temporarily unavailable"})),
                504 => assert_eq!(body, &json!({"detail": "The request took too long"})),
                _ => panic!("{status}: {body}"),
            }
        }
        let fine = answers.iter().filter(|(status, ..)| *status == 200).count();
        (fine, answers.len() - fine)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stops_under_load_costs_503s_until_it_is_back() {
    let mut world = World::start().await;
    let load = Load::start(&world);
    world.works().await;
    world.postgres.halt().await.unwrap();
    let down = world.ready().await.expect(503);
    assert_eq!(
        (&down.body["checks"]["database"], &down.body["checks"]["redis"]),
        (&json!("error"), &json!("ok"))
    );
    world.api.get("/health").await.expect(200);
    let refused = world.api.me_by_key(&world.key).await.expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    world.postgres.restart().await.unwrap();
    world.recovered().await;
    world.works().await;
    let (fine, failed) = load.end().await;
    assert!(fine > 0 && failed > 0, "{fine} {failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_freezes_under_load_is_given_up_in_time() {
    let world = World::start().await;
    let load = Load::start(&world);
    world.works().await;
    world.postgres.freeze().unwrap();
    assert_eq!(world.ready().await.expect(503).body["checks"]["database"], "error");
    world.api.get("/health").await.expect(200);
    let given_up = world.api.me_by_key(&world.key).await;
    assert!(matches!(given_up.status, 503 | 504), "{given_up:?}");
    world.postgres.thaw().unwrap();
    world.recovered().await;
    world.works().await;
    let (fine, failed) = load.end().await;
    assert!(fine > 0 && failed > 0, "{fine} {failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_restarts_under_load_is_nobodys_error_afterwards() {
    let mut world = World::start().await;
    let load = Load::start(&world);
    for _ in 0..2 {
        world.works().await;
        world.postgres.restart().await.unwrap();
        world.recovered().await;
    }
    world.works().await;
    let (fine, _) = load.end().await;
    assert!(fine > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stops_freezes_or_restarts_under_load_fails_no_request() {
    let mut world = World::start().await;
    let load = Load::start(&world);
    world.works().await;
    world.redis.freeze().unwrap();
    assert_eq!(world.ready().await.expect(503).body["checks"]["redis"], "error");
    world.works().await;
    world.redis.thaw().unwrap();
    world.recovered().await;
    world.redis.halt().await.unwrap();
    let down = world.ready().await.expect(503);
    assert_eq!(
        (&down.body["checks"]["redis"], &down.body["checks"]["database"]),
        (&json!("error"), &json!("ok"))
    );
    world.works().await;
    world.redis.restart().await.unwrap();
    world.recovered().await;
    let (fine, failed) = load.end().await;
    assert!(fine > 0 && failed == 0, "{fine} {failed}");
}
