//! What a resource is: the [`Kind`] trait that every file under `kinds/` implements, and the types around it.
//!
//! A kind turns both the YAML and Google's object into the same `Spec`, and carries out what a plan decided.
//! It never decides itself: diffing, ordering and waiting happen once, for all kinds, in `plan` and `apply`.

pub mod erased;
pub mod kinds;
pub mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Environment;
use crate::gcp::{Gcp, GcpError};

/// One kind of resource. Adding one is a file under `kinds/` and a line in [`registry`].
pub trait Kind: Send + Sync + 'static {
    /// First half of an [`Address`], e.g. `run_service`.
    const NAME: &'static str;
    /// The API that must be enabled before an object of this kind can be seen or written.
    const API: &'static str;
    /// Who applies it: a person, or every release.
    const LAYER: Layer;
    /// The other layer is planned from what these objects tell, so that they are read for it too.
    const TELLS: bool = false;
    /// There may be one of a name in each region, and others elsewhere.
    const REGIONAL: bool = false;
    /// A predefined role that lets an identity see all objects of this kind.
    const VIEWER: &'static str;
    /// How the plan calls what it does to objects of this kind.
    const VERBS: Verbs = Verbs { create: "create", update: "update", delete: "delete" };
    /// A change may start its containers anew, so that it is news when one does not.
    const RESTARTS: bool = false;
    /// Google can check a create or an update of this kind without doing it (`validateOnly`).
    const SERVER_CHECK: bool = false;
    /// What happens to an object that is ours and no longer declared.
    const UNDECLARED: Undeclared = Undeclared::Note;
    /// For grants: the kind of what they are on. They are observed on every object of it that is watched, and on
    /// those that are ours although nobody declares them: [`Kind::observe`] is asked again for these.
    const GRANTED_ON: Option<&'static str> = None;
    /// An undeclared one stays as long as what it is a part of does, though that is undeclared too.
    const STAYS_WITH_WHOLE: bool = false;

    /// Exactly the fields that deployer manages, with explicit defaults, in the words of the YAML.
    type Spec: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync;

    /// What the YAML asks for. Pure.
    fn declare(env: &Environment, facts: &Facts) -> Vec<Declared<Self::Spec>>;

    /// Objects that must exist before this one. Pure; orders creates, and deletes the other way round.
    fn references(_name: &str, _spec: &Self::Spec) -> Vec<Address> {
        Vec::new()
    }

    /// The object that this one is a part of: it goes when that one goes. Pure.
    fn part_of(_name: &str, _spec: &Self::Spec) -> Option<Address> {
        None
    }

    /// The name of a declared resource of this kind whose place the object holds without being it, and why it is
    /// left alone: a grant of ours that somebody put under a condition. Pure.
    fn stands_for(_observed: &Observed<Self::Spec>, _facts: &Facts) -> Option<(String, String)> {
        None
    }

    /// It lets another environment of the system use what it is part of: a grant to that one's account. Pure.
    fn serves_another(_observed: &Observed<Self::Spec>, _facts: &Facts) -> bool {
        false
    }

    /// Where an object answers to requests. Pure; known before the object exists.
    fn answers(_place: &Place, _name: &str) -> Answers {
        Answers::Nowhere
    }

    /// Kinds of which an object in this state may use more than its spec shows; what is deleted of them waits
    /// until the object is changed. Pure.
    fn uses_unseen(_spec: &Self::Spec) -> &'static [&'static str] {
        &[]
    }

    /// The object whose users use this too, though none of them names it: a service needs what its account may do in
    /// the project. Pure.
    fn used_with(_name: &str, _spec: &Self::Spec) -> Option<UsedWith> {
        None
    }

    /// What changing the field at a JSON pointer of the spec means.
    fn field_policy(_pointer: &str) -> FieldPolicy {
        FieldPolicy::InPlace
    }

    /// What a change does beyond its fields, e.g. that it widens access.
    fn consequences(_before: Option<&Self::Spec>, _after: Option<&Self::Spec>) -> Vec<Consequence> {
        Vec::new()
    }

    /// What other kinds need to know of what the YAML declares of this one, whether or not it exists. Pure.
    fn intend(_env: &Environment, _facts: &mut Facts) {}

    /// Names of this kind that observing goes by, where an API lists nothing. Pure.
    fn watched(env: &Environment) -> Vec<String> {
        Self::declare(env, &Facts::default()).into_iter().map(|declared| declared.name).collect()
    }

    /// Everything of this kind that the environment may care about, with list calls where the API has them.
    /// What cannot be parsed is an error: an object that is skipped would be planned a second time.
    fn observe(
        gcp: &Gcp,
        scope: &Scope,
    ) -> impl Future<Output = Result<Vec<Observed<Self::Spec>>, GcpError>> + Send;

    /// What other kinds need to know of the observed objects. Pure.
    fn contribute(_observed: &[Observed<Self::Spec>], _facts: &mut Facts) {}

    /// Whose object it is, for kinds that can tell only from the facts.
    fn owner(observed: &Observed<Self::Spec>, _facts: &Facts) -> Owner {
        observed.owner.clone()
    }

    fn create(
        gcp: &Gcp,
        place: &Place,
        name: &str,
        spec: &Self::Spec,
    ) -> impl Future<Output = Result<Settle, GcpError>> + Send;

    /// Sends what `create` would send, to be checked and not done. Only for kinds with [`Kind::SERVER_CHECK`].
    fn check_create(
        _gcp: &Gcp,
        _place: &Place,
        name: &str,
        _spec: &Self::Spec,
    ) -> impl Future<Output = Result<(), GcpError>> + Send {
        std::future::ready(Err(unknown_to::<Self>("check", name)))
    }

    /// Sends what `update` would send, to be checked and not done. Only for kinds with [`Kind::SERVER_CHECK`].
    fn check_update(
        _gcp: &Gcp,
        _place: &Place,
        edit: Edit<'_, Self::Spec>,
    ) -> impl Future<Output = Result<(), GcpError>> + Send {
        std::future::ready(Err(unknown_to::<Self>("check", edit.name)))
    }

    /// Only kinds whose specs have fields that may differ are ever updated.
    fn update(
        _gcp: &Gcp,
        _place: &Place,
        edit: Edit<'_, Self::Spec>,
    ) -> impl Future<Output = Result<Settle, GcpError>> + Send {
        std::future::ready(Err(unknown_to::<Self>("change", edit.name)))
    }

    /// Only kinds that are not [`Undeclared::Keep`] are ever deleted.
    fn delete(
        _gcp: &Gcp,
        _place: &Place,
        name: &str,
        _spec: &Self::Spec,
    ) -> impl Future<Output = Result<Settle, GcpError>> + Send {
        std::future::ready(Err(unknown_to::<Self>("delete", name)))
    }

    /// Brings back what is [`Life::SoftDeleted`], then in line. Only for kinds that observe such objects.
    fn restore(
        _gcp: &Gcp,
        _place: &Place,
        edit: Edit<'_, Self::Spec>,
    ) -> impl Future<Output = Result<Settle, GcpError>> + Send {
        std::future::ready(Err(unknown_to::<Self>("restore", edit.name)))
    }
}

