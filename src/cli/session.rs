//! What the verbs have in common: the environment, a way to its target (`Connection`), and a plan.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;

use super::interrupts::Interrupts;
use super::{CliError, Global, building};
use crate::config::model::{Environment, Target};
use crate::config::{self, Inputs};
use crate::gcp::{Gcp, Options};
use crate::plan::file::Planned;
use crate::plan::{self, Plan, Purpose};
use crate::planner::{Planner, Release};
use crate::resource::kinds::images;
use crate::resource::registry::Registry;
use crate::resource::{Address, Layer, Ownership, Place};
use crate::view::Out;

/// The variable that stands in for `--endpoint`.
const ENDPOINT: &str = "DEPLOYER_ENDPOINT";

/// Where a command goes instead of the environment's own target.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub struct Reach {
    /// Rehearse on the sandbox, whatever the environment's target is
    #[arg(long, conflicts_with = "endpoint")]
    pub sandbox: bool,
    /// Send every API to URL/HOST/path instead of Google
    #[arg(long, value_name = "URL", env = ENDPOINT)]
    pub endpoint: Option<String>,
}

/// What a plan is to contain.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Plan")]
pub struct Selection {
    /// Release this image of a service: SERVICE is its key in the YAML
    #[arg(long = "image", value_name = "SERVICE=REF", value_parser = image)]
    pub images: Vec<(String, String)>,
    /// Release this tag of every image in the system's own registry, except where --image says another
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub tag: Option<String>,
    /// Plan only this resource and what it needs (kind/name, as the plan prints it)
    #[arg(long, value_name = "ADDRESS")]
    pub target: Vec<Address>,
    /// Leave out this resource and what needs it
    #[arg(long, value_name = "ADDRESS")]
    pub exclude: Vec<Address>,
    /// Take over this object although it belongs to another system
    #[arg(long, value_name = "ADDRESS")]
    pub adopt: Vec<Address>,
    /// Delete and create this resource anew where a field that cannot be changed has to change
    #[arg(long, value_name = "ADDRESS")]
    pub allow_replace: Vec<Address>,
    /// Delete what is ours and no longer declared
    #[arg(long)]
    pub prune: bool,
    /// Plan only this part: people apply the foundation, CI applies releases
    #[arg(long, value_enum)]
    pub layer: Option<Layer>,
}

impl Reach {
    /// The flags again. An endpoint of the surroundings goes without saying.
    fn words(&self) -> Vec<String> {
        let given = std::env::var(ENDPOINT).ok();
        let endpoint = self.endpoint.iter().filter(|url| given.as_ref() != Some(url));
        let endpoint = endpoint.flat_map(|url| ["--endpoint".to_owned(), url.clone()]);
        self.sandbox.then(|| "--sandbox".to_owned()).into_iter().chain(endpoint).collect()
    }
}

impl Selection {
    fn options(&self) -> plan::Options {
        plan::Options {
            prune: self.prune,
            target: self.target.clone(),
            exclude: self.exclude.clone(),
            adopt: self.adopt.clone(),
            allow_replace: self.allow_replace.clone(),
            layer: self.layer,
            purpose: Purpose::Apply,
        }
    }

    /// The flags that were given, word by word.
    pub fn words(&self) -> Vec<String> {
        // A new flag must be thought about here: plans tell the command again, and a saved one takes none of them.
        let Self { images, tag, target, exclude, adopt, allow_replace, prune, layer } = self;
        let pair = |flag: &str, value: String| [flag.to_owned(), value];
        let addresses = [
            ("--target", target),
            ("--exclude", exclude),
            ("--adopt", adopt),
            ("--allow-replace", allow_replace),
        ];
        let addresses = addresses.into_iter().flat_map(|(flag, given)| given.iter().map(move |a| (flag, a)));
        let images = images.iter().flat_map(|(service, image)| pair("--image", format!("{service}={image}")));
        let words = layer.iter().flat_map(|layer| pair("--layer", layer.to_string()));
        let words = words.chain(images);
        let words = words.chain(tag.iter().flat_map(|tag| pair("--tag", tag.clone())));
        let words = words.chain(addresses.flat_map(|(flag, address)| pair(flag, address.to_string())));
        words.chain(prune.then(|| "--prune".to_owned())).collect()
    }
}

