//! Registries, tenants, jobs, migrations and the identity of GitHub: what the YAML says becomes the model.

use super::*;

/// An environment of one service with everything beside it, given by its text.
fn read(text: &str) -> Environment {
    read_services(&format!("services: {{front: {{{IMAGE}, name: front-service}}}}\n{text}")).environment
}

/// Everything that may stand beside the services and secrets of this repository.
pub(super) const BESIDE_SERVICES: &str = r#"
registry:
  repository: shop
  retention: {keep_last: 10, delete_untagged_after: 30d}
tenants:
  secret_id: "${tenant.slug}-${secret}"
  secrets: [key]
  readers: [api]
  schema: t_${tenant.slug_underscored}
  list:
    blue-shoes: {name: Blue Shoes}
    red: {}
jobs:
  export:
    service: api
    args_from: [month]
    command: [run, "--month=${args.month}"]
migrations:
  shared: {service: api, command: [migrate, shared]}
  each:
    service: api
    for_each: tenants
    needs: [shared]
    command: [migrate, "${tenant.schema}"]
github:
  repository: octo-org/shop
  repository_id: 7
  owner_id: 8
  identity: {pool: github, provider: github, plan: github-plan, deploy: github-deploy}
"#;

#[test]
fn all_of_it_goes_together() {
    let base = format!("{}{BESIDE_SERVICES}", agent_army());
    let environment = loaded(&[("base.yaml", &base), ("dev.yaml", "environment: dev\n")], "dev").environment;
    let jobs: Vec<_> = environment.jobs.keys().map(String::as_str).collect();
    assert_eq!(jobs, ["export", "shared", "each/blue-shoes", "each/red"]);
}

const TENANTS: &str = "tenants: {secrets: [key, token], readers: [front], schema: \"t_${tenant.slug_underscored}\", list: {blue-shoes: {name: Blue Shoes}, red: {}}}\n";

#[test]
fn a_registry_names_the_images_that_services_do_not() {
    let text = "registry: {repository: shop, retention: {keep_last: 10, delete_untagged_after: 30d}}\nservices: {front: {}, back: {image: x/y:z}}\n";
    let environment = read_services(text).environment;
    let registry = environment.registry.as_ref().unwrap();
    assert_eq!((registry.keep_last, registry.delete_untagged_after), (Some(10), Some(30 * 24 * 3600)));
    assert!(!registry.dry_run && !registry.immutable_tags && !registry.protect);
    assert_eq!(environment.registry_prefix().unwrap(), "us-central1-docker.pkg.dev/shop-project/shop");
    assert_eq!(
        environment.services["front"].main.image,
        "us-central1-docker.pkg.dev/shop-project/shop/front"
    );
    assert_eq!(environment.services["back"].main.image, "x/y:z");
    assert_eq!(registry.prefix("r", "example.com:shop"), "r-docker.pkg.dev/example.com/shop/shop");
}

#[test]
fn every_tenant_has_each_secret() {
    let environment = read(TENANTS);
    let ids: Vec<_> =
        environment.secrets.iter().map(|(alias, secret)| (alias.as_str(), secret.id.as_str())).collect();
    let expected = [
        ("blue-shoes/key", "blue-shoes-key"),
        ("blue-shoes/token", "blue-shoes-token"),
        ("red/key", "red-key"),
        ("red/token", "red-token"),
    ];
    assert_eq!(ids, expected);
    let secret = &environment.secrets["blue-shoes/key"];
    assert_eq!(
        (secret.tenant.as_deref(), secret.labels["tenant"].as_str()),
        (Some("blue-shoes"), "blue-shoes")
    );
    assert_eq!(
        (secret.readers.as_slice(), secret.path.as_str()),
        (&["front".to_owned()][..], "tenants.secrets")
    );
    let tenant = &environment.tenants["blue-shoes"];
    assert_eq!((tenant.name.as_str(), tenant.schema.as_deref()), ("Blue Shoes", Some("t_blue_shoes")));
    assert_eq!(environment.tenants["red"].name, "red");
}

