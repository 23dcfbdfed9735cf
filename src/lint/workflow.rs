//! Workflows and actions of GitHub: keys, pins, permissions, expressions, conditions and who may deploy.

use super::conditions::{self, Triggers};
use super::{Found, image};
use crate::config::Diagnostic;
use crate::config::is_production;
use crate::config::parse::parse;
use crate::config::tree::{Entry, Node, Place, Tree, join};

/// Names in `secrets.NAME` of keys that live until somebody deletes them.
const LONG_LIVED: [&str; 9] = [
    "SA_KEY",
    "SERVICE_ACCOUNT_KEY",
    "GCP_KEY",
    "GCP_CREDENTIALS",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AZURE_CREDENTIALS",
];

/// Inputs of actions that take such a key.
const KEY_INPUTS: [&str; 4] =
    ["credentials_json", "service_account_key", "aws-access-key-id", "aws-secret-access-key"];

/// Contexts that nobody outside the repository can fill.
const HARMLESS: [&str; 11] = [
    "github.sha",
    "github.run_id",
    "github.run_number",
    "github.run_attempt",
    "github.repository",
    "github.workspace",
    "github.action_path",
    "matrix.",
    "runner.",
    "strategy.",
    "job.",
];

/// Commands of deployer that change something.
const DEPLOYING: [&str; 5] = ["apply", "rollback", "destroy", "migrate", "run"];

/// All findings in the text of a workflow or of an action.
pub(super) fn judge(text: &str) -> Vec<Found> {
    let document = match parse(text, 0) {
        Ok(document) => document,
        Err(error) => {
            let (place, diagnostic) = *error;
            return vec![Found::new((place.line, place.column, place.length), diagnostic)];
        }
    };
    let mut judge = Judge { text, found: Vec::new(), triggers: Triggers::of(document.get("on")) };
    judge.everything("", &document);
    if let Some(jobs) = document.get("jobs").and_then(Node::as_map) {
        judge.permissions(&document);
        for (name, entry) in jobs {
            judge.job(&join("jobs", name), entry);
        }
    }
    if let Some(runs) = document.get("runs") {
        judge.steps("runs.steps", runs.get("steps"));
    }
    judge.found.sort_by_key(|found| found.at);
    judge.found
}

struct Judge<'a> {
    text: &'a str,
    found: Vec<Found>,
    triggers: Triggers,
}

