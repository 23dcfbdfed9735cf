//! Jobs and migrations: what they borrow, how they are called, which wait for which.

use std::collections::HashMap;

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::super::circle::{Waits, circles};
use super::super::container::{self, Names};
use super::super::diagnostic::{Diagnostic, did_you_mean};
use super::super::interpolate::{Piece, pieces};
use super::super::model::{Container, Job, Service};
use super::super::repeat;
use super::super::scalars;
use super::super::schema::{ContainerKeys, JobCommon, JobKeys, MigrationKeys, Named};
use super::super::tree::{Findings, Node, Part, as_written, join};
use super::{Limits, account_id, in_file_order, resolve_vpc, seconds, text_map, unknown_service};

/// Seconds of an attempt, further attempts, and tasks of a job that says nothing.
const TIMEOUT: Limits = Limits { least: 1, most: 604_800, default: 600 };
const MAX_RETRIES: u32 = 3;
const MIGRATION_RETRIES: u32 = 0;
/// Jobs run in the second generation's environment, which has no less than this (thousandths of a CPU, kibibytes).
const LEAST_CPU: u32 = 1000;
const LEAST_MEMORY: u64 = 512 * 1024;
/// Longest name of a Cloud Run job.
pub(crate) const MAX_NAME: usize = 63;
/// What is kept of a name that is too long; a dash and hexadecimal digits of its digest follow.
const KEPT: usize = 54;
const DIGITS: usize = 8;

/// What jobs refer to.
pub(super) struct Around<'a> {
    pub(super) names: Names<'a>,
    pub(super) services: &'a IndexMap<String, Service>,
    /// `naming.resource` with everything but `${name}` filled in.
    pub(super) pattern: &'a str,
    pub(super) project: &'a str,
    pub(super) root: &'a Node,
}

/// The keys of both maps, each with what only one of them has.
struct Written {
    path: String,
    key: String,
    common: JobCommon,
    kind: Kind,
}

enum Kind {
    Job { manual: bool, args_from: Vec<String>, tasks: u32, parallelism: u32 },
    Migration { needs: Vec<String>, before: Option<Vec<String>>, backward_compatible: bool },
}

impl Kind {
    fn is_migration(&self) -> bool {
        matches!(self, Self::Migration { .. })
    }
}

pub(super) fn resolve(
    jobs: Option<Named<JobKeys>>,
    migrations: Option<Named<MigrationKeys>>,
    around: &Around<'_>,
    findings: &mut Findings,
) -> IndexMap<String, Job> {
    let written = written(jobs, migrations, around.root);
    check_keys(&written, findings);
    let needs = needs(&written, findings);
    let mut resolved = IndexMap::new();
    for job in written {
        let (key, repeated) = (job.key.clone(), job.common.for_each.is_some());
        let waits = needs.get(&key).cloned().unwrap_or_default();
        let job = Job { needs: waits, ..resolve_job(job, around, findings) };
        // Kept by the tree for its checks: there is no tenant to run it for.
        let nobody = repeated && repeat::split(&key).1 == Some("");
        if !nobody {
            resolved.entry(key).or_insert(job);
        }
    }
    resolved
}

fn written(
    jobs: Option<Named<JobKeys>>,
    migrations: Option<Named<MigrationKeys>>,
    root: &Node,
) -> Vec<Written> {
    let jobs = in_file_order(jobs, root, "jobs").into_iter().map(|(key, keys)| {
        let kind = Kind::Job {
            manual: keys.manual.unwrap_or(false),
            args_from: keys.args_from.unwrap_or_default().into_iter().map(|name| name.0).collect(),
            tasks: keys.tasks.unwrap_or(1),
            parallelism: keys.parallelism.unwrap_or(1),
        };
        Written { path: join("jobs", &key), key, common: keys.common, kind }
    });
    let migrations = in_file_order(migrations, root, "migrations").into_iter().map(|(key, keys)| {
        let kind = Kind::Migration {
            needs: keys.needs.unwrap_or_default(),
            before: keys.before,
            backward_compatible: keys.backward_compatible.unwrap_or(true),
        };
        Written { path: join("migrations", &key), key, common: keys.common, kind }
    });
    jobs.chain(migrations).collect()
}

