//! IAM policies of everything that has one: read, and changed triple by triple.
//!
//! `setIamPolicy` replaces a whole policy, so that every edit reads with version 3, changes only the triples that
//! it was asked to change, and writes with the etag that it read.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::accounts;
use super::api::{Api, Method};
use super::client::Gcp;
use super::error::{ErrorKind, GcpError};
use super::rest::{Request, parse};
use super::turns::Wish;

/// How often an edit starts over when others change the same policy, or when something just made is not seen yet.
const ROUNDS: u32 = 8;

const GET_SECRET: Method =
    Method::read(Api::SecretManager, "GET", "secretmanager.projects.secrets.getIamPolicy");
const SET_SECRET: Method =
    Method::write(Api::SecretManager, "POST", "secretmanager.projects.secrets.setIamPolicy");
const GET_SERVICE: Method = Method::read(Api::Run, "GET", "run.projects.locations.services.getIamPolicy");
const SET_SERVICE: Method = Method::write(Api::Run, "POST", "run.projects.locations.services.setIamPolicy");
const GET_JOB: Method = Method::read(Api::Run, "GET", "run.projects.locations.jobs.getIamPolicy");
const SET_JOB: Method = Method::write(Api::Run, "POST", "run.projects.locations.jobs.setIamPolicy");
const GET_REPOSITORY: Method = Method::read(
    Api::ArtifactRegistry,
    "GET",
    "artifactregistry.projects.locations.repositories.getIamPolicy",
);
const SET_REPOSITORY: Method = Method::write(
    Api::ArtifactRegistry,
    "POST",
    "artifactregistry.projects.locations.repositories.setIamPolicy",
);
const GET_ACCOUNT: Method = Method::read(Api::Iam, "POST", "iam.projects.serviceAccounts.getIamPolicy");
const SET_ACCOUNT: Method = Method::write(Api::Iam, "POST", "iam.projects.serviceAccounts.setIamPolicy");
const GET_PROJECT: Method =
    Method::read(Api::ResourceManager, "POST", "cloudresourcemanager.projects.getIamPolicy");
const SET_PROJECT: Method =
    Method::write(Api::ResourceManager, "POST", "cloudresourcemanager.projects.setIamPolicy");

/// What a policy is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyOf {
    /// A secret, by its resource name (`projects/P/secrets/S`).
    Secret(String),
    /// A Cloud Run service, by its resource name (`projects/P/locations/L/services/S`).
    RunService(String),
    /// A Cloud Run job, by its resource name (`projects/P/locations/L/jobs/J`).
    RunJob(String),
    /// A repository of Artifact Registry, by its resource name (`projects/P/locations/L/repositories/R`).
    Repository(String),
    /// A service account, by its address.
    ServiceAccount(String),
    /// A project, by its id.
    Project(String),
}

impl PolicyOf {
    /// Version and resource name, as in the path of a request.
    fn path(&self) -> String {
        match self {
            Self::Secret(name) | Self::Repository(name) => format!("v1/{name}"),
            Self::RunService(name) | Self::RunJob(name) => format!("v2/{name}"),
            Self::ServiceAccount(email) => format!("v1/{}", accounts::resource(email)),
            Self::Project(id) => format!("v3/projects/{id}"),
        }
    }

    /// What people call it.
    fn described(&self) -> String {
        let short = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        match self {
            Self::Secret(name) => format!("secret {}", short(name)),
            Self::RunService(name) => format!("service {}", short(name)),
            Self::RunJob(name) => format!("job {}", short(name)),
            Self::Repository(name) => format!("repository {}", short(name)),
            Self::ServiceAccount(email) => format!("service account {email}"),
            Self::Project(id) => format!("project {id}"),
        }
    }

    fn read_request(&self) -> Request {
        let path = format!("{}:getIamPolicy", self.path());
        let by_query =
            |method| Request::new(method, path.clone()).query("options.requestedPolicyVersion", "3");
        match self {
            Self::Secret(_) => by_query(&GET_SECRET),
            Self::RunService(_) => by_query(&GET_SERVICE),
            Self::RunJob(_) => by_query(&GET_JOB),
            Self::Repository(_) => by_query(&GET_REPOSITORY),
            Self::ServiceAccount(_) => by_query(&GET_ACCOUNT).body(json!({})),
            Self::Project(_) => {
                Request::new(&GET_PROJECT, path).body(json!({"options": {"requestedPolicyVersion": 3}}))
            }
        }
    }

