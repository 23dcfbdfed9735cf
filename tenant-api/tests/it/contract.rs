//! What every client may rely on: paths, bodies, headers and errors.

use serde_json::{Value, json};

use crate::harness::{Api, PASSWORD, send};

#[tokio::test]
async fn health_tells_the_environment() {
    let api = Api::start().await;
    let live = api.get("/health").await.expect(200);
    assert_eq!(live.body, json!({"status": "ok", "environment": "development"}));
    assert_eq!(live.header("x-request-id").unwrap().len(), 36);
    let ready = api.get("/health/ready").await.expect(200);
    assert_eq!(ready.body, json!({"status": "ready", "checks": {"database": "ok", "redis": "ok"}}));
    assert_eq!(api.get("/health/startup").await.expect(200).body["status"], "started");
}

#[tokio::test]
async fn readiness_names_what_fails_and_no_host() {
    let port = crate::servers::free_port();
    let api = Api::with(&[("REDIS_URL", &format!("redis://127.0.0.1:{port}/0"))]).await;
    let ready = api.get("/health/ready").await.expect(503);
    assert_eq!(ready.body["status"], "degraded");
    assert_eq!(ready.body["checks"]["redis"], "error");
    assert_eq!(ready.body["checks"]["database"], "ok");
    assert!(!ready.body.to_string().contains(&port.to_string()), "{}", ready.body);
    assert_eq!(api.get("/health/startup").await.expect(503).body["status"], "starting");
    // Redis only counts and marks: the API goes on without it.
    let tenant = api.tenant("without-redis").await;
    api.login(&tenant, "a@b.com", "member").await;
}

#[tokio::test]
async fn readiness_needs_the_migrations_of_this_program() {
    let api = Api::start().await;
    let owner = crate::harness::pool_of("owner", &api.database).await;
    let broken = [
        (
            "UPDATE shared.schema_version SET version = version - 100",
            "UPDATE shared.schema_version SET version = version + 100",
        ),
        (
            "ALTER TABLE shared.schema_version RENAME TO elsewhere",
            "ALTER TABLE shared.elsewhere RENAME TO schema_version",
        ),
    ];
    for (sabotage, repair) in broken {
        api.get("/health/ready").await.expect(200);
        sqlx::query(sabotage).execute(&owner).await.unwrap();
        let not = api.get("/health/ready").await.expect(503);
        assert_eq!(not.body["checks"]["database_error"], "not migrated", "{sabotage}");
        assert_eq!(api.get("/health/startup").await.expect(503).body["status"], "starting");
        sqlx::query(repair).execute(&owner).await.unwrap();
    }
    // A newer program has migrated; until it takes over, this one goes on.
    let newer = "INSERT INTO shared.schema_version (version, name, checksum) SELECT max(version) + 1, 'x', 'x' FROM shared.schema_version";
    sqlx::query(newer).execute(&owner).await.unwrap();
    api.get("/health/ready").await.expect(200);
}