impl Judge<'_> {
    fn add(&mut self, place: Place, path: &str, diagnostic: Diagnostic) {
        self.found.push(Found::new((place.line, place.column, place.length), diagnostic.path(path)));
    }

    /// The same where `needle` stands in the value at `place`, which may have several lines.
    fn add_at(&mut self, place: Place, needle: &str, path: &str, diagnostic: Diagnostic) {
        let place = find(self.text, place, needle).unwrap_or(place);
        self.add(place, path, diagnostic);
    }

    /// What is wrong wherever it stands.
    fn everything(&mut self, path: &str, node: &Node) {
        match &node.value {
            Tree::Text(text) => self.long_lived_secret(path, node, text),
            Tree::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.everything(&join(path, &at.to_string()), item);
                }
            }
            Tree::Map(map) => {
                for (key, entry) in map {
                    let path = join(path, key);
                    if KEY_INPUTS.contains(&key.as_str()) && path.contains("with.") {
                        self.add(entry.key, &path, long_lived(&format!("`{key}`")));
                    } else {
                        self.everything(&path, &entry.node);
                    }
                }
            }
            _ => {}
        }
    }

    fn long_lived_secret(&mut self, path: &str, node: &Node, text: &str) {
        let named = text.split("secrets.").skip(1).find_map(|rest| {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            LONG_LIVED.iter().any(|known| name.to_ascii_uppercase().ends_with(known)).then_some(name)
        });
        if let Some(name) = named {
            let name = format!("secrets.{name}");
            self.add_at(node.place, &name, path, long_lived(&format!("`{name}`")));
        }
    }

    fn permissions(&mut self, document: &Node) {
        let jobs = document.get("jobs").and_then(Node::as_map);
        let jobs = jobs.into_iter().flatten();
        let all_say = jobs.clone().all(|(_, entry)| entry.node.get("permissions").is_some());
        let written = document.as_map().and_then(|map| map.get("permissions"));
        if written.is_none() && !all_say {
            let place =
                document.as_map().and_then(|map| map.get("jobs")).map_or(document.place, |jobs| jobs.key);
            let message = "no `permissions` at the top: each job has what the repository's settings say, which may be to write everything";
            let diagnostic = Diagnostic::warning("broad-permissions", message)
                .label("rights of the settings")
                .hint("write `permissions: {}` at the top, and what each job needs in the job");
            self.add(place, "permissions", diagnostic);
        }
        let of_jobs = jobs.filter_map(|(name, entry)| {
            let written = entry.node.as_map()?.get("permissions")?;
            Some((join(&join("jobs", name), "permissions"), written))
        });
        let all: Vec<_> =
            written.map(|written| ("permissions".to_owned(), written)).into_iter().chain(of_jobs).collect();
        for (path, written) in all {
            if written.node.as_text() == Some("write-all") {
                let message = "`write-all` lets every step, and every action in it, change everything in the repository";
                let diagnostic = Diagnostic::error("broad-permissions", message)
                    .label("may write everything")
                    .hint("name what is needed, e.g. `permissions: {contents: read, id-token: write}`");
                self.add(written.node.place, &path, diagnostic);
            }
        }
    }

    fn job(&mut self, path: &str, entry: &Entry) {
        let job = &entry.node;
        self.condition(path, job);
        self.uses(path, job);
        let container = job.get("container");
        self.image(&join(path, "container"), container.filter(|node| node.as_text().is_some()));
        self.image(&join(path, "container.image"), container.and_then(|node| node.get("image")));
        for (name, service) in job.get("services").and_then(Node::as_map).into_iter().flatten() {
            self.image(&join(path, &format!("services.{name}.image")), service.node.get("image"));
        }
        self.production(path, entry);
        self.steps(&join(path, "steps"), job.get("steps"));
    }

    fn steps(&mut self, path: &str, steps: Option<&Node>) {
        for (at, step) in steps.map(Node::items).unwrap_or_default().iter().enumerate() {
            let path = join(path, &at.to_string());
            self.condition(&path, step);
            self.uses(&path, step);
            self.checkout(&path, step);
            self.script(&join(&path, "run"), step.get("run"));
            let is_script = step
                .get("uses")
                .and_then(Node::as_text)
                .is_some_and(|uses| uses.starts_with("actions/github-script@"));
            let script = step.get("with").and_then(|with| with.get("script"));
            self.script(&join(&path, "with.script"), script.filter(|_| is_script));
        }
    }

    fn condition(&mut self, path: &str, owner: &Node) {
        let Some(node) = owner.get("if") else { return };
        let Some(text) = node.as_text() else { return };
        let path = join(path, "if");
        if let Some(at) = ["secrets.", "secrets["].into_iter().find(|secret| has_word(text, secret)) {
            let message = "`secrets` do not exist in an `if`: GitHub refuses the workflow, or the condition never holds";
            let diagnostic = Diagnostic::error("secret-in-if", message)
                .label("no secrets here")
                .hint("put the secret into `env` of the job and ask in a step, or ask for a variable (`vars.NAME != ''`) instead");
            self.add_at(node.place, at, &path, diagnostic);
        }
        for mistake in conditions::mistakes(text, &self.triggers) {
            let diagnostic = Diagnostic::error("impossible-condition", mistake.why)
                .label("always the same")
                .hint(mistake.hint);
            self.add_at(node.place, &mistake.at, &path, diagnostic);
        }
    }

    fn uses(&mut self, path: &str, owner: &Node) {
        let Some(node) = owner.get("uses") else { return };
        let Some(uses) = node.as_text() else { return };
        let path = join(path, "uses");
        if let Some(reference) = uses.strip_prefix("docker://") {
            self.image_text(&path, node, reference);
            return;
        }
        if uses.starts_with("./") || uses.starts_with("$/") || uses.contains("${{") {
            return;
        }
        let pin = uses.split_once('@').map(|(_, pin)| pin);
        let pinned =
            pin.is_some_and(|pin| pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !pinned {
            let message = format!(
                "`{uses}` is whatever its owner, or who took the owner's account, moves that name to"
            );
            let name = uses.split('@').next().unwrap_or_default();
            let diagnostic = Diagnostic::error("unpinned-action", message).label("not a commit").hint(format!(
                "{name}@COMMIT # VERSION, with the 40 digits that `git ls-remote https://github.com/{}` shows",
                name.splitn(3, '/').take(2).collect::<Vec<_>>().join("/")
            ));
            self.add(node.place, &path, diagnostic);
        }
    }

    fn image(&mut self, path: &str, node: Option<&Node>) {
        if let Some(node) = node
            && let Some(reference) = node.as_text()
        {
            self.image_text(path, node, reference);
        }
    }

    fn image_text(&mut self, path: &str, node: &Node, reference: &str) {
        if let Some(diagnostic) = image::floating(reference) {
            self.add(node.place, path, diagnostic);
        }
    }

    fn checkout(&mut self, path: &str, step: &Node) {
        let foreign = |text: &str| {
            [
                "github.event.pull_request.head",
                "github.head_ref",
                "github.event.workflow_run.head",
                "refs/pull/",
                "gh pr checkout",
            ]
            .into_iter()
            .find(|word| text.contains(word))
        };
        let trusted = self.triggers.has("pull_request_target") || self.triggers.has("workflow_run");
        let run = step.get("run").filter(|run| {
            run.as_text().is_some_and(|text| text.contains("git ") || text.contains("gh pr checkout"))
        });
        let uses = step
            .get("uses")
            .filter(|uses| uses.as_text().is_some_and(|uses| uses.starts_with("actions/checkout@")));
        let with = step.get("with");
        let reference = uses.and(with).and_then(|with| with.get("ref"));
        for (key, node) in [("with.ref", reference), ("run", run)] {
            if let Some(node) = node.filter(|_| trusted)
                && let Some(at) = node.as_text().and_then(foreign)
            {
                let message = "a pull request's own code is checked out where the workflow has secrets and a token that writes: whoever opens one runs what they like";
                let diagnostic = Diagnostic::error("untrusted-checkout", message)
                    .label("code of anybody")
                    .hint("take the trigger `pull_request`, or check the base branch out and only read what the pull request brings");
                self.add_at(node.place, at, &join(path, key), diagnostic);
            }
        }
        let keeps = with.and_then(|with| with.get("persist-credentials")).and_then(Node::scalar);
        if let Some(uses) = uses.filter(|_| keeps.as_deref() != Some("false")) {
            let message = "checkout leaves the token in `.git/config`, where every later step and every artifact of the folder has it";
            let diagnostic = Diagnostic::warning("checkout-keeps-token", message)
                .label("keeps the token")
                .hint("with: {persist-credentials: false}");
            self.add(uses.place, &join(path, "uses"), diagnostic);
        }
    }

    /// Expressions are put into the text of a script before the shell reads it.
    fn script(&mut self, path: &str, node: Option<&Node>) {
        let Some(node) = node else { return };
        let Some(text) = node.as_text() else { return };
        let mut seen = Vec::new();
        for piece in text.split("${{").skip(1) {
            let Some((inner, _)) = piece.split_once("}}") else { continue };
            if seen.contains(&inner) {
                continue;
            }
            seen.push(inner);
            let expression = format!("${{{{{inner}}}}}");
            let message = format!(
                "`{expression}` becomes a part of the script before it runs: a quote in its value is code"
            );
            let harmless = contexts(inner).iter().all(|name| HARMLESS.iter().any(|known| fits(known, name)));
            let diagnostic = if harmless {
                Diagnostic::warning("expression-in-run", message)
            } else {
                Diagnostic::error("expression-in-run", message)
            };
            let hint = format!("env: {{VALUE: \"{expression}\"}}, and \"$VALUE\" in the script");
            self.add_at(node.place, &expression, path, diagnostic.label("part of the script").hint(hint));
        }
    }

    fn production(&mut self, path: &str, entry: &Entry) {
        let job = &entry.node;
        if job.get("environment").is_some() {
            return;
        }
        for (at, step) in job.get("steps").map(Node::items).unwrap_or_default().iter().enumerate() {
            let Some((node, what)) = deploys_to_production(step) else { continue };
            let message = format!(
                "{what} without `environment`: whoever can push to a branch that starts this deploys to production"
            );
            let diagnostic = Diagnostic::error("unprotected-production", message)
                .label("nobody is asked")
                .hint("add `environment: production` to the job, and reviewers to that environment in the repository's settings");
            self.add(node.place, &join(path, &format!("steps.{at}")), diagnostic);
        }
    }
}

