//! Workflows of GitHub Actions: from the environments to what the templates in `templates/workflows` may name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::actions::{ACTIONS, Actions};
use super::{Rendered, TemplateError, Templates, rendered};
use crate::config::model::{Builder, Environment, Github, Identity};
use crate::config::pipeline::{Ci, Run, Suite, Tool, Workflow};
use crate::config::reached;

/// What all templates of workflows may name.
#[derive(Debug, Serialize)]
struct Frame<'a> {
    name: &'a str,
    on: On<'a>,
    /// What a person who starts it is asked for.
    inputs: Vec<Input>,
    /// First half of the group of runs that do not run side by side.
    group: &'a str,
    actions: Actions,
    /// The action of deployer; empty where nothing runs it.
    deployer: &'a str,
}

/// What starts a workflow; what is not there is false in a template.
#[derive(Debug, Serialize)]
struct On<'a> {
    push: Option<Push<'a>>,
    pull_request: Option<PullRequest<'a>>,
    schedule: Option<&'a str>,
    manual: bool,
}

#[derive(Debug, Serialize)]
struct Push<'a> {
    branches: &'a [String],
    tags: &'a [String],
    paths: &'a [String],
}

#[derive(Debug, Serialize)]
struct PullRequest<'a> {
    branches: &'a [String],
    paths: &'a [String],
}

#[derive(Debug, Serialize)]
struct Input {
    name: &'static str,
    description: &'static str,
    /// What can be chosen; empty for free text.
    options: Vec<String>,
    required: bool,
}

/// Jobs that run tests, in `ci.yml`, `deploy.yml` and `release.yml`.
#[derive(Debug, Serialize)]
struct Tests<'a> {
    suites: Vec<SuiteJob<'a>>,
    /// Suites whose files have not changed are left out.
    changed: bool,
    /// Patterns by suite, as JSON.
    paths: String,
    /// The commit can be chosen by who starts the workflow.
    chosen_commit: bool,
}

#[derive(Debug, Serialize)]
struct SuiteJob<'a> {
    name: &'a str,
    only_changed: bool,
    minutes: u32,
    env: Vec<Variable<'a>>,
    services: Vec<Service<'a>>,
    working_directory: Option<&'a str>,
    setup: Vec<SetupStep<'a>>,
    steps: &'a [String],
}

#[derive(Debug, Serialize)]
struct Variable<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Debug, Serialize)]
struct Service<'a> {
    name: &'a str,
    image: &'a str,
    /// The image is named by digest.
    pinned: bool,
    env: Vec<Variable<'a>>,
    ports: &'a [String],
    health: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct SetupStep<'a> {
    tool: &'static str,
    version: Option<&'a str>,
}

/// An environment, and how a workflow signs in to it.
#[derive(Debug, Serialize)]
struct Place<'a> {
    name: &'a str,
    /// Full name of the provider that GitHub's tokens are shown to.
    provider: String,
    /// E-mail address of the service account.
    account: String,
    /// Title of the issue about its drift.
    title: String,
    /// Jobs that come first.
    needs: Vec<String>,
    /// Services that are built here.
    built: Vec<&'a str>,
    /// What is built here is released by jobs that follow too.
    shared: bool,
    /// Job whose images are released here too.
    images_from: Option<String>,
    /// Something is built by Docker here.
    docker: bool,
    /// Host of the registry that images are pushed to; empty without one.
    registry: String,
    /// Every image of the system's own registry is built in the same run, so that its commit is a tag of all of them.
    tagged: bool,
    /// All services.
    services: Vec<&'a str>,
}

/// What `ci.yml` may name.
#[derive(Debug, Serialize)]
struct CiContext<'a> {
    #[serde(flatten)]
    frame: Frame<'a>,
    #[serde(flatten)]
    tests: Tests<'a>,
}

