//! The planner on hand-made states of the real kinds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::sharing::Sharing;
use super::*;
use crate::config::model::Location;
use crate::resource::Owner;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn desired(at: &str, spec: Value) -> Desired {
    let source = format!("secrets.{}", address(at).name);
    Desired {
        address: address(at),
        spec,
        source,
        blocked: None,
        refused: None,
        notes: Vec::new(),
        protect: false,
    }
}

fn live(at: &str, spec: Value, owner: Owner) -> Live {
    Live { address: address(at), spec, owner, life: Life::Present }
}

fn secret(description: &str) -> Value {
    json!({"description": description, "labels": {}, "locations": []})
}

fn ours() -> Owner {
    Owner::Marked(Ownership::new("shop", "dev"))
}

fn other() -> Owner {
    Owner::Marked(Ownership::new("cafe", "dev"))
}

fn planned(desired: &[Desired], live: &[Live], options: &Options) -> Result<Plan, PlanError> {
    let registry = Registry::standard();
    let own = Ownership::new("shop", "dev");
    let place =
        Place { project: "p-1".into(), project_number: 1, region: "r".into(), ownership: own.clone() };
    let facts = Facts {
        own: own.clone(),
        account_domain: "p-1.iam.gserviceaccount.com".into(),
        accounts: BTreeSet::from(["api".to_owned()]),
        ..Facts::default()
    };
    let mut sources = Sources::default();
    sources.insert("secrets.a.description".into(), Location { file: "base.yaml".into(), line: 3, column: 9 });
    let sharing = Sharing::alone(own, desired);
    let inputs = Inputs {
        place: &place,
        target: "sandbox",
        configuration: "",
        sources: &sources,
        show_env: &[],
        facts: &facts,
        sharing: &sharing,
        releases: &[],
        desired,
        live,
    };
    plan(&registry, &inputs, options)
}

fn plain(desired: &[Desired], live: &[Live]) -> Plan {
    planned(desired, live, &Options::default()).unwrap()
}