#[tokio::test]
async fn a_tenant_is_made_listed_and_made_once() {
    let api = Api::start().await;
    let made = api.post("/api/v1/tenants", &json!({"slug": "acme-inc", "name": "Acme"})).await.expect(201);
    assert_eq!(made.body["schema_name"], "tenant_acme_inc");
    assert_eq!((&made.body["is_active"], &made.body["created_at"]), (&json!(true), &Value::Null));
    let again = api.post("/api/v1/tenants", &json!({"slug": "acme-inc", "name": "Other"})).await.expect(409);
    assert_eq!(again.detail(), "Tenant with slug 'acme-inc' already exists");
    api.tenant("second").await;
    let list = api.get("/api/v1/tenants").await.expect(200);
    let slugs: Vec<&str> =
        list.body.as_array().unwrap().iter().map(|t| t["slug"].as_str().unwrap()).collect();
    assert_eq!(slugs, ["acme-inc", "second"]);
    assert!(list.body[0]["created_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn login_refresh_me_and_keys_work_together() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let login = api.login(&tenant, "ann@acme.example", "member").await;
    let me = api.call(&login.access, "GET", "/api/v1/auth/me", &Value::Null).await.expect(200);
    let expected = json!({"id": login.user, "email": "ann@acme.example", "name": "Name", "role": "member",
        "tenant_id": tenant.id, "tenant_slug": "acme"});
    assert_eq!(me.body, expected);
    let pair = api.try_refresh(tenant.id, &login.refresh).await.expect(200);
    assert_eq!(pair.body["token_type"], "bearer");
    let (_, key) = api.api_key(&login).await;
    assert_eq!(key.len(), 43);
    assert_eq!(api.me_by_key(&key).await.expect(200).body, expected);
}

#[tokio::test]
async fn wrong_logins_look_alike() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    api.user(&tenant, "ann@acme.example", "member").await;
    let tries = [
        ("ann@acme.example", "wrong"),
        ("nobody@acme.example", PASSWORD),
        ("ann@acme.example", &"x".repeat(100)),
    ];
    for (email, password) in tries {
        let answer = api.try_login(tenant.id, email, password).await.expect(401);
        assert_eq!(answer.detail(), "Invalid email or password");
        assert_eq!(answer.header("www-authenticate"), None);
    }
}

#[tokio::test]
async fn a_request_without_tenant_is_told_so() {
    let api = Api::start().await;
    let body = json!({"email": "a@b.com", "password": "x"});
    for tenant in [None, Some("no-uuid"), Some("6f1c1f3e-4b52-4c54-9d0e-3f1d6a2b9c10")] {
        let mut request = api.request("POST", "/api/v1/auth/login").json(&body);
        if let Some(tenant) = tenant {
            request = request.header("X-Tenant-ID", tenant);
        }
        assert!(send(request).await.expect(400).detail().starts_with("Missing tenant context"));
    }
    api.get("/api/v1/auth/me").await.expect(400);
}

#[tokio::test]
async fn the_tenant_is_asked_for_before_the_body_is_judged() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    for path in ["/api/v1/auth/login", "/api/v1/auth/refresh"] {
        for body in ["", "{", "{}"] {
            let without = send(api.request("POST", path).body(body)).await.expect(400);
            assert!(without.detail().starts_with("Missing tenant context"), "{}", without.body);
            let with = api.request("POST", path).header("X-Tenant-ID", tenant.id.to_string()).body(body);
            send(with).await.expect(422);
        }
    }
}

#[tokio::test]
async fn parameters_are_described_where_they_are_read_from() {
    let document = serde_json::to_value(tenant_api::http::document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let place = if path.contains(&format!("{{{name}}}")) { "path" } else { "query" };
                assert_eq!(parameter["in"], place, "{method} {path}: {name}");
                assert!(operation["responses"]["422"].is_object(), "{method} {path}");
            }
            assert_eq!(operation["responses"]["default"].is_object(), path.starts_with("/api/"), "{path}");
        }
    }
}

