//! The plan for programs. `docs/plan-json.md` describes every key, and a test holds the two together.

use serde_json::{Value, json};

use super::actions::Counts;
use super::redact::redacted;
use crate::plan::{Change, FieldChange, Health, Migration, Note, Plan, Release, Smoke, Source};

/// Version of the documents; the first number grows when a key changes its meaning or goes away.
pub const FORMAT_VERSION: &str = "1.0";

/// The whole plan, without the values of environment variables that `plan.show_env` does not list.
pub fn plan_json(plan: &Plan) -> Value {
    // A new field must be thought about here: shown, redacted or left out.
    let Plan {
        format: _,
        place,
        target,
        configuration,
        changes,
        releases,
        notes,
        show_env,
        part,
        destroy,
        flags: _,
    } = plan;
    let counts = Counts::of(plan);
    let blocked: Vec<_> =
        plan.blocked().map(|(change, why)| json!({"address": change.address, "why": why})).collect();
    let mut document = json!({
        "format_version": FORMAT_VERSION,
        "system": place.ownership.system,
        "environment": place.ownership.environment,
        "project": place.project,
        "project_number": place.project_number,
        "region": place.region,
        "target": target,
        "configuration": configuration,
        "changes": changes.iter().map(|change| change_json(change, show_env)).collect::<Vec<_>>(),
        "releases": releases.iter().map(release_json).collect::<Vec<_>>(),
        "notes": notes.iter().map(note_json).collect::<Vec<_>>(),
        "blocked": blocked,
        "summary": {
            "add": counts.add,
            "change": counts.change,
            "remove": counts.remove,
            "blocked": plan.blocked().count(),
        },
    });
    if let Some(part) = part {
        document["part"] = json!(part);
    }
    if *destroy {
        document["destroy"] = json!(true);
    }
    document
}

/// The plan, and whether it has anything to do.
pub fn drift_json(plan: &Plan) -> Value {
    let mut document = plan_json(plan);
    document["drift"] = Value::from(!plan.is_empty());
    document
}

fn change_json(change: &Change, shown: &[String]) -> Value {
    let Change {
        address,
        action,
        reason,
        verb,
        fields,
        consequences,
        before,
        after,
        source,
        mark,
        blocked,
        needs,
        wave,
    } = change;
    let mut document = json!({
        "address": address,
        "kind": address.kind,
        "name": address.name,
        "action": action,
        "reason": reason,
        "verb": verb,
        "fields": fields.iter().map(|field| field_json(field, shown)).collect::<Vec<_>>(),
        "consequences": consequences,
        "owner": format!("{}/{}", mark.system, mark.environment),
        "needs": needs,
        "wave": wave,
    });
    let spec = |spec: &Option<Value>| spec.as_ref().map(|spec| redacted(spec, "", shown));
    set(&mut document, "before", spec(before));
    set(&mut document, "after", spec(after));
    set(&mut document, "source", source.as_ref().map(source_json));
    set(&mut document, "blocked", blocked.as_deref().map(Value::from));
    document
}

fn release_json(release: &Release) -> Value {
    let Release {
        service,
        sha,
        versions,
        migrations,
        health,
        smoke,
        unreachable,
        caller,
        open,
        opened_by: _,
        after_opening,
    } = release;
    let mut document = json!({
        "service": service,
        "open": open,
        "after_opening": after_opening,
        "versions": versions,
        "migrations": migrations.iter().map(migration_json).collect::<Vec<_>>(),
        "smoke": smoke.iter().map(smoke_json).collect::<Vec<_>>(),
    });
    set(&mut document, "sha", sha.as_deref().map(Value::from));
    set(&mut document, "health", health.as_ref().map(health_json));
    set(&mut document, "unreachable", unreachable.as_deref().map(Value::from));
    set(&mut document, "caller", caller.as_deref().map(Value::from));
    document
}

fn migration_json(migration: &Migration) -> Value {
    let Migration { job, source, needs, backward_compatible, digest } = migration;
    json!({
        "job": job,
        "source": source,
        "needs": needs,
        "backward_compatible": backward_compatible,
        "digest": digest,
    })
}

fn health_json(health: &Health) -> Value {
    let Health { path, attempts, interval, successes } = health;
    json!({"path": path, "attempts": attempts, "interval": interval, "successes": successes})
}

/// Headers and bodies may be nobody's business: of those only the names are told.
fn smoke_json(smoke: &Smoke) -> Value {
    let Smoke {
        name,
        service: _,
        method,
        url,
        path,
        headers,
        body: _,
        expect,
        json,
        text,
        version,
        max_time,
    } = smoke;
    let mut document = json!({
        "name": name,
        "method": method,
        "path": path,
        "headers": headers.keys().collect::<Vec<_>>(),
        "expect": expect,
        "max_time": max_time,
    });
    set(&mut document, "json", json.clone());
    set(&mut document, "text", text.as_deref().map(Value::from));
    set(&mut document, "version", version.as_deref().map(Value::from));
    set(&mut document, "url", url.as_deref().map(Value::from));
    document
}

fn field_json(field: &FieldChange, shown: &[String]) -> Value {
    let FieldChange { pointer, path, old, new, location } = field;
    let mut document = json!({"pointer": pointer, "path": path});
    let value = |value: &Option<Value>| value.as_ref().map(|value| redacted(value, pointer, shown));
    set(&mut document, "old", value(old));
    set(&mut document, "new", value(new));
    set(&mut document, "location", location.as_deref().map(Value::from));
    document
}

fn source_json(source: &Source) -> Value {
    let Source { path, location } = source;
    let mut document = json!({"path": path});
    set(&mut document, "location", location.as_deref().map(Value::from));
    document
}

pub(super) fn note_json(note: &Note) -> Value {
    let Note { address, text } = note;
    json!({"address": address, "text": text})
}

/// What there is not has no key.
pub(super) fn set(document: &mut Value, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        document[key] = value;
    }
}
