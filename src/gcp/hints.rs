//! From a refusal to what the user can do: the role to grant, the API to enable, the command to run.

use serde_json::Value;

use super::api::Method;
use super::error::ErrorKind;
use super::failure::Failure;

/// The steps for an error of this kind. `resource` names what the call of `method` was about (`projects/P/...`).
pub(crate) fn of(kind: &ErrorKind, failure: &Failure, resource: &str, method: &Method) -> Vec<String> {
    match kind {
        ErrorKind::ServiceDisabled { api } => enable_api(api, failure, resource),
        ErrorKind::PermissionDenied => grant_role(failure, resource, method.id),
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
        ErrorKind::Network => {
            vec![format!("check that {} can be reached from here", method.api.host())]
        }
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

fn grant_role(failure: &Failure, resource: &str, method: &str) -> Vec<String> {
    let permission = permission(failure);
    let permission = permission.as_deref();
    if permission.is_some_and(is_act_as) {
        return lend_account(failure, resource);
    }
    let project = project_of(resource).unwrap_or("PROJECT");
    let role = role_for(permission.unwrap_or(method));
    let mut hints = Vec::new();
    if let Some(permission) = permission {
        hints.push(format!("the missing permission is {permission}; {role} holds it"));
    }
    hints.push(format!(
        "grant it to the identity that runs deployer: \
         gcloud projects add-iam-policy-binding {project} --member=MEMBER --role={role}"
    ));
    hints.push(PATIENCE.to_owned());
    hints
}

const PATIENCE: &str = "a grant made moments ago takes up to seven minutes to work";

fn is_act_as(permission: &str) -> bool {
    permission.eq_ignore_ascii_case("iam.serviceAccounts.actAs")
}

/// To run something as an account takes a grant on that account. One on the project would lend every account in it.
fn lend_account(failure: &Failure, resource: &str) -> Vec<String> {
    let named = failure.error_info().and_then(|info| info.pointer("/metadata/resource"));
    let named = named.and_then(Value::as_str).and_then(address);
    let account = named.or_else(|| address(&failure.message)).or_else(|| address(resource));
    let account = account.unwrap_or("ACCOUNT");
    vec![
        format!("the identity that runs deployer must be allowed to run things as {account}"),
        "the deploy account of `github.identity` gets that with: deployer apply ENV --layer foundation"
            .to_owned(),
        format!(
            "anybody else on that one account alone: gcloud iam service-accounts add-iam-policy-binding {account} \
             --member=MEMBER --role=roles/iam.serviceAccountUser"
        ),
        PATIENCE.to_owned(),
    ]
}

/// The address of a service account in a text.
fn address(text: &str) -> Option<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "@.-_".contains(c)));
    words
        .map(|word| word.trim_matches('.'))
        .find(|word| word.contains('@') && word.ends_with(".gserviceaccount.com"))
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
        let known = [
            "run.",
            "secretmanager.",
            "iam.",
            "resourcemanager.",
            "serviceusage.",
            "artifactregistry.",
            "logging.",
        ];
        let named = known.iter().any(|service| word.starts_with(service));
        let parts: Vec<_> = word.split('.').collect();
        (named && parts.len() == 3 && parts[2] != "com").then(|| word.to_owned())
    })
}