fn long_lived(what: &str) -> Diagnostic {
    let message = format!("{what} is a key that works from anywhere until somebody deletes it");
    Diagnostic::error("long-lived-key", message)
        .label("a long-lived key")
        .hint("log in by workload identity federation: `permissions: {id-token: write}` and google-github-actions/auth with `workload_identity_provider`; `github.identity` of the YAML makes both sides")
}

/// The place of `needle` at or after `place`.
fn find(text: &str, place: Place, needle: &str) -> Option<Place> {
    let first = place.line.checked_sub(1)? as usize;
    let (line, at) = text.lines().enumerate().skip(first).find_map(|(line, text)| {
        let from = if line == first {
            text.char_indices().nth(place.column.saturating_sub(1) as usize).map_or(text.len(), |(at, _)| at)
        } else {
            0
        };
        let at = text.get(from..)?.find(needle)? + from;
        Some((line, text.get(..at)?.chars().count()))
    })?;
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Place {
        line: small(line + 1),
        column: small(at + 1),
        length: small(needle.chars().count()),
        ..place
    })
}

/// `word` stands in the text and is not the end of a longer name.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'))
    })
}

/// Names such as `github.sha` in an expression; text in quotes and functions left out.
fn contexts(expression: &str) -> Vec<String> {
    let outside: String = expression.split('\'').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*')));
    words
        .filter(|word| word.contains('.') || outside.contains(&format!("{word}[")))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Known names that end in a dot stand for everything under them.
fn fits(known: &str, name: &str) -> bool {
    if known.ends_with('.') { name.starts_with(known) } else { name == known }
}

/// The value that says so, and what it does.
fn deploys_to_production(step: &Node) -> Option<(&Node, String)> {
    if let Some(run) = step.get("run")
        && let Some(text) = run.as_text()
    {
        let joined = text.replace("\\\n", " ");
        return joined.lines().find_map(deploying_line).map(|what| (run, what));
    }
    let (uses, with) = (step.get("uses")?, step.get("with")?);
    let of = |key: &str| with.get(key).and_then(Node::as_text).unwrap_or_default();
    let name = uses.as_text()?;
    if name.starts_with("google-github-actions/deploy-cloudrun@") {
        let target = [of("service"), of("job")].into_iter().find(|name| names_production(name))?;
        return Some((uses, format!("this deploys `{target}`")));
    }
    let command = of("command");
    (DEPLOYING.contains(&command) && names_production(of("environment")))
        .then(|| (uses, format!("this runs `deployer {command}`")))
}

/// What a line of a script does to production.
fn deploying_line(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches(['"', '\'', ';'])).collect();
    let program = |name: &str| {
        words
            .iter()
            .position(|word| word.rsplit('/').next() == Some(name))
            .map(|at| words.get(at + 1..).unwrap_or_default())
    };
    if let Some([verb, rest @ ..]) = program("deployer")
        && DEPLOYING.contains(verb)
        && rest.iter().any(|word| names_production(word))
    {
        return Some(format!("this runs `deployer {verb}`"));
    }
    let gcloud = program("gcloud")?;
    let changes = gcloud.contains(&"run")
        && gcloud.iter().any(|word| matches!(*word, "deploy" | "update" | "update-traffic" | "replace"));
    (changes && gcloud.iter().any(|word| names_production(word)))
        .then(|| "this changes Cloud Run with gcloud".to_owned())
}