fn refusals(result: Result<Plan, PlanError>) -> Vec<Refusal> {
    match result {
        Err(PlanError::Refused(refusals)) => refusals,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_as_declared_is_not_in_the_plan() {
    let plan = plain(&[desired("secret/a", secret("x"))], &[live("secret/a", secret("x"), ours())]);
    assert!(plan.is_empty() && plan.notes.is_empty(), "{plan:?}");
}

#[test]
fn a_changed_field_is_told_in_the_words_and_at_the_place_of_the_yaml() {
    let plan = plain(&[desired("secret/a", secret("new"))], &[live("secret/a", secret("old"), ours())]);
    let field = &plan.changes[0].fields[0];
    assert_eq!(
        (field.path.as_str(), field.location.as_deref()),
        ("secrets.a.description", Some("base.yaml:3:9"))
    );
    assert_eq!((&field.old, &field.new), (&Some(json!("old")), &Some(json!("new"))));
    assert_eq!(plan.changes[0].consequences, [], "nothing restarts for a secret, so that it is no news");
}

#[test]
fn the_command_of_a_plan_is_told_with_its_flags_as_a_shell_takes_them() {
    let mut plan = plain(&[], &[]);
    assert_eq!(plan.command("plan"), "deployer plan dev");
    plan.flags =
        ["--image", "api=r/p/api:v1@sha256:0", "--target", "secret/it's"].map(str::to_owned).to_vec();
    assert_eq!(
        plan.command("apply"),
        r"deployer apply dev --image api=r/p/api:v1@sha256:0 --target 'secret/it'\''s'"
    );
}

#[test]
fn an_object_without_a_mark_is_adopted() {
    let plan = plain(&[desired("secret/a", secret("x"))], &[live("secret/a", secret("x"), Owner::Nobody)]);
    assert_eq!((plan.changes[0].reason.clone(), plan.changes[0].verb.as_str()), (Reason::Adopted, "adopt"));
}

#[test]
fn an_object_of_another_system_is_refused_unless_its_address_is_given() {
    let (desired, live) = ([desired("secret/a", secret("x"))], [live("secret/a", secret("x"), other())]);
    let refused = refusals(planned(&desired, &live, &Options::default()));
    assert!(
        refused[0].why.contains("cafe/dev") && refused[0].hint.contains("--adopt secret/a"),
        "{refused:?}"
    );
    let adopt = Options { adopt: vec![address("secret/a")], ..Options::default() };
    assert_eq!(planned(&desired, &live, &adopt).unwrap().changes[0].reason, Reason::Adopted);
}

#[test]
fn an_immutable_field_is_refused_and_all_refusals_are_collected() {
    let far = |name: &str| desired(name, json!({"labels": {}, "locations": ["europe-west1"]}));
    let here = |name: &str| live(name, json!({"labels": {}, "locations": []}), ours());
    let refused = refusals(planned(
        &[far("secret/a"), far("secret/b")],
        &[here("secret/a"), here("secret/b")],
        &Options::default(),
    ));
    assert_eq!(refused.len(), 2);
    assert!(refused[0].why.contains("secrets.a.locations") && refused[0].why.contains("europe-west1"));
}

#[test]
fn what_is_ours_and_undeclared_is_a_note_and_a_delete_with_prune() {
    let live = [live("secret/old", secret("x"), ours()), live("secret/theirs", secret("x"), Owner::Nobody)];
    let plan = plain(&[], &live);
    assert!(plan.is_empty());
    assert_eq!(plan.notes.len(), 1);
    let pruned = planned(&[], &live, &Options { prune: true, ..Options::default() }).unwrap();
    assert_eq!(pruned.changes.len(), 1);
    assert_eq!(
        (pruned.changes[0].action, &pruned.changes[0].address),
        (Action::Delete, &address("secret/old"))
    );
}

#[test]
fn an_undeclared_grant_of_ours_is_revoked_and_other_peoples_stay() {
    let grant = |member: &str| json!({"on": "api", "role": "roles/run.invoker", "member": member});
    let live = [
        live("run_grant/public", grant("allUsers"), Owner::Foreign),
        live("run_grant/ours", grant("serviceAccount:api@p-1.iam.gserviceaccount.com"), Owner::Foreign),
        live("run_grant/ann", grant("user:ann@example.com"), Owner::Foreign),
    ];
    let plan = plain(&[], &live);
    let revoked: Vec<_> = plan.changes.iter().map(|c| (c.verb.as_str(), c.address.name.as_str())).collect();
    assert_eq!(revoked, [("revoke", "ours"), ("revoke", "public")]);
    assert_eq!(plan.changes[0].consequences, [Consequence::AccessNarrowed]);
}

#[test]
fn a_value_that_exists_is_never_made_again() {
    let declared = desired("secret_value/a", json!({"generate": "hex32", "version": 1}));
    let there = live("secret_value/a", json!({"version": 1, "newest_enabled": 1}), Owner::Foreign);
    assert!(plain(std::slice::from_ref(&declared), &[there]).is_empty());
    let destroyed =
        Live { life: Life::Gone, ..live("secret_value/a", json!({"version": 3}), Owner::Foreign) };
    let plan = plain(&[declared], &[destroyed]);
    assert_eq!(plan.changes[0].action, Action::Create);
}

fn chain() -> [Desired; 3] {
    [
        desired("secret/a", secret("x")),
        desired("secret_value/a", json!({"generate": "hex32", "version": 1})),
        desired("service_account/api", json!({"display_name": "api"})),
    ]
}

#[test]
fn a_change_comes_after_what_it_needs() {
    let plan = plain(&chain(), &[]);
    assert_eq!(check::violations(&plan), Vec::<String>::new());
    assert_eq!(plan.change(&address("secret_value/a")).unwrap().needs, [address("secret/a")]);
    assert_eq!(plan.change(&address("secret_value/a")).unwrap().wave, 1);
}

#[test]
fn a_target_brings_what_it_needs_and_nothing_else() {
    let options = Options { target: vec![address("secret_value/a")], ..Options::default() };
    let plan = planned(&chain(), &[], &options).unwrap();
    let kept: Vec<_> = plan.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(kept, ["secret/a", "secret_value/a"]);
}

#[test]
fn what_needs_the_excluded_is_left_out_too() {
    let options = Options { exclude: vec![address("secret/a")], ..Options::default() };
    let plan = planned(&chain(), &[], &options).unwrap();
    let kept: Vec<_> = plan.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(kept, ["service_account/api"]);
}

#[test]
fn an_address_that_exists_nowhere_is_an_error() {
    let options = Options { target: vec![address("secret/b")], ..Options::default() };
    assert!(
        matches!(planned(&chain(), &[], &options), Err(PlanError::UnknownAddress(unknown, _)) if unknown == ["secret/b"])
    );
}

#[test]
fn a_deletion_waits_for_its_last_user() {
    let account = live("service_account/api", json!({"display_name": "api"}), ours());
    let secret = [desired("secret/a", secret("x")), desired("secret/b", secret("x"))];
    let there = secret.iter().map(|s| live(&s.address.to_string(), s.spec.clone(), ours()));
    let all: Vec<_> = there.chain([account, grant()]).collect();
    let plan = planned(&secret, &all, &Options { prune: true, ..Options::default() }).unwrap();
    let order: Vec<_> = plan.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(order, [GRANT, "service_account/api"]);
}

#[test]
fn the_parts_of_what_is_deleted_go_with_it() {
    let live = [live("secret/a", secret("x"), ours()), grant()];
    let plan = planned(&[], &live, &Options { prune: true, ..Options::default() }).unwrap();
    let order: Vec<_> = plan.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(order, ["secret/a"]);
}

fn guarded(at: &str) -> Live {
    let mark = Ownership { protect: true, ..Ownership::new("shop", "dev") };
    live(at, secret("x"), Owner::Marked(mark))
}

#[test]
fn what_is_protected_is_not_pruned_and_one_protected_object_refuses_a_destruction() {
    let all = [live("secret/a", secret("x"), ours()), guarded("secret/b")];
    let pruned = planned(&[], &all, &Options { prune: true, ..Options::default() }).unwrap();
    let gone: Vec<_> = pruned.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!((gone, pruned.notes.len()), (vec!["secret/a".to_owned()], 1));
    // Nor is it said of it that pruning would delete it.
    let noted = plain(&[], &all).notes;
    let offered: Vec<_> = noted.iter().filter(|note| note.text.contains("--prune")).collect();
    assert_eq!((noted.len(), offered.len(), &offered[0].address), (2, 1, &address("secret/a")));
    let refused = refusals(planned(&[], &all, &Options { purpose: Purpose::Destroy, ..Options::default() }));
    assert_eq!(refused[0].address, address("secret/b"));
}

#[test]
fn what_a_protected_object_uses_is_not_pruned_either() {
    let mark = Ownership { protect: true, ..Ownership::new("shop", "dev") };
    let job = json!({
        "image": "i", "command": [], "args": [], "cpu": "1", "memory": "512Mi", "env": {}, "volumes": {},
        "secrets": {"KEY": "a:1"}, "service_account": "api@p-1.iam.gserviceaccount.com", "timeout": "600s",
        "max_retries": 0, "tasks": 1, "parallelism": 1, "execution_environment": "gen2", "labels": {},
        "readiness": "ready"
    });
    let all = [
        live("run_job/backup", job, Owner::Marked(mark)),
        live("secret/a", secret("x"), ours()),
        live("secret/b", secret("x"), ours()),
        live("service_account/api", json!({"display_name": "api"}), ours()),
    ];
    let pruned = planned(&[], &all, &Options { prune: true, ..Options::default() }).unwrap();
    let gone: Vec<_> = pruned.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(gone, ["secret/b"]);
    let because = |address: &str| pruned.notes.iter().find(|n| n.address.to_string() == address).unwrap();
    for address in ["secret/a", "service_account/api"] {
        assert!(because(address).text.contains("run_job/backup needs it"), "{address}");
    }
}

#[test]
fn a_protection_that_the_yaml_takes_away_is_a_change_of_its_own() {
    let plan = plain(&[desired("secret/b", secret("x"))], &[guarded("secret/b")]);
    let field = &plan.changes[0].fields[0];
    assert_eq!((field.path.as_str(), &field.new), ("secrets.b.protect", &Some(json!(false))));
    let protected = Desired { protect: true, ..desired("secret/b", secret("x")) };
    assert!(plain(&[protected], &[guarded("secret/b")]).is_empty());
}

#[test]
fn everything_that_is_ours_is_destroyed_whether_declared_or_not() {
    let declared = [desired("secret/a", secret("x"))];
    let all = [
        live("secret/a", secret("x"), ours()),
        live("secret/old", secret("x"), ours()),
        live("secret/theirs", secret("x"), other()),
        live("secret/nobodys", secret("x"), Owner::Nobody),
    ];
    let plan =
        planned(&declared, &all, &Options { purpose: Purpose::Destroy, ..Options::default() }).unwrap();
    let gone: Vec<_> = plan.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(gone, ["secret/a", "secret/old"]);
    assert!(plan.changes.iter().all(|c| c.reason == Reason::Destroyed));
}

fn far() -> Desired {
    desired("secret/a", json!({"labels": {}, "locations": ["europe-west1"]}))
}

#[test]
fn what_cannot_be_changed_is_made_anew_only_where_the_user_says_so() {
    let here = live("secret/a", json!({"labels": {}, "locations": []}), ours());
    let allowed = Options { allow_replace: vec![address("secret/a")], ..Options::default() };
    let plan = planned(&[far()], std::slice::from_ref(&here), &allowed).unwrap();
    assert_eq!((plan.changes[0].action, &plan.changes[0].reason), (Action::Replace, &Reason::Immutable));
    assert_eq!(plan.changes[0].consequences, [Consequence::Irreversible]);
    let locked = Live { owner: guarded("secret/a").owner, ..here };
    assert!(refusals(planned(&[far()], &[locked], &allowed))[0].why.contains("protected"));
}

#[test]
fn what_goes_with_a_replaced_object_is_taken_for_missing() {
    let here = live("secret/a", json!({"labels": {}, "locations": []}), ours());
    let value = live("secret_value/a", json!({"version": 3}), Owner::Foreign);
    let allowed = Options { allow_replace: vec![address("secret/a")], ..Options::default() };
    let left = |desired: Desired, options: &Options| {
        let live = vec![here.clone(), value.clone(), grant()];
        let left = without_parts_of_replaced(&Registry::standard(), &[desired], live, options).unwrap();
        left.len()
    };
    assert_eq!(left(far(), &allowed), 1);
    assert_eq!(left(far(), &Options::default()), 3);
    assert_eq!(left(desired("secret/a", json!({"labels": {}, "locations": []})), &allowed), 3);
}

#[test]
fn what_was_deleted_and_can_be_brought_back_is_restored() {
    let gone = Live { life: Life::SoftDeleted, ..live("secret/a", secret("old"), ours()) };
    let plan = plain(&[desired("secret/a", secret("new"))], std::slice::from_ref(&gone));
    let change = &plan.changes[0];
    assert_eq!((change.action, change.verb.as_str(), change.fields.len()), (Action::Restore, "restore", 1));
    assert!(plain(&[], &[gone]).is_empty());
}

#[test]
fn a_grant_under_somebodys_condition_is_told_and_left_alone() {
    let mut spec = grant().spec;
    let declared =
        Desired { address: address(GRANT), spec: spec.clone(), ..desired("secret/x", Value::Null) };
    spec["condition"] = json!({"title": "office hours", "expression": "false"});
    let theirs = live("secret_grant/a:secretAccessor:api:office hours~00", spec, Owner::Foreign);
    let plan = plain(std::slice::from_ref(&declared), std::slice::from_ref(&theirs));
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.notes[0].text.contains("office hours"), "{:?}", plan.notes);
    // Beside the declared one it is just an undeclared grant of ours.
    let plan = plain(&[declared], &[theirs, grant()]);
    assert_eq!(plan.changes[0].verb, "revoke");
}

#[test]
fn a_release_neither_sees_nor_needs_the_foundation() {
    let service = desired("run_service/api", service(&json!({"A": "a:1"}), "100% newest"));
    let declared = [desired("secret/a", secret("x")), service];
    let options = Options { layer: Some(Layer::Release), ..Options::default() };
    let plan = planned(&declared, &[], &options).unwrap();
    let kept: Vec<_> = plan.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!((kept, plan.part.as_deref()), (vec!["run_service/api".to_owned()], Some("--layer release")));
}

#[test]
fn the_foundation_takes_nothing_away_that_a_release_still_uses() {
    // The YAML dropped the secret from the service; the running one still reads it.
    let declared = [desired("run_service/api", service(&json!({}), "100% newest"))];
    let running = live("run_service/api", service(&json!({"A": "a:1"}), "100% newest"), ours());
    let options = Options { layer: Some(Layer::Foundation), ..Options::default() };
    let plan = planned(&declared, &[running.clone(), grant()], &options).unwrap();
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.notes.iter().any(|note| note.text.contains("run_service/api")), "{:?}", plan.notes);
    assert_eq!(plain(&declared, &[running, grant()]).changes.len(), 2);
}

