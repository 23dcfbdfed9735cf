//! Saved plans on disk, and whether one may still be carried out. Each refusal says how to plan again.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::CliError;
use super::session::{self, Connection};
use crate::config::model::Target;
use crate::config::{self, Environment, Inputs, scalars};
use crate::plan::Plan;
use crate::plan::file::{FileError, Observed, Planned, Saved};
use crate::planner::configuration;

/// Moved objects that one message names; the rest is counted.
const MAX_NAMED: usize = 20;

/// Where a plan is to be saved. It is judged before the plan is made, so that nobody waits for a plan that has no place.
#[derive(Debug)]
pub struct Destination {
    /// As the user has named it.
    named: PathBuf,
    /// With links followed: a link stays a link.
    file: PathBuf,
}

impl Destination {
    /// Fails unless a file can be made at `path`, or what is there may be replaced: an empty file or a saved plan.
    /// Pipes and devices are not opened: reading one may never end.
    pub fn of(path: &Path) -> Result<Self, CliError> {
        if STREAMS.iter().any(|stream| path == Path::new(stream)) {
            let message = format!("a plan cannot be saved to {}: it takes a file", path.display());
            return Err(CliError::user(message)
                .hint("-o FILE saves the plan; without -o it goes to standard output, for programs with --output json"));
        }
        let file = followed(path).map_err(|error| unsaved(path, &error))?;
        let destination = Self { named: path.to_owned(), file };
        destination.judge()?;
        Ok(destination)
    }

    fn judge(&self) -> Result<(), CliError> {
        let Self { named, file } = self;
        let metadata = match fs::metadata(file) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // What is missing is the file, or the folder that it would be in.
                return fs::metadata(folder(file)).map(drop).map_err(|error| unsaved(named, &error));
            }
            Err(error) => return Err(unsaved(named, &error)),
        };
        if !metadata.is_file() {
            return Err(CliError::user(format!("{} is there and is no file: it stays", named.display()))
                .hint("name a file with -o; pipes and devices take no plan"));
        }
        let begun = beginning(file).map_err(|error| unsaved(named, &error))?;
        if !begun.is_empty() && matches!(Saved::parse(&begun), Err(FileError::NoPlan)) {
            return Err(CliError::user(format!(
                "{} is there and is no saved plan: it stays",
                named.display()
            ))
            .hint("name another file with -o, or delete this one"));
        }
        Ok(())
    }

    /// Writes the whole file or nothing: next to it first, then in its place. Only its owner may read it, since values
    /// of environment variables stand in it as they are.
    pub fn write(&self, saved: &Saved) -> Result<(), CliError> {
        let text = saved.to_text().map_err(|error| refused(&self.named, &error))?;
        // Planning took a while: something else may be there by now.
        self.judge()?;
        let beside = beside(&self.file);
        let written = write_new(&beside, text.as_bytes()).and_then(|()| fs::rename(&beside, &self.file));
        written.map_err(|error| {
            // What is half written is no use to anybody; that it may not even exist is no news.
            let _ = fs::remove_file(&beside);
            unsaved(&self.named, &error)
        })
    }
}

/// What people write who want the plan on standard output.
const STREAMS: [&str; 3] = ["-", "/dev/stdout", "/dev/stderr"];

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// More bytes than it takes to tell whether a file is a saved plan.
const BEGINNING: u64 = 64;

fn unsaved(path: &Path, error: &std::io::Error) -> CliError {
    CliError::user(format!("the plan cannot be saved as {}: {error}", path.display()))
}

/// Where a chain of links ends, whether or not something is there.
fn followed(path: &Path) -> std::io::Result<PathBuf> {
    let mut file = path.to_owned();
    for _ in 0..MAX_LINKS {
        // A link of /proc names what is no file (`pipe:[7]`): there is nothing to follow.
        if fs::metadata(&file).is_ok_and(|metadata| !metadata.is_file()) {
            return Ok(file);
        }
        let Ok(target) = fs::read_link(&file) else { return Ok(file) };
        file = folder(&file).join(target);
    }
    Err(std::io::Error::other("too many links"))
}

/// The folder that a file is in.
fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn beginning(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(BEGINNING).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A hidden name in the same folder, so that renaming stays within one file system.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a saved plan of this version that nobody has touched.
pub fn read(path: &Path) -> Result<Saved, CliError> {
    let bytes = bytes(path).map_err(|error| {
        let error = CliError::user(format!("the saved plan {} cannot be read: {error}", path.display()));
        error.hint("deployer plan ENV -o FILE saves one")
    })?;
    Saved::parse(&bytes).map_err(|error| refused(path, &error))
}

/// Of a file only: a pipe or a device may never end.
fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    fs::read(path)
}

fn refused(path: &Path, error: &FileError) -> CliError {
    let hint = match error {
        FileError::Future(_) => "set the clock right, or make the plan again".to_owned(),
        FileError::NoPlan => "deployer plan ENV -o FILE saves one".to_owned(),
        _ => format!("make it again: deployer plan ENV -o {}", path.display()),
    };
    CliError::user(format!("{} cannot be used: {error}", path.display())).hint(hint)
}