    fn write_request(&self, policy: &Value) -> Request {
        let method = match self {
            Self::Secret(_) => &SET_SECRET,
            Self::RunService(_) => &SET_SERVICE,
            Self::RunJob(_) => &SET_JOB,
            Self::Repository(_) => &SET_REPOSITORY,
            Self::ServiceAccount(_) => &SET_ACCOUNT,
            Self::Project(_) => &SET_PROJECT,
        };
        Request::new(method, format!("{}:setIamPolicy", self.path())).body(json!({ "policy": policy }))
    }
}

/// A policy as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Who has which role, and when.
    pub bindings: Vec<Binding>,
    /// Changes with every write.
    pub etag: String,
    /// 3 where conditions are used.
    pub version: i32,
}

/// One role and those who have it, under one condition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Binding {
    /// `roles/...`, or the name of a custom role.
    pub role: String,
    /// `serviceAccount:...`, `principalSet://...`, `allUsers`, ...
    pub members: Vec<String>,
    /// A `google.type.Expr`; without one the binding always holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Value>,
}

/// One grant: the unit in which policies are changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triple {
    /// The role.
    pub role: String,
    /// One member.
    pub member: String,
    /// The condition, compared by value.
    pub condition: Option<Value>,
}

impl Triple {
    /// A grant without a condition.
    pub fn new(role: impl Into<String>, member: impl Into<String>) -> Self {
        Self { role: role.into(), member: member.into(), condition: None }
    }

    fn fits(&self, binding: &Value) -> bool {
        binding.get("role").and_then(Value::as_str) == Some(&self.role)
            && binding.get("condition") == self.condition.as_ref()
    }
}

