//! A saved plan: one line with a digest, then one JSON document. Pure: who writes it says what time it is.
//!
//! The digest covers every byte after the first line, and the first line is compared with the one that would be
//! written, so that no byte can change unnoticed. It guards against accidents and careless edits; it is no signature.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Options, Plan, check, order};
use crate::resource::erased::{Desired, Live, SpecError};
use crate::resource::registry::Registry;
use crate::resource::{Address, Layer, Scope};

/// The form of the file, not of the plan in it.
const FORM: u32 = 1;

/// How a plan file begins.
const MAGIC: &str = "deployer-plan";

/// Clocks that differ by less than this do not make a plan come from the future.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The deployer that writes and reads files here.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A plan with what it takes to tell, without the YAML, whether it still holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Version of the deployer that made it.
    pub deployer: String,
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    #[serde(flatten)]
    pub planned: Planned,
}

/// A plan and what it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// What to look at to see what the plan was made from.
    pub scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    pub observed: Observed,
    pub plan: Plan,
}

/// What a file is not, or not any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("it is no plan that `deployer plan -o` has written")]
    NoPlan,
    #[error("it has the form {0}, and this deployer reads the form {FORM}")]
    Form(u32),
    #[error("it is not as it was written: its content does not match its digest")]
    Changed,
    #[error("it was made by deployer {0}, and this is deployer {VERSION}")]
    Version(String),
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Its age, and what is allowed.
    #[error("it was made {} ago, and {}", Age(*.0), Limit(*.1))]
    Old(SignedDuration, SignedDuration),
    #[error("it was made at {0}, which is yet to come: a clock is wrong")]
    Future(Timestamp),
}

impl Saved {
    /// `created` is now; what is below a second is dropped.
    pub fn new(planned: Planned, created: Timestamp) -> Self {
        let created = Timestamp::from_second(created.as_second()).unwrap_or(created);
        Self { deployer: VERSION.to_owned(), created, planned }
    }

    /// The whole file.
    pub fn to_text(&self) -> Result<String, FileError> {
        let body = serde_json::to_string(self).map_err(|error| FileError::Unreadable(error.to_string()))?;
        let body = format!("{body}\n");
        Ok(format!("{}\n{body}", first_line(body.as_bytes())))
    }

    /// Reads a whole file. Fails on anything but what [`Saved::to_text`] of this version wrote.
    pub fn parse(file: &[u8]) -> Result<Self, FileError> {
        let body = body(file)?;
        let unreadable = |error: serde_json::Error| FileError::Unreadable(error.to_string());
        let document: Value = serde_json::from_slice(body).map_err(unreadable)?;
        // The version comes first: another one may have another document.
        match document["deployer"].as_str() {
            Some(VERSION) => {}
            other => return Err(FileError::Version(other.unwrap_or("of an unknown version").to_owned())),
        }
        let saved: Self = serde_json::from_value(document).map_err(unreadable)?;
        match check::violations(&saved.planned.plan).first() {
            Some(violation) => Err(FileError::Unreadable(violation.clone())),
            None => Ok(saved),
        }
    }

    /// Fails when the plan is older than `max_age`, or younger than can be.
    pub fn in_time(&self, now: Timestamp, max_age: SignedDuration) -> Result<(), FileError> {
        let age = now.duration_since(self.created);
        if age < -SKEW {
            return Err(FileError::Future(self.created));
        }
        if age > max_age { Err(FileError::Old(age, max_age)) } else { Ok(()) }
    }
}

fn first_line(body: &[u8]) -> String {
    format!("{MAGIC} {FORM} sha256:{}", hex::encode(Sha256::digest(body)))
}

/// What the digest covers, once it matches.
fn body(file: &[u8]) -> Result<&[u8], FileError> {
    if !file.starts_with(MAGIC.as_bytes()) {
        return Err(FileError::NoPlan);
    }
    let end = file.iter().position(|byte| *byte == b'\n').ok_or(FileError::Changed)?;
    let (first, rest) = file.split_at(end);
    let body = rest.get(1..).unwrap_or_default();
    let first = std::str::from_utf8(first).map_err(|_| FileError::Changed)?;
    if first == first_line(body) {
        return Ok(body);
    }
    let form = first.split(' ').nth(1).and_then(|form| form.parse().ok());
    Err(form.filter(|form| *form != FORM).map_or(FileError::Changed, FileError::Form))
}

