//! The order of a plan: who needs whom, which waves follow, and what `--target` and `--exclude` leave of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Change, Note, Options, PlanError};
use crate::resource::erased::{AnyKind, Desired, SpecError};
use crate::resource::registry::Registry;
use crate::resource::{Address, Undeclared};

/// What the user wants of a plan.
pub struct Selection<'a> {
    registry: &'a Registry,
    options: &'a Options,
    /// What every declared resource refers to.
    references: BTreeMap<Address, Vec<Address>>,
}

impl<'a> Selection<'a> {
    pub fn new(registry: &'a Registry, desired: &[Desired], options: &'a Options) -> Result<Self, SpecError> {
        Ok(Self { registry, options, references: references(registry, desired)? })
    }

    /// Whether it is part of what was asked for, as far as the declarations tell.
    pub fn wants(&self, address: &Address) -> bool {
        let Options { target, exclude, .. } = self.options;
        let targeted =
            target.is_empty() || target.iter().any(|from| reaches(&self.references, from, address));
        let excluded = exclude.iter().any(|excluded| reaches(&self.references, address, excluded));
        self.in_layer(address) && targeted && !excluded
    }

    fn in_layer(&self, address: &Address) -> bool {
        let layer = self.registry.kind(&address.kind).map(AnyKind::layer);
        self.options.layer.is_none_or(|wanted| layer == Some(wanted))
    }
}

/// Fills `needs` and `wave` of every change, drops what the user left out, and sorts by wave, kind and name. Answers
/// with it what is held back until the rest has been applied.
pub fn arrange(
    registry: &Registry,
    changes: Vec<Change>,
    selection: &Selection<'_>,
) -> Result<(Vec<Change>, Vec<Note>), PlanError> {
    let changes = with_needs(registry, changes)?;
    let (changes, notes) = of_the_layer(changes, selection);
    let changes = selected(changes, selection);
    let mut changes = with_waves(registry, changes)?;
    changes.sort_by(|a, b| {
        let key = |c: &Change| (c.wave, registry.rank(&c.address.kind));
        key(a).cmp(&key(b)).then_with(|| a.address.cmp(&b.address))
    });
    Ok((changes, notes))
}

/// Without the changes of the other layer. What must wait for one of those stays, and is told.
fn of_the_layer(changes: Vec<Change>, selection: &Selection<'_>) -> (Vec<Change>, Vec<Note>) {
    let needs: BTreeMap<_, _> = changes.iter().map(|c| (c.address.clone(), c.needs.clone())).collect();
    let other: Vec<_> =
        changes.iter().map(|c| c.address.clone()).filter(|address| !selection.in_layer(address)).collect();
    let (mut kept, mut notes) = (Vec::new(), Vec::new());
    for mut change in changes.into_iter().filter(|change| selection.in_layer(&change.address)) {
        match other.iter().find(|other| reaches(&needs, &change.address, other)) {
            Some(user) if change.action == Action::Delete => {
                let text = format!("stays until {user} has been changed, which is not of this layer");
                notes.push(Note { address: change.address, text });
            }
            _ => {
                change.needs.retain(|need| !other.contains(need));
                kept.push(change);
            }
        }
    }
    (kept, notes)
}

/// A change needs the creates and updates of what its new spec refers to, and its API. A delete needs
/// everything to be done first that referred to it until now, or that may use it unseen.
fn with_needs(registry: &Registry, mut changes: Vec<Change>) -> Result<Vec<Change>, SpecError> {
    let actions: BTreeMap<_, _> = changes.iter().map(|c| (c.address.clone(), c.action)).collect();
    let mut needs: BTreeMap<Address, BTreeSet<Address>> = BTreeMap::new();
    for change in &changes {
        let Some(kind) = registry.kind(&change.address.kind) else { continue };
        if let Some(after) = &change.after {
            let api = Address { kind: "api".to_owned(), name: kind.api().to_owned() };
            let built =
                |a: &Address| *a != change.address && actions.get(a).is_some_and(|a| a.leaves_something());
            let refers = kind.references(&change.address.name, after)?.into_iter().chain([api]).filter(built);
            needs.entry(change.address.clone()).or_default().extend(refers);
        }
        if let Some(before) = &change.before {
            for referred in kind.references(&change.address.name, before)? {
                if actions.get(&referred) == Some(&Action::Delete) {
                    needs.entry(referred).or_default().insert(change.address.clone());
                }
            }
        }
    }
    for (change, need) in used_unnamed(registry, &changes)? {
        needs.entry(change).or_default().insert(need);
    }
    for (user, kinds) in unseen_users(registry, &changes)? {
        let deleted = changes.iter().filter(|c| c.action == Action::Delete && c.address != user);
        for change in deleted.filter(|c| kinds.contains(&c.address.kind.as_str())) {
            needs.entry(change.address.clone()).or_default().insert(user.clone());
        }
    }
    for change in &mut changes {
        change.needs = needs.remove(&change.address).unwrap_or_default().into_iter().collect();
    }
    Ok(changes)
}

