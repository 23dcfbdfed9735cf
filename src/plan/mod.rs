//! The plan: everything that apply will do, in order, as data. Pure and synchronous: no Google, no clock, no files.

pub mod check;
pub mod diff;
pub mod file;
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
use crate::resource::{
    Address, Consequence, Facts, FieldPolicy, Layer, Life, Owner, Ownership, Place, Undeclared,
};

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
    /// What alone was planned, in the words of the command line; absent when that is everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
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
    /// Delete everything that is ours alone.
    pub destroy: bool,
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

    pub fn change(&self, address: &Address) -> Option<&Change> {
        self.changes.iter().find(|change| change.address == *address)
    }

    /// Where a change of this plan happens, and whose mark the object gets.
    pub fn place_of(&self, change: &Change) -> Place {
        Place { ownership: change.mark.clone(), ..self.place.clone() }
    }
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

fn note(address: &Address, text: &str) -> Note {
    Note { address: address.clone(), text: text.to_owned() }
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

/// Changes, notes and refusals while they are being collected.
struct Draft<'a> {
    inputs: &'a Inputs<'a>,
    options: &'a Options,
    changes: Vec<Change>,
    notes: Vec<Note>,
    refusals: Vec<Refusal>,
    /// What undeclared objects that stay refer to, and which of them does.
    in_use: BTreeMap<Address, Address>,
    /// See [`held`].
    held: BTreeMap<Address, (Address, String)>,
}

impl<'a> Draft<'a> {
    fn new(inputs: &'a Inputs<'a>, options: &'a Options) -> Self {
        let (changes, notes, refusals) = (Vec::new(), Vec::new(), Vec::new());
        Self { inputs, options, changes, notes, refusals, in_use: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// A release is planned without a view of the foundation, which therefore must not look missing.
    fn in_view(&self, registry: &Registry, address: &Address) -> bool {
        let layer = registry.kind(&address.kind).map(AnyKind::layer);
        self.options.layer != Some(Layer::Release) || layer == Some(Layer::Release)
    }

    fn existing(&self, registry: &Registry) -> impl Iterator<Item = &'a Live> {
        let there = self.inputs.live.iter().filter(|live| live.life != Life::Gone);
        there.filter(|live| self.in_view(registry, &live.address)).collect::<Vec<_>>().into_iter()
    }

    fn declared(&self, registry: &Registry) -> impl Iterator<Item = &'a Desired> {
        let all = self.inputs.desired.iter().filter(|_| !self.options.destroy);
        all.filter(|desired| self.in_view(registry, &desired.address)).collect::<Vec<_>>().into_iter()
    }

    fn desired(
        &mut self,
        kind: &dyn AnyKind,
        desired: &Desired,
        live: Option<&Live>,
    ) -> Result<(), PlanError> {
        let address = &desired.address;
        self.notes.extend(desired.notes.iter().map(|text| note(address, text)));
        if let Some((why, hint)) = &desired.refused {
            self.refuse(desired, why.clone(), hint.clone());
            return Ok(());
        }
        if let Some((_, why)) = self.held.values().find(|(held, _)| held == address) {
            self.notes.push(note(address, why));
            return Ok(());
        }
        match live {
            None => self.changes.push(creation(kind, desired, self.inputs)?),
            Some(live) => self.compare(kind, desired, live)?,
        }
        Ok(())
    }

    fn refuse(&mut self, desired: &Desired, why: String, hint: String) {
        let location = self.inputs.sources.find(&desired.source).map(ToString::to_string);
        self.refusals.push(Refusal { address: desired.address.clone(), why, hint, location });
    }

