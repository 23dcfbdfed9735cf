//! What an instance of a revision, or a task of an execution, is started with; and whether there is anything to start.
//!
//! Images that hold no content here have a stand-in: it is ready at once, and nothing is started.

use super::access::{int, list, text};
use super::condition::Failure;
use super::{EXECUTIONS, JOBS, REVISIONS, SERVICES, needs, quantity, resource};
use crate::runtime;
use crate::runtime::container::Member;
use crate::runtime::logs::Source;
use crate::runtime::process::{Content, Launch, Mounted};
use crate::services::names::last;
use crate::services::secretmanager::Reference;
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// How requests to a revision are spread over its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) concurrency: usize,
    pub(crate) most: usize,
    /// Instances that are kept without requests.
    pub(crate) least: usize,
}

/// An instance of a revision, apart from its port.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) source: Source,
    /// All of its containers.
    pub(crate) members: Vec<Member>,
    /// The port that the container with the requests says it listens on.
    pub(crate) port: u16,
    pub(crate) readiness: Value,
}

/// The container that gets the requests of a revision, or the only one of a task.
fn main_container(template: &Value) -> &Value {
    let containers = list(template, "containers");
    let serving = containers.iter().find(|container| !list(container, "ports").is_empty());
    serving.or(containers.first()).unwrap_or(&Value::Null)
}

/// What `container` runs; `None` for a stand-in. `name` is the full name of the revision or execution, `owner` the service
/// or job that it is of, `main` that a command of this machine may take its place.
fn content(world: &World, name: &str, owner: &str, container: &Value, main: bool) -> Option<Content> {
    if let Some(local) = world.runtime.commands.get(owner).filter(|_| main) {
        return Some(Content::Command { command: local.command.clone(), folder: local.folder.clone() });
    }
    let own = if main { "" } else { text(container, "name") };
    world.runtime.content_of(name, own).or_else(|| {
        let found = runtime::content(world, text(container, "image"))?;
        world.runtime.keep_content(name, own, &found);
        Some(found)
    })
}

/// Whether a revision (full name) is a process, and no stand-in.
pub(crate) fn runs(world: &World, revision: &str) -> bool {
    world.runtime.has_content(revision)
        || world.doc(REVISIONS, revision).is_some_and(|doc| {
            content(world, revision, text(doc, "service"), main_container(doc), true).is_some()
        })
}

/// What an instance of a revision (full name) is started with, its secrets resolved now.
///
/// # Errors
/// What the revision lacks; also when there is nothing to start.
pub(crate) fn serving(world: &World, revision: &str) -> Result<Serving, Failure> {
    let gone = || Failure::new("UNKNOWN", format!("Revision '{}' is gone.", last(revision)));
    let doc = world.doc(REVISIONS, revision).ok_or_else(gone)?;
    needs::check(world, project_of(revision), doc)?;
    let main = main_container(doc);
    let port = list(main, "ports").first().map_or(8080, |port| int(port, "containerPort"));
    let port = u16::try_from(port).unwrap_or(8080);
    let containers = list(doc, "containers").iter();
    let members = containers.map(|container| member(world, revision, doc, container, port)).collect();
    let source = Source::revision(revision);
    Ok(Serving { source, members, port, readiness: main["readinessProbe"].clone() })
}

/// One container of a revision; `port` is that of the one that gets the requests.
fn member(world: &World, revision: &str, doc: &Value, container: &Value, port: u16) -> Member {
    let (service, name) = (text(doc, "service"), text(container, "name"));
    let is_main = std::ptr::eq(container, main_container(doc));
    let content = content(world, revision, service, container, is_main);
    let launch = content.map(|content| {
        let mut source = Source::revision(revision);
        if !name.is_empty() {
            source = source.container(name);
        }
        let mut launch = launch(world, project_of(revision), doc, container, content, source);
        for (name, value) in
            [("K_SERVICE", service), ("K_CONFIGURATION", service), ("K_REVISION", last(revision))]
        {
            launch.env.insert(name.to_owned(), value.to_owned());
        }
        launch
    });
    Member {
        name: name.to_owned(),
        needs: strings(container, "dependsOn"),
        launch,
        port: is_main.then_some(port),
        startup: container["startupProbe"].clone(),
        liveness: container["livenessProbe"].clone(),
    }
}