/// What `deploy.yml` may name.
#[derive(Debug, Serialize)]
struct DeployContext<'a> {
    #[serde(flatten)]
    frame: Frame<'a>,
    #[serde(flatten)]
    tests: Tests<'a>,
    places: Vec<Place<'a>>,
}

/// What the templates that run something in each of some environments may name.
#[derive(Debug, Serialize)]
struct PlacesContext<'a> {
    #[serde(flatten)]
    frame: Frame<'a>,
    places: Vec<Place<'a>>,
}

/// What `release.yml` may name.
#[derive(Debug, Serialize)]
struct ReleaseContext<'a> {
    #[serde(flatten)]
    frame: Frame<'a>,
    #[serde(flatten)]
    tests: Tests<'a>,
    needs: Vec<String>,
    /// Packages of Cargo whose binaries are part of the release.
    binaries: &'a [String],
}

/// All workflows of a system. They belong to it as a whole, and its environments agree on them.
pub(super) fn render(
    environments: &[Environment],
    templates: &Templates,
) -> Result<Vec<Rendered>, TemplateError> {
    let Some((first, github)) =
        environments.iter().find_map(|environment| Some((environment, environment.github.as_ref()?)))
    else {
        return Ok(Vec::new());
    };
    let environments: Vec<&Environment> = environments.iter().collect();
    let system = System { ci: &first.ci, github, environments };
    github.workflows.iter().map(|(name, workflow)| system.workflow(name, workflow, templates)).collect()
}

struct System<'a> {
    ci: &'a Ci,
    github: &'a Github,
    environments: Vec<&'a Environment>,
}

impl<'a> System<'a> {
    fn workflow(
        &self,
        name: &'a str,
        workflow: &'a Workflow,
        templates: &Templates,
    ) -> Result<Rendered, TemplateError> {
        let template = format!("workflows/{}.yml", workflow.run.word());
        let path = format!(".github/workflows/{name}.yml");
        let frame = self.frame(name, workflow);
        match workflow.run {
            Run::Ci => {
                let tests = self.tests(&workflow.suites, workflow.changed);
                rendered(path, &template, &CiContext { frame, tests }, templates)
            }
            Run::Deploy => {
                let needed = self.needed(workflow);
                let places = self.deployed(workflow, &job_names(&needed));
                let tests = Tests { chosen_commit: true, ..self.tests(&needed, false) };
                rendered(path, &template, &DeployContext { frame, tests, places }, templates)
            }
            Run::Release => {
                let needed = self.needed(workflow);
                let (tests, needs) = (self.tests(&needed, false), job_names(&needed));
                let binaries = &workflow.binaries;
                rendered(path, &template, &ReleaseContext { frame, tests, needs, binaries }, templates)
            }
            Run::Plan | Run::Drift | Run::Rollback | Run::Migrate | Run::Scan => {
                let places = self.places(workflow);
                rendered(path, &template, &PlacesContext { frame, places }, templates)
            }
        }
    }