#[test]
fn the_id_of_a_tenants_secret_follows_its_pattern() {
    let environment = read(
        "tenants: {secret_id: \"${env}-${secret}-of-${ tenant.slug }\", secrets: [key], list: {red: {}}}\n",
    );
    assert_eq!(environment.secrets["red/key"].id, "dev-key-of-red");
}

#[test]
fn an_overlay_takes_a_tenant_out() {
    let files = with_services(&format!("services: {{front: {{{IMAGE}}}}}\n{TENANTS}"));
    let folder =
        folder(&[("base.yaml", files[0].1.as_str()), ("dev.yaml", "tenants: {list: {red: null}}\n")]);
    let environment = load(folder.path(), "dev", &Inputs::default()).unwrap().environment;
    assert_eq!(environment.tenants.keys().collect::<Vec<_>>(), ["blue-shoes"]);
    assert_eq!(environment.secrets.len(), 2);
}

#[test]
fn secrets_are_protected_in_production_only() {
    let base = format!("{}secrets: {{a: {{}}, b: {{protect: false}}}}\n{TENANTS}", with_services("")[0].1);
    let base = format!("{base}services: {{front: {{{IMAGE}, startup_probe: /r}}}}\n");
    let folder = folder(&[
        ("base.yaml", base.as_str()),
        ("production.yaml", "environment: production\n"),
        ("staging.yaml", "environment: staging\n"),
    ]);
    let protected = |name: &str| {
        let secrets = load(folder.path(), name, &Inputs::default()).unwrap().environment.secrets;
        ["a", "b", "red/key"].map(|alias| secrets[alias].protect)
    };
    assert_eq!(protected("production"), [true, false, true]);
    assert_eq!(protected("staging"), [false, false, false]);
}

#[test]
fn a_job_that_says_nothing_gets_the_documented_defaults() {
    let environment = read(
        "jobs: {alone: {image: x/y:z}, lent: {service: front}}\nmigrations: {schema: {service: front}}\n",
    );
    let [alone, lent, migration] = ["alone", "lent", "schema"].map(|key| &environment.jobs[key]);
    assert_eq!((alone.name.as_str(), alone.service_account.as_str()), ("alone-dev", "alone-dev"));
    assert_eq!((alone.max_retries, alone.tasks, alone.parallelism, alone.timeout), (3, 1, 1, 600));
    assert_eq!((alone.container.cpu.as_str(), alone.container.memory.as_str()), ("1", "512Mi"));
    assert_eq!((alone.container.port, alone.service.as_deref(), alone.manual), (None, None, false));
    assert_eq!((lent.service.as_deref(), lent.service_account.as_str()), (Some("front"), "front-service"));
    assert_eq!(lent.container.image, environment.services["front"].main.image);
    assert_eq!(
        (migration.name.as_str(), migration.path.as_str()),
        ("migrate-schema-dev", "migrations.schema")
    );
    assert_eq!((migration.max_retries, migration.migration), (0, true));
    assert_eq!(migration.before, ["front"]);
    assert!(!lent.migration && lent.before.is_empty() && lent.execution_environment == "gen2");
}

#[test]
fn a_job_borrows_from_its_service_what_it_does_not_say() {
    let service = "image: x/y:z, cpu: 0.5, memory: 256Mi, execution_environment: gen1, concurrency: 1, vpc: {network: n}, env: {A: a, B: b, C: c}, secrets: {D: db}, service_account: front-account";
    let job = "service: front, env: {B: own, C: null, D: plain}, secrets: {A: \"db:3\"}, cpu: 2";
    let text = format!(
        "secrets: {{db: {{}}}}\nservices: {{front: {{{service}}}}}\njobs: {{j: {{{job}}}, small: {{service: front}}}}\n"
    );
    let environment = read_services(&text).environment;
    let job = &environment.jobs["j"];
    let env: Vec<_> = job.container.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("B", "own"), ("D", "plain")]);
    assert_eq!(job.container.secrets.keys().collect::<Vec<_>>(), ["A"]);
    assert_eq!(job.vpc.as_ref().unwrap().network.as_deref(), Some("n"));
    assert_eq!((job.container.cpu.as_str(), job.container.memory.as_str()), ("2", "512Mi"));
    assert_eq!(job.service_account, "front-account");
    // A job has at least one CPU, whatever its service does with.
    assert_eq!(environment.jobs["small"].container.cpu, "1");
}