fn image(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(service, image)| !service.is_empty() && !image.is_empty());
    let (service, image) =
        pair.ok_or("it has the form SERVICE=REF, e.g. api=us-docker.pkg.dev/p/r/api:v1")?;
    let plausible = !image.contains(char::is_whitespace) && image.is_ascii() && !image.starts_with('-');
    if !plausible {
        return Err(format!("`{image}` is not an image reference"));
    }
    Ok((service.to_owned(), image.to_owned()))
}

/// By the grammar of the OCI distribution specification.
pub(super) fn tag(text: &str) -> Result<String, String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    if fits { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a tag, as v1 is")) }
}

/// A way to a target: all that carrying out a plan takes.
pub struct Connection {
    pub registry: Registry,
    pub gcp: Gcp,
    /// `sandbox`, `google` or the endpoint.
    pub target: String,
    pub interrupts: Interrupts,
    /// It goes to the sandbox of this checkout, where nothing can be broken.
    pub on_sandbox: bool,
    /// Where the sandbox of another process listens, which goes on after this one.
    pub elsewhere: Option<SocketAddr>,
    /// This process goes on after an apply, and so does what it runs.
    pub goes_on: bool,
    embedded: Option<gcp_sandbox::Sandbox>,
}

/// How the sandbox of a checkout is started where none runs.
#[derive(Debug, Default)]
pub struct Start {
    /// Projects that it has from the start.
    pub projects: Vec<gcp_sandbox::ProjectSeed>,
    /// Its port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// What runs in place of images, by Cloud Run's name of the service.
    pub commands: BTreeMap<String, gcp_sandbox::runtime::Command>,
}

impl Start {
    /// For an environment of the folder `root`.
    fn of(env: &Environment, root: &Path, port: u16) -> Self {
        let project = gcp_sandbox::ProjectSeed { id: env.project.id.clone(), number: env.project.number };
        let commands = env.local.commands.iter().filter_map(|(key, command)| {
            let service = env.services.get(key)?;
            let folder = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
            let command = gcp_sandbox::runtime::Command { command: command.clone(), folder };
            Some((service.name.clone(), command))
        });
        Self { projects: vec![project], port, commands: commands.collect() }
    }
}

impl Connection {
    /// Connects to the target; starts the sandbox of the folder `root` when that is the target and none runs.
    pub async fn open(
        aim: &Aim,
        root: &Path,
        start: Start,
        global: &Global,
        out: &Out,
    ) -> Result<Self, CliError> {
        let mut elsewhere = None;
        let (endpoint, quotas, embedded) = match aim {
            Aim::Sandbox => {
                let (holder, embedded) = sandbox(root, start).await?;
                elsewhere = embedded.is_none().then_some(holder.address);
                (Some(format!("http://{}", holder.address)), holder.quotas, embedded)
            }
            Aim::Endpoint(url) => (Some(url.clone()), true, None),
            Aim::Google => (None, true, None),
        };
        // Nobody logs in to the sandbox.
        let on_sandbox = matches!(aim, Aim::Sandbox);
        let options = Options {
            endpoint,
            anonymous: on_sandbox,
            paced: quotas,
            trace: global.verbose,
            actor: actor(),
            ..Options::default()
        };
        let (out, last) = (out.clone(), Mutex::new(String::new()));
        // What takes long is told again and again in the same words.
        let tell = move |text: &str| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if *last != text {
                text.clone_into(&mut last);
                out.status(text);
            }
        };
        let gcp = Gcp::connect(options).await?.telling(Arc::new(tell));
        let (registry, interrupts) = (Registry::standard(), global.interrupts.clone());
        Ok(Self {
            registry,
            gcp,
            target: aim.to_string(),
            interrupts,
            on_sandbox,
            elsewhere,
            goes_on: false,
            embedded,
        })
    }

    /// Where the sandbox inside this process listens.
    pub fn embedded(&self) -> Option<SocketAddr> {
        self.embedded.as_ref().map(gcp_sandbox::Sandbox::addr)
    }

    /// Ends the embedded sandbox, if there is one.
    pub async fn close(self) {
        if let Some(sandbox) = self.embedded {
            sandbox.stop().await;
        }
    }
}