    fn compare(&mut self, kind: &dyn AnyKind, desired: &Desired, live: &Live) -> Result<(), PlanError> {
        let (inputs, options, address) = (self.inputs, self.options, &desired.address);
        let owner = kind.owner(live, inputs.facts)?;
        let standing = inputs.sharing.standing(address, &owner);
        if let Standing::Other(other) = &standing
            && !options.adopt.contains(address)
        {
            let hint = format!("choose another name, or take it over with --adopt {address}");
            self.refuse(desired, format!("it belongs to {other}"), hint);
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
        let immutable = fields.iter().any(|f| kind.field_policy(&f.pointer) == FieldPolicy::Immutable);
        if immutable && !self.may_replace(kind, desired, &owner, &fields) {
            return Ok(());
        }
        let gone = live.life == Life::SoftDeleted;
        if fields.is_empty() && !unmarked && !gone {
            return Ok(());
        }
        let action = match (gone, immutable) {
            (true, _) => Action::Restore,
            (_, true) => Action::Replace,
            _ => Action::Update,
        };
        let consequences = if action == Action::Replace {
            kind.consequences(Some(&live.spec), None)?
        } else {
            let found = kind.consequences(Some(&live.spec), Some(&after))?.into_iter();
            let found: BTreeSet<_> = found.chain(field_consequences(kind, &fields)).collect();
            found.into_iter().collect()
        };
        let mark = inputs.sharing.mark(address);
        fields.extend(protection(&owner, &mark, desired, inputs));
        self.changes.push(Change {
            action,
            reason: match standing {
                _ if gone => Reason::SoftDeleted,
                _ if immutable => Reason::Immutable,
                _ if adopted => Reason::Adopted,
                Standing::Remark if fields.iter().all(|field| field.pointer != PROTECT) => Reason::Shared,
                _ => Reason::Drifted,
            },
            verb: match action {
                Action::Restore => "restore".to_owned(),
                Action::Replace => "replace".to_owned(),
                _ if adopted => "adopt".to_owned(),
                _ => kind.verbs().update.to_owned(),
            },
            fields,
            consequences,
            before: Some(live.spec.clone()),
            after: Some(after),
            mark,
            blocked: desired.blocked.clone(),
            ..creation(kind, desired, inputs)?
        });
        Ok(())
    }

    /// Whether what has an immutable field that differs may be made anew; says why not.
    fn may_replace(
        &mut self,
        kind: &dyn AnyKind,
        desired: &Desired,
        owner: &Owner,
        fields: &[FieldChange],
    ) -> bool {
        let address = &desired.address;
        let allowed = self.options.allow_replace.contains(address);
        if allowed && is_protected(owner) {
            let hint = unprotect(&desired.source);
            self.refuse(
                desired,
                "it is protected: it is never deleted, not to be replaced either".to_owned(),
                hint,
            );
            return false;
        }
        if allowed {
            return true;
        }
        let immutable = fields.iter().filter(|f| kind.field_policy(&f.pointer) == FieldPolicy::Immutable);
        self.refusals.extend(immutable.map(|field| Refusal {
            address: address.clone(),
            why: format!(
                "{} cannot be changed once it exists: {} -> {}",
                field.path,
                diff::text(field.old.as_ref()),
                diff::text(field.new.as_ref())
            ),
            hint: format!(
                "put the old value back, declare it under another name, or lose it and make it anew with \
                 --allow-replace {address}"
            ),
            location: field.location.clone(),
        }));
        false
    }

    fn undeclared(&mut self, kind: &dyn AnyKind, live: &Live) -> Result<(), PlanError> {
        let (inputs, address) = (self.inputs, &live.address);
        let owner = kind.owner(live, inputs.facts)?;
        let standing = inputs.sharing.standing(address, &owner);
        if live.life == Life::SoftDeleted || self.held.contains_key(address) {
            return Ok(());
        }
        if self.options.destroy && standing == Standing::Foreign && !matches!(owner, Owner::Foreign) {
            // What another environment has for itself is no news.
            let alone = matches!(&owner, Owner::Marked(mark) if !mark.includes(&inputs.place.ownership));
            if let Some(others) = inputs.sharing.others(address).filter(|_| !alone) {
                self.notes.push(note(address, &format!("stays, since it is declared by {others} too")));
            }
            return Ok(());
        }
        if standing != Standing::Ours || self.goes_with_its_whole(kind, live)? {
            return Ok(());
        }
        let stays = kind.undeclared() == Undeclared::Note && !self.options.prune && !self.options.destroy;
        let used_with = kind.used_with(&address.name, &live.spec)?;
        let mut looked_up = [Some(address), used_with.as_ref()].into_iter().flatten();
        let user = looked_up.find_map(|address| self.in_use.get(address)).cloned();
        match (kind.undeclared(), user) {
            (Undeclared::Keep, _) => {}
            (Undeclared::Delete, Some(user)) => {
                let text = format!("is no longer declared and stays: {user} needs it");
                self.notes.push(note(address, &text));
            }
            (Undeclared::Note, _) if is_protected(&owner) && self.options.destroy => {
                self.refusals.push(protected(address, inputs));
            }
            (Undeclared::Note, _) if is_protected(&owner) => {
                let text = "is ours and no longer declared: it stays, since it is protected";
                self.notes.push(note(address, text));
            }
            (Undeclared::Note, _) if stays => {
                let text = "is ours and no longer declared: it stays; `--prune` deletes it";
                self.notes.push(note(address, text));
            }
            (Undeclared::Note, Some(user)) => {
                let text = format!("is ours and no longer declared: it stays, since {user} needs it");
                self.notes.push(note(address, &text));
            }
            (Undeclared::Note | Undeclared::Delete, _) => {
                self.changes.push(deletion(kind, live, inputs, self.options)?);
            }
        }
        Ok(())
    }

    /// What stays although nobody declares it keeps what it refers to.
    fn keep_in_use(&mut self, kind: &dyn AnyKind, live: &Live) -> Result<(), PlanError> {
        let owner = kind.owner(live, self.inputs.facts)?;
        let ours = self.inputs.sharing.standing(&live.address, &owner) == Standing::Ours;
        let alive = live.life != Life::SoftDeleted && !self.held.contains_key(&live.address);
        let pruned = self.options.prune && !is_protected(&owner) && !self.in_use.contains_key(&live.address);
        let stays = kind.undeclared() == Undeclared::Note && !pruned && !self.options.destroy;
        if ours && alive && stays {
            let references = kind.references(&live.address.name, &live.spec)?;
            self.in_use.extend(references.into_iter().map(|address| (address, live.address.clone())));
        }
        Ok(())
    }

    fn goes_with_its_whole(&self, kind: &dyn AnyKind, live: &Live) -> Result<bool, PlanError> {
        let whole = kind.part_of(&live.address.name, &live.spec)?;
        let deleted =
            |whole: &Address| self.changes.iter().any(|c| c.address == *whole && c.action == Action::Delete);
        Ok(whole.as_ref().is_some_and(deleted))
    }

    fn finish(mut self, registry: &Registry) -> Result<Plan, PlanError> {
        let selection = order::Selection::new(registry, self.inputs.desired, self.options)?;
        self.refusals.retain(|refusal| selection.wants(&refusal.address));
        if !self.refusals.is_empty() {
            return Err(PlanError::Refused(self.refusals));
        }
        let (changes, held_back) = order::arrange(registry, self.changes, &selection)?;
        self.notes.extend(held_back);
        let plan = Plan {
            format: FORMAT,
            place: self.inputs.place.clone(),
            target: self.inputs.target.to_owned(),
            configuration: self.inputs.configuration.to_owned(),
            changes,
            notes: self.notes,
            show_env: self.inputs.show_env.to_vec(),
            part: self.options.part(),
            destroy: self.options.destroy,
        };
        debug_assert_eq!(check::violations(&plan), Vec::<String>::new());
        Ok(plan)
    }
}

fn is_protected(owner: &Owner) -> bool {
    matches!(owner, Owner::Marked(mark) if mark.protect)
}

fn unprotect(source: &str) -> String {
    format!("write `protect: false` for {source}, apply that, and try again")
}

/// Why nothing is destroyed while this object is protected.
fn protected(address: &Address, inputs: &Inputs<'_>) -> Refusal {
    let source = inputs.desired.iter().find(|desired| desired.address == *address).map(|d| d.source.as_str());
    let hint = match source {
        Some(source) => unprotect(source),
        // The mark goes with an apply of what declares it.
        None => "declare it again with `protect: false`, apply that, and try again".to_owned(),
    };
    let location = source.and_then(|source| inputs.sources.find(source)).map(ToString::to_string);
    let why = "it is protected: nothing at all is deleted".to_owned();
    Refusal { address: address.clone(), why, hint, location }
}

/// The protection as one of the fields that change.
fn protection(
    owner: &Owner,
    mark: &Ownership,
    desired: &Desired,
    inputs: &Inputs<'_>,
) -> Option<FieldChange> {
    let before = is_protected(owner);
    let path = format!("{}.protect", desired.source);
    (before != mark.protect).then(|| FieldChange {
        pointer: PROTECT.to_owned(),
        location: inputs.sources.find(&path).map(ToString::to_string),
        path,
        old: Some(before.into()),
        new: Some(mark.protect.into()),
    })
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

fn deletion(
    kind: &dyn AnyKind,
    live: &Live,
    inputs: &Inputs<'_>,
    options: &Options,
) -> Result<Change, PlanError> {
    Ok(Change {
        address: live.address.clone(),
        action: Action::Delete,
        reason: if options.destroy { Reason::Destroyed } else { Reason::NotDeclared },
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

/// Without what no object shows, and without the records that only follow from the other fields.
fn told(kind: &dyn AnyKind, mut fields: Vec<FieldChange>) -> Vec<FieldChange> {
    fields.retain(|field| kind.field_policy(&field.pointer) != FieldPolicy::Unseen);
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