const GRANT: &str = "secret_grant/a:secretAccessor:api";

/// The accessor of the account `api` on the secret `a`.
fn grant() -> Live {
    let spec = json!({"on": "a", "role": "roles/secretmanager.secretAccessor",
        "member": "serviceAccount:api@p-1.iam.gserviceaccount.com"});
    live(GRANT, spec, Owner::Foreign)
}

/// A service that runs as `api`, with these secrets and this traffic.
fn service(secrets: &Value, traffic: &str) -> Value {
    json!({
        "image": "i", "command": [], "args": [], "port": 8080, "cpu": "1", "memory": "512Mi", "cpu_idle": true,
        "startup_cpu_boost": false, "env": {}, "secrets": secrets, "volumes": {}, "depends_on": [], "sidecars": {},
        "service_account": "api@p-1.iam.gserviceaccount.com", "min_instances": 0, "max_instances": 1,
        "concurrency": 80, "timeout": "300s", "execution_environment": "gen2", "session_affinity": false,
        "ingress": "all", "labels": {}, "traffic": traffic, "newest_revision": "ready"
    })
}

#[test]
fn nothing_is_revoked_before_the_revision_that_may_use_it_has_lost_its_traffic() {
    // A failed rollout left the newest template without the secret, and the traffic on the revision before it.
    let declared = [desired("run_service/api", service(&json!({}), "100% newest"))];
    let half_way = live("run_service/api", service(&json!({}), "100% api-1"), ours());
    let public = json!({"on": "api", "role": "roles/run.invoker", "member": "allUsers"});
    let plan = plain(&declared, &[half_way, grant(), live("run_grant/p", public, Owner::Foreign)]);
    assert_eq!(plan.change(&address(GRANT)).unwrap().needs, [address("run_service/api")]);
    let door = plan.change(&address("run_grant/p")).unwrap();
    assert_eq!(door.needs, [], "closing the door waits for nobody");
}