/// No planner asks for it; a plan file might.
fn unknown_to<K: Kind + ?Sized>(verb: &str, name: &str) -> GcpError {
    GcpError::local(format!("{verb} {name}"), format!("there is no such thing for a {}", K::NAME))
}

/// The part of a system that a change belongs to. CI applies releases and needs no right to change its own rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// APIs, identities, rights, secrets, repositories
    Foundation,
    /// Services, who may call them, and jobs
    Release,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foundation => "foundation",
            Self::Release => "release",
        })
    }
}

/// What is used by those who use something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedWith {
    /// What they use.
    pub object: Address,
    /// The kind of those who do; `None`: any.
    pub by: Option<&'static str>,
}

impl UsedWith {
    /// Whether `user`, who uses the object, uses this too.
    pub fn is_used_by(&self, user: &Address) -> bool {
        self.by.is_none_or(|kind| user.kind == kind)
    }
}

/// Where to look, and for what: all that observing needs of the YAML, small enough to be kept in a saved plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub project: String,
    pub region: String,
    /// The mark of what is ours, whether or not it is declared.
    own: Ownership,
    /// [`Kind::watched`] by kind.
    names: BTreeMap<String, BTreeSet<String>>,
}

impl Scope {
    /// Nothing is watched yet.
    pub fn new(project: &str, region: &str, own: Ownership) -> Self {
        Self { project: project.to_owned(), region: region.to_owned(), own, names: BTreeMap::new() }
    }

