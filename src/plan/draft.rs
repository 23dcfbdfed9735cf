//! Goes through what is declared and what exists, object by object, and collects changes, notes and refusals. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::sharing::Standing;
use super::{
    Action, Change, FORMAT, FieldChange, Inputs, Note, Options, PROTECT, Plan, PlanError, Purpose, Reason,
    Refusal, Source, diff, order,
};
use crate::resource::erased::{AnyKind, Desired, Live};
use crate::resource::registry::Registry;
use crate::resource::{Address, Consequence, FieldPolicy, Layer, Life, Owner, Ownership, Undeclared};

/// Changes, notes and refusals while they are being collected.
pub(super) struct Draft<'a> {
    inputs: &'a Inputs<'a>,
    options: &'a Options,
    changes: Vec<Change>,
    notes: Vec<Note>,
    refusals: Vec<Refusal>,
    /// What undeclared objects that stay refer to, and which of them does.
    in_use: BTreeMap<Address, Address>,
    /// Declared grants whose place a grant under somebody's condition holds, by that one's address.
    pub(super) held: BTreeMap<Address, (Address, String)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>, options: &'a Options) -> Self {
        let (changes, notes, refusals) = (Vec::new(), Vec::new(), Vec::new());
        Self { inputs, options, changes, notes, refusals, in_use: BTreeMap::new(), held: BTreeMap::new() }
    }

    /// A release is planned without a view of the foundation, which therefore must not look missing.
    fn in_view(&self, registry: &Registry, address: &Address) -> bool {
        let layer = registry.kind(&address.kind).map(AnyKind::layer);
        self.options.layer != Some(Layer::Release) || layer == Some(Layer::Release)
    }

    pub(super) fn existing(&self, registry: &Registry) -> impl Iterator<Item = &'a Live> {
        let there = self.inputs.live.iter().filter(|live| live.life != Life::Gone);
        there.filter(|live| self.in_view(registry, &live.address)).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn declared(&self, registry: &Registry) -> impl Iterator<Item = &'a Desired> {
        let all = self.inputs.desired.iter().filter(|_| self.options.purpose != Purpose::Destroy);
        all.filter(|desired| self.in_view(registry, &desired.address)).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn desired(
        &mut self,
        kind: &dyn AnyKind,
        desired: &Desired,
        live: Option<&Live>,
    ) -> Result<(), PlanError> {
        let address = &desired.address;
        self.notes.extend(desired.notes.iter().map(|text| note(address, text)));
        let shown = live.is_none() && self.options.purpose == Purpose::Drift;
        match &desired.refused {
            Some((why, hint)) if shown => self.notes.push(note(address, &format!("{why}: {hint}"))),
            Some((why, hint)) => {
                self.refuse(desired, why.clone(), hint.clone());
                return Ok(());
            }
            None => {}
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
        if self.options.purpose == Purpose::Drift {
            return true;
        }
        let allowed = self.options.allow_replace.contains(address);
        if allowed && self.protects(address, owner) {
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

    pub(super) fn undeclared(&mut self, kind: &dyn AnyKind, live: &Live) -> Result<(), PlanError> {
        let (inputs, address) = (self.inputs, &live.address);
        let owner = kind.owner(live, inputs.facts)?;
        let standing = inputs.sharing.standing(address, &owner);
        if live.life == Life::SoftDeleted || self.held.contains_key(address) {
            return Ok(());
        }
        if self.options.purpose == Purpose::Destroy
            && standing == Standing::Foreign
            && !matches!(owner, Owner::Foreign)
        {
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
        let stays = kind.undeclared() == Undeclared::Note
            && !self.options.prune
            && self.options.purpose != Purpose::Destroy;
        let used_with = kind.used_with(&address.name, &live.spec)?;
        let mut looked_up = [Some(address), used_with.as_ref()].into_iter().flatten();
        let user = looked_up.find_map(|address| self.in_use.get(address)).cloned();
        match (kind.undeclared(), user) {
            (Undeclared::Keep, _) => {}
            (Undeclared::Delete, Some(user)) => {
                let text = format!("is no longer declared and stays: {user} needs it");
                self.notes.push(note(address, &text));
            }
            (Undeclared::Note, _)
                if self.protects(address, &owner) && self.options.purpose == Purpose::Destroy =>
            {
                self.refusals.push(protected(address, inputs));
            }
            (Undeclared::Note, _) if self.protects(address, &owner) => {
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
    pub(super) fn keep_in_use(&mut self, kind: &dyn AnyKind, live: &Live) -> Result<(), PlanError> {
        let owner = kind.owner(live, self.inputs.facts)?;
        let ours = self.inputs.sharing.standing(&live.address, &owner) == Standing::Ours;
        let alive = live.life != Life::SoftDeleted && !self.held.contains_key(&live.address);
        let pruned = self.options.prune
            && !self.protects(&live.address, &owner)
            && !self.in_use.contains_key(&live.address);
        let stays =
            kind.undeclared() == Undeclared::Note && !pruned && self.options.purpose != Purpose::Destroy;
        if ours && alive && stays {
            let references = kind.references(&live.address.name, &live.spec)?;
            self.in_use.extend(references.into_iter().map(|address| (address, live.address.clone())));
        }
        Ok(())
    }

    /// The object says so, or the YAML that is not applied yet.
    fn protects(&self, address: &Address, owner: &Owner) -> bool {
        is_protected(owner) || self.inputs.sharing.protects(address)
    }

    fn goes_with_its_whole(&self, kind: &dyn AnyKind, live: &Live) -> Result<bool, PlanError> {
        let whole = kind.part_of(&live.address.name, &live.spec)?;
        let deleted =
            |whole: &Address| self.changes.iter().any(|c| c.address == *whole && c.action == Action::Delete);
        Ok(whole.as_ref().is_some_and(deleted))
    }

    pub(super) fn finish(mut self, registry: &Registry) -> Result<Plan, PlanError> {
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
            destroy: self.options.purpose == Purpose::Destroy,
        };
        debug_assert_eq!(super::check::violations(&plan), Vec::<String>::new());
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
        reason: if options.purpose == Purpose::Destroy { Reason::Destroyed } else { Reason::NotDeclared },
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

fn note(address: &Address, text: &str) -> Note {
    Note { address: address.clone(), text: text.to_owned() }
}