/// `(change, need)` for what is used with an object that others refer to: it is there before its users come to be, and
/// goes after they have changed.
fn used_unnamed(registry: &Registry, changes: &[Change]) -> Result<Vec<(Address, Address)>, SpecError> {
    let (mut users, mut former) = (Users::new(), Users::new());
    for change in changes {
        // A grant is no use of what it is to.
        let kind = registry.kind(&change.address.kind);
        let Some(kind) = kind.filter(|kind| kind.undeclared() == Undeclared::Note) else { continue };
        for (spec, users) in [(&change.after, &mut users), (&change.before, &mut former)] {
            let Some(spec) = spec else { continue };
            for object in kind.references(&change.address.name, spec)? {
                users.entry(object).or_default().push(&change.address);
            }
        }
    }
    let mut found = Vec::new();
    for used in changes {
        let Some(kind) = registry.kind(&used.address.kind) else { continue };
        let stays = used.action.leaves_something();
        let Some(spec) = (if stays { &used.after } else { &used.before }) else { continue };
        let Some(with) = kind.used_with(&used.address.name, spec)? else { continue };
        let users = if stays { users.get(&with.object) } else { former.get(&with.object) };
        let users = users.into_iter().flatten().filter(|user| with.is_used_by(user));
        found.extend(users.map(|user| {
            let (change, need) = if stays { (*user, &used.address) } else { (&used.address, *user) };
            (change.clone(), need.clone())
        }));
    }
    Ok(found)
}

/// Changes by what they refer to.
type Users<'a> = BTreeMap<Address, Vec<&'a Address>>;

/// What every declared resource refers to.
fn references(
    registry: &Registry,
    desired: &[Desired],
) -> Result<BTreeMap<Address, Vec<Address>>, SpecError> {
    let mut found = BTreeMap::new();
    for resource in desired {
        if let Some(kind) = registry.kind(&resource.address.kind) {
            found.insert(resource.address.clone(), kind.references(&resource.address.name, &resource.spec)?);
        }
    }
    Ok(found)
}

/// Objects that may use more than their specs show, with the kinds of it.
fn unseen_users(
    registry: &Registry,
    changes: &[Change],
) -> Result<Vec<(Address, &'static [&'static str])>, SpecError> {
    let mut users = Vec::new();
    for change in changes {
        if let (Some(kind), Some(before)) = (registry.kind(&change.address.kind), &change.before) {
            users.push((change.address.clone(), kind.uses_unseen(before)?));
        }
    }
    Ok(users)
}

/// `--target` keeps what it names and what that needs; `--exclude` drops what it names and what needs it.
/// What is not to change itself still needs what it refers to.
fn selected(changes: Vec<Change>, selection: &Selection<'_>) -> Vec<Change> {
    let Selection { options, references, .. } = selection;
    let needs: BTreeMap<_, _> = changes.iter().map(|c| (c.address.clone(), c.needs.clone())).collect();
    let mut all = needs.clone();
    for (address, referred) in references {
        all.entry(address.clone()).or_default().extend(referred.iter().cloned());
    }
    let wanted = |address: &Address| {
        options.target.is_empty() || options.target.iter().any(|target| reaches(&all, target, address))
    };
    let dropped =
        |address: &Address| options.exclude.iter().any(|excluded| reaches(&needs, address, excluded));
    changes.into_iter().filter(|c| wanted(&c.address) && !dropped(&c.address)).collect()
}

/// Whether `from` is `to` or needs it, directly or through others.
fn reaches(needs: &BTreeMap<Address, Vec<Address>>, from: &Address, to: &Address) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(address) = open.pop() {
        if address == to {
            return true;
        }
        if seen.insert(address) {
            open.extend(needs.get(address).into_iter().flatten());
        }
    }
    false
}

/// Waves of what comes first; then of the deletes that `--prune` asks for, with what has to wait for them: what
/// takes the place of a deleted object must be there before it goes.
fn with_waves(registry: &Registry, mut changes: Vec<Change>) -> Result<Vec<Change>, PlanError> {
    let pruned = |change: &Change| {
        let note = registry.kind(&change.address.kind).map(AnyKind::undeclared) == Some(Undeclared::Note);
        note && change.action == Action::Delete
    };
    let mut waves: BTreeMap<Address, usize> = BTreeMap::new();
    let mut wave = 0;
    let (later, mut open): (Vec<_>, Vec<_>) = changes.iter().partition(|change| pruned(change));
    for more in [Vec::new(), later] {
        open.extend(more);
        loop {
            let (ready, rest): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|change| change.needs.iter().all(|need| waves.contains_key(need)));
            open = rest;
            if ready.is_empty() {
                break;
            }
            waves.extend(ready.into_iter().map(|change| (change.address.clone(), wave)));
            wave += 1;
        }
    }
    if !open.is_empty() {
        return Err(PlanError::Circle(circle(&open)));
    }
    for change in &mut changes {
        change.wave = waves.get(&change.address).copied().unwrap_or_default();
    }
    Ok(changes)
}

/// The way from one of these changes over its needs back to itself: each of them has such a need.
fn circle(open: &[&Change]) -> Vec<String> {
    let by_address: BTreeMap<_, _> = open.iter().map(|change| (&change.address, *change)).collect();
    let mut path: Vec<&Address> = Vec::new();
    let mut next = open.first().map(|change| &change.address);
    while let Some(address) = next {
        if let Some(start) = path.iter().position(|seen| *seen == address) {
            path.push(address);
            return path.iter().skip(start).map(ToString::to_string).collect();
        }
        path.push(address);
        let needs = by_address.get(address).map_or(&[][..], |change| &change.needs);
        next = needs.iter().find(|need| by_address.contains_key(need));
    }
    path.iter().map(ToString::to_string).collect()
}