#[test]
fn an_image_of_its_own_is_not_borrowed() {
    let job = &read("jobs: {j: {service: front, image: x/own:1}}\n").jobs["j"];
    assert_eq!((job.service.as_deref(), job.lender.as_deref()), (None, Some("front")));
    assert_eq!(job.container.image, "x/own:1");
}

#[test]
fn the_first_word_is_the_command_and_the_others_are_its_arguments() {
    let job = &read("jobs: {j: {service: front, command: [/bin/run, -x, \"cost $$5\"]}}\n").jobs["j"];
    assert_eq!(job.container.command, ["/bin/run"]);
    assert_eq!(job.container.args, ["-x", "cost $5"]);
    assert!(job.args_template.is_empty());
}

#[test]
fn a_job_with_given_arguments_keeps_them_as_placeholders() {
    let text = "vars: {v: \"a$$b\"}\njobs: {j: {service: front, args_from: [file], command: [run, --file, \"${args.file}\", \"$${args.file} ${vars.v}\"]}}\n";
    let job = &read(text).jobs["j"];
    assert_eq!(job.args_from, ["file"]);
    assert_eq!(job.container.args, ["--file", "${args.file} a$b"]);
    assert_eq!(job.args_template, ["--file", "${args.file}", "$${args.file} a$$b"]);
}

#[test]
fn a_job_is_repeated_for_every_tenant() {
    let text = format!(
        "{TENANTS}jobs: {{each: {{service: front, for_each: tenants, command: [run, \"${{tenant.slug}}\", \"${{tenant.name}}\", \"--schema=${{tenant.schema}}\"]}}}}\n"
    );
    let environment = read(&text);
    assert_eq!(environment.jobs.keys().collect::<Vec<_>>(), ["each/blue-shoes", "each/red"]);
    let job = &environment.jobs["each/blue-shoes"];
    assert_eq!(job.container.args, ["blue-shoes", "Blue Shoes", "--schema=t_blue_shoes"]);
    assert_eq!((job.name.as_str(), job.path.as_str()), ("each-blue-shoes-dev", "jobs.each"));
    assert_eq!(job.tenant.as_deref(), Some("blue-shoes"));
    assert!(environment.sources.find("jobs.each.command").is_some());
}

#[test]
fn a_name_that_tenants_would_share_gets_the_slug() {
    let environment = read(&format!(
        "{TENANTS}jobs: {{a: {{service: front, for_each: tenants, name: one}}, b: {{service: front, for_each: tenants, name: \"${{tenant.slug}}-two\"}}}}\n"
    ));
    let names: Vec<_> = environment.jobs.values().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["one-blue-shoes", "one-red", "blue-shoes-two", "red-two"]);
}

#[test]
fn without_tenants_a_repeated_job_is_checked_and_not_made() {
    assert!(
        read("jobs: {j: {service: front, for_each: tenants, command: [x, \"${tenant.slug}\"]}}\n")
            .jobs
            .is_empty()
    );
    let files = with_services(&format!(
        "services: {{front: {{{IMAGE}}}}}\njobs: {{j: {{service: front, for_each: tenants, memroy: 1Gi, command: [x, \"${{tenant.schema}}\"]}}}}\n"
    ));
    let folder = folder(&[("base.yaml", files[0].1.as_str()), ("dev.yaml", "environment: dev\n")]);
    let problems = load(folder.path(), "dev", &Inputs::default()).unwrap_err();
    let mut rules: Vec<_> = problems.diagnostics.iter().map(|problem| problem.rule).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["interpolation", "unknown-key"]);
}