/// Whether a revision (full name) has a process beside the one that gets the requests.
fn has_sidecar(world: &World, revision: &str) -> bool {
    let Some(doc) = world.doc(REVISIONS, revision) else { return false };
    let main = main_container(doc);
    let mut beside = list(doc, "containers").iter().filter(|container| !std::ptr::eq(*container, main));
    beside.any(|container| content(world, revision, text(doc, "service"), container, false).is_some())
}

/// What one attempt at a task of an execution (full name) is started with; `None` for a stand-in.
///
/// # Errors
/// What the execution lacks.
pub(crate) fn task(
    world: &World,
    execution: &str,
    index: i64,
    attempt: i64,
) -> Result<Option<Launch>, Failure> {
    let gone = || Failure::new("UNKNOWN", format!("Execution '{}' is gone.", last(execution)));
    let doc = world.doc(EXECUTIONS, execution).ok_or_else(gone)?;
    let template = &doc["template"];
    let container = main_container(template);
    let Some(content) = content(world, execution, text(doc, "job"), container, true) else { return Ok(None) };
    let project = project_of(execution);
    needs::check(world, project, template)?;
    let source = Source::task(execution, index, attempt);
    let mut launch = launch(world, project, template, container, content, source);
    for (name, value) in [
        ("CLOUD_RUN_JOB", text(doc, "job").to_owned()),
        ("CLOUD_RUN_EXECUTION", last(execution).to_owned()),
        ("CLOUD_RUN_TASK_INDEX", index.to_string()),
        ("CLOUD_RUN_TASK_ATTEMPT", attempt.to_string()),
        ("CLOUD_RUN_TASK_COUNT", int(doc, "taskCount").to_string()),
    ] {
        launch.env.insert(name.to_owned(), value);
    }
    Ok(Some(launch))
}

fn project_of(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    list(value, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// How a container of `template` is started, whose needs were found to be there.
fn launch(
    world: &World,
    project: &str,
    template: &Value,
    container: &Value,
    content: Content,
    source: Source,
) -> Launch {
    let config = match &content {
        Content::Image(image) => image.config["config"].clone(),
        Content::Command { .. } | Content::Unreadable(_) => Value::Null,
    };
    let (mut command, mut args) = (strings(container, "command"), strings(container, "args"));
    // As Kubernetes has it: a command of its own takes the place of the image's entrypoint and of its arguments.
    if command.is_empty() {
        command = strings(&config, "Entrypoint");
        if args.is_empty() {
            args = strings(&config, "Cmd");
        }
    }
    let mut env = environment(world, project, &config, container);
    expand(&mut command, &env);
    expand(&mut args, &env);
    if let Content::Command { .. } = &content {
        for name in ["PATH", "HOME", "RUST_LOG"] {
            env.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
    }
    let metadata = world.runtime.metadata_host(text(template, "serviceAccount"), project);
    env.extend(metadata.map(|host| ("GCE_METADATA_HOST".to_owned(), host)));
    let folder = [text(container, "workingDir"), text(&config, "WorkingDir"), "/"]
        .into_iter()
        .find(|dir| !dir.is_empty());
    let memory = quantity::bytes(text(&container["resources"]["limits"], "memory"));
    Launch {
        source,
        content,
        command,
        args,
        user: text(&config, "User").to_owned(),
        folder: folder.unwrap_or("/").to_owned(),
        env,
        files: files(world, project, template, container),
        memory: memory.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
    }
}

/// The image's variables, then the container's, then the secrets behind them.
fn environment(world: &World, project: &str, config: &Value, container: &Value) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ]);
    let pairs = list(config, "Env").iter().filter_map(Value::as_str).filter_map(|pair| pair.split_once('='));
    env.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for variable in list(container, "env") {
        let value = match variable.pointer("/valueSource/secretKeyRef") {
            Some(reference) => secret(world, project, text(reference, "secret"), text(reference, "version"))
                .map(|data| String::from_utf8_lossy(&data).into_owned())
                .unwrap_or_default(),
            None => text(variable, "value").to_owned(),
        };
        env.insert(text(variable, "name").to_owned(), value);
    }
    env
}

