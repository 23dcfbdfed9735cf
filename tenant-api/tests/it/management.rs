//! Users, managed by the administrators of their tenant.

use serde_json::{Value, json};

use crate::harness::{Api, pool_of};

const USERS: &str = "/api/v1/users";

#[tokio::test]
async fn an_admin_makes_users_who_can_log_in() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let admin = api.login(&tenant, "admin@acme.example", "admin").await;
    let body = json!({"email": "Bob@acme.example", "name": "Bob", "password": "a long password"});
    let made = api.call(&admin.access, "POST", USERS, &body).await.expect(201);
    assert_eq!((&made.body["role"], &made.body["is_active"]), (&json!("member"), &json!(true)));
    api.try_login(tenant.id, "bob@acme.example", "a long password").await.expect(200);
    let taken = json!({"email": "bob@ACME.example"});
    api.call(&admin.access, "POST", USERS, &taken).await.expect(409);
    let list =
        api.call(&admin.access, "GET", &format!("{USERS}?limit=1&offset=1"), &Value::Null).await.expect(200);
    assert_eq!((list.body.as_array().unwrap().len(), &list.body[0]["name"]), (1, &json!("Bob")));
    api.call(&admin.access, "GET", &format!("{USERS}?limit=many"), &Value::Null).await.expect(422);
}

#[tokio::test]
async fn a_member_manages_nobody_but_sees_itself() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let admin = api.login(&tenant, "admin@acme.example", "admin").await;
    let member = api.login(&tenant, "member@acme.example", "member").await;
    let (other_key, _) = api.api_key(&admin).await;
    let of_admin = format!("{USERS}/{}", admin.user);
    let of_member = format!("{USERS}/{}", member.user);
    for (method, path, body) in [
        ("GET", USERS, Value::Null),
        ("POST", USERS, json!({"email": "x@y.com"})),
        ("GET", &of_admin, Value::Null),
        ("PATCH", &of_admin, json!({"role": "member"})),
        ("PATCH", &of_member, json!({"role": "admin"})),
        ("PUT", &format!("{of_admin}/password"), json!({"password": "a long password"})),
        ("GET", "/api/v1/auth/api-keys?all=true", Value::Null),
    ] {
        api.call(&member.access, method, path, &body).await.expect(403);
    }
    api.call(&member.access, "DELETE", &format!("/api/v1/auth/api-keys/{other_key}"), &Value::Null)
        .await
        .expect(404);
    api.call(&member.access, "GET", &of_member, &Value::Null).await.expect(200);
}

#[tokio::test]
async fn a_deactivated_user_is_shut_at_once() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let admin = api.login(&tenant, "admin@acme.example", "admin").await;
    let member = api.login(&tenant, "member@acme.example", "member").await;
    let (_, key) = api.api_key(&member).await;
    let path = format!("{USERS}/{}", member.user);
    api.call(&admin.access, "PATCH", &path, &json!({"is_active": false})).await.expect(200);
    let me = api.call(&member.access, "GET", "/api/v1/auth/me", &Value::Null).await.expect(401);
    assert_eq!(me.detail(), "User not found or inactive");
    assert_eq!(api.me_by_key(&key).await.expect(401).detail(), "API key user not found or inactive");
    api.try_refresh(tenant.id, &member.refresh).await.expect(401);
    api.try_login(tenant.id, "member@acme.example", crate::harness::PASSWORD).await.expect(401);
}

#[tokio::test]
async fn a_changed_role_counts_with_the_next_request() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let admin = api.login(&tenant, "admin@acme.example", "admin").await;
    let member = api.login(&tenant, "member@acme.example", "member").await;
    api.call(&member.access, "GET", USERS, &Value::Null).await.expect(403);
    let path = format!("{USERS}/{}", member.user);
    api.call(&admin.access, "PATCH", &path, &json!({"role": "admin"})).await.expect(200);
    api.call(&member.access, "GET", USERS, &Value::Null).await.expect(200);
    api.call(&admin.access, "PATCH", &path, &json!({"role": "emperor"})).await.expect(422);
}

