//! The plan: everything that apply will do, in order, as data. Pure and synchronous: no Google, no clock, no files.

pub mod check;
pub mod diff;
pub mod order;
pub mod sharing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::model::Sources;
use crate::resource::erased::{AnyKind, Desired, Live, SpecError};
use crate::resource::registry::Registry;
use crate::resource::{Address, Consequence, Facts, FieldPolicy, Owner, Ownership, Place, Undeclared};

use sharing::{Sharing, Standing};

/// Version of the plan's JSON form; it grows when a field changes its meaning.
pub const FORMAT: u32 = 1;

/// What will be done to bring Google in line with the YAML.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    #[serde(flatten)]
    pub place: Place,
    /// Where this goes, in words: `sandbox`, `google`, or an endpoint.
    pub target: String,
    /// Hex SHA-256 of the configuration that it was made from.
    pub configuration: String,
    /// In the order of carrying out; `Change::wave` says what runs side by side.
    pub changes: Vec<Change>,
    /// What was not done, and why.
    pub notes: Vec<Note>,
    /// Names of plain environment variables that machine-readable output may show.
    pub show_env: Vec<String>,
}

/// One thing that will be done to one object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    pub address: Address,
    pub action: Action,
    pub reason: Reason,
    /// The kind's word for the action: `create`, `enable`, `grant`, `revoke`.
    pub verb: String,
    /// What differs; empty for creates and deletes.
    pub fields: Vec<FieldChange>,
    pub consequences: Vec<Consequence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// The YAML path and place that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The mark that the object gets, or has.
    pub mark: Ownership,
    /// Why it has to wait for a person; apply skips it and what needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Changes that must have been applied first.
    pub needs: Vec<Address>,
    /// Position in the order, from 0; changes of one wave do not need each other.
    pub wave: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create,
    Update,
    Delete,
}

/// Why a change is in the plan. Printed, never branched on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Declared, and does not exist.
    Missing,
    /// Exists, and differs from what is declared.
    Drifted,
    /// Exists without an owner, and becomes ours.
    Adopted,
    /// Ours, and the environments that share it are not the ones that its mark says.
    Shared,
    /// Ours, and not declared any more.
    NotDeclared,
}

/// One field that changes, in the words of the YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// JSON pointer into the spec.
    pub pointer: String,
    /// The same as a path in the YAML, e.g. `services.api.memory`.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// The part of the YAML that asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub path: String,
    /// `file:line:column`; absent for what follows from a default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// Something worth knowing that is not a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub address: Address,
    pub text: String,
}

/// What the user said about this plan.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Delete what is ours and no longer declared.
    pub prune: bool,
    /// Plan only these and what they need; empty means everything.
    pub target: Vec<Address>,
    /// Leave these out, and what needs them.
    pub exclude: Vec<Address>,
    /// Take these over although they belong to another system.
    pub adopt: Vec<Address>,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub place: &'a Place,
    pub target: &'a str,
    pub configuration: &'a str,
    pub sources: &'a Sources,
    pub show_env: &'a [String],
    pub facts: &'a Facts,
    pub sharing: &'a Sharing,
    pub desired: &'a [Desired],
    pub live: &'a [Live],
}

/// Why no plan can be made. All refusals are collected.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("this cannot be planned")]
    Refused(Vec<Refusal>),
    #[error("no such address: {}", .0.join(", "))]
    UnknownAddress(Vec<String>, Vec<String>),
    #[error("these need each other, so none can be first: {}", .0.join(", "))]
    Circle(Vec<String>),
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// One thing that deployer does not do, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub address: Address,
    pub why: String,
    pub hint: String,
    /// `file:line:column` of what asked for it.
    pub location: Option<String>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn blocked(&self) -> impl Iterator<Item = (&Change, &str)> {
        self.changes.iter().filter_map(|change| change.blocked.as_deref().map(|why| (change, why)))
    }

    pub fn change(&self, address: &Address) -> Option<&Change> {
        self.changes.iter().find(|change| change.address == *address)
    }
}