#[test]
fn migrations_wait_for_those_of_their_own_tenant() {
    let environment = read(&format!(
        "{TENANTS}migrations:\n  shared: {{service: front}}\n  each: {{service: front, for_each: tenants, needs: [shared]}}\n  then: {{service: front, for_each: tenants, needs: [each]}}\n  last: {{service: front, needs: [then]}}\n"
    ));
    let needs = |key: &str| environment.jobs[key].needs.clone();
    assert!(needs("shared").is_empty());
    assert_eq!(needs("each/red"), ["shared"]);
    assert_eq!(needs("then/red"), ["each/red"]);
    assert_eq!(needs("last"), ["then/blue-shoes", "then/red"]);
}

#[test]
fn what_a_service_accepts_is_accepted_for_its_jobs() {
    let text = format!(
        "services: {{front: {{{IMAGE}, env: {{TOKEN: sk-0123456789abcdefghijk}}}}}}\njobs: {{j: {{service: front}}}}\nlint: {{allow: {{secret-looking-env: {{services.front.env.TOKEN: test key}}}}}}\n"
    );
    assert_eq!(read_services(&text).environment.jobs["j"].container.env.len(), 1);
}

#[test]
fn metrics_and_roles_have_defaults() {
    let text = format!(
        "services: {{a: {{{IMAGE}, name: service-a, port: 9000, metrics: {{}}, roles: [roles/cloudtrace.agent]}}, b: {{{IMAGE}, name: service-b, metrics: {{path: /m, port: 91, interval: 1m}}, protect: true}}}}\n"
    );
    let services = read_services(&text).environment.services;
    let metrics = |path: &str, port, interval| model::Metrics { path: path.to_owned(), port, interval };
    assert_eq!(services["a"].metrics, Some(metrics("/metrics", 9000, 30)));
    assert_eq!(services["b"].metrics, Some(metrics("/m", 91, 60)));
    assert_eq!(services["a"].roles, ["roles/cloudtrace.agent"]);
    assert!(services["b"].protect && !services["a"].protect);
}

#[test]
fn the_numbers_of_github_may_be_written_both_ways() {
    let github = read(
        "github: {repository: octo-org/shop, repository_id: 900000001, owner_id: \"900000002\", identity: {pool: github, provider: github, plan: github-plan}}\n",
    )
    .github
    .unwrap();
    assert_eq!((github.repository_id.as_str(), github.owner_id.as_str()), ("900000001", "900000002"));
    let identity = github.identity.unwrap();
    assert_eq!((identity.plan.as_deref(), identity.deploy), (Some("github-plan"), None));
    assert!(read("github: {repository: octo-org/shop}\n").github.unwrap().identity.is_none());
}

#[test]
fn a_build_says_little_and_means_the_rest() {
    let text = "registry: {repository: shop}\n\
                services: {front: {build: {builder: cargo}}, back: {build: {builder: docker, args: {A: x}}}}\n";
    let environment = read_services(text).environment;
    let build = environment.services["front"].build.as_ref().unwrap();
    assert_eq!((build.context.as_str(), &build.paths), (".", &None));
    let model::Builder::Cargo(cargo) = &build.builder else { panic!("{build:?}") };
    // The environment is `dev`.
    assert_eq!((cargo.package.as_str(), cargo.profile.as_str(), &cargo.base), ("front", "dev", &None));
    let build = environment.services["back"].build.as_ref().unwrap();
    let model::Builder::Docker(docker) = &build.builder else { panic!("{build:?}") };
    assert_eq!((docker.dockerfile.as_str(), docker.args["A"].as_str()), ("Dockerfile", "x"));
}