#[test]
fn a_service_that_stays_undeclared_keeps_what_its_account_reads_and_who_calls_it() {
    // Nothing in its spec says that it reads the secret: `tenants.readers` did.
    let stays = live("run_service/api", service(&json!({}), "100% newest"), ours());
    let public = json!({"on": "api", "role": "roles/run.invoker", "member": "allUsers"});
    let found = [stays, grant(), live("run_grant/p", public, Owner::Foreign)];
    let plan = plain(&[], &found);
    assert!(plan.is_empty(), "{plan:?}");
    let told: Vec<_> = plan.notes.iter().map(|note| note.address.to_string()).collect();
    assert_eq!(told, ["run_service/api", GRANT, "run_grant/p"]);
    assert_eq!(plain(&[], &found[1..]).changes.len(), 2, "without the service nobody needs them");
    let pruned = planned(&[], &found, &Options { prune: true, ..Options::default() }).unwrap();
    assert_eq!(pruned.change(&address(GRANT)).unwrap().needs, [address("run_service/api")]);
}

#[test]
fn a_target_that_is_as_declared_still_brings_what_it_needs() {
    let spec = service(&json!({"A": "a:1"}), "100% newest");
    let missing = Desired { address: address(GRANT), spec: grant().spec, ..desired("secret/x", Value::Null) };
    let declared = [desired("run_service/api", spec.clone()), missing, desired("secret/other", secret("x"))];
    let options = Options { target: vec![address("run_service/api")], ..Options::default() };
    let plan = planned(&declared, &[live("run_service/api", spec, ours())], &options).unwrap();
    let kept: Vec<_> = plan.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(kept, [GRANT]);
}