impl Gcp {
    /// The policy on something, with conditions; `None` when that is not there.
    pub async fn policy(&self, of: &PolicyOf) -> Result<Option<Policy>, GcpError> {
        let doing = format!("read who has access to {}", of.described());
        match self.rest(&doing, of.read_request()).await {
            Ok(answer) => parse(&doing, answer).map(Some),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds and removes grants and leaves all others as they are. Writes nothing when nothing changes.
    ///
    /// Starts over when someone else wrote in between, and waits a little for a resource or a member that was made
    /// moments ago. Edits of one policy from within this process take turns, and are written together where they can be:
    /// when Google refuses several at once, each is tried alone.
    pub async fn edit_policy(
        &self,
        of: &PolicyOf,
        add: &[Triple],
        remove: &[Triple],
    ) -> Result<(), GcpError> {
        let doing = format!("change who has access to {}", of.described());
        let turns = self.policy_turns(&of.path());
        let mine = turns.queue(add, remove);
        let _turn = turns.turn().await;
        if mine.is_granted() {
            return Ok(());
        }
        let together = turns.take_along(&mine);
        if together.len() > 1 {
            let all = |part: fn(&Wish) -> &[Triple]| -> Vec<Triple> {
                together.iter().flat_map(|wish| part(wish).iter().cloned()).collect()
            };
            let outcome =
                self.edit_rounds(&doing, of, &all(|wish| &wish.add), &all(|wish| &wish.remove)).await;
            if outcome.is_ok() {
                for wish in &together {
                    wish.grant();
                }
                return Ok(());
            }
        }
        self.edit_rounds(&doing, of, add, remove).await
    }

    async fn edit_rounds(
        &self,
        doing: &str,
        of: &PolicyOf,
        add: &[Triple],
        remove: &[Triple],
    ) -> Result<(), GcpError> {
        let mut round = 1;
        loop {
            let outcome = self.edit_once(doing, of, add, remove).await;
            match outcome {
                Err(error) if add.is_empty() && error.kind == ErrorKind::NotFound => return Ok(()),
                Err(error) if round < ROUNDS && starts_over(&error) => {
                    self.sleep(pause(round, self.limits().first_pause)).await;
                }
                other => return other,
            }
            round += 1;
        }
    }

    async fn edit_once(
        &self,
        doing: &str,
        of: &PolicyOf,
        add: &[Triple],
        remove: &[Triple],
    ) -> Result<(), GcpError> {
        let live = self.rest(doing, of.read_request()).await?;
        // Parsed for its errors only: an unreadable policy must not be written back.
        parse::<Policy>(doing, live.clone())?;
        match edited(&live, add, remove) {
            None => Ok(()),
            Some(policy) => {
                self.rest(doing, of.write_request(&policy)).await?;
                self.note_granted();
                Ok(())
            }
        }
    }
}

/// A concurrent write; or a resource, or a member of the grant, that IAM has not heard of yet.
fn starts_over(error: &GcpError) -> bool {
    match error.kind {
        ErrorKind::Conflict | ErrorKind::NotFound => true,
        ErrorKind::InvalidArgument => error.message.contains("does not exist"),
        _ => false,
    }
}

fn pause(round: u32, first: std::time::Duration) -> std::time::Duration {
    first.saturating_mul(1 << (round - 1).min(5))
}

/// The policy after the changes, or `None` when it is the same. Foreign bindings and unknown fields stay as they
/// are, in their order.
fn edited(live: &Value, add: &[Triple], remove: &[Triple]) -> Option<Value> {
    let mut bindings = live.get("bindings").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut changed = false;
    for triple in remove {
        for binding in bindings.iter_mut().filter(|binding| triple.fits(binding)) {
            if let Some(members) = binding.get_mut("members").and_then(Value::as_array_mut) {
                let before = members.len();
                members.retain(|member| member.as_str() != Some(&triple.member));
                changed |= members.len() != before;
            }
        }
    }
    for triple in add {
        changed |= granted(&mut bindings, triple);
        // IAM refuses a policy that names an account and an earlier, deleted one of the same address.
        let stale = format!("deleted:{}?uid=", triple.member);
        let all = bindings.iter_mut().filter_map(|binding| binding.get_mut("members")?.as_array_mut());
        for members in all {
            let before = members.len();
            members.retain(|member| !member.as_str().is_some_and(|member| member.starts_with(&stale)));
            changed |= members.len() != before;
        }
    }
    if !changed {
        return None;
    }
    bindings.retain(|binding| !binding.get("members").and_then(Value::as_array).is_none_or(Vec::is_empty));
    let mut policy = live.as_object().cloned().unwrap_or_default();
    policy.insert("bindings".to_owned(), Value::Array(bindings));
    policy.insert("version".to_owned(), json!(3));
    Some(Value::Object(policy))
}

/// Adds one grant; answers whether it was missing.
fn granted(bindings: &mut Vec<Value>, triple: &Triple) -> bool {
    let holds = |binding: &Value| {
        let members = binding.get("members").and_then(Value::as_array);
        members.is_some_and(|members| members.iter().any(|member| member.as_str() == Some(&triple.member)))
    };
    if bindings.iter().any(|binding| triple.fits(binding) && holds(binding)) {
        return false;
    }
    let fitting = bindings.iter_mut().find(|binding| triple.fits(binding));
    if let Some(members) = fitting.and_then(|binding| binding.get_mut("members")?.as_array_mut()) {
        members.push(json!(triple.member));
        return true;
    }
    let mut binding = json!({"role": triple.role, "members": [triple.member]});
    if let Some(condition) = &triple.condition {
        binding["condition"] = condition.clone();
    }
    bindings.push(binding);
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::gcp::testserver::{Answer, Server, refusal};

    const ROLE: &str = "roles/secretmanager.secretAccessor";
    const US: &str = "serviceAccount:api@p.iam.gserviceaccount.com";

    fn secret() -> PolicyOf {
        PolicyOf::Secret("projects/p/secrets/s".into())
    }

    fn foreign() -> Value {
        json!({"role": "roles/viewer", "members": ["user:x@example.com"], "condition": {"expression": "e"}, "odd": 1})
    }

    #[test]
    fn foreign_bindings_and_unknown_fields_stay_as_they_are() {
        let live = json!({"bindings": [foreign()], "etag": "e", "auditConfigs": [{"service": "all"}]});
        let policy = edited(&live, &[Triple::new(ROLE, US)], &[]).unwrap();
        assert_eq!(policy["bindings"], json!([foreign(), {"role": ROLE, "members": [US]}]));
        assert_eq!(policy["auditConfigs"], live["auditConfigs"]);
        assert_eq!((&policy["etag"], &policy["version"]), (&json!("e"), &json!(3)));
    }

    #[test]
    fn nothing_to_change_is_nothing_to_write() {
        let live = json!({"bindings": [{"role": ROLE, "members": [US]}]});
        assert_eq!(edited(&live, &[Triple::new(ROLE, US)], &[Triple::new("roles/owner", US)]), None);
        assert_eq!(edited(&json!({"etag": "ACAB"}), &[], &[Triple::new(ROLE, US)]), None);
    }

    #[test]
    fn a_condition_makes_it_another_grant() {
        let live =
            json!({"bindings": [{"role": ROLE, "members": [US, "allUsers"], "condition": {"title": "t"}}]});
        assert_eq!(edited(&live, &[], &[Triple::new(ROLE, US)]), None);
        let conditional = Triple { condition: Some(json!({"title": "t"})), ..Triple::new(ROLE, US) };
        let policy = edited(&live, &[Triple::new(ROLE, US)], &[conditional]).unwrap();
        assert_eq!(
            policy["bindings"],
            json!([{"role": ROLE, "members": ["allUsers"], "condition": {"title": "t"}}, {"role": ROLE, "members": [US]}])
        );
    }

    #[test]
    fn a_binding_without_members_goes() {
        let live = json!({"bindings": [{"role": ROLE, "members": [US]}, foreign()]});
        assert_eq!(edited(&live, &[], &[Triple::new(ROLE, US)]).unwrap()["bindings"], json!([foreign()]));
    }

    #[test]
    fn a_grant_takes_the_place_of_those_of_deleted_accounts_of_its_address() {
        let stale = format!("deleted:{US}?uid=7");
        let other = "deleted:serviceAccount:web@p.iam.gserviceaccount.com?uid=8";
        let live = json!({"bindings": [{"role": ROLE, "members": [stale, other]}, {"role": "roles/x", "members": [stale]}]});
        let policy = edited(&live, &[Triple::new(ROLE, US)], &[]).unwrap();
        assert_eq!(policy["bindings"], json!([{"role": ROLE, "members": [other, US]}]));
    }

    #[tokio::test]
    async fn a_conflict_reads_again_and_loses_nobodys_grant() {
        let theirs = json!({"bindings": [foreign()], "etag": "2"});
        let server = Server::start(vec![
            Answer::json(200, json!({"etag": "1"})),
            Answer::json(409, refusal(409, "ABORTED")),
            Answer::json(200, theirs),
            Answer::json(200, json!({})),
        ])
        .await;
        server.gcp().await.edit_policy(&secret(), &[Triple::new(ROLE, US)], &[]).await.unwrap();
        let written = server.requests()[3].json();
        assert_eq!(written["policy"]["etag"], "2");
        assert_eq!(written["policy"]["bindings"][0], foreign());
    }

    #[tokio::test]
    async fn a_write_that_got_lost_after_it_took_effect_is_done() {
        let done = json!({"bindings": [{"role": ROLE, "members": [US]}], "etag": "2"});
        let server = Server::start(vec![
            Answer::json(200, json!({"etag": "1"})),
            Answer::Drop,
            Answer::json(409, refusal(409, "ABORTED")),
            Answer::json(200, done),
        ])
        .await;
        server.gcp().await.edit_policy(&secret(), &[Triple::new(ROLE, US)], &[]).await.unwrap();
        assert_eq!(server.requests().len(), 4);
    }

    #[tokio::test]
    async fn a_member_that_was_just_made_is_waited_for() {
        let unknown = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Service account x does not exist."}});
        let server = Server::start(vec![
            Answer::json(200, json!({"etag": "1"})),
            Answer::json(400, unknown),
            Answer::json(200, json!({"etag": "1"})),
            Answer::json(200, json!({})),
        ])
        .await;
        server.gcp().await.edit_policy(&secret(), &[Triple::new(ROLE, US)], &[]).await.unwrap();
        assert_eq!(server.sleeper.slept().len(), 1);
    }

    #[tokio::test]
    async fn an_edit_gives_up_after_its_rounds() {
        let server = Server::serve(|seen| {
            if seen.target.contains(":getIamPolicy") {
                Answer::json(200, json!({"etag": "1"}))
            } else {
                Answer::json(409, refusal(409, "ABORTED"))
            }
        })
        .await;
        let error =
            server.gcp().await.edit_policy(&secret(), &[Triple::new(ROLE, US)], &[]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(server.requests().len(), 2 * ROUNDS as usize);
    }

    #[tokio::test]
    async fn edits_of_one_policy_in_one_process_do_not_collide() {
        let policy = Mutex::new((json!({"bindings": []}), 1));
        let server = Server::serve(move |seen| {
            let mut policy = policy.lock().unwrap();
            if seen.target.contains(":getIamPolicy") {
                let mut answer = policy.0.clone();
                answer["etag"] = json!(policy.1.to_string());
                return Answer::json(200, answer);
            }
            let mut sent = seen.json()["policy"].take();
            if sent["etag"] != json!(policy.1.to_string()) {
                return Answer::json(409, refusal(409, "ABORTED"));
            }
            sent.as_object_mut().unwrap().remove("etag");
            *policy = (sent.clone(), policy.1 + 1);
            Answer::json(200, sent)
        })
        .await;
        let gcp = server.gcp().await;
        let of = secret();
        let edits =
            (0..10).map(|n| {
                let (gcp, of) = (gcp.clone(), of.clone());
                async move {
                    gcp.edit_policy(&of, &[Triple::new(ROLE, format!("user:u{n}@example.com"))], &[]).await
                }
            });
        for outcome in futures::future::join_all(edits).await {
            outcome.unwrap();
        }
        assert_eq!(gcp.policy(&of).await.unwrap().unwrap().bindings[0].members.len(), 10);
        assert!(server.sleeper.slept().is_empty(), "nobody had to start over");
        let writes = server.requests().iter().filter(|seen| seen.target.contains(":setIamPolicy")).count();
        assert!(writes <= 2, "those that waited were not written together: {writes} writes");
    }

    #[tokio::test]
    async fn an_edit_that_is_refused_takes_no_other_with_it() {
        let policy = Mutex::new(json!({"bindings": [], "etag": "1"}));
        let server = Server::serve(move |seen| {
            let mut policy = policy.lock().unwrap();
            if seen.target.contains(":getIamPolicy") {
                return Answer::json(200, policy.clone());
            }
            let sent = seen.json()["policy"].take();
            if sent.to_string().contains("user:bad") {
                return Answer::json(403, refusal(403, "PERMISSION_DENIED"));
            }
            policy.clone_from(&sent);
            Answer::json(200, sent)
        })
        .await;
        let gcp = server.gcp().await;
        let of = secret();
        let edits = ["user:a", "user:bad", "user:b", "user:c"].map(|member| {
            let (gcp, of) = (gcp.clone(), of.clone());
            async move { gcp.edit_policy(&of, &[Triple::new(ROLE, member)], &[]).await.is_ok() }
        });
        let outcomes = futures::future::join_all(edits).await;
        assert_eq!(outcomes, [true, false, true, true]);
        assert_eq!(gcp.policy(&of).await.unwrap().unwrap().bindings[0].members.len(), 3);
    }

    #[tokio::test]
    async fn every_kind_of_policy_is_asked_for_with_version_three() {
        let server =
            Server::serve(|_| Answer::json(200, json!({"etag": "e", "bindings": [foreign()], "version": 3})))
                .await;
        let gcp = server.gcp().await;
        let all = [
            (secret(), "GET /secretmanager.googleapis.com/v1/projects/p/secrets/s:getIamPolicy"),
            (
                PolicyOf::RunService("projects/p/locations/l/services/s".into()),
                "GET /run.googleapis.com/v2/projects/p/locations/l/services/s:getIamPolicy",
            ),
            (
                PolicyOf::ServiceAccount("a@p.iam.gserviceaccount.com".into()),
                "POST /iam.googleapis.com/v1/projects/p/serviceAccounts/a@p.iam.gserviceaccount.com:getIamPolicy",
            ),
            (
                PolicyOf::Project("p".into()),
                "POST /cloudresourcemanager.googleapis.com/v3/projects/p:getIamPolicy",
            ),
        ];
        for (index, (of, line)) in all.into_iter().enumerate() {
            let policy = gcp.policy(&of).await.unwrap().unwrap();
            assert_eq!(policy.bindings[0].condition, Some(json!({"expression": "e"})));
            let request = &server.requests()[index];
            assert_eq!(request.line(), line);
            let asked = format!("{}{}", request.target, request.body);
            assert!(
                asked.contains("equestedPolicyVersion=3") || asked.contains("\"requestedPolicyVersion\":3"),
                "{asked}"
            );
        }
    }

    #[tokio::test]
    async fn taking_grants_from_what_is_gone_is_done() {
        let server = Server::start(vec![Answer::json(404, refusal(404, "NOT_FOUND"))]).await;
        server.gcp().await.edit_policy(&secret(), &[], &[Triple::new(ROLE, US)]).await.unwrap();
    }

    #[tokio::test]
    async fn the_policy_of_nothing_is_none() {
        let server = Server::start(vec![Answer::json(404, refusal(404, "NOT_FOUND"))]).await;
        assert_eq!(server.gcp().await.policy(&secret()).await.unwrap(), None);
    }
}