/// The narrowest predefined role that covers deployer's reads, or its writes, of the objects that a permission is about.
/// A method's id (`run.projects.locations.services.patch`) is understood as well, where no permission was named.
fn role_for(wanted: &str) -> &'static str {
    let about = |part: &str| wanted.split('.').any(|found| found == part);
    let does = |actions: &[&str]| wanted.rsplit('.').next().is_some_and(|action| actions.contains(&action));
    let reads = does(&["get", "list"]);
    match wanted.split('.').next().unwrap_or_default() {
        "run" if reads || does(&["wait", "getIamPolicy"]) => "roles/run.viewer",
        "run" => "roles/run.admin",
        "secretmanager" if reads || does(&["getIamPolicy"]) => "roles/secretmanager.viewer",
        "secretmanager" => "roles/secretmanager.admin",
        "artifactregistry" if reads || does(&["downloadArtifacts"]) => "roles/artifactregistry.reader",
        "artifactregistry" if does(&["uploadArtifacts"]) => "roles/artifactregistry.writer",
        "artifactregistry" if about("tags") && does(&["create", "update", "patch"]) => {
            "roles/artifactregistry.writer"
        }
        "artifactregistry" if ["tags", "versions", "packages"].into_iter().any(about) => {
            "roles/artifactregistry.repoAdmin"
        }
        "artifactregistry" => "roles/artifactregistry.admin",
        "iam" if wanted.contains("workloadIdentityPool") && reads => "roles/iam.workloadIdentityPoolViewer",
        "iam" if wanted.contains("workloadIdentityPool") => "roles/iam.workloadIdentityPoolAdmin",
        "iam" if reads || does(&["getIamPolicy"]) => "roles/iam.serviceAccountViewer",
        "iam" if does(&["getOpenIdToken"]) => "roles/iam.serviceAccountOpenIdTokenCreator",
        "iam" => "roles/iam.serviceAccountAdmin",
        "iamcredentials" => "roles/iam.serviceAccountOpenIdTokenCreator",
        "logging" => "roles/logging.viewer",
        "serviceusage" if reads => "roles/serviceusage.serviceUsageViewer",
        "serviceusage" => "roles/serviceusage.serviceUsageAdmin",
        // Projects: nobody is told to grant the right to grant, but where that is what is missing.
        _ if does(&["setIamPolicy"]) => "roles/resourcemanager.projectIamAdmin",
        _ => "roles/browser",
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

    use crate::gcp::api::Api;

    const CREATE_SECRET: Method =
        Method::write(Api::SecretManager, "POST", "secretmanager.projects.secrets.create");
    const CREATE_JOB: Method = Method::write(Api::Run, "POST", "run.projects.locations.jobs.create");

    fn denied(message: &str, details: Vec<Value>) -> Failure {
        Failure::from_status(403, Some("PERMISSION_DENIED".into()), message.into(), details)
    }

    #[test]
    fn the_permission_in_the_message_names_the_role() {
        let failure =
            denied("Permission 'iam.serviceaccounts.actAs' denied on service account a@b (or).", vec![]);
        assert_eq!(permission(&failure).as_deref(), Some("iam.serviceaccounts.actAs"));
        let failure = denied("Permission 'secretmanager.secrets.create' denied for resource.", vec![]);
        let hints = of(&ErrorKind::PermissionDenied, &failure, "projects/p/secrets", &CREATE_SECRET);
        assert!(hints[0].contains("secretmanager.secrets.create"), "{hints:?}");
        assert!(
            hints[1].contains("add-iam-policy-binding p ") && hints[1].contains("roles/secretmanager.admin")
        );
    }

    #[test]
    fn an_account_is_lent_by_itself_and_never_with_the_project() {
        let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED",
            "metadata": {"permission": "iam.serviceAccounts.actAs",
                "resource": "projects/-/serviceAccounts/api@p.iam.gserviceaccount.com"}});
        let in_message = "Permission 'iam.serviceaccounts.actAs' denied on service account api@p.iam.gserviceaccount.com (or it).";
        for failure in [denied("denied", vec![info]), denied(in_message, vec![])] {
            let hints = of(&ErrorKind::PermissionDenied, &failure, "projects/p", &CREATE_JOB).join("\n");
            assert!(hints.contains("deployer apply ENV --layer foundation"), "{hints}");
            let binding = "gcloud iam service-accounts add-iam-policy-binding api@p.iam.gserviceaccount.com \
                --member=MEMBER --role=roles/iam.serviceAccountUser";
            assert!(hints.contains(binding) && !hints.contains("gcloud projects"), "{hints}");
        }
    }

    #[test]
    fn a_refusal_that_names_no_permission_is_judged_by_its_method() {
        let hints = of(&ErrorKind::PermissionDenied, &denied("no", vec![]), "projects/p", &CREATE_JOB);
        assert!(hints[0].ends_with("--role=roles/run.admin"), "{hints:?}");
    }

    fn data(file: &str) -> String {
        std::fs::read_to_string(format!("{}/sandbox/data/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// Whether the sandbox's table says that a role holds a permission.
    fn holds(roles: &str, role: &str, permission: &str) -> bool {
        let after =
            roles.split_once(&format!("\n{role}\n")).unwrap_or_else(|| panic!("{role} is not listed")).1;
        let lines = after.lines().take_while(|line| line.starts_with(' ')).map(str::trim);
        let fits = |pattern: &str| {
            let pairs = pattern.split('.').zip(permission.split('.'));
            pairs.into_iter().all(|(pattern, part)| pattern == "*" || pattern == part)
        };
        let (taken, given): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('-'));
        given.into_iter().any(fits) && !taken.into_iter().any(|line| fits(&line[1..]))
    }

    /// The ids of the methods that the files of this folder name, as a whole or in two parts.
    fn called(table: &str) -> Vec<(String, String)> {
        let folder = format!("{}/src/gcp", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let text: String = files
            .filter(|path| !path.ends_with("hints.rs") && path.is_file())
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        let named = |id: &str| {
            let halves = |(at, _): (usize, &str)| {
                text.contains(&format!("\"{}\"", &id[..at])) && text.contains(&format!("\"{}\"", &id[at..]))
            };
            text.contains(&format!("\"{id}\"")) || id.match_indices('.').any(halves)
        };
        let rows =
            table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
        rows.filter(|(id, _)| named(id)).map(|(id, needs)| (id.to_owned(), needs.to_owned())).collect()
    }

    #[test]
    fn the_role_that_is_named_holds_what_each_method_needs() {
        let (roles, methods) = (data("roles.txt"), called(&data("permissions.tsv")));
        assert!(methods.len() > 45, "{methods:?}");
        for (method, needs) in &methods {
            for permission in needs.split([' ', ',']).filter(|need| *need != "-") {
                for wanted in [permission, method] {
                    let role = role_for(wanted);
                    assert!(holds(&roles, role, permission), "{wanted}: {role} does not hold {permission}");
                    let grants = role == "roles/resourcemanager.projectIamAdmin";
                    assert_eq!(
                        grants,
                        permission == "resourcemanager.projects.setIamPolicy",
                        "{wanted}: {role}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_role_is_the_narrowest_of_its_api() {
        for (wanted, role) in [
            ("artifactregistry.tags.create", "roles/artifactregistry.writer"),
            ("artifactregistry.tags.delete", "roles/artifactregistry.repoAdmin"),
            ("artifactregistry.repositories.update", "roles/artifactregistry.admin"),
            ("artifactregistry.dockerimages.list", "roles/artifactregistry.reader"),
            ("artifactregistry.repositories.downloadArtifacts", "roles/artifactregistry.reader"),
            ("artifactregistry.repositories.uploadArtifacts", "roles/artifactregistry.writer"),
            ("iam.workloadIdentityPoolProviders.create", "roles/iam.workloadIdentityPoolAdmin"),
            ("iam.workloadIdentityPools.undelete", "roles/iam.workloadIdentityPoolAdmin"),
            ("iam.serviceAccounts.create", "roles/iam.serviceAccountAdmin"),
            ("iam.serviceAccounts.getOpenIdToken", "roles/iam.serviceAccountOpenIdTokenCreator"),
            ("run.jobs.create", "roles/run.admin"),
            ("serviceusage.services.enable", "roles/serviceusage.serviceUsageAdmin"),
            ("resourcemanager.projects.get", "roles/browser"),
        ] {
            assert_eq!(role_for(wanted), role, "{wanted}");
        }
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