#[test]
fn a_plan_survives_its_own_json() {
    let plan = plain(&chain(), &[live("secret/a", secret("y"), ours())]);
    let text = serde_json::to_string(&plan).unwrap();
    let back: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
}

#[test]
fn an_undeclared_service_that_stays_keeps_its_grants() {
    let spec = json!({"image": "a", "command": [], "args": [], "cpu": "1", "memory": "512Mi", "cpu_idle": true,
        "startup_cpu_boost": false, "env": {}, "secrets": {"A": "a:1"}, "volumes": {}, "depends_on": [], "sidecars": {},
        "service_account": "api@p-1.iam.gserviceaccount.com", "min_instances": 0, "max_instances": 1, "concurrency": 80,
        "timeout": "300s", "execution_environment": "gen2", "session_affinity": false, "ingress": "all",
        "labels": {}, "v2": {}, "traffic": "100% newest", "newest_revision": "ready"});
    let grant = json!({"on": "a", "role": "roles/secretmanager.secretAccessor",
        "member": "serviceAccount:api@p-1.iam.gserviceaccount.com"});
    let live = [
        live("run_service/old", spec, ours()),
        live("secret_grant/a:secretAccessor:api", grant, Owner::Foreign),
    ];
    let plan = plain(&[], &live);
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.notes.iter().any(|note| note.text.contains("run_service/old needs it")), "{:?}", plan.notes);
    let pruned = planned(&[], &live, &Options { prune: true, ..Options::default() }).unwrap();
    let order: Vec<_> = pruned.changes.iter().map(|c| c.address.to_string()).collect();
    assert_eq!(order, ["run_service/old", "secret_grant/a:secretAccessor:api"]);
}