/// Keys that could not be told apart, and those that would look like a tenant's job.
fn check_keys(written: &[Written], findings: &mut Findings) {
    let jobs = written.iter().filter(|job| !job.kind.is_migration());
    let jobs: HashMap<&str, &str> = jobs.map(|job| (repeat::split(&job.key).0, job.path.as_str())).collect();
    for job in written {
        let (key, slug) = repeat::split(&job.key);
        if key.contains('/') || (slug.is_some() && job.common.for_each.is_none()) {
            let diagnostic = Diagnostic::error(
                "job-name",
                format!("`{}` cannot be the name of a job", job.key),
            )
            .label("a slash")
            .hint("a slash tells a tenant's job from others, e.g. `deployer run ENV KEY/SLUG`; take a dash");
            findings.add(Part::Key, &job.path, diagnostic);
        }
        if let Some(twin) = jobs.get(key).filter(|_| job.kind.is_migration()) {
            let mut message =
                format!("`{key}` is a job and a migration, and one name stands for one of them");
            if let Some(location) = findings.location(twin) {
                message = format!("{message}; the job is at {location}");
            }
            let diagnostic = Diagnostic::error("duplicate-name", message)
                .label("the second one")
                .hint("rename one of them");
            findings.add(Part::Key, &job.path, diagnostic);
        }
    }
}

/// For each migration the keys of those that it waits for.
fn needs(written: &[Written], findings: &mut Findings) -> IndexMap<String, Vec<String>> {
    let mut by_name: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for migration in written.iter().filter(|job| job.kind.is_migration()) {
        by_name.entry(repeat::split(&migration.key).0).or_default().push(&migration.key);
    }
    let mut needs = IndexMap::new();
    let mut waits = Waits::new();
    for migration in written {
        let Kind::Migration { needs: names, .. } = &migration.kind else { continue };
        let (key, slug) = repeat::split(&migration.key);
        let mut keys = Vec::new();
        for (position, name) in names.iter().enumerate() {
            let Some(wanted) = by_name.get(name.as_str()) else {
                let path = format!("{}.needs.{position}", migration.path);
                findings.add(Part::Value, &path, unknown_migration(name, &by_name));
                continue;
            };
            // A tenant's migration waits for the same tenant's.
            let same =
                |key: &&&str| slug.is_none() || repeat::split(key).1.is_none_or(|other| Some(other) == slug);
            let real = |key: &&&str| repeat::split(key).1 != Some("");
            keys.extend(wanted.iter().filter(same).filter(real).map(|key| (*key).to_owned()));
        }
        let known = names.iter().map(String::as_str).filter(|name| by_name.contains_key(name)).collect();
        waits.entry(key).or_insert(known);
        needs.insert(migration.key.clone(), keys);
    }
    report_circles(&waits, findings);
    needs
}

fn report_circles(waits: &Waits<'_>, findings: &mut Findings) {
    for circle in circles(waits) {
        let message = format!("migrations wait for each other: `{}`", circle.join("` -> `"));
        let mut places: Vec<String> = Vec::new();
        for name in circle.iter().skip(1) {
            if let Some(location) = findings.location(&format!("migrations.{name}.needs")) {
                places.push(format!("`{name}` at {location}"));
            }
        }
        let diagnostic = Diagnostic::error("needs", message)
            .label("a circle")
            .hint(format!("one of them must run first; they say what they need here: {}", places.join(", ")));
        let first = circle.first().map(String::as_str).unwrap_or_default();
        findings.add(Part::Key, &format!("migrations.{first}.needs"), diagnostic);
    }
}

fn unknown_migration(name: &str, known: &IndexMap<&str, Vec<&str>>) -> Diagnostic {
    let diagnostic =
        Diagnostic::error("needs", format!("there is no migration `{name}`")).label("unknown migration");
    let known: Vec<&str> = known.keys().copied().collect();
    match did_you_mean(name, known.iter().copied()) {
        Some(meant) => diagnostic.hint(format!("did you mean `{meant}`?")),
        None => diagnostic.hint(format!("the migrations are: {}", known.join(", "))),
    }
}