/// `$(NAME)` in commands and arguments stands for the variable; `$$` for `$`.
fn expand(words: &mut [String], env: &BTreeMap<String, String>) {
    for word in words {
        for (name, value) in env {
            *word = word.replace(&format!("$({name})"), value);
        }
    }
}

/// The payload of a version that `needs` found readable.
fn secret(world: &World, project: &str, named: &str, version: &str) -> Option<Vec<u8>> {
    let (owner, id) = needs::owner_of(world, project, named);
    let name = format!("projects/{owner}/secrets/{id}");
    match world.secret_version(&name, version) {
        Reference::Enabled(number) => world.secret_payload(&name, number),
        _ => None,
    }
}

/// Secrets that are mounted as files. Without items the file has the secret's name and its newest value.
fn files(world: &World, project: &str, template: &Value, container: &Value) -> Vec<Mounted> {
    let mut found = Vec::new();
    for mount in list(container, "volumeMounts") {
        let volume = list(template, "volumes").iter().find(|volume| volume["name"] == mount["name"]);
        let Some(volume) = volume.and_then(|volume| volume.get("secret")) else { continue };
        let named = text(volume, "secret");
        let mode = |value: i64| u32::try_from(value).ok().filter(|mode| *mode > 0);
        let default = mode(int(volume, "defaultMode")).unwrap_or(0o444);
        let at = |path: &str| Path::new(text(mount, "mountPath")).join(path).to_string_lossy().into_owned();
        let items = list(volume, "items");
        let whole = [("latest", last(named), default)];
        let wanted = items.iter().map(|item| {
            (text(item, "version"), text(item, "path"), mode(int(item, "mode")).unwrap_or(default))
        });
        let wanted: Vec<_> = if items.is_empty() { whole.to_vec() } else { wanted.collect() };
        for (version, path, mode) in wanted {
            let data = secret(world, project, named, version);
            found.extend(data.map(|data| Mounted { path: at(path), data, mode }));
        }
    }
    found
}

/// How a revision (full name) is scaled. What the service asks for goes to the revisions that serve.
pub(crate) fn scale(world: &World, revision: &str) -> Scale {
    let doc = world.doc(REVISIONS, revision).unwrap_or(&Value::Null);
    let service = world.doc(SERVICES, resource_of(revision)).unwrap_or(&Value::Null);
    let statuses = list(service, "trafficStatuses");
    let ours = || statuses.iter().filter(|status| text(status, "revision") == last(revision));
    let share: i64 = ours().map(|status| int(status, "percent")).sum();
    let number = |value: i64| usize::try_from(value).unwrap_or_default();
    let most = [&doc["scaling"], &service["scaling"]].map(|scaling| number(int(scaling, "maxInstanceCount")));
    let own = if ours().next().is_some() { int(&doc["scaling"], "minInstanceCount") } else { 0 };
    // Spread by traffic, as Cloud Run does with a service's own minimum.
    let shared = (int(&service["scaling"], "minInstanceCount") * share + 99) / 100;
    let most = most.into_iter().filter(|most| *most > 0).min().unwrap_or(100);
    // A second one would meet the ports of the first one's sidecar: they share the machine's.
    let most = if has_sidecar(world, revision) { 1 } else { most };
    Scale {
        concurrency: number(int(doc, "maxInstanceRequestConcurrency")).max(1),
        most,
        least: number(own.max(shared)).min(most),
    }
}