    /// The watched names of a kind, sorted.
    pub fn names<K: Kind>(&self) -> impl Iterator<Item = &str> {
        self.names_of(K::NAME)
    }

    /// The same by the name of the kind.
    pub fn names_of(&self, kind: &str) -> impl Iterator<Item = &str> + use<'_> {
        self.names.get(kind).into_iter().flatten().map(String::as_str)
    }

    /// The same for those of the `live` objects of a kind that are ours and that are not watched; `None` when there
    /// are none.
    pub(in crate::resource) fn unwatched(&self, kind: &str, live: &[erased::Live]) -> Option<Self> {
        let watched = self.names.get(kind);
        let ours = |owner: &Owner| matches!(owner, Owner::Marked(mark) if mark.includes(&self.own));
        let unwatched = live.iter().filter(|live| {
            live.address.kind == kind
                && live.life == Life::Present
                && ours(&live.owner)
                && watched.is_none_or(|names| !names.contains(&live.address.name))
        });
        let names: Vec<_> = unwatched.map(|live| live.address.name.clone()).collect();
        let mut scope = Self { names: BTreeMap::new(), ..self.clone() };
        (!names.is_empty()).then(|| {
            scope.watch(kind, names);
            scope
        })
    }

    /// Whether the environment declares anything of a kind.
    pub(in crate::resource) fn watches(&self, kind: &str) -> bool {
        self.names.get(kind).is_some_and(|names| !names.is_empty())
    }

    pub(in crate::resource) fn watch(&mut self, kind: &str, names: Vec<String>) {
        self.names.entry(kind.to_owned()).or_default().extend(names);
    }
}

/// The words of a kind for its actions; all are imperatives.
#[derive(Clone, Copy, Debug)]
pub struct Verbs {
    pub create: &'static str,
    pub update: &'static str,
    pub delete: &'static str,
}

/// What becomes of an object that is ours and that no file declares any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeclared {
    /// The plan mentions it; `plan --prune` deletes it.
    Note,
    /// It is taken away in every plan (grants: a closed door must close).
    Delete,
    /// It stays and is not mentioned (enabled APIs, secret values).
    Keep,
}

/// Where an object answers to requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// It is nothing that answers.
    Nowhere,
    /// At a URL that only Google knows.
    Unpredictable,
    /// At this URL.
    At(String),
}

/// What a change of one field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldPolicy {
    /// Changes while everything keeps running.
    InPlace,
    /// Makes a new revision.
    Revision,
    /// Moves traffic between revisions.
    Traffic,
    /// Google refuses to change it: the object would have to be made anew.
    Immutable,
    /// Matters when the object is made, and is not compared afterwards.
    CreateOnly,
    /// A record that deployer keeps on the object. It follows from other fields, and is told only when it
    /// alone differs.
    Record,
    /// Known from the YAML alone: the object has no place for it, and it is never compared.
    Unseen,
}

/// What a reviewer must know before saying yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    NewRevision,
    TrafficMoves,
    NoRestart,
    AccessWidened,
    AccessNarrowed,
    Irreversible,
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewRevision => "new revision",
            Self::TrafficMoves => "traffic moves",
            Self::NoRestart => "no restart",
            Self::AccessWidened => "access widened",
            Self::AccessNarrowed => "access narrowed",
            Self::Irreversible => "irreversible",
        })
    }
}

/// `kind/name`: how people, plans and flags call one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub kind: String,
    pub name: String,
}

