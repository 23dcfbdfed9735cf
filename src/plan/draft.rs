//! Goes through what is declared and what exists, object by object, and collects changes, notes and refusals. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::sharing::Standing;
use super::{
    Action, Change, FORMAT, FieldChange, Inputs, Note, Options, PROTECT, Plan, PlanError, Purpose, Reason,
    Refusal, Source, diff, order, release,
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
    in_use: BTreeMap<Address, Vec<Address>>,
    /// Undeclared objects that stay.
    staying: BTreeSet<Address>,
    /// Declared grants whose place a grant under somebody's condition holds, by that one's address.
    pub(super) held: BTreeMap<Address, (Address, String)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(inputs: &'a Inputs<'a>, options: &'a Options) -> Self {
        Self {
            inputs,
            options,
            changes: Vec::new(),
            notes: Vec::new(),
            refusals: Vec::new(),
            in_use: BTreeMap::new(),
            staying: BTreeSet::new(),
            held: BTreeMap::new(),
        }
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
        let shown = live.is_none() && matches!(self.options.purpose, Purpose::Drift | Purpose::Preview);
        match &desired.refused {
            Some((why, hint)) if shown => self.notes.push(note(address, &format!("{why}: {hint}"))),
            Some((why, hint)) => {
                self.refuse(desired, why.clone(), hint.clone());
                return Ok(());
            }
            None => {}
        }
        if let Some((place, (_, why))) = self.held.iter().find(|(_, (held, _))| held == address) {
            self.notes.push(note(address, why));
            let there = self.inputs.live.iter().find(|live| live.address == *place);
            // Left alone, but not what is declared.
            return match there.filter(|_| self.options.purpose == Purpose::Drift) {
                Some(live) => self.compare(kind, desired, live),
                None => Ok(()),
            };
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
        let consequences = match action {
            Action::Replace => kind.consequences(Some(&live.spec), None)?,
            Action::Restore => brought_back(&kind.consequences(Some(&live.spec), None)?),
            _ => {
                let found = kind.consequences(Some(&live.spec), Some(&after))?.into_iter();
                let found: BTreeSet<_> = found.chain(field_consequences(kind, &fields)).collect();
                found.into_iter().collect()
            }
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
        if standing != Standing::Ours {
            return Ok(());
        }
        let whole = kind.part_of(&address.name, &live.spec)?;
        // It went with its whole already, whatever it says of itself.
        if whole.is_some_and(|whole| {
            inputs.live.iter().any(|l| l.address == whole && l.life == Life::SoftDeleted)
        }) {
            return Ok(());
        }
        if let Some(whole) = self.whole_that_goes(kind, live)? {
            if kind.undeclared() == Undeclared::Note {
                self.notes.push(note(address, &format!("goes with {whole}")));
            }
            return Ok(());
        }
        let stays = kind.undeclared() == Undeclared::Note
            && !self.options.prune
            && self.options.purpose != Purpose::Destroy;
        match (kind.undeclared(), self.user_of(kind, live)?) {
            (Undeclared::Keep, _) => {}
            (Undeclared::Note, _) if self.options.purpose == Purpose::Drift => {
                self.changes.push(deletion(kind, live, inputs, self.options)?);
            }
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
            for used in references {
                self.in_use.entry(used).or_default().push(live.address.clone());
            }
            self.staying.insert(live.address.clone());
        }
        Ok(())
    }

    /// The object says so, or the YAML that is not applied yet.
    fn protects(&self, address: &Address, owner: &Owner) -> bool {
        is_protected(owner) || self.inputs.sharing.protects(address)
    }

    /// An undeclared object that stays and needs `live`.
    fn user_of(&self, kind: &dyn AnyKind, live: &Live) -> Result<Option<Address>, PlanError> {
        let users = |address: &Address| self.in_use.get(address).into_iter().flatten().rev();
        if let Some(user) = users(&live.address).next() {
            return Ok(Some(user.clone()));
        }
        if let Some(with) = kind.used_with(&live.address.name, &live.spec)?
            && let Some(user) = users(&with.object).find(|user| with.is_used_by(user))
        {
            return Ok(Some(user.clone()));
        }
        let whole = kind.part_of(&live.address.name, &live.spec)?;
        Ok(whole.filter(|whole| kind.stays_with_whole() && self.staying.contains(whole)))
    }

    /// What the object is a part of, if that is deleted.
    fn whole_that_goes(&self, kind: &dyn AnyKind, live: &Live) -> Result<Option<Address>, PlanError> {
        let whole = kind.part_of(&live.address.name, &live.spec)?;
        let deleted =
            |whole: &Address| self.changes.iter().any(|c| c.address == *whole && c.action == Action::Delete);
        Ok(whole.filter(deleted))
    }

    pub(super) fn finish(mut self, registry: &Registry) -> Result<Plan, PlanError> {
        let selection = order::Selection::new(registry, self.inputs.desired, self.options)?;
        self.refusals.retain(|refusal| selection.wants(&refusal.address));
        if !self.refusals.is_empty() {
            return Err(PlanError::Refused(self.refusals));
        }
        let (changes, held_back) = order::arrange(registry, self.changes, &selection)?;
        self.notes.extend(held_back);
        let releases = release::of_changes(self.inputs.releases, &changes, self.inputs.desired);
        self.notes.extend(release::failed_before(&releases, self.inputs.facts));
        let plan = Plan {
            format: FORMAT,
            place: self.inputs.place.clone(),
            target: self.inputs.target.to_owned(),
            configuration: self.inputs.configuration.to_owned(),
            changes,
            releases,
            notes: self.notes,
            show_env: self.inputs.show_env.to_vec(),
            part: self.options.part(),
            flags: Vec::new(),
            destroy: self.options.purpose == Purpose::Destroy,
        };
        debug_assert_eq!(super::check::violations(&plan), Vec::<String>::new());
        Ok(plan)
    }
}

fn is_protected(owner: &Owner) -> bool {
    matches!(owner, Owner::Marked(mark) if mark.protect)
}

/// The key of the YAML that protects what `source` asks for.
fn protecting_key(source: &str) -> String {
    // The secrets of tenants are a list of names: one key beside it protects them all.
    format!("{}.protect", if source == "tenants.secrets" { "tenants" } else { source })
}

fn unprotect(source: &str) -> String {
    format!("write `{}: false`, apply that, and try again", protecting_key(source))
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
    let path = protecting_key(&desired.source);
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

/// What comes back with an object: what its deletion took away, tokens that are still valid among it.
fn brought_back(taken: &[Consequence]) -> Vec<Consequence> {
    let narrowed = taken.contains(&Consequence::AccessNarrowed);
    if narrowed { vec![Consequence::AccessWidened] } else { Vec::new() }
}

fn field_consequences(kind: &dyn AnyKind, fields: &[FieldChange]) -> Vec<Consequence> {
    let policies: Vec<_> = fields.iter().map(|field| kind.field_policy(&field.pointer)).collect();
    if policies.contains(&FieldPolicy::Revision) {
        vec![Consequence::NewRevision]
    } else if policies.contains(&FieldPolicy::Traffic) {
        vec![Consequence::TrafficMoves]
    } else if kind.restarts() {
        vec![Consequence::NoRestart]
    } else {
        Vec::new()
    }
}

/// `/env/LOG_LEVEL` as `.env.LOG_LEVEL`.
fn yaml_path(pointer: &str) -> String {
    pointer.replace('/', ".").replace("~1", "/").replace("~0", "~")
}

fn note(address: &Address, text: &str) -> Note {
    Note { address: address.clone(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_protects_is_the_one_of_the_yaml() {
        assert_eq!(protecting_key("secrets.database-url"), "secrets.database-url.protect");
        assert_eq!(protecting_key("tenants.secrets"), "tenants.protect");
        assert!(unprotect("tenants.secrets").contains("`tenants.protect: false`"));
    }

    #[test]
    fn what_comes_back_widens_access_where_its_deletion_narrowed_it() {
        assert_eq!(brought_back(&[Consequence::AccessNarrowed]), [Consequence::AccessWidened]);
        assert_eq!(brought_back(&[Consequence::Irreversible]), []);
    }
}
