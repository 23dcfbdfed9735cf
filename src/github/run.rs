//! What a run of GitHub Actions says about itself, in its environment and in the file of its event.

use std::path::PathBuf;

use serde_json::Value;

use super::GithubError;

/// Where and as whom to comment.
#[derive(Clone)]
pub struct Run {
    /// `GITHUB_API_URL`, without a slash at its end.
    pub api: String,
    /// `OWNER/NAME`
    pub repository: String,
    pub token: String,
    /// Name of the workflow and id of the job: what makes comments of several jobs different by themselves.
    pub job: String,
    event: Option<PathBuf>,
    event_name: String,
}

/// The pull request that the run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest {
    pub number: u64,
    /// Its branch is in another repository: the token of its runs only reads.
    pub fork: bool,
}

impl Run {
    /// Reads the environment through `variable`, as `std::env::var` does.
    ///
    /// Fails outside of GitHub Actions and without a token. The variables are those that GitHub documents as the default ones of
    /// a run; `GITHUB_TOKEN` is handed on by the workflow.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, GithubError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let repository = set("GITHUB_REPOSITORY").ok_or(GithubError::NotInActions("GITHUB_REPOSITORY"))?;
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let plain =
            repository.split('/').all(|part| !part.is_empty() && part != ".." && part.chars().all(word));
        if !plain || repository.matches('/').count() != 1 {
            return Err(GithubError::NotInActions("GITHUB_REPOSITORY"));
        }
        let api = set("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".to_owned());
        let job = [set("GITHUB_WORKFLOW"), set("GITHUB_JOB")].into_iter().flatten().collect::<Vec<_>>();
        Ok(Self {
            api: place(&api)?,
            repository,
            token: set("GITHUB_TOKEN").ok_or(GithubError::NoToken)?.trim().to_owned(),
            job: job.join("/"),
            event: set("GITHUB_EVENT_PATH").map(PathBuf::from),
            event_name: set("GITHUB_EVENT_NAME").unwrap_or_else(|| "none".to_owned()),
        })
    }

    /// The pull request `number`, or the one of the run's event.
    pub fn pull_request(&self, number: Option<u64>) -> Result<PullRequest, GithubError> {
        let event = match &self.event {
            Some(path) => read(path).map(Some),
            None => Ok(None),
        };
        let found = match event {
            Ok(event) => event.and_then(|event| self.of_event(&event)),
            // What the number says need not be read.
            Err(_) if number.is_some() => None,
            Err(error) => return Err(error),
        };
        match (number, found) {
            (Some(number), Some(found)) if found.number == number => Ok(found),
            (Some(number), _) => Ok(PullRequest { number, fork: false }),
            (None, Some(found)) => Ok(found),
            (None, None) => Err(GithubError::NoPullRequest(self.event_name.clone())),
        }
    }

    /// By the payloads of `pull_request`, `issue_comment` and `workflow_run`.
    fn of_event(&self, event: &Value) -> Option<PullRequest> {
        let comment_on = &event["issue"];
        let first = &event["workflow_run"]["pull_requests"][0];
        let pull = if event["pull_request"].is_object() {
            &event["pull_request"]
        } else if comment_on["pull_request"].is_object() {
            comment_on
        } else {
            first
        };
        let number = pull["number"].as_u64()?;
        let head = pull["head"]["repo"]["full_name"].as_str();
        // The repository of a fork that was deleted is null.
        let gone = pull["head"].is_object() && pull["head"]["repo"].is_null();
        let fork = gone || head.is_some_and(|head| !head.eq_ignore_ascii_case(&self.repository));
        Some(PullRequest { number, fork })
    }
}

/// The token must not be in what somebody prints.
impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("repository", &self.repository).finish_non_exhaustive()
    }
}

fn read(path: &std::path::Path) -> Result<Value, GithubError> {
    let said = |error: &dyn std::fmt::Display| GithubError::Event(format!("{}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| said(&error))?;
    serde_json::from_slice(&text).map_err(|error| said(&error))
}

/// Tokens travel over TLS, or stay on this machine.
fn place(url: &str) -> Result<String, GithubError> {
    let parsed = reqwest::Url::parse(url).map_err(|error| GithubError::Place(format!("{url}: {error}")))?;
    let here = parsed.host_str().is_some_and(|host| matches!(host, "127.0.0.1" | "[::1]" | "localhost"));
    match parsed.scheme() {
        "https" => {}
        "http" if here => {}
        _ => return Err(GithubError::Place(format!("{url} is not https"))),
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn run(event: &Value) -> (Run, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("event.json");
        fs::write(&path, event.to_string()).unwrap();
        let variable = move |name: &str| match name {
            "GITHUB_REPOSITORY" => Some("octo-org/shop".to_owned()),
            "GITHUB_TOKEN" => Some("secret-token".to_owned()),
            "GITHUB_EVENT_PATH" => Some(path.to_str().unwrap().to_owned()),
            "GITHUB_EVENT_NAME" => Some("push".to_owned()),
            "GITHUB_WORKFLOW" => Some("plan".to_owned()),
            _ => None,
        };
        (Run::of(variable).unwrap(), folder)
    }

    #[test]
    fn the_event_names_the_pull_request_and_whether_it_is_a_fork() {
        let of = |event: Value| run(&event).0.pull_request(None);
        let head = |name: &str| json!({"pull_request": {"number": 7, "head": {"repo": {"full_name": name}}}});
        assert_eq!(of(head("Octo-Org/shop")).unwrap(), PullRequest { number: 7, fork: false });
        assert_eq!(of(head("mona/shop")).unwrap(), PullRequest { number: 7, fork: true });
        let deleted = json!({"pull_request": {"number": 7, "head": {"repo": null}}});
        assert!(of(deleted).unwrap().fork);
        let comment = json!({"issue": {"number": 8, "pull_request": {}}});
        assert_eq!(of(comment).unwrap().number, 8);
        let after = json!({"workflow_run": {"pull_requests": [{"number": 9}]}});
        assert_eq!(of(after).unwrap().number, 9);
    }

    #[test]
    fn an_event_without_a_pull_request_needs_its_number() {
        let (push, _folder) = run(&json!({"ref": "refs/heads/main", "issue": {"number": 3}}));
        assert_eq!(
            push.pull_request(None).unwrap_err().to_string(),
            "this run belongs to no pull request (its event is `push`)"
        );
        assert_eq!(push.pull_request(Some(4)).unwrap(), PullRequest { number: 4, fork: false });
    }

    #[test]
    fn a_token_is_sent_over_tls_or_to_this_machine_alone() {
        assert_eq!(place("https://ghe.example/api/v3/").unwrap(), "https://ghe.example/api/v3");
        assert!(place("http://127.0.0.1:8080").is_ok());
        for url in ["http://ghe.example", "http://127.0.0.1.evil.example", "ftp://x", "api.github.com"] {
            assert!(matches!(place(url), Err(GithubError::Place(_))), "{url}");
        }
    }

    #[test]
    fn the_token_cannot_be_printed() {
        assert!(!format!("{:?}", run(&json!({})).0).contains("secret-token"));
    }

    #[test]
    fn outside_of_actions_the_missing_variable_is_named() {
        let missing = |set: &'static [&str]| {
            let variable = |name: &str| set.contains(&name).then(|| "a/b".to_owned());
            Run::of(variable).unwrap_err().to_string()
        };
        assert_eq!(missing(&[]), "GITHUB_REPOSITORY is not set: this is no run of GitHub Actions");
        assert_eq!(missing(&["GITHUB_REPOSITORY"]), "GITHUB_TOKEN is not set");
    }
}