/// The service or job that a full name is below.
pub(crate) fn resource_of(name: &str) -> &str {
    let end = name.match_indices('/').nth(5).map_or(name.len(), |(at, _)| at);
    &name[..end]
}

/// Every revision that traffic or a tag keeps alive, by full name.
pub(crate) fn addressed(world: &World) -> Vec<String> {
    let services = world.list(SERVICES, "");
    services
        .filter(|(_, doc)| doc.get("deleteTime").is_none())
        .flat_map(|(name, doc)| {
            let statuses = super::traffic::addressed(list(doc, "trafficStatuses"));
            statuses.into_iter().map(move |revision| format!("{name}/revisions/{revision}"))
        })
        .collect()
}

/// Whether a revision is still there, and not being deleted.
pub(crate) fn is_there(world: &World, revision: &str) -> bool {
    world.doc(REVISIONS, revision).is_some_and(|doc| doc.get("deleteTime").is_none())
        && world.doc(SERVICES, resource_of(revision)).is_some_and(|doc| doc.get("deleteTime").is_none())
}

/// Executions that are still to end, by full name.
pub(crate) fn open_executions(world: &World) -> Vec<String> {
    let open = world.list(EXECUTIONS, "").filter(|(_, doc)| doc.get("completionTime").is_none());
    open.filter(|(name, _)| world.doc(JOBS, resource_of(name)).is_some())
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The whole seconds of a duration field, `default` when it has none.
pub(crate) fn seconds(doc: &Value, key: &str, default: f64) -> f64 {
    super::access::seconds(text(doc, key)).filter(|seconds| *seconds > 0.0).unwrap_or(default)
}

/// The location of a full resource name.
pub(crate) fn location(name: &str) -> &str {
    resource::location(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const API: &str = "projects/agent-army-dev/locations/us-central1/services/api";

    /// How `revision` of the service `api` is scaled.
    fn scaled(service: Value, revision: Value) -> Scale {
        let mut world = crate::testing::world();
        let name = format!("{API}/revisions/api-1");
        world.put(SERVICES, API, service);
        world.put(REVISIONS, &name, revision);
        scale(&world, &name)
    }

    #[test]
    fn the_smaller_maximum_of_service_and_revision_counts() {
        let most = |service, revision| {
            let scaling = |most| json!({"scaling": {"maxInstanceCount": most}});
            scaled(scaling(service), scaling(revision)).most
        };
        assert_eq!((most(3, 100), most(3, 2), most(0, 2), most(0, 0)), (3, 2, 2, 100));
    }

    #[test]
    fn a_revisions_own_minimum_is_kept_while_traffic_or_a_tag_leads_to_it() {
        let least = |statuses| {
            let revision = json!({"scaling": {"minInstanceCount": 2}});
            scaled(json!({"trafficStatuses": statuses}), revision).least
        };
        assert_eq!(least(json!([{"revision": "api-1", "percent": 100}])), 2);
        assert_eq!(
            least(json!([{"revision": "api-2", "percent": 100}, {"revision": "api-1", "tag": "next"}])),
            2
        );
        assert_eq!(least(json!([{"revision": "api-2", "percent": 100}])), 0);
    }

    #[test]
    fn a_services_minimum_is_spread_by_traffic() {
        let least = |percent| {
            let statuses = json!([{"revision": "api-1", "percent": percent}]);
            scaled(json!({"scaling": {"minInstanceCount": 3}, "trafficStatuses": statuses}), json!({})).least
        };
        assert_eq!((least(100), least(50), least(1), least(0)), (3, 2, 1, 0));
    }

    #[test]
    fn arguments_name_variables() {
        let env = BTreeMap::from([("PORT".to_owned(), "80".to_owned())]);
        let mut words = ["--port=$(PORT)".to_owned(), "$(OTHER)".to_owned()];
        expand(&mut words, &env);
        assert_eq!(words, ["--port=80", "$(OTHER)"]);
    }
}