/// An environment and the way to where it lives.
pub struct Session {
    pub connection: Connection,
    pub env: Environment,
    /// The project's, where it is known.
    pub number: Option<u64>,
    /// The flags that say where it lives.
    pub reach: Vec<String>,
    /// The folder that holds `environments`.
    pub root: PathBuf,
    /// The other environments of the system: what they declare too is shared.
    pub others: Vec<Environment>,
}

impl Session {
    /// Loads the environment and connects to its target; starts the sandbox when that is the target.
    pub async fn open(name: &str, global: &Global, reach: &Reach, out: &Out) -> Result<Self, CliError> {
        Self::open_at(name, global, reach, 0, out).await
    }

    /// The same with the port of the sandbox that is started; 0 for any.
    pub async fn open_at(
        name: &str,
        global: &Global,
        reach: &Reach,
        port: u16,
        out: &Out,
    ) -> Result<Self, CliError> {
        let (mut session, needs_number) = Self::begin(name, global, reach, port, out).await?;
        if needs_number {
            let number = session.planner().project_number().await?;
            let inputs = Inputs { project_number: Some(number), ..Inputs::default() };
            session.env = config::load(&session.root, name, &inputs)?.environment;
            session.others = self::others(&session.root, name, Some(number))?;
            session.number = Some(number);
            session.settle();
        }
        Ok(session)
    }

    /// The same without a request: where the YAML uses the project's number and does not say it, values lack it. For verbs
    /// that need names only, and no time to lose.
    pub async fn open_at_once(
        name: &str,
        global: &Global,
        reach: &Reach,
        out: &Out,
    ) -> Result<Self, CliError> {
        Ok(Self::begin(name, global, reach, 0, out).await?.0)
    }

    /// The session, and whether the YAML needs the project's number and does not say it.
    async fn begin(
        name: &str,
        global: &Global,
        reach: &Reach,
        port: u16,
        out: &Out,
    ) -> Result<(Self, bool), CliError> {
        let root = root(global)?;
        let mut loaded = config::load(&root, name, &Inputs::default())?;
        let aim = Aim::of(reach, &loaded.environment)?;
        // The aim has just judged it: a rehearsal needs no real project, and Google got none.
        loaded.warnings.retain(|warning| warning.rule != "placeholder-project");
        out.warnings(&loaded);
        let start = Start::of(&loaded.environment, &root, port);
        let connection = Connection::open(&aim, &root, start, global, out).await?;
        let number = loaded.environment.project.number;
        let others = others(&root, name, number)?;
        let reach = reach.words();
        let needs_number = loaded.needs_project_number;
        let mut session = Self { connection, env: loaded.environment, number, reach, root, others };
        session.settle();
        Ok((session, needs_number))
    }

    /// A rehearsal is on the sandbox, whatever the YAML says.
    fn settle(&mut self) {
        if self.connection.on_sandbox {
            self.env.target = Target::Sandbox;
        }
    }

