//! Service Usage v1: which APIs a project has enabled, and the gate that every other API's call passes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Apis;
use crate::call::{Call, Handler, page};
use crate::error::{Answer, Status};
use crate::methods;
use crate::operations::{Effect, OperationSpec};
use crate::world::World;

/// Documents by `projects/ID/services/NAME`: `{enabled, lag}`, lag being calls that are still refused.
const COLLECTION: &str = "serviceusage.services";

/// `BatchEnableServicesRequest.serviceIds`: "A single request can enable a maximum of 20 services at a time."
const MAX_BATCH_ENABLE: usize = 20;
/// `BatchGetServices.names`: at most 30.
const MAX_BATCH_GET: usize = 30;

/// Callable always: how else would anybody enable anything.
const UNGATED: [&str; 2] = ["serviceusage.googleapis.com", "cloudresourcemanager.googleapis.com"];

/// Enabled in a new project, as the console's new projects have them.
const FIRST: [&str; 12] = [
    "analyticshub.googleapis.com",
    "bigquery.googleapis.com",
    "cloudapis.googleapis.com",
    "cloudtrace.googleapis.com",
    "datastore.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "servicemanagement.googleapis.com",
    "serviceusage.googleapis.com",
    "sql-component.googleapis.com",
    "storage-api.googleapis.com",
    "storage.googleapis.com",
];

/// Known besides those that the method table names.
const OTHERS: [&str; 27] = [
    "aiplatform.googleapis.com",
    "cloudbilling.googleapis.com",
    "cloudkms.googleapis.com",
    "compute.googleapis.com",
    "containerregistry.googleapis.com",
    "containerscanning.googleapis.com",
    "dns.googleapis.com",
    "documentai.googleapis.com",
    "eventarc.googleapis.com",
    "fcm.googleapis.com",
    "firebase.googleapis.com",
    "firestore.googleapis.com",
    "gmail.googleapis.com",
    "iap.googleapis.com",
    "identitytoolkit.googleapis.com",
    "language.googleapis.com",
    "networkmanagement.googleapis.com",
    "orgpolicy.googleapis.com",
    "pubsub.googleapis.com",
    "redis.googleapis.com",
    "servicenetworking.googleapis.com",
    "sheets.googleapis.com",
    "speech.googleapis.com",
    "sqladmin.googleapis.com",
    "texttospeech.googleapis.com",
    "translate.googleapis.com",
    "vision.googleapis.com",
];

/// Enabling the first brings the second.
const BRINGS: &[(&str, &[&str])] = &[
    ("run.googleapis.com", &["pubsub.googleapis.com", "artifactregistry.googleapis.com"]),
    ("iam.googleapis.com", &["iamcredentials.googleapis.com"]),
    ("cloudbuild.googleapis.com", &["logging.googleapis.com", "storage-api.googleapis.com"]),
];

/// The methods served, by id.
pub fn routes() -> Vec<(&'static str, Handler)> {
    vec![
        ("serviceusage.services.list", list),
        ("serviceusage.services.get", get),
        ("serviceusage.services.batchGet", batch_get),
        ("serviceusage.services.enable", enable),
        ("serviceusage.services.disable", disable),
        ("serviceusage.services.batchEnable", batch_enable),
    ]
}

fn known() -> BTreeSet<&'static str> {
    methods::all().iter().map(|method| method.host).chain(FIRST).chain(OTHERS).collect()
}

fn key(project: &str, service: &str) -> String {
    format!("projects/{project}/services/{service}")
}

pub(crate) fn is_enabled(world: &World, project: &str, service: &str) -> bool {
    match world.doc(COLLECTION, &key(project, service)) {
        Some(doc) => doc["enabled"] == true,
        None => world.apis == Apis::All,
    }
}

/// What a new project has without asking.
pub(crate) fn enable_first_apis(world: &mut World, project: &str) {
    for service in FIRST {
        world.put(COLLECTION, &key(project, service), json!({ "enabled": true }));
    }
}

