//! Plans by hand, for the tests of the views.

use serde_json::Value;

use crate::plan::{Action, Change, FORMAT, FieldChange, Note, Plan, Reason, Source, diff};
use crate::resource::{Address, Consequence, Ownership, Place};

pub(super) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub(super) fn plan(changes: Vec<Change>) -> Plan {
    let ownership = Ownership::new("agent-army", "dev");
    Plan {
        format: FORMAT,
        place: Place {
            project: "agent-army-example".into(),
            project_number: 123_456_789_012,
            region: "us-central1".into(),
            ownership,
        },
        target: "sandbox".into(),
        configuration: "c0ffee".into(),
        changes,
        releases: Vec::new(),
        notes: Vec::new(),
        show_env: Vec::new(),
        part: None,
        flags: Vec::new(),
        destroy: false,
    }
}

pub(super) fn note(at: &str, text: &str) -> Note {
    Note { address: address(at), text: text.into() }
}

fn change(at: &str, action: Action, verb: &str) -> Change {
    let reason = match action {
        Action::Create => Reason::Missing,
        Action::Update => Reason::Drifted,
        Action::Replace => Reason::Immutable,
        Action::Restore => Reason::SoftDeleted,
        Action::Delete => Reason::NotDeclared,
    };
    Change {
        address: address(at),
        action,
        reason,
        verb: verb.into(),
        fields: Vec::new(),
        consequences: Vec::new(),
        before: None,
        after: None,
        source: None,
        mark: Ownership::default(),
        blocked: None,
        needs: Vec::new(),
        wave: 0,
    }
}

pub(super) fn create(at: &str, verb: &str, after: Value) -> Change {
    Change { after: Some(after), ..change(at, Action::Create, verb) }
}

pub(super) fn delete(at: &str, verb: &str, before: Value) -> Change {
    Change { before: Some(before), ..change(at, Action::Delete, verb) }
}

/// An update whose fields follow from the specs; paths start with `services.api`.
pub(super) fn update(at: &str, before: Value, after: Value) -> Change {
    let mut fields = diff::fields(&before, &after);
    for field in &mut fields {
        field.path = format!("services.api{}", field.pointer.replace('/', "."));
    }
    Change { fields, before: Some(before), after: Some(after), ..change(at, Action::Update, "update") }
}

impl Change {
    pub(super) fn at(mut self, location: &str) -> Self {
        self.source = Some(Source { path: "services.api".into(), location: Some(location.into()) });
        self
    }

    pub(super) fn leads_to(mut self, consequence: Consequence) -> Self {
        self.consequences.push(consequence);
        self
    }

    pub(super) fn blocked(mut self, why: &str) -> Self {
        self.blocked = Some(why.into());
        self
    }

    pub(super) fn needing(mut self, need: &str) -> Self {
        self.needs.push(address(need));
        self.wave += 1;
        self
    }

    pub(super) fn field(&mut self, pointer: &str) -> &mut FieldChange {
        self.fields.iter_mut().find(|field| field.pointer == pointer).unwrap()
    }
}