    pub fn planner(&self) -> Planner<'_> {
        Planner {
            registry: &self.connection.registry,
            gcp: &self.connection.gcp,
            env: &self.env,
            others: &self.others,
            number: self.number,
            target: &self.connection.target,
        }
    }

    /// Where everything of the environment is. Asks for the project's number only where nobody said it.
    pub async fn place(&self) -> Result<Place, CliError> {
        let project_number = match self.number {
            Some(number) => number,
            None => self.planner().project_number().await?,
        };
        let ownership = Ownership::new(&self.env.system, &self.env.name);
        let (project, region) = (self.env.project.id.clone(), self.env.region.clone());
        Ok(Place { project, project_number, region, ownership })
    }

    /// The sandbox runs in this very process, and ends with it.
    pub fn on_own_sandbox(&self) -> bool {
        self.connection.embedded.is_some()
    }

    /// What is said of such a sandbox.
    pub fn not_running(&self) -> String {
        format!("not running: deployer up {}", self.env.name)
    }

    /// Observes everything at once and compares it with what is declared.
    pub async fn plan(&self, selection: &Selection) -> Result<Plan, CliError> {
        Ok(self.planned(selection).await?.plan)
    }

    /// The same with what the plan was made from.
    pub async fn planned(&self, selection: &Selection) -> Result<Planned, CliError> {
        let mut planned = self.planner().plan(self.release(selection)?, &selection.options()).await?;
        planned.plan.flags = [selection.words(), self.reach.clone()].concat();
        Ok(planned)
    }

    /// What it takes to delete everything that belongs to this environment alone.
    pub async fn plan_destruction(&self) -> Result<Plan, CliError> {
        self.plan_for(Purpose::Destroy, None).await
    }

    /// What differs from the YAML, in all of it or in one layer.
    pub async fn plan_drift(&self, layer: Option<Layer>) -> Result<Plan, CliError> {
        self.plan_for(Purpose::Drift, layer).await
    }

    /// What an edit of the YAML leads to, for people to see: not to be carried out, and so what `apply` would still ask
    /// for, such as the image of a first release, does not stand in its way.
    pub async fn plan_preview(&self) -> Result<Plan, CliError> {
        self.plan_for(Purpose::Preview, None).await
    }

    async fn plan_for(&self, purpose: Purpose, layer: Option<Layer>) -> Result<Plan, CliError> {
        let options = plan::Options { layer, purpose, ..plan::Options::default() };
        let plan = self.planner().plan(Release::default(), &options).await?.plan;
        Ok(Plan { flags: self.reach.clone(), ..plan })
    }

    fn release(&self, selection: &Selection) -> Result<Release, CliError> {
        for (position, (service, _)) in selection.images.iter().enumerate() {
            if selection.images.iter().take(position).any(|(earlier, _)| earlier == service) {
                let message = format!("--image names `{service}` twice, and it runs one image");
                return Err(CliError::user(message).hint("leave one of the two out"));
            }
            if !self.env.services.contains_key(service) {
                let known: Vec<_> = self.env.services.keys().map(String::as_str).collect();
                return Err(CliError::user(format!(
                    "--image names `{service}`, which is no service of {}",
                    self.env.name
                ))
                .hint(format!("services: {}", known.join(", "))));
            }
        }
        if selection.tag.is_some() && !images::any_own(&self.env) {
            return Err(CliError::user(format!(
                "--tag releases images of the system's own registry, and none of {} lies there",
                self.env.name
            ))
            .hint("name the image of each service: --image SERVICE=REF")
            .hint("a service without `image` has its image in `registry`"));
        }
        let sources = building::tags(&building::planned(self, selection)?);
        Ok(Release {
            images: selection.images.iter().cloned().collect(),
            tag: selection.tag.clone(),
            sources,
        })
    }

    /// See [`Connection::close`].
    pub async fn close(self) {
        self.connection.close().await;
    }
}

/// The other environments. One that cannot be read stops everything: what it shares would change hands.
pub fn others(root: &Path, name: &str, project_number: Option<u64>) -> Result<Vec<Environment>, CliError> {
    let names = config::names(root)?.into_iter().filter(|other| other != name);
    let inputs = Inputs { project_number, ..Inputs::default() };
    names.map(|other| Ok(config::load(root, &other, &inputs)?.environment)).collect()
}

/// Where a command goes.
pub enum Aim {
    Sandbox,
    Endpoint(String),
    Google,
}

impl Aim {
    /// Where `env` goes; a placeholder never goes to Google.
    pub fn of(reach: &Reach, env: &Environment) -> Result<Self, CliError> {
        if reach.sandbox {
            return Ok(Self::Sandbox);
        }
        if let Some(url) = &reach.endpoint {
            return Ok(Self::Endpoint(url.clone()));
        }
        if env.target == Target::Sandbox {
            return Ok(Self::Sandbox);
        }
        if env.project.placeholder {
            return Err(CliError::user(format!(
                "the project id `{}` of {} is a placeholder: there is no such project at Google",
                env.project.id, env.name
            ))
            .hint(format!(
                "rehearse without an account: add `--sandbox`, e.g. deployer plan {} --sandbox",
                env.name
            ))
            .hint("or put your own project's id and number into the YAML (`project`)"));
        }
        Ok(Self::Google)
    }