fn resolve_job(written: Written, around: &Around<'_>, findings: &mut Findings) -> Job {
    let Written { path, key, mut common, kind } = written;
    let service = service(&path, common.service.as_deref(), around, findings);
    let migration = kind.is_migration();
    let (base, slug) = repeat::split(&key);
    let slug = slug.filter(|_| common.for_each.is_some());
    let base = if migration { format!("migrate-{base}") } else { base.to_owned() };
    let name = name(common.name.take(), &base, slug, around.pattern);
    let service_account = match (common.service_account.take(), service) {
        (Some(account), _) => account_id(&join(&path, "service_account"), &account, around.project, findings),
        (None, Some(service)) => service.service_account.clone(),
        (None, None) => around.pattern.replace("${name}", &base),
    };
    let borrows = common.image.is_none() && service.is_some();
    let backward_compatible = !matches!(kind, Kind::Migration { backward_compatible: false, .. });
    let before = before(&path, &common, &kind, around, findings);
    let (manual, args_from, tasks, parallelism) = match kind {
        Kind::Job { manual, args_from, tasks, parallelism } => (manual, args_from, tasks, parallelism),
        Kind::Migration { .. } => (false, Vec::new(), 1, 1),
    };
    let (command, args, args_template) = words(&path, common.command.take(), &args_from, findings);
    let retries = if migration { MIGRATION_RETRIES } else { MAX_RETRIES };
    Job {
        name,
        service: common.service.clone().filter(|_| borrows),
        lender: common.service.clone(),
        service_account,
        timeout: seconds(
            &join(&path, "timeout"),
            common.timeout.take().map(|time| time.0),
            TIMEOUT,
            findings,
        ),
        max_retries: common.max_retries.unwrap_or(retries),
        tasks,
        parallelism,
        manual,
        migration,
        backward_compatible,
        needs: Vec::new(),
        before,
        tenant: slug.map(str::to_owned),
        args_from,
        args_template,
        vpc: common.vpc.take().map(|vpc| resolve_vpc(&join(&path, "vpc"), vpc, findings)),
        execution_environment: "gen2".to_owned(),
        labels: text_map(common.labels.take()),
        protect: common.protect.unwrap_or(false),
        container: Container { command, args, ..container(&path, common, service, around, findings) },
        path: as_written(&path),
    }
}

fn service<'a>(
    path: &str,
    wanted: Option<&str>,
    around: &Around<'a>,
    findings: &mut Findings,
) -> Option<&'a Service> {
    let wanted = wanted?;
    let found = around.services.get(wanted);
    if found.is_none() && !findings.is_broken(&join("services", wanted)) {
        let names: Vec<&str> = around.services.keys().map(String::as_str).collect();
        findings.add(Part::Value, &join(path, "service"), unknown_service(wanted, &names));
    }
    found
}

fn before(
    path: &str,
    common: &JobCommon,
    kind: &Kind,
    around: &Around<'_>,
    findings: &mut Findings,
) -> Vec<String> {
    let Kind::Migration { before, .. } = kind else { return Vec::new() };
    let Some(before) = before else { return common.service.iter().cloned().collect() };
    let names: Vec<&str> = around.services.keys().map(String::as_str).collect();
    for (position, service) in before.iter().enumerate() {
        if !names.contains(&service.as_str()) && !findings.is_broken(&join("services", service)) {
            findings.add(Part::Value, &format!("{path}.before.{position}"), unknown_service(service, &names));
        }
    }
    before.clone()
}

/// The job's name: written, or made from its key and the pattern of names. A tenant's longer one is shortened.
fn name(written: Option<String>, base: &str, slug: Option<&str>, pattern: &str) -> String {
    let name = written.unwrap_or_else(|| {
        let base = slug.map_or_else(|| base.to_owned(), |slug| format!("{base}-{slug}"));
        pattern.replace("${name}", &base)
    });
    match slug {
        Some(_) if name.chars().count() > MAX_NAME => shortened(&name),
        _ => name,
    }
}

/// The beginning of `name` and a digest of all of it: as long as a name may be, and another one for another name.
fn shortened(name: &str) -> String {
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    let kept: String = name.chars().take(KEPT).collect();
    let digits: String = digest.chars().take(DIGITS).collect();
    format!("{kept}-{digits}")
}