/// An age on the command line: a number and `s`, `m`, `h` or `d`.
pub fn age(text: &str) -> Result<SignedDuration, String> {
    let seconds = match text.strip_suffix('d') {
        Some(days) => days.parse::<u32>().ok().and_then(|days| days.checked_mul(86_400)),
        None if text.ends_with(['s', 'm', 'h']) => scalars::seconds(text),
        None => None,
    };
    let seconds = seconds.ok_or("it is a number with a unit: 90m, 24h, 7d")?;
    Ok(SignedDuration::from_secs(seconds.into()))
}

/// Fails when the plan is older than `max_age`.
pub fn in_time(path: &Path, saved: &Saved, now: Timestamp, max_age: SignedDuration) -> Result<(), CliError> {
    saved.in_time(now, max_age).map_err(|error| match error {
        FileError::Old(..) => again(path, &saved.planned.plan, &error.to_string()),
        _ => refused(path, &error),
    })
}

/// Fails when the plan is for another environment than the one that was named.
pub fn for_environment(path: &Path, plan: &Plan, named: Option<&str>) -> Result<(), CliError> {
    let own = &plan.place.ownership.environment;
    match named {
        Some(named) if named != own => Err(CliError::user(format!(
            "{} cannot be used: it is a plan for {own}, not for {named}",
            path.display()
        ))
        .hint(format!("deployer plan {named} -o FILE makes one for {named}"))),
        _ => Ok(()),
    }
}

/// Compares the plan with the YAML in `root`; false when there is none.
pub fn matches_yaml(path: &Path, plan: &Plan, root: &Path) -> Result<bool, CliError> {
    if !root.join("environments").is_dir() {
        return Ok(false);
    }
    let name = &plan.place.ownership.environment;
    let known = config::names(root)?;
    if !known.contains(name) {
        let message = format!("it is a plan for {name}, which is no environment here");
        return Err(CliError::user(format!("{} cannot be used: {message}", path.display()))
            .hint(format!("environments: {}", known.join(", "))));
    }
    let (mut env, others) = environments(root, name, plan.place.project_number)?;
    if plan.target == session::SANDBOX {
        env.target = Target::Sandbox;
    }
    match difference(plan, &env, &others) {
        Some(why) => Err(again(path, plan, &why)),
        None => Ok(true),
    }
}

/// What of `local` a saved plan does without, since it holds what is done at Google and no process of this machine; nothing
/// where the YAML is not here, or has no `local`.
pub fn local_of(plan: &Plan, root: &Path) -> Option<String> {
    let name = &plan.place.ownership.environment;
    let local = config::load(root, name, &Inputs::default()).ok()?.environment.local;
    let services = local.servers.keys().map(|key| format!("`local.services.{key}`"));
    let commands = local.commands.keys().map(|key| format!("`local.run.{key}`"));
    let all: Vec<_> = services.chain(commands).collect();
    (!all.is_empty()).then(|| {
        let all = all.join(", ");
        format!("a saved plan starts nothing on this machine: {all} would run with deployer apply {name} or deployer up {name}")
    })
}

/// The environment and the others, as a session would have them.
fn environments(
    root: &Path,
    name: &str,
    project_number: u64,
) -> Result<(Environment, Vec<Environment>), CliError> {
    let mut loaded = config::load(root, name, &Inputs::default())?;
    let mut number = loaded.environment.project.number;
    if loaded.needs_project_number {
        number = Some(project_number);
        loaded = config::load(root, name, &Inputs { project_number: number, ..Inputs::default() })?;
    }
    Ok((loaded.environment, session::others(root, name, number)?))
}

/// Why the YAML is not the one that the plan was made from.
fn difference(plan: &Plan, env: &Environment, others: &[Environment]) -> Option<String> {
    let (place, own) = (&plan.place, &plan.place.ownership);
    if own.system != env.system {
        return Some(format!("it is a plan for another system: {}, and not {}", own.system, env.system));
    }
    if place.project != env.project.id {
        let (theirs, ours) = (&place.project, &env.project.id);
        return Some(format!("it is a plan for another project: {theirs}, and not {ours}"));
    }
    (plan.configuration != configuration(env, others))
        .then(|| "the YAML has changed since it was made".to_owned())
}

/// Fails when anything that the plan was made from is not as it was then.
pub async fn still_holds(path: &Path, planned: &Planned, connection: &Connection) -> Result<(), CliError> {
    let Planned { scope, layer, observed, plan } = planned;
    let live = connection.registry.observe(&connection.gcp, scope, *layer).await?;
    let moved = observed.moved(&Observed::of(&live));
    if moved.is_empty() {
        return Ok(());
    }
    let named = moved.iter().take(MAX_NAMED).map(|(address, moved)| format!("`{address}` {moved}"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match moved.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(again(path, plan, &format!("what it was made from has moved: {named}{more}")))
}

/// The plan has to be made again, with the command for it.
fn again(path: &Path, plan: &Plan, why: &str) -> CliError {
    let (command, file) = (plan.command("plan"), path.display());
    CliError::user(format!("{file} cannot be used: {why}"))
        .hint(format!("plan again, look at it, and apply that: {command} -o {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(age("90m"), Ok(SignedDuration::from_mins(90)));
        assert_eq!(age("24h"), Ok(SignedDuration::from_hours(24)));
        assert_eq!(age("7d"), Ok(SignedDuration::from_hours(168)));
        assert_eq!(age("0s"), Ok(SignedDuration::ZERO));
        for bad in ["24", "", "d", "-1h", "1.5h", "99999999d", "1w"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