#[tokio::test]
async fn missing_and_invalid_credentials_ask_for_a_token() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let me = || api.request("GET", "/api/v1/auth/me");
    let requests = [
        (me().bearer_auth("nonsense"), "Could not validate credentials"),
        (me().header("X-API-Key", "a".repeat(43)), "Invalid API key"),
        (me().header("X-Tenant-ID", tenant.id.to_string()), "Not authenticated"),
    ];
    for (request, detail) in requests {
        let answer = send(request).await.expect(401);
        assert_eq!(answer.detail(), detail);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_as_json() {
    let api = Api::start().await;
    assert_eq!(api.get("/nowhere").await.expect(404).body, json!({"detail": "Not Found"}));
    let wrong = send(api.request("DELETE", "/api/v1/tenants")).await.expect(405);
    assert_eq!(wrong.body, json!({"detail": "Method Not Allowed"}));
    let mut allowed: Vec<&str> = wrong.header("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "POST"]);
    let head = send(api.request("HEAD", "/health")).await.expect(405);
    assert_eq!(head.header("allow"), Some("GET"));
    let slash = api.get("/api/v1/tenants/?a=b").await.expect(307);
    assert_eq!(slash.header("location"), Some("/api/v1/tenants?a=b"));
    assert_eq!(api.get("/docs/").await.expect(307).header("location"), Some("/docs"));
    api.get("/nowhere/").await.expect(404);
    assert!(api.get("//evil.example/").await.expect(404).header("location").is_none());
}

#[tokio::test]
async fn bad_bodies_are_422_with_places() {
    let api = Api::start().await;
    let post = |body: &'static [u8], kind: &'static str| {
        api.request("POST", "/api/v1/tenants").header("content-type", kind).body(body)
    };
    let cases: [(&[u8], &str, &str); 9] = [
        (b"", "application/json", "missing"),
        (b"{", "application/json", "json_invalid"),
        (b"\xff\xfe", "application/json", "json_invalid"),
        (b"[]", "application/json", "model_attributes_type"),
        (b"{}", "text/plain", "model_attributes_type"),
        (br#"{"slug": 7, "name": "n"}"#, "application/json", "string_type"),
        (br#"{"slug": "ab", "name": "n"}"#, "application/json", "string_too_short"),
        (b"{\"slug\": \"abc\\n\", \"name\": \"n\"}", "application/json", "string_pattern_mismatch"),
        (br#"{"slug": "abc", "name": "a\u0000b"}"#, "application/json", "value_error"),
    ];
    for (body, kind, problem) in cases {
        let answer = send(post(body, kind)).await.expect(422);
        assert_eq!(answer.body["detail"][0]["type"], problem);
        assert_eq!(answer.body["detail"][0]["loc"][0], "body");
    }
    let deep = "[".repeat(100_000);
    send(api.request("POST", "/api/v1/tenants").body(deep)).await.expect(422);
    assert!(api.get("/api/v1/tenants").await.body.as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let api = Api::with(&[("MAX_BODY_BYTES", "2048")]).await;
    let body = json!({"slug": "acme", "name": "n", "more": "x".repeat(4096)});
    api.post("/api/v1/tenants", &body).await.expect(413);
}

#[tokio::test]
async fn ids_in_paths_have_to_be_ids() {
    let api = Api::start().await;
    let answer = api.get("/api/v1/tenants/no-uuid").await.expect(422);
    assert_eq!(answer.body["detail"][0]["loc"], json!(["path", "id"]));
    let why = "invalid character: found `n` at 0";
    assert_eq!(answer.body["detail"][0]["msg"], format!("Input should be a valid UUID, {why}"));
    assert_eq!(answer.body["detail"][0]["ctx"], json!({"error": why}));
    let query = api.get("/api/v1/tenants?include_inactive=perhaps").await.expect(422);
    assert_eq!(query.body["detail"][0]["loc"], json!(["query", "include_inactive"]));
    assert_eq!(query.body["detail"][0]["type"], "bool_parsing");
}

#[tokio::test]
async fn a_preflight_is_answered() {
    let api = Api::start().await;
    let answer = send(
        api.request("OPTIONS", "/api/v1/auth/me")
            .header("origin", "https://a.example")
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "x-api-key"),
    )
    .await
    .expect(200);
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-api-key"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    let simple =
        send(api.request("GET", "/health").header("origin", "https://a.example").header("cookie", "a=b"))
            .await;
    assert_eq!(simple.header("access-control-allow-origin"), Some("*"));
    assert_eq!(simple.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_served() {
    let api = Api::start().await;
    let document = api.get("/openapi.json").await.expect(200).body;
    assert_eq!(
        (&document["info"]["title"], &document["openapi"]),
        (&json!("Agent Army API"), &json!("3.1.0"))
    );
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 14, "{}", paths.len());
    for (path, item) in paths {
        let path = path.replace("{id}", "6f1c1f3e-4b52-4c54-9d0e-3f1d6a2b9c10");
        for method in item.as_object().unwrap().keys() {
            let answer = send(api.request(&method.to_uppercase(), &path)).await;
            let there = answer.status != 405 && answer.detail() != "Not Found";
            assert!(there, "{method} {path}: {}", answer.status);
        }
    }
    api.get("/docs").await.expect(200);
}
