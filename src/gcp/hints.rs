//! From a refusal to what the user can do: the role to grant, the API to enable, the command to run.

use serde_json::Value;

use super::error::ErrorKind;
use super::failure::Failure;

/// The steps for an error of this kind. `resource` names what the call was about (`projects/P/...`).
pub(crate) fn of(kind: &ErrorKind, failure: &Failure, resource: &str, host: &str) -> Vec<String> {
    match kind {
        ErrorKind::ServiceDisabled { api } => enable_api(api, failure, resource),
        ErrorKind::PermissionDenied => grant_role(failure, resource, host),
        ErrorKind::Unauthenticated => vec![
            "log in again: gcloud auth application-default login".to_owned(),
            "in CI, check that the login step ran in this job and that its token has not expired".to_owned(),
        ],
        ErrorKind::Quota => quota(failure),
        ErrorKind::Conflict => {
            vec![
                "it changed meanwhile: look at the difference with `deployer plan` and apply again"
                    .to_owned(),
            ]
        }
        ErrorKind::Network => vec![format!("check that {host} can be reached from here")],
        ErrorKind::Unavailable | ErrorKind::Timeout => {
            vec!["run the command again: it continues where this run stopped".to_owned()]
        }
        _ => Vec::new(),
    }
}

fn enable_api(api: &str, failure: &Failure, resource: &str) -> Vec<String> {
    let project = project_of(resource).or_else(|| consumer(failure)).unwrap_or("PROJECT");
    vec![
        format!("enable it: gcloud services enable {api} --project={project}"),
        "an API that was enabled moments ago needs some minutes before it answers".to_owned(),
    ]
}

fn grant_role(failure: &Failure, resource: &str, host: &str) -> Vec<String> {
    let permission = permission(failure);
    let project = project_of(resource).unwrap_or("PROJECT");
    let role = role_for(permission.as_deref().unwrap_or_default(), host);
    let mut hints = Vec::new();
    if let Some(permission) = permission {
        hints.push(format!("the missing permission is {permission}; {role} holds it"));
    }
    hints.push(format!(
        "grant it to the identity that runs deployer: \
         gcloud projects add-iam-policy-binding {project} --member=MEMBER --role={role}"
    ));
    hints.push("a grant made moments ago takes up to seven minutes to work".to_owned());
    hints
}

fn quota(failure: &Failure) -> Vec<String> {
    let metric = failure.error_info().and_then(|info| info.pointer("/metadata/quota_metric"));
    let named = metric.and_then(Value::as_str).map(|metric| format!(" ({metric})")).unwrap_or_default();
    vec![format!("wait a minute and run the command again, or ask Google for more quota{named}")]
}

/// The permission that Google names, in the details or between quotes in the message.
fn permission(failure: &Failure) -> Option<String> {
    let detail = failure.error_info().and_then(|info| info.pointer("/metadata/permission"));
    if let Some(permission) = detail.and_then(Value::as_str) {
        return Some(permission.to_owned());
    }
    failure.message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).find_map(|word| {
        let word = word.trim_matches('.');
        let known = ["run.", "secretmanager.", "iam.", "resourcemanager.", "serviceusage."];
        let named = known.iter().any(|service| word.starts_with(service));
        let parts: Vec<_> = word.split('.').collect();
        (named && parts.len() == 3 && parts[2] != "com").then(|| word.to_owned())
    })
}

/// The predefined role of the smallest scope that deployer's work with this API needs.
fn role_for(permission: &str, host: &str) -> &'static str {
    match permission {
        _ if permission.eq_ignore_ascii_case("iam.serviceAccounts.actAs") => {
            return "roles/iam.serviceAccountUser";
        }
        "resourcemanager.projects.get" => return "roles/browser",
        _ if permission.starts_with("secretmanager.") => return "roles/secretmanager.admin",
        _ if permission.starts_with("run.") => return "roles/run.admin",
        _ => {}
    }
    match host {
        "run.googleapis.com" => "roles/run.admin",
        "secretmanager.googleapis.com" => "roles/secretmanager.admin",
        "iam.googleapis.com" => "roles/iam.serviceAccountAdmin",
        "serviceusage.googleapis.com" => "roles/serviceusage.serviceUsageAdmin",
        _ => "roles/resourcemanager.projectIamAdmin",
    }
}

/// The project in a resource name, unless it is the wildcard; a service account's comes from its address.
fn project_of(resource: &str) -> Option<&str> {
    let rest = resource.split_once("projects/")?.1;
    let project = rest.split(['/', ':']).next().filter(|project| !project.is_empty())?;
    if project != "-" {
        return Some(project);
    }
    let email = rest.split_once("serviceAccounts/")?.1.split(':').next()?;
    email.split_once('@')?.1.strip_suffix(".iam.gserviceaccount.com")
}

/// The project that the answer says consumed the API.
fn consumer(failure: &Failure) -> Option<&str> {
    failure.error_info()?.pointer("/metadata/consumer")?.as_str()?.strip_prefix("projects/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn denied(message: &str, details: Vec<Value>) -> Failure {
        Failure::from_status(403, Some("PERMISSION_DENIED".into()), message.into(), details)
    }

    #[test]
    fn the_permission_in_the_message_names_the_role() {
        let failure =
            denied("Permission 'iam.serviceaccounts.actAs' denied on service account a@b (or).", vec![]);
        assert_eq!(permission(&failure).as_deref(), Some("iam.serviceaccounts.actAs"));
        let failure = denied("Permission 'secretmanager.secrets.create' denied for resource.", vec![]);
        let hints =
            of(&ErrorKind::PermissionDenied, &failure, "projects/p/secrets", "secretmanager.googleapis.com");
        assert!(hints[0].contains("secretmanager.secrets.create"), "{hints:?}");
        assert!(
            hints[1].contains("add-iam-policy-binding p ") && hints[1].contains("roles/secretmanager.admin")
        );
    }

    #[test]
    fn the_permission_in_the_details_wins() {
        let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED",
            "metadata": {"permission": "iam.serviceAccounts.actAs", "resource": "x"}});
        let failure = denied("denied", vec![info]);
        let hints = of(&ErrorKind::PermissionDenied, &failure, "projects/p", "run.googleapis.com");
        assert!(hints[1].contains("roles/iam.serviceAccountUser"), "{hints:?}");
    }

    #[test]
    fn a_host_name_is_no_permission() {
        assert_eq!(permission(&denied("run.googleapis.com refused the call", vec![])), None);
    }

    #[test]
    fn the_project_is_found_in_names_and_addresses() {
        assert_eq!(project_of("projects/p/secrets/s"), Some("p"));
        assert_eq!(project_of("v3/projects/p:getIamPolicy"), Some("p"));
        assert_eq!(project_of("projects/-/serviceAccounts/a@q.iam.gserviceaccount.com"), Some("q"));
        assert_eq!(project_of("operations/x"), None);
    }
}
