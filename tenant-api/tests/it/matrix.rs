//! The isolation matrix: every route that the API describes, with what another tenant left lying about.
//!
//! The routes come from the OpenAPI document. A new route is in the matrix by being described; one that takes a body says
//! here which body is right for it.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, Api, Login, PASSWORD, Tenant, send};

const PLATFORM: &str = "fedcba9876543210fedcba9876543210";

/// Who may call a route, as the document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    Nobody,
    Platform,
    /// The request says which tenant it is about; the body holds the credentials.
    Tenant,
    User,
}

/// A route of the document.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: String,
    /// May hold `{id}`.
    pub path: String,
    pub guard: Guard,
    pub has_body: bool,
}

/// Every route that is described, and so every one that is served.
pub fn routes() -> Vec<Route> {
    let document = serde_json::to_value(tenant_api::http::document()).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            routes.push(Route {
                method: method.to_uppercase(),
                path: path.clone(),
                guard: guard(&operation["security"]),
                has_body: !operation["requestBody"].is_null(),
            });
        }
    }
    routes
}

fn guard(security: &Value) -> Guard {
    let schemes: Vec<&String> =
        security.as_array().into_iter().flatten().flat_map(|one| one.as_object().unwrap().keys()).collect();
    match schemes.first().map(|scheme| scheme.as_str()) {
        None => Guard::Nobody,
        Some("platform") => Guard::Platform,
        Some("tenant") => Guard::Tenant,
        Some("token" | "api_key") => Guard::User,
        Some(other) => panic!("{other}: say here who may call such routes"),
    }
}

/// A tenant with an admin, a key of the admin, and what to recognise its data by.
struct Party {
    tenant: Tenant,
    login: Login,
    email: String,
    key_id: Uuid,
    key: String,
}

impl Party {
    async fn make(api: &Api, slug: &str) -> Self {
        let body = json!({"slug": slug, "name": slug});
        let made = api.call(PLATFORM, "POST", "/api/v1/tenants", &body).await.expect(201);
        let tenant = Tenant {
            id: made.body["id"].as_str().unwrap().parse().unwrap(),
            schema: made.body["schema_name"].as_str().unwrap().to_owned(),
        };
        let email = format!("admin@{slug}.example");
        let login = api.login(&tenant, &email, "admin").await;
        let (key_id, key) = api.api_key(&login).await;
        Self { tenant, login, email, key_id, key }
    }

    fn ids(&self) -> [Uuid; 3] {
        [self.tenant.id, self.login.user, self.key_id]
    }

    /// The body that would work if the caller were of this party.
    fn body(&self, route: &Route) -> Value {
        if !route.has_body {
            return Value::Null;
        }
        match (route.method.as_str(), route.path.as_str()) {
            ("POST", "/api/v1/auth/login") => json!({"email": self.email, "password": PASSWORD}),
            ("POST", "/api/v1/auth/refresh") => json!({"refresh_token": self.login.refresh}),
            ("POST", "/api/v1/auth/password") => {
                json!({"current_password": PASSWORD, "new_password": "a stolen password"})
            }
            ("POST", "/api/v1/auth/api-keys") => json!({"name": "stolen"}),
            ("POST", "/api/v1/users") => json!({"email": "new@stolen.example", "role": "admin"}),
            ("PATCH", "/api/v1/users/{id}") => json!({"is_active": false}),
            ("PUT", "/api/v1/users/{id}/password") => json!({"password": "a stolen password"}),
            ("POST", "/api/v1/tenants") => json!({"slug": "stolen", "name": "Stolen"}),
            ("PATCH", "/api/v1/tenants/{id}") => json!({"name": "Stolen"}),
            other => panic!("{other:?}: say here which body is right for it"),
        }
    }

    fn is_in(&self, answer: &Answer) -> bool {
        let said = format!("{} {:?}", answer.body, answer.headers);
        let slug = self.email.split('@').next_back().unwrap();
        said.contains(slug) || self.ids().iter().any(|id| said.contains(&id.to_string()))
    }