#[tokio::test]
async fn the_last_admin_stays_also_when_two_leave_at_once() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let first = api.login(&tenant, "a@acme.example", "admin").await;
    let second = api.login(&tenant, "b@acme.example", "admin").await;
    let (one, two) = (format!("{USERS}/{}", first.user), format!("{USERS}/{}", second.user));
    let step_down = json!({"role": "member"});
    let (a, b) = tokio::join!(
        api.call(&first.access, "PATCH", &one, &step_down),
        api.call(&second.access, "PATCH", &two, &step_down),
    );
    let mut answers = [a.status, b.status];
    answers.sort_unstable();
    assert_eq!(answers, [200, 409]);
}

#[tokio::test]
async fn what_was_done_is_audited() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let admin = api.login(&tenant, "admin@acme.example", "admin").await;
    api.api_key(&admin).await;
    api.call(&admin.access, "POST", USERS, &json!({"email": "x@y.com"})).await.expect(201);
    let reader = pool_of(crate::servers::SUPERUSER, &api.database).await;
    let select = format!("SELECT action, actor FROM {}.audit_log ORDER BY id", tenant.schema);
    let lines: Vec<(String, Option<uuid::Uuid>)> = sqlx::query_as(&select).fetch_all(&reader).await.unwrap();
    let expected =
        ["auth.login", "api_key.created", "user.created"].map(|action| (action.to_owned(), Some(admin.user)));
    assert_eq!(lines, expected);
}

const AUDIT: &str = "/api/v1/audit";

#[tokio::test]
async fn admins_read_the_audit_log_newest_first_and_page_by_page() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let admin = api.login(&tenant, "admin@acme.example", "admin").await;
    let mut users = Vec::new();
    for n in 0..5 {
        let body = json!({"email": format!("u{n}@acme.example"), "role": "member"});
        let made = api.call(&admin.access, "POST", USERS, &body).await.expect(201);
        users.push(made.body["id"].clone());
    }
    let read = async |query: String| {
        let page = api.call(&admin.access, "GET", &format!("{AUDIT}{query}"), &Value::Null).await.expect(200);
        page.body.as_array().unwrap().clone()
    };
    let all = read(String::new()).await;
    assert_eq!(all.len(), 6);
    assert_eq!((&all[5]["action"], &all[5]["actor"]), (&json!("auth.login"), &json!(admin.user)));
    let newest = &all[0];
    assert_eq!((&newest["action"], &newest["target"]), (&json!("user.created"), &users[4]));
    assert_eq!((&newest["actor"], &newest["detail"]), (&json!(admin.user), &json!({"role": "member"})));
    assert!(newest["at"].as_str().unwrap().ends_with('Z'));
    let (mut pages, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = read(query).await;
        let Some(last) = page.last() else { break };
        query = format!("?limit=2&before={}", last["id"]);
        pages.push(page);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(pages.concat(), all);
}

#[tokio::test]
async fn the_audit_log_is_for_admins_and_its_parameters_are_checked() {
    let api = Api::start().await;
    let tenant = api.tenant("acme").await;
    let member = api.login(&tenant, "member@acme.example", "member").await;
    let admin = api.login(&tenant, "admin@acme.example", "admin").await;
    api.call(&member.access, "GET", AUDIT, &Value::Null).await.expect(403);
    for (query, kind) in [
        ("limit=0", "greater_than_equal"),
        ("limit=501", "less_than_equal"),
        ("limit=", "int_parsing"),
        ("before=0", "greater_than_equal"),
        ("before=9223372036854775808", "less_than_equal"),
        ("before=x", "int_parsing"),
    ] {
        let path = format!("{AUDIT}?{query}");
        let refused = api.call(&admin.access, "GET", &path, &Value::Null).await.expect(422);
        assert_eq!(refused.body["detail"][0]["type"], kind, "{query}");
    }
    let far = format!("{AUDIT}?before={}&limit=500", i64::MAX);
    let all = api.call(&admin.access, "GET", &far, &Value::Null).await.expect(200);
    assert_eq!(all.body.as_array().unwrap().len(), 2);
}
