//! The plan: everything that apply will do, in order, as data. Pure and synchronous: no Google, no clock, no files.

pub mod check;
pub mod diff;
mod draft;
pub mod file;
pub mod order;
mod release;
pub mod sharing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::model::Sources;
use crate::resource::erased::{AnyKind, Desired, Live, SpecError};
use crate::resource::registry::Registry;
use crate::resource::{Address, Consequence, Facts, FieldPolicy, Layer, Life, Ownership, Place, Undeclared};

use draft::Draft;
pub use release::{Health, Migration, Release, Smoke};
use sharing::Sharing;

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
    /// Hex SHA-256 of the configuration that it was made from: all environments that share something with this one.
    pub configuration: String,
    /// In the order of carrying out; `Change::wave` says what runs side by side.
    pub changes: Vec<Change>,
    /// How the services among the changes are released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// What was not done, and why.
    pub notes: Vec<Note>,
    /// Names of plain environment variables that machine-readable output may show.
    pub show_env: Vec<String>,
    /// What alone was planned, in the words of the command line; absent when that is everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The flags that shaped it, word by word, so that its command can be told again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The whole environment is to go: which words tell of the changes, never what they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroy: bool,
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
    /// Deleted and created anew, since Google changes no field of it that has to change.
    Replace,
    /// Brought back from a deletion, then brought in line.
    Restore,
    Delete,
}

impl Action {
    /// Something exists afterwards that others may need.
    pub fn leaves_something(self) -> bool {
        self != Self::Delete
    }
}

/// Why a change is in the plan. Printed, never branched on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Declared, and does not exist.
    Missing,
    /// Exists, and differs from what is declared.
    Drifted,
    /// Exists, and can be what is declared only when it is made anew.
    Immutable,
    /// Declared, and was deleted a while ago.
    SoftDeleted,
    /// Exists without an owner, and becomes ours.
    Adopted,
    /// Ours, and the environments that share it are not the ones that its mark says.
    Shared,
    /// Ours, and not declared any more.
    NotDeclared,
    /// Ours, and the whole environment is to go.
    Destroyed,
}

/// One field that changes, in the words of the YAML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// JSON pointer into the spec; [`PROTECT`] is about the mark instead.
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

/// Stands for the protection in [`FieldChange::pointer`], which is part of an object's mark and of no spec.
pub const PROTECT: &str = "";

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
    /// Delete and create these anew where nothing less will do.
    pub allow_replace: Vec<Address>,
    /// Only what belongs to this layer.
    pub layer: Option<Layer>,
    pub purpose: Purpose,
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To bring what exists in line.
    #[default]
    Apply,
    /// To delete everything that is ours alone.
    Destroy,
    /// To see what differs; nothing of it will be carried out, and so what `apply` would refuse is shown, too.
    Drift,
    /// To see what `apply` would do once it is told all that it needs, such as the image of a first release.
    Preview,
}

impl Options {
    /// The part of the system that is planned, in the words of the command line.
    fn part(&self) -> Option<String> {
        let layer = self.layer.map(|layer| format!("--layer {layer}"));
        let target = self.target.iter().map(|address| format!("--target {address}"));
        let exclude = self.exclude.iter().map(|address| format!("--exclude {address}"));
        let words: Vec<_> = layer.into_iter().chain(target).chain(exclude).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
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
    /// How services are to be released.
    pub releases: &'a [Release],
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
    #[error("these need each other, so none can be first: {}", .0.join(" -> "))]
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

    /// How the service at `address` is released.
    pub fn release(&self, address: &Address) -> Option<&Release> {
        self.releases.iter().find(|release| release.service == *address)
    }

    pub fn change(&self, address: &Address) -> Option<&Change> {
        self.changes.iter().find(|change| change.address == *address)
    }

    /// The command that runs `verb` with the flags that shaped this plan, ready for a shell.
    pub fn command(&self, verb: &str) -> String {
        let words = [verb, &self.place.ownership.environment].into_iter();
        let words = words.chain(self.flags.iter().map(String::as_str)).map(shell_word);
        words.fold("deployer".to_owned(), |command, word| format!("{command} {word}"))
    }

    /// Where a change of this plan happens, and whose mark the object gets.
    pub fn place_of(&self, change: &Change) -> Place {
        Place { ownership: change.mark.clone(), ..self.place.clone() }
    }
}

/// A word as a shell takes it, in quotes where it needs them.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Change {
    /// JSON pointers of the fields of the spec that change.
    pub fn pointers(&self) -> Vec<String> {
        let fields = self.fields.iter().map(|field| field.pointer.clone());
        fields.filter(|pointer| pointer != PROTECT).collect()
    }
}