    fn frame(&self, name: &'a str, workflow: &'a Workflow) -> Frame<'a> {
        let on = &workflow.on;
        let push = on.push.as_ref().map(|push| Push {
            branches: &push.branches,
            tags: &push.tags,
            paths: &push.paths,
        });
        let pull_request = on
            .pull_request
            .as_ref()
            .map(|request| PullRequest { branches: &request.branches, paths: &request.paths });
        Frame {
            name,
            on: On { push, pull_request, schedule: on.schedule.as_deref(), manual: on.manual },
            inputs: self.inputs(workflow),
            group: workflow.concurrency.as_deref().unwrap_or(name),
            actions: ACTIONS,
            deployer: match self.ci.deployer.as_deref() {
                // GitHub has a spelling of its own for this by now, which not every checker reads.
                Some("./") => {
                    "./ # zizmor: ignore[self-repository] actionlint 1.7 refuses the newer spelling"
                }
                deployer => deployer.unwrap_or_default(),
            },
        }
    }

    fn inputs(&self, workflow: &Workflow) -> Vec<Input> {
        let text = |name, description| Input { name, description, options: Vec::new(), required: false };
        let choice = |name, description, options| Input { name, description, options, required: true };
        let places = || reached(&self.environments, workflow);
        let names = || places().iter().map(|place| place.name.clone()).collect();
        match workflow.run {
            Run::Deploy => {
                vec![text("commit", "The commit to deploy; without one, the newest of the branch")]
            }
            Run::Rollback => {
                let services: BTreeSet<_> =
                    places().iter().flat_map(|place| place.services.keys().cloned()).collect();
                vec![
                    choice("environment", "Where to roll back", names()),
                    choice("service", "The service that goes back", services.into_iter().collect()),
                    text("revision", "The revision that is to serve; without one, what served before"),
                ]
            }
            Run::Migrate => vec![choice("environment", "Where to run the migrations", names())],
            Run::Ci | Run::Plan | Run::Drift | Run::Scan | Run::Release => Vec::new(),
        }
    }

    /// Names of the suites that come first, each once.
    fn needed(&self, workflow: &Workflow) -> Vec<String> {
        let needed = workflow.needs.iter().filter_map(|name| self.github.workflows.get(name));
        let mut suites: Vec<String> = Vec::new();
        for suite in needed.flat_map(|workflow| &workflow.suites) {
            if !suites.contains(suite) {
                suites.push(suite.clone());
            }
        }
        suites
    }

    fn tests(&self, names: &[String], changed: bool) -> Tests<'a> {
        let chosen: Vec<(&String, &Suite)> =
            self.ci.suites.iter().filter(|(name, _)| names.contains(name)).collect();
        let patterns: BTreeMap<_, _> = chosen
            .iter()
            .filter(|(_, suite)| !suite.paths.is_empty())
            .map(|(name, suite)| (name.as_str(), &suite.paths))
            .collect();
        let changed = changed && !patterns.is_empty();
        Tests {
            changed,
            chosen_commit: false,
            paths: serde_json::json!(patterns).to_string(),
            suites: chosen.into_iter().map(|(name, suite)| suite_job(name, suite, changed)).collect(),
        }
    }

    fn places(&self, workflow: &Workflow) -> Vec<Place<'a>> {
        let writes = workflow.run.writes();
        reached(&self.environments, workflow).into_iter().filter_map(|place| at(place, writes)).collect()
    }

    /// The environments of a release, each after the one before it. Images are built where they go to a registry that no
    /// environment before has, and are the same for all others.
    fn deployed(&self, workflow: &Workflow, first: &[String]) -> Vec<Place<'a>> {
        let mut builders: BTreeMap<String, String> = BTreeMap::new();
        let mut places: Vec<Place<'a>> = Vec::new();
        for environment in reached(&self.environments, workflow) {
            let Some(mut place) = at(environment, true) else { continue };
            let job = format!("deploy-{}", place.name);
            let builder = environment.registry_prefix().and_then(|prefix| builders.get(&prefix).cloned());
            place.needs = places
                .last()
                .map_or_else(|| first.to_vec(), |before| vec![format!("deploy-{}", before.name)]);
            if let Some(builder) = builder {
                place.built.clear();
                place.docker = false;
                if !place.needs.contains(&builder) {
                    place.needs.push(builder.clone());
                }
                place.images_from = Some(builder);
            } else if let Some(prefix) = environment.registry_prefix().filter(|_| !place.built.is_empty()) {
                builders.insert(prefix, job);
            }
            places.push(place);
        }
        let used: BTreeSet<String> = places.iter().filter_map(|place| place.images_from.clone()).collect();
        for place in &mut places {
            place.shared = used.contains(&format!("deploy-{}", place.name));
        }
        places
    }
}

/// Names of the jobs of suites.
fn job_names(suites: &[String]) -> Vec<String> {
    suites.iter().map(|suite| format!("suite-{suite}")).collect()
}