/// Compares what is declared with what exists.
pub fn plan(registry: &Registry, inputs: &Inputs<'_>, options: &Options) -> Result<Plan, PlanError> {
    known_addresses(inputs, options)?;
    let existing = || inputs.live.iter().filter(|live| live.owner != Owner::Gone);
    let live: BTreeMap<_, _> = existing().map(|live| (&live.address, live)).collect();
    let declared: BTreeSet<_> = inputs.desired.iter().map(|desired| &desired.address).collect();
    let mut draft = Draft::default();
    for desired in inputs.desired {
        let Some(kind) = registry.kind(&desired.address.kind) else { continue };
        draft.notes.extend(desired.notes.iter().map(|text| note(&desired.address, text)));
        match live.get(&desired.address) {
            None => draft.changes.push(creation(kind, desired, inputs)?),
            Some(live) => draft.compare(kind, desired, live, inputs, options)?,
        }
    }
    // Google lists in orders of its own.
    let mut undeclared: Vec<_> = existing().filter(|live| !declared.contains(&live.address)).collect();
    // What stays comes first: it decides which grants are still in use.
    let revoked =
        |live: &Live| registry.kind(&live.address.kind).map(AnyKind::undeclared) == Some(Undeclared::Delete);
    undeclared.sort_by_key(|live| (revoked(live), registry.rank(&live.address.kind), &live.address));
    for live in undeclared {
        let Some(kind) = registry.kind(&live.address.kind) else { continue };
        draft.undeclared(kind, live, inputs, options)?;
    }
    if !draft.refusals.is_empty() {
        return Err(PlanError::Refused(draft.refusals));
    }
    let changes = order::arrange(registry, draft.changes, inputs.desired, options)?;
    let plan = Plan {
        format: FORMAT,
        place: inputs.place.clone(),
        target: inputs.target.to_owned(),
        configuration: inputs.configuration.to_owned(),
        changes,
        notes: draft.notes,
        show_env: inputs.show_env.to_vec(),
    };
    debug_assert_eq!(check::violations(&plan), Vec::<String>::new());
    Ok(plan)
}

fn note(address: &Address, text: &str) -> Note {
    Note { address: address.clone(), text: text.to_owned() }
}

/// Every address that the user named must exist somewhere: a typo must not read as "nothing to do".
fn known_addresses(inputs: &Inputs<'_>, options: &Options) -> Result<(), PlanError> {
    let known: BTreeSet<_> =
        inputs.desired.iter().map(|d| &d.address).chain(inputs.live.iter().map(|l| &l.address)).collect();
    let named = options.target.iter().chain(&options.exclude).chain(&options.adopt);
    let unknown: Vec<_> = named.filter(|address| !known.contains(address)).map(ToString::to_string).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known = inputs.desired.iter().map(|d| d.address.to_string()).collect();
    Err(PlanError::UnknownAddress(unknown, known))
}

/// Changes, notes and refusals while they are being collected.
#[derive(Default)]
struct Draft {
    changes: Vec<Change>,
    notes: Vec<Note>,
    refusals: Vec<Refusal>,
    /// What undeclared objects that stay refer to, and which of them does.
    in_use: BTreeMap<Address, Address>,
}

impl Draft {
    fn compare(
        &mut self,
        kind: &dyn AnyKind,
        desired: &Desired,
        live: &Live,
        inputs: &Inputs<'_>,
        options: &Options,
    ) -> Result<(), PlanError> {
        let standing = inputs.sharing.standing(&desired.address, &kind.owner(live, inputs.facts)?);
        let location = inputs.sources.find(&desired.source).map(ToString::to_string);
        let address = &desired.address;
        if let Standing::Other(other) = &standing
            && !options.adopt.contains(address)
        {
            self.refusals.push(Refusal {
                address: address.clone(),
                why: format!("it belongs to {other}"),
                hint: format!("choose another name, or take it over with --adopt {address}"),
                location,
            });
            return Ok(());
        }
        let adopted = matches!(standing, Standing::Nobody | Standing::Other(_));
        let unmarked = adopted || standing == Standing::Remark;
        let after = keep_create_only(kind, &live.spec, &desired.spec);
        let mut fields = told(kind, diff::fields(&live.spec, &after));
        for field in &mut fields {
            field.path = format!("{}{}", desired.source, yaml_path(&field.pointer));
            field.location = inputs.sources.find(&field.path).map(ToString::to_string);
        }
        let immutable = fields.iter().filter(|f| kind.field_policy(&f.pointer) == FieldPolicy::Immutable);
        let refused = immutable.map(|field| Refusal {
            address: address.clone(),
            why: format!(
                "{} cannot be changed once it exists: {} -> {}",
                field.path,
                diff::text(field.old.as_ref()),
                diff::text(field.new.as_ref())
            ),
            hint: "put the old value back, or declare it under another name".to_owned(),
            location: field.location.clone(),
        });
        let before = self.refusals.len();
        self.refusals.extend(refused);
        if self.refusals.len() > before || (fields.is_empty() && !unmarked) {
            return Ok(());
        }
        let mut consequences = kind.consequences(Some(&live.spec), Some(&after))?;
        consequences.extend(field_consequences(kind, &fields));
        consequences.sort_unstable();
        consequences.dedup();
        self.changes.push(Change {
            address: address.clone(),
            action: Action::Update,
            reason: match standing {
                _ if adopted => Reason::Adopted,
                Standing::Remark => Reason::Shared,
                _ => Reason::Drifted,
            },
            verb: if adopted { "adopt".to_owned() } else { kind.verbs().update.to_owned() },
            fields,
            consequences,
            before: Some(live.spec.clone()),
            after: Some(after),
            source: Some(Source { path: desired.source.clone(), location }),
            mark: inputs.sharing.mark(address),
            blocked: desired.blocked.clone(),
            needs: Vec::new(),
            wave: 0,
        });
        Ok(())
    }