/// What exists, as digests of specs and marks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Hex SHA-256 by address.
    digests: BTreeMap<Address, String>,
    /// What there was not.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    missing: BTreeSet<Address>,
}

/// How an object is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Changed,
    Gone,
    Appeared,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Gone => "is gone",
            Self::Appeared => "exists now",
        })
    }
}

impl Observed {
    /// All of `live`.
    pub fn of(live: &[Live]) -> Self {
        let digests = live.iter().map(|live| (live.address.clone(), digest(live))).collect();
        Self { digests, missing: BTreeSet::new() }
    }

    /// Only what `plan` was made from: what it changes, what is declared in the part that it is about, and what that
    /// refers to. Anything else may move without making the plan wrong.
    pub fn behind(
        mut self,
        plan: &Plan,
        registry: &Registry,
        desired: &[Desired],
        options: &Options,
    ) -> Result<Self, SpecError> {
        let selection = order::Selection::new(registry, desired, options)?;
        let mut relevant: BTreeSet<_> = plan.changes.iter().map(|change| change.address.clone()).collect();
        for desired in desired.iter().filter(|desired| selection.wants(&desired.address)) {
            if let Some(kind) = registry.kind(&desired.address.kind) {
                relevant.extend(kind.references(&desired.address.name, &desired.spec)?);
            }
            relevant.insert(desired.address.clone());
        }
        self.digests.retain(|address, _| relevant.contains(address));
        self.missing = relevant.into_iter().filter(|address| !self.digests.contains_key(address)).collect();
        Ok(self)
    }

    /// What is not as it was, given all that exists `now`; sorted by address.
    pub fn moved(&self, now: &Self) -> Vec<(Address, Moved)> {
        let known = self.digests.iter().filter_map(|(address, digest)| match now.digests.get(address) {
            Some(now) if now == digest => None,
            Some(_) => Some((address.clone(), Moved::Changed)),
            None => Some((address.clone(), Moved::Gone)),
        });
        let appeared = self.missing.iter().filter(|address| now.digests.contains_key(address));
        let mut moved: Vec<_> =
            known.chain(appeared.map(|address| (address.clone(), Moved::Appeared))).collect();
        moved.sort_by(|a, b| a.0.cmp(&b.0));
        moved
    }
}

/// Keys of JSON objects are sorted here, so that equal specs have equal digests.
fn digest(live: &Live) -> String {
    let document = json!([live.spec, live.owner, live.life]);
    hex::encode(Sha256::digest(document.to_string().as_bytes()))
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// What is shorter is told in hours.
const TWO_DAYS: i64 = 2 * DAY;

/// How old something is, rounded up: what is older than a limit never looks like it.
struct Age(SignedDuration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs() + i64::from(self.0.subsec_nanos() > 0);
        let two = |large: (i64, char), small: (i64, char)| {
            let count = (seconds + small.0 - 1) / small.0;
            let per_large = large.0 / small.0;
            match (count / per_large, count % per_large) {
                (0, rest) => format!("{rest}{}", small.1),
                (whole, 0) => format!("{whole}{}", large.1),
                (whole, rest) => format!("{whole}{} {rest}{}", large.1, small.1),
            }
        };
        f.write_str(&match seconds {
            ..HOUR => two((MINUTE, 'm'), (1, 's')),
            HOUR..TWO_DAYS => two((HOUR, 'h'), (MINUTE, 'm')),
            _ => two((DAY, 'd'), (HOUR, 'h')),
        })
    }
}

/// How old something may be, in the largest unit that says it exactly.
struct Limit(SignedDuration);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds == 0 {
            return f.write_str("--max-age 0s lets no saved plan through");
        }
        let units = [(TWO_DAYS, DAY, 'd'), (HOUR, HOUR, 'h'), (MINUTE, MINUTE, 'm')];
        let unit = units.into_iter().find(|(from, unit, _)| seconds >= *from && seconds % unit == 0);
        let (_, unit, letter) = unit.unwrap_or((1, 1, 's'));
        write!(f, "plans are good for {}{letter} (--max-age)", seconds / unit)
    }
}

