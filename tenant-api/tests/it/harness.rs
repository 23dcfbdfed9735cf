//! The API on a database of its own, and short ways to talk to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use private_servers::Postgres;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tenant_api::commands::serve;
use tenant_api::service::App;
use tenant_api::settings::Settings;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::servers;

/// The password of every user that the harness makes.
pub const PASSWORD: &str = "correct horse battery";

/// A running API. It stops when this is dropped.
pub struct Api {
    pub base: String,
    pub database: String,
    client: reqwest::Client,
    _stop: oneshot::Sender<()>,
}

pub struct Tenant {
    pub id: Uuid,
    pub schema: String,
}

pub struct Login {
    pub user: Uuid,
    pub access: String,
    pub refresh: String,
}

/// An answer with its body as JSON; `Null` if it is none.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// Makes an empty database and the variables that name it.
pub async fn database() -> (String, BTreeMap<String, String>) {
    database_of(servers::postgres().await).await
}

async fn database_of(server: &Postgres) -> (String, BTreeMap<String, String>) {
    let name = format!("t_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(&server.admin_url()).await.unwrap();
    admin.execute(format!("CREATE DATABASE {name} OWNER owner").as_str()).await.unwrap();
    admin.close().await.unwrap();
    let for_sqlalchemy = |url: String| url.replacen("postgres://", "postgresql+asyncpg://", 1);
    let variables = [
        ("DATABASE_URL", for_sqlalchemy(servers::url(server, "app", &name))),
        ("DATABASE_OWNER_URL", servers::url(server, "owner", &name)),
        ("REDIS_URL", servers::redis().await.url()),
        ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef".to_owned()),
        ("PASSWORD_HASH_COST", "4".to_owned()),
        ("DATABASE_MAX_CONNECTIONS", "5".to_owned()),
    ];
    (name, variables.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Connects as one of the roles of the test server.
pub async fn pool_of(role: &str, database: &str) -> PgPool {
    let url = servers::url(servers::postgres().await, role, database);
    PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap()
}

impl Api {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts with some variables set or, where empty, taken away.
    pub async fn with(changed: &[(&str, &str)]) -> Self {
        let (database, variables) = database().await;
        Self::on(database, variables, changed).await
    }

    /// On a server of the test's own.
    pub async fn of(server: &Postgres) -> Self {
        let (database, variables) = database_of(server).await;
        Self::on(database, variables, &[]).await
    }

    /// The same on a database that is there, reached through another port.
    pub async fn through(port: u16) -> Self {
        let (database, mut variables) = database().await;
        for name in ["DATABASE_URL", "DATABASE_OWNER_URL"] {
            variables.entry(name.to_owned()).and_modify(|url| *url = servers::through(port, url));
        }
        Self::on(database, variables, &[]).await
    }

    /// Starts with these variables, some of them changed.
    pub async fn on(
        database: String,
        mut variables: BTreeMap<String, String>,
        changed: &[(&str, &str)],
    ) -> Self {
        variables.extend(changed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let settings = Settings::read(|name| variables.get(name).cloned()).unwrap();
        let app = Arc::new(App::new(&settings).unwrap());
        serve::prepare(app.database(), &settings).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let router = tenant_api::http::router(app, &settings);
        tokio::spawn(serve::serve(listener, router, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, database, client, _stop: stop }
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request("POST", path).json(body)).await
    }

    /// A request with a token and a body, `Null` for none.
    pub async fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path).bearer_auth(token);
        send(if body.is_null() { request } else { request.json(body) }).await
    }

    pub async fn tenant(&self, slug: &str) -> Tenant {
        let made = self.post("/api/v1/tenants", &json!({"slug": slug, "name": slug})).await.expect(201);
        Tenant {
            id: made.body["id"].as_str().unwrap().parse().unwrap(),
            schema: made.body["schema_name"].as_str().unwrap().to_owned(),
        }
    }

    /// Puts a user into the database, as the contract's operators do.
    pub async fn user(&self, tenant: &Tenant, email: &str, role: &str) -> Uuid {
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let owner = pool_of("owner", &self.database).await;
        let mut transaction = owner.begin().await.unwrap();
        sqlx::query("SELECT set_config('app.current_tenant_id', $1, true)")
            .bind(tenant.id.to_string())
            .execute(&mut *transaction)
            .await
            .unwrap();
        let insert = format!(
            "INSERT INTO {}.users (tenant_id, email, name, hashed_password, role) VALUES ($1, $2, 'Name', $3, $4) RETURNING id",
            tenant.schema
        );
        let (id,): (Uuid,) = sqlx::query_as(&insert)
            .bind(tenant.id)
            .bind(email)
            .bind(hash)
            .bind(role)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        id
    }

    pub async fn try_login(&self, tenant: Uuid, email: &str, password: &str) -> Answer {
        let request = self.request("POST", "/api/v1/auth/login").header("X-Tenant-ID", tenant.to_string());
        send(request.json(&json!({"email": email, "password": password}))).await
    }

    /// Makes a user and logs it in.
    pub async fn login(&self, tenant: &Tenant, email: &str, role: &str) -> Login {
        let user = self.user(tenant, email, role).await;
        let answer = self.try_login(tenant.id, email, PASSWORD).await.expect(200);
        let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
        Login { user, access: text("access_token"), refresh: text("refresh_token") }
    }

    pub async fn try_refresh(&self, tenant: Uuid, token: &str) -> Answer {
        let request = self.request("POST", "/api/v1/auth/refresh").header("X-Tenant-ID", tenant.to_string());
        send(request.json(&json!({"refresh_token": token}))).await
    }

    pub async fn api_key(&self, login: &Login) -> (Uuid, String) {
        let made = self
            .call(&login.access, "POST", "/api/v1/auth/api-keys", &json!({"name": "key"}))
            .await
            .expect(201);
        (made.body["id"].as_str().unwrap().parse().unwrap(), made.body["key"].as_str().unwrap().to_owned())
    }

    pub async fn me_by_key(&self, key: &str) -> Answer {
        send(self.request("GET", "/api/v1/auth/me").header("X-API-Key", key)).await
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = response.bytes().await.unwrap();
    Answer { status: status.as_u16(), headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

/// Sends a signal to a program, as `kill` does; that is part of every shell, and a program of its own not everywhere.
pub async fn signal(program: &Child, name: &str) {
    let kill = format!("kill -s {name} {}", program.id().unwrap());
    assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
}