/// `None` for an environment that nobody can sign in to, which the check of the YAML refuses.
fn at(environment: &Environment, writes: bool) -> Option<Place<'_>> {
    let identity: &Identity = environment.github.as_ref()?.identity.as_ref()?;
    let account = if writes { identity.deploy.as_ref()? } else { identity.plan.as_ref()? };
    let number = environment.project.number?;
    let Identity { pool, provider, .. } = identity;
    let built = environment.services.iter().filter(|(_, service)| service.build.is_some());
    let docker = |builder: &Builder| matches!(builder, Builder::Docker(_));
    Some(Place {
        name: &environment.name,
        provider: format!(
            "projects/{number}/locations/global/workloadIdentityPools/{pool}/providers/{provider}"
        ),
        account: format!("{account}@{}.iam.gserviceaccount.com", environment.project.id),
        title: format!("{} in {} is not as its YAML says", environment.name, environment.system),
        needs: Vec::new(),
        docker: built
            .clone()
            .any(|(_, service)| service.build.as_ref().is_some_and(|build| docker(&build.builder))),
        built: built.map(|(key, _)| key.as_str()).collect(),
        shared: false,
        images_from: None,
        registry: environment
            .registry_prefix()
            .and_then(|prefix| prefix.split('/').next().map(str::to_owned))
            .unwrap_or_default(),
        tagged: is_tagged(environment),
        services: environment.services.keys().map(String::as_str).collect(),
    })
}

/// Whether all images of the system's own registry are built, and there is one.
fn is_tagged(environment: &Environment) -> bool {
    let Some(prefix) = environment.registry_prefix() else { return false };
    let built = environment.services.values().filter(|service| service.build.is_some());
    let built: BTreeSet<&str> = built.map(|service| service.main.image.as_str()).collect();
    let services = environment.services.values();
    let containers =
        services.flat_map(|service| std::iter::once(&service.main).chain(service.sidecars.values()));
    let mut images = containers.chain(environment.jobs.values().map(|job| &job.container));
    let own = |image: &str| image.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('/'));
    !built.is_empty()
        && images.all(|container| built.contains(container.image.as_str()) || !own(&container.image))
}

fn suite_job<'a>(name: &'a str, suite: &'a Suite, changed: bool) -> SuiteJob<'a> {
    let mut env = variables(&suite.env);
    // Lints differ from one compiler to the next: what is named is what runs, whatever the runner has.
    let rust = suite.setup.iter().find(|setup| setup.tool == Tool::Rust);
    if let Some(version) = rust.and_then(|setup| setup.version.as_deref())
        && !suite.env.contains_key("RUSTUP_TOOLCHAIN")
    {
        env.push(Variable { name: "RUSTUP_TOOLCHAIN", value: version });
    }
    let services = suite.services.iter().map(|(name, service)| Service {
        name,
        image: &service.image,
        pinned: service.image.contains("@sha256:"),
        env: variables(&service.env),
        ports: &service.ports,
        health: service.health.as_deref(),
    });
    SuiteJob {
        name,
        only_changed: changed && !suite.paths.is_empty(),
        minutes: suite.timeout.div_ceil(60),
        env,
        services: services.collect(),
        working_directory: suite.working_directory.as_deref(),
        setup: suite
            .setup
            .iter()
            .map(|setup| SetupStep { tool: word(setup.tool), version: setup.version.as_deref() })
            .collect(),
        steps: &suite.steps,
    }
}

fn variables(map: &BTreeMap<String, String>) -> Vec<Variable<'_>> {
    map.iter().map(|(name, value)| Variable { name, value }).collect()
}

fn word(tool: Tool) -> &'static str {
    match tool {
        Tool::Uv => "uv",
        Tool::Python => "python",
        Tool::Node => "node",
        Tool::Rust => "rust",
    }
}