impl Address {
    pub fn of<K: Kind>(name: impl Into<String>) -> Self {
        Self { kind: K::NAME.to_owned(), name: name.into() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("`{text}` is not an address: it has the form kind/name, as the plan prints it")),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A resource that the YAML asks for.
#[derive(Clone, Debug)]
pub struct Declared<S> {
    pub name: String,
    pub spec: S,
    /// The YAML path that asked for it, e.g. `services.api`; a spec field's path is appended to it.
    pub source: String,
    /// Why it cannot be applied yet, and what to do about it.
    pub blocked: Option<String>,
    /// Why there can be no plan at all: what is wrong, and the way out.
    pub refused: Option<(String, String)>,
    /// What the reader of the plan should know, e.g. what was left out.
    pub notes: Vec<String>,
    /// It must never be deleted.
    pub protect: bool,
}

impl<S> Declared<S> {
    pub fn new(name: impl Into<String>, source: impl Into<String>, spec: S) -> Self {
        let (name, source) = (name.into(), source.into());
        Self { name, spec, source, blocked: None, refused: None, notes: Vec::new(), protect: false }
    }

    #[must_use]
    pub fn protected(self, protect: bool) -> Self {
        Self { protect, ..self }
    }
}

/// An object that exists at Google, or did.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    pub name: String,
    pub spec: S,
    pub owner: Owner,
    pub life: Life,
}

impl<S> Observed<S> {
    pub fn new(name: impl Into<String>, spec: S, owner: Owner) -> Self {
        Self { name: name.into(), spec, owner, life: Life::Present }
    }
}

/// Whether an object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    Present,
    /// Deleted, and for a while it can be restored; its name is taken.
    SoftDeleted,
    /// Only traces are left of it (destroyed secret versions): facts use them, a plan does not see it.
    Gone,
}

/// Who an object belongs to, by its labels or description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Ours without a mark, for kinds that can tell (grants).
    Ours,
    /// Nobody says: it can be adopted.
    Nobody,
    /// It bears the mark of a system and an environment.
    Marked(Ownership),
    /// Not deployer's business, never touched or mentioned.
    Foreign,
}

/// Where changes happen and in whose name; part of a plan, so that apply needs no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub project: String,
    pub project_number: u64,
    pub region: String,
    #[serde(flatten)]
    pub ownership: Ownership,
}

/// The mark that deployer leaves on what it made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    pub system: String,
    /// An environment, or [`Ownership::SHARED`].
    pub environment: String,
    /// The object is never deleted. It stands on the object, so that taking the key out of the YAML does not
    /// take the protection away in the same breath as the resource.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
}

/// Label keys that say whose an object is.
pub const MANAGED_BY: &str = "managed-by";
pub const LABEL_SYSTEM: &str = "deployer-system";
pub const LABEL_ENVIRONMENT: &str = "deployer-env";
pub const LABEL_PROTECT: &str = "deployer-protect";

/// What a mark without labels says of a protected object.
const PROTECTED: &str = " protected";

impl Ownership {
    /// The mark of what several environments declare, in the place of an environment's name.
    pub const SHARED: &str = "shared";

    pub fn new(system: &str, environment: &str) -> Self {
        Self { system: system.to_owned(), environment: environment.to_owned(), protect: false }
    }

    /// Whether what bears this mark belongs to `environment`, alone or with others.
    pub fn includes(&self, own: &Self) -> bool {
        self.system == own.system && (self.environment == own.environment || self.environment == Self::SHARED)
    }