    /// Where a saved plan for `target` goes. An endpoint has to be named again: a file must not choose who is sent the
    /// credentials of whoever applies it.
    pub fn of_saved(reach: &Reach, target: &str) -> Result<Self, CliError> {
        let asked = match (&reach.endpoint, reach.sandbox) {
            (Some(url), _) => Some(url.as_str()),
            (None, true) => Some(SANDBOX),
            (None, false) => None,
        };
        let refused = |message: String, hint: &str| Err(CliError::user(message).hint(hint));
        match (target, asked) {
            (SANDBOX, None | Some(SANDBOX)) => Ok(Self::Sandbox),
            (GOOGLE, None) => Ok(Self::Google),
            (_, Some(asked)) if asked == target => Ok(Self::Endpoint(target.to_owned())),
            (_, Some(asked)) => refused(
                format!("the plan is for the target {target}, and not for {asked}"),
                "leave out --sandbox and --endpoint (and DEPLOYER_ENDPOINT), or plan again with them",
            ),
            (_, None) => refused(
                format!("the plan is for the endpoint {target}, which no flag names"),
                &format!("if that is where it is to go, add --endpoint {target}"),
            ),
        }
    }
}

/// The sandbox of a checkout, in [`Plan::target`].
pub const SANDBOX: &str = "sandbox";

/// Google itself, in [`Plan::target`].
const GOOGLE: &str = "google";

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sandbox => f.write_str(SANDBOX),
            Self::Endpoint(url) => f.write_str(url),
            Self::Google => f.write_str(GOOGLE),
        }
    }
}

/// The folder that holds `environments/`: the one that was named, else the nearest above the current one.
pub fn root(global: &Global) -> Result<PathBuf, CliError> {
    if let Some(directory) = &global.directory {
        if !directory.is_dir() {
            return Err(CliError::user(format!("-C {}: there is no such folder", directory.display())));
        }
        return Ok(directory.clone());
    }
    let here = std::env::current_dir()
        .map_err(|error| CliError::user(format!("the current folder cannot be read: {error}")))?;
    let above = here.ancestors().find(|folder| folder.join("environments").is_dir());
    Ok(above.unwrap_or(&here).to_owned())
}

/// Who is at work: whom GitHub says in a workflow, else the user of this machine.
fn actor() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    ["GITHUB_ACTOR", "USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(named)
        .unwrap_or_else(|| "somebody".to_owned())
}

/// The folder in which the sandbox of a checkout keeps its state.
pub fn sandbox_state(root: &Path) -> PathBuf {
    root.join(".deployer").join("sandbox")
}

/// How a sandbox of deployer runs things: this very program is the guard above each process (see `main`).
pub(super) fn sandbox_runtime() -> gcp_sandbox::runtime::Options {
    gcp_sandbox::runtime::Options {
        guard: std::env::current_exe().ok(),
        ..gcp_sandbox::runtime::Options::default()
    }
}

/// The sandbox of this checkout: the one that runs, or a new one inside this process.
async fn sandbox(
    root: &Path,
    start: Start,
) -> Result<(gcp_sandbox::Holder, Option<gcp_sandbox::Sandbox>), CliError> {
    let state = sandbox_state(root);
    for _ in 0..50 {
        if let Some(holder) = gcp_sandbox::holder(&state) {
            return Ok((holder, None));
        }
        let options = gcp_sandbox::Options {
            port: start.port,
            state: Some(state.clone()),
            projects: start.projects.clone(),
            runtime: gcp_sandbox::runtime::Options { commands: start.commands.clone(), ..sandbox_runtime() },
            ..gcp_sandbox::Options::default()
        };
        match gcp_sandbox::start(options).await {
            Ok(sandbox) => {
                let holder = gcp_sandbox::Holder { address: sandbox.addr(), quotas: false };
                return Ok((holder, Some(sandbox)));
            }
            // Somebody else took the folder a moment ago and has not said yet where to reach it.
            Err(gcp_sandbox::StartError::Locked { .. }) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(CliError::user(format!("another process holds {} and does not answer", state.display()))
        .hint("end the other `deployer`, then run this again"))
}