/// A point in time as RFC 3339.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Action, FORMAT, Note};
    use crate::resource::{Life, Owner, Ownership, Place};

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn plan() -> Plan {
        Plan {
            format: FORMAT,
            place: Place {
                project: "p".into(),
                project_number: 1,
                region: "us-central1".into(),
                ownership: Ownership::new("shop", "dev"),
            },
            target: "sandbox".into(),
            configuration: "c".into(),
            changes: Vec::new(),
            releases: Vec::new(),
            notes: vec![Note { address: address("secret/key"), text: "two\nlines".into() }],
            show_env: Vec::new(),
            part: None,
            flags: Vec::new(),
            destroy: false,
        }
    }

    fn saved(created: &str) -> Saved {
        let observed = Observed::of(&[live("secret/key", &json!({"a": 1}), Owner::Nobody)]);
        let planned = Planned {
            plan: plan(),
            scope: Scope::new("p", "us-central1", Ownership::new("shop", "dev")),
            layer: None,
            observed,
        };
        Saved::new(planned, created.parse().unwrap())
    }

    fn live(name: &str, spec: &Value, owner: Owner) -> Live {
        Live { address: address(name), spec: spec.clone(), owner, life: Life::Present }
    }

    const NOON: &str = "2030-01-02T12:00:00.5Z";

    fn file() -> Vec<u8> {
        saved(NOON).to_text().unwrap().into_bytes()
    }

    #[test]
    fn what_is_written_is_read() {
        let read = Saved::parse(&file()).unwrap();
        assert_eq!(read.to_text(), saved(NOON).to_text());
        assert_eq!(read.created.to_string(), "2030-01-02T12:00:00Z");
    }

    #[test]
    fn every_changed_removed_and_added_byte_is_refused() {
        let file = file();
        for position in 0..file.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut changed = file.clone();
                changed[position] ^= flip;
                assert!(Saved::parse(&changed).is_err(), "byte {position} ^ {flip}");
            }
            let mut shorter = file.clone();
            shorter.remove(position);
            assert!(Saved::parse(&shorter).is_err(), "without byte {position}");
        }
        for position in 0..=file.len() {
            for byte in [b' ', b'\n', b'0'] {
                let mut longer = file.clone();
                longer.insert(position, byte);
                assert!(Saved::parse(&longer).is_err(), "{byte} before byte {position}");
            }
        }
    }

    /// With a digest that matches: not an accident, another version.
    fn resealed(from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8(file()).unwrap();
        let body = text.split_once('\n').unwrap().1.replacen(from, to, 1);
        assert!(!text.ends_with(&body), "{from} is not in the file");
        format!("{}\n{body}", first_line(body.as_bytes())).into_bytes()
    }

    #[test]
    fn what_is_no_plan_of_this_version_is_told_apart() {
        let error = |file: &[u8]| Saved::parse(file).unwrap_err();
        assert_eq!(error(b""), FileError::NoPlan);
        assert_eq!(error(b"system: shop\n"), FileError::NoPlan);
        assert_eq!(error(b"deployer-plan 1 sha256:00"), FileError::Changed);
        assert_eq!(error(b"deployer-plan 2 blake3:00\n{}\n"), FileError::Form(2));
        let newer = resealed(&format!(r#""deployer":"{VERSION}""#), r#""deployer":"9.9.9","future":{}"#);
        assert_eq!(error(&newer), FileError::Version("9.9.9".into()));
        assert!(matches!(error(&resealed(r#""region""#, r#""place""#)), FileError::Unreadable(_)));
    }

    #[test]
    fn a_plan_that_breaks_the_rules_of_plans_is_refused() {
        let mut broken = saved(NOON);
        broken.planned.plan.changes.push(crate::plan::Change {
            address: address("secret/key"),
            action: Action::Create,
            reason: crate::plan::Reason::Missing,
            verb: "create".into(),
            fields: Vec::new(),
            consequences: Vec::new(),
            before: None,
            after: None,
            source: None,
            mark: Ownership::new("shop", "dev"),
            blocked: None,
            needs: Vec::new(),
            wave: 0,
        });
        let error = Saved::parse(broken.to_text().unwrap().as_bytes()).unwrap_err();
        assert_eq!(error, FileError::Unreadable("secret/key lacks the state before or after it".to_owned()));
    }

    #[test]
    fn old_plans_and_plans_of_the_future_are_refused() {
        let saved = saved(NOON);
        let at = |time: &str| saved.in_time(time.parse().unwrap(), SignedDuration::from_hours(24));
        assert_eq!(at("2030-01-02T12:00:01Z"), Ok(()));
        assert_eq!(at("2030-01-03T12:00:00Z"), Ok(()));
        assert_eq!(at("2030-01-02T11:55:00Z"), Ok(()));
        let message = |time: &str| at(time).unwrap_err().to_string();
        assert_eq!(
            message("2030-01-03T12:00:01Z"),
            "it was made 24h 1m ago, and plans are good for 24h (--max-age)"
        );
        assert_eq!(
            message("2030-01-05T13:00:00Z"),
            "it was made 3d 1h ago, and plans are good for 24h (--max-age)"
        );
        let none = saved.in_time("2030-01-02T12:00:07Z".parse().unwrap(), SignedDuration::ZERO).unwrap_err();
        assert_eq!(none.to_string(), "it was made 7s ago, and --max-age 0s lets no saved plan through");
        assert!(matches!(at("2030-01-02T11:54:59Z"), Err(FileError::Future(_))));
    }

    #[test]
    fn an_age_never_looks_younger_than_it_is() {
        let age = |seconds: i64| Age(SignedDuration::from_secs(seconds)).to_string();
        for (seconds, told) in [
            (7, "7s"),
            (60, "1m"),
            (90, "1m 30s"),
            (3_599, "59m 59s"),
            (3_600, "1h"),
            (3_601, "1h 1m"),
            (86_400, "24h"),
            (2 * 86_400, "2d"),
            (2 * 86_400 + 1, "2d 1h"),
            (3 * 86_400 - 1, "3d"),
        ] {
            assert_eq!(age(seconds), told, "{seconds}");
        }
        let limit = |seconds: i64| Limit(SignedDuration::from_secs(seconds)).to_string();
        assert_eq!(limit(5_400), "plans are good for 90m (--max-age)");
        assert_eq!(limit(7 * 86_400), "plans are good for 7d (--max-age)");
        assert_eq!(limit(61), "plans are good for 61s (--max-age)");
    }

    #[test]
    fn changed_specs_changed_marks_gone_and_new_objects_have_moved() {
        let ours = || Owner::Marked(Ownership::new("shop", "dev"));
        let one = json!({"a": 1});
        let mut before = Observed::of(&[
            live("secret/same", &one, ours()),
            live("secret/spec", &one, ours()),
            live("secret/mark", &one, Owner::Nobody),
            live("secret/gone", &one, ours()),
            Live { life: Life::SoftDeleted, ..live("secret/restored", &one, ours()) },
        ]);
        before.missing.extend([address("secret/new"), address("secret/never")]);
        let now = Observed::of(&[
            live("secret/same", &one, ours()),
            live("secret/spec", &json!({"a": 2}), ours()),
            live("secret/mark", &one, ours()),
            live("secret/restored", &one, ours()),
            live("secret/new", &one, ours()),
            live("secret/of-nobody", &one, Owner::Nobody),
        ]);
        let moved = before.moved(&now);
        let words: Vec<_> = moved.iter().map(|(address, moved)| format!("{address} {moved}")).collect();
        let expected = [
            "secret/gone is gone",
            "secret/mark changed",
            "secret/new exists now",
            "secret/restored changed",
            "secret/spec changed",
        ];
        assert_eq!(words, expected);
        assert_eq!(before.moved(&before), Vec::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bytes_never_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Saved::parse(&bytes).is_err());
            let mut plan = b"deployer-plan 1 ".to_vec();
            plan.extend(bytes);
            prop_assert!(Saved::parse(&plan).is_err());
        }
    }
}