/// A role of the project that the account of [`service`] has.
const ROLE: &str = "project_grant/p-1:cloudtrace.agent:api";

fn role() -> Value {
    json!({"on": "p-1", "role": "roles/cloudtrace.agent",
        "member": "serviceAccount:api@p-1.iam.gserviceaccount.com"})
}

#[test]
fn an_account_keeps_its_roles_while_a_service_that_stays_runs_as_it() {
    let live = [
        live("run_service/old", service(&json!({}), "100% newest"), ours()),
        live(ROLE, role(), Owner::Foreign),
    ];
    let plan = plain(&[], &live);
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.notes.iter().any(|note| note.text.contains("run_service/old needs it")), "{:?}", plan.notes);
    let pruned = planned(&[], &live, &Options { prune: true, ..Options::default() }).unwrap();
    assert_eq!(pruned.change(&address(ROLE)).unwrap().needs, [address("run_service/old")]);
}

#[test]
fn an_account_has_its_roles_before_a_service_runs_as_it_and_loses_them_after() {
    let api = desired("run_service/api", service(&json!({}), "100% newest"));
    let plan = plain(&[api.clone(), desired(ROLE, role())], &[]);
    assert!(plan.change(&address("run_service/api")).unwrap().needs.contains(&address(ROLE)));

    let mut other = service(&json!({}), "100% newest");
    other["service_account"] = json!("worker@p-1.iam.gserviceaccount.com");
    let live = [live("run_service/api", api.spec, ours()), live(ROLE, role(), Owner::Foreign)];
    let plan = plain(&[desired("run_service/api", other)], &live);
    assert_eq!(plan.change(&address(ROLE)).unwrap().needs, [address("run_service/api")]);
}

#[test]
fn what_is_pruned_goes_after_everything_else() {
    let old = [live("secret/old", secret("x"), ours())];
    let plan = planned(&chain(), &old, &Options { prune: true, ..Options::default() }).unwrap();
    let last = plan.changes.last().unwrap();
    assert_eq!((last.action, last.address.to_string().as_str()), (Action::Delete, "secret/old"));
    assert!(plan.changes.iter().filter(|c| c.action == Action::Create).all(|c| c.wave < last.wave));
}