/// Refuses a call to an API that is not enabled, or that was enabled only just now.
pub(crate) fn gate(world: &mut World, project: &str, service: &str) -> Result<(), Status> {
    if UNGATED.contains(&service) {
        return Ok(());
    }
    if !is_enabled(world, project, service) {
        return Err(disabled(world, project, service));
    }
    let key = key(project, service);
    let lag = world.doc(COLLECTION, &key).and_then(|doc| doc["lag"].as_u64()).unwrap_or(0);
    if lag == 0 {
        return Ok(());
    }
    world.put(COLLECTION, &key, json!({ "enabled": true, "lag": lag - 1 }));
    Err(disabled(world, project, service))
}

fn disabled(world: &World, project: &str, service: &str) -> Status {
    let number = world.project_number(project);
    let title = service.trim_end_matches(".googleapis.com");
    let link = format!("https://console.developers.google.com/apis/api/{service}/overview?project={project}");
    Status::permission_denied(format!(
        "{service} has not been used in project {project} before or it is disabled. Enable it by visiting {link} then \
         retry. If it was enabled just now, wait until that has propagated and retry."
    ))
    .with_info(
        "SERVICE_DISABLED",
        json!({
            "service": service,
            "serviceTitle": title,
            "consumer": format!("projects/{number}"),
            "containerInfo": number.to_string(),
            "activationUrl": link,
        }),
    )
    .with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{ "description": "Google developers console API activation", "url": link }],
    }))
}

/// The effect of an operation: the type URL and the value of its response.
pub(crate) fn finish(
    world: &mut World,
    project: &str,
    services: &[String],
    enabled: bool,
    batch: bool,
) -> (String, Value) {
    for service in services {
        set_enabled(world, project, service, enabled);
    }
    let views: Vec<Value> = services.iter().map(|service| view(world, project, service)).collect();
    let (message, value) = match (batch, enabled) {
        (true, _) => ("BatchEnableServicesResponse", json!({ "services": views })),
        (false, true) => ("EnableServiceResponse", json!({ "service": views.first() })),
        (false, false) => ("DisableServiceResponse", json!({ "service": views.first() })),
    };
    (format!("type.googleapis.com/google.api.serviceusage.v1.{message}"), value)
}

fn set_enabled(world: &mut World, project: &str, service: &str, enabled: bool) {
    if enabled == is_enabled(world, project, service) {
        return;
    }
    let lag = if enabled { world.random_between(1, 4) } else { 0 };
    world.put(COLLECTION, &key(project, service), json!({ "enabled": enabled, "lag": lag }));
    if enabled {
        let brought = BRINGS.iter().find(|(name, _)| *name == service).map_or(&[][..], |(_, names)| names);
        for other in brought {
            set_enabled(world, project, other, true);
        }
    }
}

fn view(world: &World, project: &str, service: &str) -> Value {
    let number = world.project_number(project);
    let state = if is_enabled(world, project, service) { "ENABLED" } else { "DISABLED" };
    json!({
        "name": format!("projects/{number}/services/{service}"),
        "parent": format!("projects/{number}"),
        "state": state,
        "config": {
            "name": service,
            "title": title_of(service),
            "documentation": {},
            "quota": {},
            "authentication": {},
            "usage": { "requirements": ["serviceusage.googleapis.com/tos/cloud"] },
            "monitoring": {},
        },
    })
}

fn title_of(service: &str) -> String {
    let name = service.trim_end_matches(".googleapis.com");
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter();
    format!("{} API", first.chain(letters).collect::<String>())
}

/// Services belong to projects here; folders and organizations are not emulated.
fn project(call: &Call) -> Result<&str, Status> {
    if call.project.is_empty() {
        return Err(Status::permission_denied(format!(
            "The caller does not have permission on '{}', or it may not exist.",
            call.resource
        )));
    }
    Ok(&call.project)
}

fn check_known(world: &World, project: &str, service: &str) -> Result<(), Status> {
    if known().contains(service) {
        return Ok(());
    }
    let number = world.project_number(project);
    Err(Status::permission_denied(format!(
        "Not found or permission denied for service(s): {service}. (consumer projects/{number})"
    ))
    .with_info("SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED", json!({ "services": service })))
}

fn service(call: &Call) -> String {
    call.var("services").to_owned()
}

fn get(world: &mut World, call: &Call) -> Answer {
    let (project, service) = (project(call)?, service(call));
    check_known(world, project, &service)?;
    Ok(view(world, project, &service))
}