    /// Everything that the party itself sees of its data, except for when keys were used.
    async fn view(&self, api: &Api) -> Value {
        let get = async |path| api.call(&self.login.access, "GET", path, &Value::Null).await.expect(200).body;
        let mut keys = get("/api/v1/auth/api-keys?all=true").await;
        keys.as_array_mut().unwrap().iter_mut().for_each(|key| key["last_used_at"] = Value::Null);
        let tenant = format!("/api/v1/tenants/{}", self.tenant.id);
        let tenant = api.call(PLATFORM, "GET", &tenant, &Value::Null).await.expect(200).body;
        json!([get("/api/v1/users").await, keys, tenant])
    }
}

async fn two() -> (Api, Party, Party) {
    let api = Api::with(&[("PLATFORM_ADMIN_TOKEN", PLATFORM)]).await;
    let (one, two) = (Party::make(&api, "one").await, Party::make(&api, "two").await);
    (api, one, two)
}

async fn call(api: &Api, route: &Route, path: &str, headers: &[(&str, String)], body: &Value) -> Answer {
    let mut request = api.request(&route.method, path);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    send(if body.is_null() { request } else { request.json(body) }).await
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

fn key(key: &str) -> (&'static str, String) {
    ("x-api-key", key.to_owned())
}

fn tenant(id: Uuid) -> (&'static str, String) {
    ("x-tenant-id", id.to_string())
}

#[test]
fn the_matrix_knows_every_kind_of_route() {
    let routes = routes();
    for guard in [Guard::Nobody, Guard::Platform, Guard::Tenant, Guard::User] {
        assert!(routes.iter().any(|route| route.guard == guard), "{guard:?}");
    }
    assert!(routes.iter().filter(|route| route.path.contains("{id}")).count() >= 9);
    for route in routes.iter().filter(|route| route.guard == Guard::Nobody) {
        assert!(route.path.starts_with("/health"), "{route:?} is open to everybody");
    }
}

#[tokio::test]
async fn no_route_shows_or_changes_what_an_id_of_another_tenant_names() {
    let (api, mine, theirs) = two().await;
    let before = theirs.view(&api).await;
    for route in routes().iter().filter(|route| route.path.contains("{id}")) {
        let expected = if route.guard == Guard::Platform { 401 } else { 404 };
        for id in theirs.ids() {
            let path = route.path.replace("{id}", &id.to_string());
            for credential in [bearer(&mine.login.access), key(&mine.key)] {
                let answer = call(&api, route, &path, &[credential], &theirs.body(route)).await;
                assert_eq!(answer.status, expected, "{route:?}: {}", answer.body);
                assert!(!theirs.is_in(&answer), "{route:?}: {answer:?}");
            }
        }
    }
    assert_eq!(theirs.view(&api).await, before);
    api.try_login(theirs.tenant.id, &theirs.email, PASSWORD).await.expect(200);
    api.me_by_key(&theirs.key).await.expect(200);
}

#[tokio::test]
async fn every_route_refuses_credentials_of_two_tenants() {
    let (api, mine, theirs) = two().await;
    let (mine_before, theirs_before) = (mine.view(&api).await, theirs.view(&api).await);
    let mixtures = [
        vec![bearer(&mine.login.access), tenant(theirs.tenant.id)],
        vec![key(&mine.key), tenant(theirs.tenant.id)],
        vec![bearer(&mine.login.access), key(&theirs.key)],
        vec![bearer(&theirs.login.access), key(&mine.key)],
        vec![bearer(&mine.login.access), key(&theirs.key), tenant(theirs.tenant.id)],
        // What is no id of a tenant is not the caller's either.
        vec![bearer(&mine.login.access), ("x-tenant-id", "nonsense".to_owned())],
        vec![key(&mine.key), ("x-tenant-id", "nonsense".to_owned())],
    ];
    for route in routes().iter().filter(|route| route.guard != Guard::Nobody) {
        let expected = if route.guard == Guard::Platform { 401 } else { 403 };
        for mixture in &mixtures {
            for id in [theirs.login.user, mine.login.user, theirs.key_id, mine.key_id] {
                let path = route.path.replace("{id}", &id.to_string());
                let answer = call(&api, route, &path, mixture, &theirs.body(route)).await;
                assert_eq!(answer.status, expected, "{route:?} {mixture:?}: {}", answer.body);
                assert!(!theirs.is_in(&answer) && !mine.is_in(&answer), "{route:?}: {answer:?}");
                if path == route.path {
                    break;
                }
            }
        }
    }
    assert_eq!((mine.view(&api).await, theirs.view(&api).await), (mine_before, theirs_before));
    let same = [bearer(&mine.login.access), key(&mine.key), tenant(mine.tenant.id)];
    let me = routes().into_iter().find(|route| route.path == "/api/v1/auth/me").unwrap();
    assert_eq!(call(&api, &me, &me.path, &same, &Value::Null).await.status, 200);
}

#[tokio::test]
async fn what_opens_one_tenant_opens_no_other() {
    let (api, mine, theirs) = two().await;
    for route in routes().iter().filter(|route| route.guard == Guard::Tenant) {
        let in_mine: [Vec<_>; 3] =
            [vec![tenant(mine.tenant.id)], vec![bearer(&mine.login.access)], vec![key(&mine.key)]];
        for context in in_mine {
            let answer = call(&api, route, &route.path, &context, &theirs.body(route)).await;
            assert_eq!(answer.status, 401, "{route:?}: {}", answer.body);
        }
    }
    theirs.view(&api).await;
}

#[tokio::test]
async fn lists_hold_rows_of_the_caller_only() {
    let (api, mine, theirs) = two().await;
    let lists = routes()
        .into_iter()
        .filter(|route| route.guard == Guard::User && route.method == "GET" && !route.path.contains("{id}"));
    for route in lists {
        for credential in [bearer(&mine.login.access), key(&mine.key)] {
            for query in ["", "?all=true", "?limit=500&offset=0"] {
                let path = format!("{}{query}", route.path);
                let answer = call(&api, &route, &path, std::slice::from_ref(&credential), &Value::Null).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                assert!(mine.is_in(&answer) && !theirs.is_in(&answer), "{path}: {}", answer.body);
            }
        }
    }
}

#[tokio::test]
async fn a_token_that_only_refreshes_opens_nothing_else() {
    let (api, mine, _) = two().await;
    for route in routes().iter().filter(|route| matches!(route.guard, Guard::User | Guard::Platform)) {
        let path = route.path.replace("{id}", &mine.login.user.to_string());
        let answer = call(&api, route, &path, &[bearer(&mine.login.refresh)], &mine.body(route)).await;
        assert_eq!(answer.status, 401, "{route:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn tokens_of_another_environment_open_nothing() {
    let (database, variables) = crate::harness::database().await;
    let development = Api::on(database.clone(), variables.clone(), &[]).await;
    let tenant_made = development.tenant("acme").await;
    let login = development.login(&tenant_made, "a@b.com", "admin").await;
    let staging =
        [("ENVIRONMENT", "staging"), ("MIGRATE_ON_START", "true"), ("PLATFORM_ADMIN_TOKEN", PLATFORM)];
    let elsewhere = Api::on(database, variables, &staging).await;
    for route in routes().iter().filter(|route| matches!(route.guard, Guard::User | Guard::Platform)) {
        let path = route.path.replace("{id}", &login.user.to_string());
        let answer = call(&elsewhere, route, &path, &[bearer(&login.access)], &Value::Null).await;
        assert_eq!(answer.status, 401, "{route:?}: {}", answer.body);
    }
    elsewhere.try_refresh(tenant_made.id, &login.refresh).await.expect(401);
    // The same secret, database and user: it is the environment that counts.
    elsewhere.try_login(tenant_made.id, "a@b.com", PASSWORD).await.expect(200);
    development.call(&login.access, "GET", "/api/v1/auth/me", &Value::Null).await.expect(200);
}