/// Compares what is declared with what exists.
pub fn plan(registry: &Registry, inputs: &Inputs<'_>, options: &Options) -> Result<Plan, PlanError> {
    known_addresses(inputs, options)?;
    let mut draft = Draft::new(inputs, options);
    let live: BTreeMap<_, _> = draft.existing(registry).map(|live| (&live.address, live)).collect();
    let declared: BTreeMap<_, _> = draft.declared(registry).map(|d| (&d.address, d)).collect();
    draft.held = held(registry, inputs, &declared, &live)?;
    for desired in inputs.desired.iter().filter(|desired| declared.contains_key(&desired.address)) {
        let Some(kind) = registry.kind(&desired.address.kind) else { continue };
        draft.desired(kind, desired, live.get(&desired.address).copied())?;
    }
    // Google lists in orders of its own.
    let mut undeclared: Vec<_> = live.values().filter(|live| !declared.contains_key(&live.address)).collect();
    // Wholes come before their parts.
    let order = |live: &Live| {
        let kind = registry.kind(&live.address.kind);
        let part = kind.map_or(Ok(None), |kind| kind.part_of(&live.address.name, &live.spec));
        let revoked = kind.map(AnyKind::undeclared) == Some(Undeclared::Delete);
        (revoked, part.is_ok_and(|whole| whole.is_some()), registry.rank(&live.address.kind))
    };
    undeclared.sort_by_key(|live| (order(live), &live.address));
    // What stays decides what else is still in use. Users come later in the registry than what they use.
    let mut users = undeclared.clone();
    users.sort_by_key(|live| std::cmp::Reverse(registry.rank(&live.address.kind)));
    for live in users {
        let Some(kind) = registry.kind(&live.address.kind) else { continue };
        draft.keep_in_use(kind, live)?;
    }
    for live in undeclared {
        let Some(kind) = registry.kind(&live.address.kind) else { continue };
        draft.undeclared(kind, live)?;
    }
    draft.finish(registry)
}

/// What will be left to see of `live` once everything that is to be made anew has been deleted: its parts go with it, so
/// that they are missing, and facts must not tell of them.
pub fn without_parts_of_replaced(
    registry: &Registry,
    desired: &[Desired],
    live: Vec<Live>,
    options: &Options,
) -> Result<Vec<Live>, SpecError> {
    let mut replaced = BTreeSet::new();
    for desired in desired.iter().filter(|desired| options.allow_replace.contains(&desired.address)) {
        let Some(kind) = registry.kind(&desired.address.kind) else { continue };
        let before = live.iter().find(|live| live.address == desired.address && live.life == Life::Present);
        let immutable = |field: &FieldChange| kind.field_policy(&field.pointer) == FieldPolicy::Immutable;
        if before.is_some_and(|before| diff::fields(&before.spec, &desired.spec).iter().any(immutable)) {
            replaced.insert(&desired.address);
        }
    }
    let mut kept = Vec::new();
    for object in live {
        let kind = registry.kind(&object.address.kind);
        let whole = kind.map_or(Ok(None), |kind| kind.part_of(&object.address.name, &object.spec))?;
        if !whole.is_some_and(|whole| replaced.contains(&whole)) {
            kept.push(object);
        }
    }
    Ok(kept)
}

/// Declared grants whose place a grant under somebody's condition holds, by that one's address.
fn held(
    registry: &Registry,
    inputs: &Inputs<'_>,
    declared: &BTreeMap<&Address, &Desired>,
    live: &BTreeMap<&Address, &Live>,
) -> Result<BTreeMap<Address, (Address, String)>, PlanError> {
    let mut found = BTreeMap::new();
    for object in live.values() {
        let Some(kind) = registry.kind(&object.address.kind) else { continue };
        if let Some((address, why)) = kind.stands_for(object, inputs.facts)?
            && declared.contains_key(&address)
            && !live.contains_key(&address)
        {
            found.insert(object.address.clone(), (address, why));
        }
    }
    Ok(found)
}

/// Every address that the user named must exist somewhere: a typo must not read as "nothing to do".
fn known_addresses(inputs: &Inputs<'_>, options: &Options) -> Result<(), PlanError> {
    let known: BTreeSet<_> =
        inputs.desired.iter().map(|d| &d.address).chain(inputs.live.iter().map(|l| &l.address)).collect();
    let named = options.target.iter().chain(&options.exclude).chain(&options.adopt);
    let named = named.chain(&options.allow_replace);
    let unknown: Vec<_> = named.filter(|address| !known.contains(address)).map(ToString::to_string).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known = inputs.desired.iter().map(|d| d.address.to_string()).collect();
    Err(PlanError::UnknownAddress(unknown, known))
}