fn list(world: &mut World, call: &Call) -> Answer {
    let project = project(call)?;
    let wanted = match call.query.str("filter").map(|filter| filter.replace(' ', "")) {
        None => None,
        Some(filter) => match filter.as_str() {
            "state:ENABLED" | "state=ENABLED" => Some(true),
            "state:DISABLED" | "state=DISABLED" => Some(false),
            _ => {
                return Err(Status::invalid(
                    "filter",
                    "The allowed filter strings are state:ENABLED and state:DISABLED.",
                ));
            }
        },
    };
    let views: Vec<Value> = known()
        .into_iter()
        .filter(|service| wanted.is_none_or(|enabled| is_enabled(world, project, service) == enabled))
        .map(|service| view(world, project, service))
        .collect();
    page(views, "services", call, 50, 200)
}

fn batch_get(world: &mut World, call: &Call) -> Answer {
    let project = project(call)?;
    let names: Vec<&str> = call.query.all("names").collect();
    if names.is_empty() || names.len() > MAX_BATCH_GET {
        return Err(Status::invalid("names", format!("Between 1 and {MAX_BATCH_GET} names are needed.")));
    }
    let mut views = Vec::with_capacity(names.len());
    for name in names {
        let parts: Vec<&str> = name.split('/').collect();
        let ["projects", owner, "services", service] = parts.as_slice() else {
            return Err(Status::invalid("names", format!("'{name}' is not a name of a service.")));
        };
        if world.use_project(owner)? != project {
            return Err(Status::invalid("names", format!("'{name}' is not in the parent.")));
        }
        check_known(world, project, service)?;
        views.push(view(world, project, service));
    }
    Ok(json!({ "services": views }))
}

fn enable(world: &mut World, call: &Call) -> Answer {
    start(world, call, vec![service(call)], true, false)
}

fn batch_enable(world: &mut World, call: &Call) -> Answer {
    let ids = call.body["serviceIds"].as_array().into_iter().flatten();
    let ids: Vec<String> = ids.filter_map(Value::as_str).map(str::to_owned).collect();
    if ids.is_empty() || ids.len() > MAX_BATCH_ENABLE {
        return Err(Status::invalid(
            "service_ids",
            format!("Between 1 and {MAX_BATCH_ENABLE} services are needed."),
        ));
    }
    start(world, call, ids, true, true)
}

fn disable(world: &mut World, call: &Call) -> Answer {
    let (project, service) = (project(call)?.to_owned(), service(call));
    check_known(world, &project, &service)?;
    if UNGATED.contains(&service.as_str()) {
        return Err(Status::failed_precondition(format!("{service} cannot be disabled.")));
    }
    let dependants: Vec<&str> = BRINGS
        .iter()
        .filter(|(name, needs)| needs.contains(&service.as_str()) && is_enabled(world, &project, name))
        .map(|(name, _)| *name)
        .collect();
    if !dependants.is_empty() && call.body["disableDependentServices"] != true {
        return Err(Status::failed_precondition(format!(
            "The service {service} is depended on by the following active service(s): {}. Disable those as well.",
            dependants.join(", ")
        )));
    }
    let mut services = vec![service];
    services.extend(dependants.into_iter().map(str::to_owned));
    start(world, call, services, false, false)
}

fn start(world: &mut World, call: &Call, services: Vec<String>, enabled: bool, batch: bool) -> Answer {
    let project = project(call)?.to_owned();
    for service in &services {
        check_known(world, &project, service)?;
    }
    let number = world.project_number(&project);
    let names: Vec<String> =
        services.iter().map(|service| format!("projects/{number}/services/{service}")).collect();
    let changes = services.iter().any(|service| is_enabled(world, &project, service) != enabled);
    let effect = Effect::Apis { project, services, enabled, batch };
    let metadata = json!({ "resourceNames": names });
    let mut spec =
        OperationSpec::new(world, "google.api.serviceusage.v1.OperationMetadata", metadata, effect);
    if !changes {
        // Google answers a finished operation when there is nothing to do.
        spec.steps = 0;
    }
    let name = if changes {
        format!("operations/acat.p2-{number}-{}", world.uuid())
    } else {
        "operations/noop.DONE_OPERATION".to_owned()
    };
    Ok(world.start_operation(name, spec))
}

#[cfg(test)]
mod tests;