/// Command and arguments of the container, and the arguments with their placeholders.
///
/// The words of a job that is given arguments come as templates, in which a dollar sign is doubled.
fn words(
    path: &str,
    command: Option<Vec<String>>,
    args_from: &[String],
    findings: &mut Findings,
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let mut words = command.unwrap_or_default().into_iter();
    let first: Vec<String> = words.next().into_iter().collect();
    let words: Vec<String> = words.collect();
    if args_from.is_empty() {
        return (first, words, Vec::new());
    }
    let used: Vec<&str> = words
        .iter()
        .flat_map(|word| pieces(word).unwrap_or_default())
        .filter_map(|piece| if let Piece::Name(name) = piece { name.strip_prefix("args.") } else { None })
        .collect();
    for (position, name) in args_from.iter().enumerate() {
        if !used.contains(&name.as_str()) && !findings.is_broken(&join(path, "command")) {
            let message = format!("no word of `command` after the first uses `${{args.{name}}}`");
            let diagnostic =
                Diagnostic::error("args-from", message).label("not used").hint("use it, or remove it");
            findings.add(Part::Value, &format!("{path}.args_from.{position}"), diagnostic);
        }
    }
    let stored = words.iter().filter_map(|word| without_placeholder(word)).collect();
    (first, stored, words)
}

/// A word that is the same in every run; `None` for one with a placeholder.
fn without_placeholder(template: &str) -> Option<String> {
    let mut word = String::with_capacity(template.len());
    for piece in pieces(template).ok()? {
        match piece {
            Piece::Literal(literal) => word.push_str(literal),
            Piece::Dollar => word.push('$'),
            Piece::Name(_) => return None,
        }
    }
    Some(word)
}

fn container(
    path: &str,
    common: JobCommon,
    service: Option<&Service>,
    around: &Around<'_>,
    findings: &mut Findings,
) -> Container {
    let (own_cpu, own_memory) = (common.cpu.is_some(), common.memory.is_some());
    // A service that is unknown or wrong has been reported: what it would have lent is not missed again.
    let unknown = service.is_none() && common.service.is_some();
    let lent = service.map(|service| service.main.image.clone()).or_else(|| unknown.then(String::new));
    let keys = ContainerKeys {
        image: common.image.or(lent),
        cpu: common.cpu,
        memory: common.memory,
        env: common.env,
        secrets: common.secrets,
        secret_files: common.secret_files,
        volumes: common.volumes,
        ..ContainerKeys::default()
    };
    let mut container = container::resolve(path, keys, &around.names, findings);
    if let Some(main) = service.map(|service| &service.main) {
        if !own_cpu {
            container.cpu = scalars::cpu(scalars::millicpus(&main.cpu).unwrap_or_default().max(LEAST_CPU));
        }
        if !own_memory {
            let memory = scalars::kibibytes(&main.memory).unwrap_or_default().max(LEAST_MEMORY);
            container.memory = scalars::memory(memory);
        }
    }
    container
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_a_tenants_job_is_shortened_to_one_of_its_own() {
        let key = "k".repeat(60);
        let one = name(None, &key, Some("a"), "${name}-dev");
        let other = name(None, &key, Some("b"), "${name}-dev");
        assert_eq!((one.len(), other.len()), (63, 63));
        assert_ne!(one, other);
        assert_eq!(one, name(None, &key, Some("a"), "${name}-dev"));
        assert_eq!(name(None, "backup", Some("a"), "${name}-dev"), "backup-a-dev");
    }

    #[test]
    fn a_long_name_without_a_tenant_stays_to_be_refused() {
        assert_eq!(name(None, &"k".repeat(70), None, "${name}-dev").len(), 74);
    }

    #[test]
    fn a_word_with_a_placeholder_is_not_stored() {
        assert_eq!(without_placeholder("--file=${args.file}"), None);
        assert_eq!(without_placeholder("cost: 5$$ ${"), None);
        assert_eq!(without_placeholder("$$HOME"), Some("$HOME".to_owned()));
    }
}