    fn undeclared(
        &mut self,
        kind: &dyn AnyKind,
        live: &Live,
        inputs: &Inputs<'_>,
        options: &Options,
    ) -> Result<(), PlanError> {
        let owner = kind.owner(live, inputs.facts)?;
        if inputs.sharing.standing(&live.address, &owner) != Standing::Ours {
            return Ok(());
        }
        match (kind.undeclared(), self.in_use.get(&live.address)) {
            (Undeclared::Keep, _) => {}
            (Undeclared::Note, _) if !options.prune => {
                let text = "is ours and no longer declared: it stays; `--prune` deletes it";
                self.notes.push(note(&live.address, text));
                let references = kind.references(&live.address.name, &live.spec)?;
                self.in_use.extend(references.into_iter().map(|address| (address, live.address.clone())));
            }
            (Undeclared::Delete, Some(user)) => {
                self.notes
                    .push(note(&live.address, &format!("is no longer declared and stays: {user} needs it")));
            }
            (Undeclared::Note, _)
                if kind.precious() && inputs.place.ownership.environment == "production" =>
            {
                let text = "is ours and no longer declared: it stays, since nothing of its kind is deleted in production";
                self.notes.push(note(&live.address, text));
            }
            (Undeclared::Note | Undeclared::Delete, _) => self.changes.push(deletion(kind, live, inputs)?),
        }
        Ok(())
    }
}

fn creation(kind: &dyn AnyKind, desired: &Desired, inputs: &Inputs<'_>) -> Result<Change, PlanError> {
    let location = inputs.sources.find(&desired.source).map(ToString::to_string);
    Ok(Change {
        address: desired.address.clone(),
        action: Action::Create,
        reason: Reason::Missing,
        verb: kind.verbs().create.to_owned(),
        fields: Vec::new(),
        consequences: kind.consequences(None, Some(&desired.spec))?,
        before: None,
        after: Some(desired.spec.clone()),
        source: Some(Source { path: desired.source.clone(), location }),
        mark: inputs.sharing.mark(&desired.address),
        blocked: desired.blocked.clone(),
        needs: Vec::new(),
        wave: 0,
    })
}

fn deletion(kind: &dyn AnyKind, live: &Live, inputs: &Inputs<'_>) -> Result<Change, PlanError> {
    Ok(Change {
        address: live.address.clone(),
        action: Action::Delete,
        reason: Reason::NotDeclared,
        verb: kind.verbs().delete.to_owned(),
        fields: Vec::new(),
        consequences: kind.consequences(Some(&live.spec), None)?,
        before: Some(live.spec.clone()),
        after: None,
        source: None,
        mark: inputs.sharing.mark(&live.address),
        blocked: None,
        needs: Vec::new(),
        wave: 0,
    })
}

/// Without the records that only follow from the other fields.
fn told(kind: &dyn AnyKind, fields: Vec<FieldChange>) -> Vec<FieldChange> {
    let record = |field: &FieldChange| kind.field_policy(&field.pointer) == FieldPolicy::Record;
    if fields.iter().all(record) {
        fields
    } else {
        fields.into_iter().filter(|field| !record(field)).collect()
    }
}

/// Fields that matter only when the object is made keep what the object has.
fn keep_create_only(kind: &dyn AnyKind, live: &Value, desired: &Value) -> Value {
    let (Value::Object(live), Value::Object(desired)) = (live, desired) else { return desired.clone() };
    let mut after = desired.clone();
    for key in live.keys().chain(desired.keys()) {
        if kind.field_policy(&format!("/{key}")) == FieldPolicy::CreateOnly {
            match live.get(key) {
                Some(value) => after.insert(key.clone(), value.clone()),
                None => after.remove(key),
            };
        }
    }
    Value::Object(after)
}

fn field_consequences(kind: &dyn AnyKind, fields: &[FieldChange]) -> Vec<Consequence> {
    let policies: Vec<_> = fields.iter().map(|field| kind.field_policy(&field.pointer)).collect();
    if policies.contains(&FieldPolicy::Revision) {
        vec![Consequence::NewRevision]
    } else if policies.contains(&FieldPolicy::Traffic) {
        vec![Consequence::TrafficMoves]
    } else {
        vec![Consequence::NoRestart]
    }
}

/// `/env/LOG_LEVEL` as `.env.LOG_LEVEL`.
fn yaml_path(pointer: &str) -> String {
    pointer.replace('/', ".").replace("~1", "/").replace("~0", "~")
}