/// An environment, a service or a file of production.
fn names_production(word: &str) -> bool {
    word.split(['/', '.', ':', '=']).any(is_production)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::testing::told;

    const SHA: &str = "3d3c42e5aac5ba805825da76410c181273ba90b1";

    fn found(text: &str) -> String {
        told(&judge(text))
    }

    /// A job with these lines, under `on: push` and `permissions: {}`.
    fn job(lines: &str) -> String {
        let lines = lines.trim_end().replace('\n', "\n    ");
        found(&format!("on: push\npermissions: {{}}\njobs:\n  a:\n    {lines}\n"))
    }

    #[test]
    fn a_good_workflow_has_no_findings() {
        let text = format!(
            "on: {{push: {{branches: [main]}}, pull_request: null}}\npermissions: {{}}\njobs:\n  a:\n    if: github.ref == 'refs/heads/main'\n    environment: production\n    permissions: {{contents: read}}\n    services: {{db: {{image: 'postgres:16'}}}}\n    steps:\n      - uses: actions/checkout@{SHA} # v7\n        with: {{persist-credentials: false}}\n      - uses: ./action\n      - env: {{NAME: \"${{{{ github.head_ref }}}}\"}}\n        run: deployer apply production \"$NAME\"\n"
        );
        assert_eq!(found(&text), "");
    }

    #[test]
    fn secrets_do_not_exist_in_conditions() {
        assert_eq!(job("if: ${{ secrets.KEY != '' }}\nsteps: []\n"), "5:13 secret-in-if jobs.a.if\n");
        assert_eq!(job("steps:\n  - if: env.my-secrets.x == ''\n    run: a\n"), "");
    }

    #[test]
    fn a_condition_that_cannot_hold_is_shown_at_its_comparison() {
        assert_eq!(
            job("if: >-\n  always() &&\n  github.ref == 'main'\n"),
            "7:7 impossible-condition jobs.a.if\n"
        );
    }

    #[test]
    fn production_wants_an_environment() {
        for run in [
            "./bin/deployer apply production --auto-approve",
            "deployer apply plans/production.plan",
            "gcloud run deploy api-prod --image x",
        ] {
            assert_eq!(
                job(&format!("steps:\n  - run: {run}\n")),
                "6:14 unprotected-production jobs.a.steps.0\n",
                "{run}"
            );
            assert_eq!(job(&format!("environment: production\nsteps:\n  - run: {run}\n")), "", "{run}");
        }
        for run in [
            "deployer plan production",
            "deployer apply staging",
            "gcloud run services list --project production",
        ] {
            assert_eq!(job(&format!("steps:\n  - run: {run}\n")), "", "{run}");
        }
        let action = format!(
            "steps:\n  - uses: o/deployer@{SHA}\n    with: {{command: apply, environment: production}}\n"
        );
        assert_eq!(job(&action), "6:15 unprotected-production jobs.a.steps.0\n");
    }

    #[test]
    fn keys_that_live_for_ever_are_found_wherever_they_stand() {
        let with = format!(
            "steps:\n  - uses: google-github-actions/auth@{SHA}\n    with:\n      credentials_json: ${{{{ secrets.GCP_SA_KEY }}}}\n"
        );
        assert_eq!(job(&with), "8:11 long-lived-key jobs.a.steps.0.with.credentials_json\n");
        assert_eq!(
            job("env:\n  KEY: x-${{ secrets.AWS_SECRET_ACCESS_KEY }}\n"),
            "6:18 long-lived-key jobs.a.env.KEY\n"
        );
        assert_eq!(job("env:\n  KEY: ${{ secrets.OPENAI_API_KEY }}\n"), "");
    }

    #[test]
    fn actions_are_pinned_to_commits() {
        for uses in ["actions/setup-node@v4", "o/r/path@main", "o/r", "o/r@3d3c42e"] {
            assert_eq!(
                job(&format!("steps:\n  - uses: {uses}\n")),
                "6:15 unpinned-action jobs.a.steps.0.uses\n",
                "{uses}"
            );
        }
        assert_eq!(job("uses: o/r/.github/workflows/x.yml@main\n"), "5:11 unpinned-action jobs.a.uses\n");
        assert_eq!(job("steps:\n  - uses: docker://alpine\n"), "6:15 latest-tag jobs.a.steps.0.uses\n");
    }

    #[test]
    fn containers_have_versions() {
        assert_eq!(
            job("container: node\nservices:\n  db:\n    image: postgres:latest\n"),
            "5:16 latest-tag jobs.a.container\n8:16 latest-tag jobs.a.services.db.image\n"
        );
    }

    #[test]
    fn a_checkout_forgets_the_token_and_takes_no_foreign_code() {
        assert_eq!(
            job(&format!("steps:\n  - uses: actions/checkout@{SHA}\n")),
            "6:15 checkout-keeps-token? jobs.a.steps.0.uses\n"
        );
        let target = |event: &str| {
            found(&format!(
                "on: {event}\npermissions: {{}}\njobs:\n  a:\n    steps:\n      - uses: actions/checkout@{SHA}\n        with:\n          persist-credentials: false\n          ref: ${{{{ github.event.pull_request.head.sha }}}}\n"
            ))
        };
        assert_eq!(target("pull_request_target"), "9:20 untrusted-checkout jobs.a.steps.0.with.ref\n");
        assert_eq!(target("pull_request"), "");
    }

    #[test]
    fn expressions_are_no_part_of_scripts() {
        assert_eq!(
            job(
                "steps:\n  - run: |\n      true\n      echo '${{ github.event.issue.title }}' ${{ github.sha }}\n"
            ),
            "8:17 expression-in-run jobs.a.steps.0.run\n8:50 expression-in-run? jobs.a.steps.0.run\n"
        );
        assert_eq!(
            job(&format!(
                "steps:\n  - uses: actions/github-script@{SHA}\n    with: {{script: \"f(${{{{ inputs.x }}}})\"}}\n"
            )),
            "7:27 expression-in-run jobs.a.steps.0.with.script\n"
        );
    }

    #[test]
    fn permissions_stand_at_the_top_or_in_every_job() {
        assert_eq!(found("on: push\njobs:\n  a: {steps: []}\n"), "2:1 broad-permissions? permissions\n");
        assert_eq!(found("on: push\njobs:\n  a: {permissions: {}, steps: []}\n"), "");
        assert_eq!(
            found("on: push\npermissions: write-all\njobs: {}\n"),
            "2:14 broad-permissions permissions\n"
        );
    }

    #[test]
    fn steps_of_an_action_are_judged_too() {
        let text = "name: x\nruns:\n  using: composite\n  steps:\n    - run: echo ${{ inputs.x }}\n      shell: bash\n";
        assert_eq!(found(text), "5:17 expression-in-run runs.steps.0.run\n");
    }

    #[test]
    fn what_is_no_yaml_is_told_at_its_place() {
        let found = judge("on: push\njobs:\n\ta: 1\n");
        assert_eq!((found[0].at.0, found[0].diagnostic.rule), (3, "yaml-syntax"));
    }

    #[test]
    fn any_yaml_is_judged_without_harm() {
        for text in [
            "",
            "[]",
            "on: 1\njobs: []\n",
            "jobs: {a: null}\n",
            "jobs: {a: {steps: {}}}\n",
            "jobs: {a: {steps: [1, null]}}\n",
            "runs: 1\n",
        ] {
            judge(text);
        }
    }
}