    /// The labels of an object of ours; one without a value must not be there.
    pub fn labels(&self) -> [(&'static str, Option<String>); 4] {
        [
            (MANAGED_BY, Some("deployer".to_owned())),
            (LABEL_SYSTEM, Some(self.system.clone())),
            (LABEL_ENVIRONMENT, Some(self.environment.clone())),
            (LABEL_PROTECT, self.protect.then(|| "true".to_owned())),
        ]
    }

    /// Whose an object with the `labels` of this document is.
    pub fn owner_by_labels(doc: &Value) -> Owner {
        let label = |key: &str| doc["labels"][key].as_str().unwrap_or_default();
        if label(MANAGED_BY) != "deployer" {
            return Owner::Nobody;
        }
        let (system, environment) = (label(LABEL_SYSTEM).to_owned(), label(LABEL_ENVIRONMENT).to_owned());
        Owner::Marked(Self { system, environment, protect: label(LABEL_PROTECT) == "true" })
    }

    /// Whether the labels of this document are of our system, whatever the environment.
    pub fn same_system(&self, doc: &Value) -> bool {
        matches!(Self::owner_by_labels(doc), Owner::Marked(mark) if mark.system == self.system)
    }

    /// The end of the description of an object that has no labels.
    pub fn mark(&self) -> String {
        let protected = if self.protect { PROTECTED } else { "" };
        format!("[deployer {}/{}{protected}]", self.system, self.environment)
    }

    /// A description with our mark instead of the one that it ends with; `default` is said where it says nothing.
    pub fn marked(&self, description: &str, default: &str) -> String {
        let said = match Self::owner_by_description(description) {
            Owner::Marked(_) => description.rsplit_once("[deployer ").map_or("", |(said, _)| said),
            _ => description,
        };
        let said = Some(said.trim()).filter(|said| !said.is_empty()).unwrap_or(default);
        format!("{said} {}", self.mark())
    }

    /// Whose an object with this description is.
    pub fn owner_by_description(description: &str) -> Owner {
        let mark = description.rsplit_once("[deployer ").and_then(|(_, rest)| rest.strip_suffix(']'));
        match mark.and_then(|mark| mark.split_once('/')) {
            Some((system, environment)) => {
                let unprotected = environment.strip_suffix(PROTECTED);
                let own = Self::new(system, unprotected.unwrap_or(environment));
                Owner::Marked(Self { protect: unprotected.is_some(), ..own })
            }
            None => Owner::Nobody,
        }
    }
}

/// What has to be known before the desired state can be computed: from the YAML, the command, and what was observed.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The mark of this system and environment.
    pub own: Ownership,
    pub project_number: u64,
    /// Versions of each declared secret, by secret id; a secret that does not exist has no entry.
    pub secrets: BTreeMap<String, SecretVersions>,
    /// What follows the `@` in the addresses of the project's service accounts.
    pub account_domain: String,
    /// Ids of service accounts that are ours.
    pub accounts: BTreeSet<String>,
    /// Ids of service accounts of the system that other environments have for themselves.
    pub accounts_elsewhere: BTreeSet<String>,
    /// Ids of workload identity pools that are ours.
    pub pools: BTreeSet<String>,
    /// APIs that the declared objects live in.
    pub needed_apis: BTreeSet<String>,
    /// Images of the running services, by Cloud Run name.
    pub images: BTreeMap<String, RunningImage>,
    /// Tag that follows the images that serve (`image_tags.alias`).
    pub alias_tag: Option<String>,
    /// How the last releases of services ended that did not succeed, in words, by Cloud Run name.
    pub troubled: BTreeMap<String, String>,
    /// Images of the jobs that exist, by Cloud Run name.
    pub job_images: BTreeMap<String, String>,
    /// For which release (digest in hexadecimal) the newest execution of a job failed, by Cloud Run name of the job.
    pub failed_migrations: BTreeMap<String, String>,
    /// Images given for this release, by service key (`--image SERVICE=REF`).
    pub release_images: BTreeMap<String, String>,
    /// The tag given for this release, of every image in the system's own registry (`--tag TAG`).
    pub release_tag: Option<String>,
    /// Tags of what images are made from, by service key; one that is not in the registry has not been built.
    pub source_tags: BTreeMap<String, String>,
    /// Tags of the system's own registry, by image (`api`, `web/api`) and tag.
    pub tags: BTreeMap<String, BTreeMap<String, TaggedImage>>,
    /// Digests of all images in the system's own registry, with a tag or without, by image.
    pub digests: BTreeMap<String, BTreeSet<String>>,
    /// Labels of the repositories that exist, by id, without the marks.
    pub repository_labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Only the release is planned: what the foundation would make of what is missing is not made.
    pub release_only: bool,
    /// Empty secrets get a random stand-in value (the sandbox), instead of waiting for a person.
    pub placeholders: bool,
}

/// The versions of one secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecretVersions {
    pub newest_enabled: Option<u64>,
    /// Highest number ever given, destroyed versions counted; 0 when there never was one.
    pub highest: u64,
    /// A version exists that is not destroyed (it may be disabled).
    pub any_left: bool,
}

/// The image that a service runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningImage {
    pub image: String,
    /// The YAML's image that a release input replaced; `None` when the YAML's own image runs.
    pub instead_of: Option<String>,
}

/// What a tag points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedImage {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// RFC 3339; empty when Google does not say it.
    pub uploaded: String,
}

/// An update that a plan decided: from one spec to another, and which fields differ.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a, S> {
    pub name: &'a str,
    pub before: &'a S,
    pub after: &'a S,
    /// JSON pointers of the fields that change; empty when only the ownership marks are missing.
    pub fields: &'a [String],
}

/// What is left to do after a write was accepted. The executor owns waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    Done,
    /// A revision exists and takes no traffic yet.
    Rollout {
        service: String,
        revision: String,
    },
}