#[test]
fn what_is_deployed_elsewhere_than_in_dev_is_built_for_release() {
    let base = "registry: {repository: shop}\nservices: {front: {build: {builder: cargo}}}\n";
    let base = format!(
        "deployer: v1\nenvironment: base\nsystem: shop\nproject: {{id: shop-project}}\nregion: us-central1\n{base}"
    );
    let loaded =
        loaded(&[("base.yaml", &base), ("staging.yaml", "deployer: v1\nenvironment: staging\n")], "staging");
    let build = loaded.environment.services["front"].build.clone().unwrap();
    assert!(matches!(build.builder, model::Builder::Cargo(cargo) if cargo.profile == "release"));
}

#[test]
fn the_tag_of_builds_is_read_for_builds_alone() {
    let files = |tag: &str| {
        with_services(&format!("image_tags: {{deploy: \"{tag}\"}}\nservices: {{front: {{{IMAGE}}}}}\n"))
    };
    let read = |tag: &str, deploy_tag: bool| {
        let files = files(tag);
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        load(folder(&files).path(), "dev", &Inputs { deploy_tag, ..Inputs::default() })
    };
    assert_eq!(read("v1", true).unwrap().environment.deploy_tag.as_deref(), Some("v1"));
    // No folder of a test lies in a git repository.
    assert!(read("${git.sha}", true).is_err() && read("two words", true).is_err());
    let (one, other) = (read("${git.sha}", false).unwrap(), read("v2", false).unwrap());
    assert_eq!(one.environment.digest, other.environment.digest);
}

#[test]
fn health_is_the_default_of_probes_and_of_the_rollout() {
    use crate::config::model::ProbeAction;
    let text = "services: {front: {IMAGE, health: /health}, back: {IMAGE, health: /health, startup_probe: {tcp: true}, rollout: {health: {path: /ready, successes: 1}}}, idle: {IMAGE}}\nrollout: {health: {attempts: 7, interval: 3s}}\nsmoke: {version: {service: front}}\n";
    let environment = read_services(&text.replace("IMAGE", IMAGE)).environment;
    let front = &environment.services["front"];
    let startup = front.main.startup_probe.as_ref().unwrap();
    assert_eq!(startup.period_seconds * startup.failure_threshold, 240);
    assert!(matches!(&startup.action, ProbeAction::Http { path, .. } if path == "/health"));
    assert!(front.main.liveness_probe.is_some() && front.main.readiness_probe.is_none());
    let health = front.health.as_ref().unwrap();
    let told = (health.path.as_str(), health.attempts, health.interval, health.successes);
    assert_eq!(told, ("/health", 7, 3, 3));
    let back = &environment.services["back"];
    assert!(matches!(back.main.startup_probe.as_ref().unwrap().action, ProbeAction::Tcp { .. }));
    let health = back.health.as_ref().unwrap();
    assert_eq!((health.path.as_str(), health.attempts, health.successes), ("/ready", 7, 1));
    assert_eq!(environment.services["idle"].health, None);
    let smoke = &environment.smoke[0];
    assert_eq!(
        (smoke.method.as_str(), smoke.path.as_str(), smoke.expect.as_slice()),
        ("GET", "/health", &[200][..])
    );
}

#[test]
fn what_deploys_can_always_be_started_by_hand() {
    let workflows = read(
        "github: {repository: octo-org/shop, repository_id: 7, owner_id: 8, identity: {pool: github, provider: github, plan: github-plan, deploy: github-deploy}, \
         workflows: {ship: {on: {push: [main]}, deploy: [dev]}, test: {on: {push: [main]}, run: ci}}}\n\
         ci: {deployer: example/deployer@0123456789abcdef0123456789abcdef01234567, steps: [make]}\n",
    )
    .github
    .unwrap()
    .workflows;
    assert!(workflows["ship"].on.manual);
    assert!(!workflows["test"].on.manual);
}
