//! Scenarios: what a user types, and what the terminal then shows, word for word (`scenarios/*.txt`).
//!
//! `UPDATE_SCENARIOS=1 cargo test --test it` writes what is shown into the files; read the difference before you
//! commit it. The form of a file:
//!
//! ```text
//! # Why this scenario exists.
//! $ deployer plan dev             a run of the binary; also `$ echo VALUE | deployer ...` and `$ NAME=VALUE deployer ...`
//!   standard output, indented
//! ! standard error
//! exit 1                          when it is not 0
//! $ quietly deployer apply dev    has to succeed, and shows nothing
//! $ exits 3 deployer apply dev    has to end with this code, and shows nothing
//! $ cd FOLDER                     below the folder that holds `environments`
//! $ edit FILE "from" -> "to"      the only place where it stands
//! $ write FILE                    the lines that follow, each after `> `
//! $ console METHOD PATH BODY      somebody changes something without deployer
//! $ grant PATH ROLE MEMBER        the same, for a grant
//! $ pin SERVICE                   all traffic goes to its oldest revision, from the console
//! $ variable SERVICE NAME=VALUE   a variable that the console adds
//! $ runs SERVICE JOB ...          first of all: `tests/fixture/service.rs` runs in place of their images
//! $ push IMAGE:TAG DAY DIGIT      an image in the registry, uploaded on that day, its digest all of this digit
//! $ cleanup                       what the registry's cleanup then deletes
//! $ live PATH POINTER             what exists, as JSON
//! $ writes                        what changed something since the last `writes`
//! ```
//!
//! In paths and arguments `{run}`, `{secrets}`, `{iam}`, `{apis}` and `{images}` stand for the project's collections at each API,
//! `{sandbox}` for the URL of the sandbox, and `{here}` for the folder; in what is shown also `{port}` for the port of services.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Cloud, Done, PROJECT, REGION, Run, Workplace, repository, service_path};

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                play(stringify!($name)).await;
            }
        )*

        /// The scenarios that are played.
        const PLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios![
    adopting,
    builds,
    change_without_restart,
    closing_the_door,
    colour,
    destroying,
    drift,
    environments_side_by_side,
    exit_codes,
    identity_of_ci,
    images_of_our_own,
    immutable_field,
    jobs_and_tenants,
    migrations_and_runs,
    newcomer,
    objects_of_another_system,
    optional_secret,
    output_for_programs,
    parts_of_a_plan,
    patch_of_the_api,
    pinned_traffic,
    released_image,
    releases,
    pull_request,
    removed_variable,
    rotation,
    saved_plan,
    sandbox_reset,
    secret_files,
    server_check,
    sidecar,
    tenants,
    undeclared_objects,
    value_before_the_first_apply,
    values_missing_at_google,
    variable_becomes_secret,
    what_others_add,
    where_it_works,
];

#[test]
fn every_scenario_file_is_played() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    let mut played = PLAYED.to_vec();
    played.sort_unstable();
    assert_eq!(names, played);
}

fn folder() -> PathBuf {
    repository().join("tests/it/scenarios")
}

/// Plays a scenario and compares what it shows with its file.
async fn play(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let script = std::fs::read_to_string(&path).unwrap();
    let mut steps = parse(&script);
    let mut stage = Stage::new();
    for step in &mut steps {
        step.shown = stage.take(&step.command, &step.input).await;
    }
    let shown = render(&steps);
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        std::fs::write(&path, shown).unwrap();
    } else {
        assert!(shown == script, "{}", difference(name, &script, &shown));
    }
}

/// One `$ ` line with what stands around it.
struct Step {
    /// Comments before it.
    remarks: Vec<String>,
    command: String,
    /// The lines after `> `.
    input: Vec<String>,
    shown: String,
}

fn parse(script: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut remarks = Vec::new();
    for line in script.lines() {
        if line.starts_with('#') {
            remarks.push(line.to_owned());
        } else if let Some(command) = line.strip_prefix("$ ") {
            let remarks = std::mem::take(&mut remarks);
            let (input, shown) = (Vec::new(), String::new());
            steps.push(Step { remarks, command: command.to_owned(), input, shown });
        } else if let (Some(text), Some(step)) = (line.strip_prefix('>'), steps.last_mut()) {
            step.input.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
        }
    }
    assert!(!steps.is_empty(), "the scenario does nothing");
    assert!(remarks.is_empty(), "remarks stand before a command");
    steps
}

fn render(steps: &[Step]) -> String {
    let blocks = steps.iter().map(|step| {
        let mut text = String::new();
        for remark in &step.remarks {
            let _ = writeln!(text, "{remark}");
        }
        let _ = writeln!(text, "$ {}", step.command);
        for line in &step.input {
            let _ = writeln!(text, "{}", format!("> {line}").trim_end());
        }
        text + &step.shown
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// The first lines that differ, with a few before them.
fn difference(name: &str, expected: &str, shown: &str) -> String {
    let (expected, shown): (Vec<_>, Vec<_>) = (expected.lines().collect(), shown.lines().collect());
    let same = expected.iter().zip(&shown).take_while(|(a, b)| a == b).count();
    let part = |lines: &[&str], mark: &str| -> String {
        let lines = lines.iter().skip(same).take(12).map(|line| format!("{mark} {line}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let before = shown[same.saturating_sub(6)..same].join(
        "
  ",
    );
    format!(
        "scenarios/{name}.txt, line {}:\n  {before}\n{}\n{}\n(UPDATE_SCENARIOS=1 accepts what is shown)",
        same + 1,
        part(&expected, "-"),
        part(&shown, "+"),
    )
}

/// Where a scenario takes place.
struct Stage {
    place: Workplace,
    /// Started by the first step that needs it; until then `deployer` runs its own.
    cloud: Option<Cloud>,
    folder: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let place = Workplace::agent_army();
        Self { folder: place.root().to_owned(), place, cloud: None }
    }

    async fn cloud(&mut self) -> &Cloud {
        if self.cloud.is_none() {
            self.cloud = Some(self.place.cloud().await);
        }
        self.cloud.as_ref().unwrap()
    }

    /// Does what a line says and tells what the terminal then shows.
    async fn take(&mut self, line: &str, input: &[String]) -> String {
        let line = self.filled(line).await;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match verb {
            "cd" => self.folder = self.place.path(rest),
            "edit" => self.edit(rest),
            "write" => self.place.write(rest, &format!("{}\n", input.join("\n"))),
            "console" => self.console(rest).await,
            "grant" => self.grant(rest).await,
            "pin" => self.pin(rest).await,
            "variable" => self.variable(rest).await,
            "runs" => self.runs(rest).await,
            "push" => self.push(rest).await,
            "cleanup" => return self.cleanup().await,
            "quietly" => drop(self.run(rest).ok().await),
            "exits" => {
                let (code, command) = rest.split_once(' ').unwrap();
                drop(self.run(command).fails(code.parse().unwrap()).await);
            }
            "live" => return self.live(rest).await,
            "writes" => return self.writes().await,
            _ => {
                let done = self.run(&line).done().await;
                return self.shown(&done);
            }
        }
        String::new()
    }

    async fn filled(&mut self, line: &str) -> String {
        let mut line = line
            .replace("{run}", &format!("/run.googleapis.com/v2/projects/{PROJECT}/locations/{REGION}"))
            .replace("{secrets}", &format!("/secretmanager.googleapis.com/v1/projects/{PROJECT}"))
            .replace("{apis}", &format!("/serviceusage.googleapis.com/v1/projects/{PROJECT}/services"))
            .replace("{images}", &images())
            .replace("{here}", self.place.root().to_str().unwrap())
            .replace("{iam}", &format!("/iam.googleapis.com/v1/projects/{PROJECT}"));
        if line.contains("{sandbox}") {
            line = line.replace("{sandbox}", &self.cloud().await.url());
        }
        line
    }

    fn run(&self, line: &str) -> Run {
        let (stdin, command) = match line.split_once(" | ") {
            Some((echo, command)) => (format!("{}\n", echo.strip_prefix("echo ").unwrap()), command),
            None => (String::new(), line),
        };
        let mut run = Run::new(self.place.root()).within(&self.folder).stdin(stdin);
        if self.place.path("Cargo.toml").exists() {
            run = run.with_cargo();
        }
        let mut words = command.split_whitespace();
        for word in words.by_ref() {
            let Some((name, value)) = word.split_once('=') else {
                assert_eq!(word, "deployer", "no such step: {line}");
                break;
            };
            run = run.env(name, value);
        }
        run.args(words)
    }

    fn edit(&self, rest: &str) {
        let (file, change) = rest.split_once(' ').unwrap();
        let mut texts = change.split(" -> ").map(|text| serde_json::from_str::<String>(text).unwrap());
        let (from, to) = (texts.next().unwrap(), texts.next().unwrap());
        self.place.edit(file, &from, &to);
    }

    async fn console(&mut self, rest: &str) {
        let mut words = rest.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let body: Option<Value> = words.next().map(|text| serde_json::from_str(text).unwrap());
        succeeded(&self.cloud().await.console(method, path, body.as_ref()).await);
    }

    async fn grant(&mut self, rest: &str) {
        let words: Vec<_> = rest.split(' ').collect();
        self.cloud().await.grant(words[0], words[1], words[2]).await;
    }

    /// All traffic to the oldest revision.
    async fn pin(&mut self, service: &str) {
        let cloud = self.cloud().await;
        let path = service_path(service);
        let revisions = cloud.read(&format!("{path}/revisions")).await;
        let oldest =
            revisions["revisions"].as_array().unwrap().iter().min_by_key(|r| r["createTime"].to_string());
        let name = oldest.unwrap()["name"].as_str().unwrap().rsplit('/').next().unwrap();
        let target =
            json!({"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": name, "percent": 100});
        let body = json!({"traffic": [target]});
        succeeded(&cloud.console("PATCH", &format!("{path}?updateMask=traffic"), Some(&body)).await);
    }

    /// One more variable in the first container, in a new revision.
    async fn variable(&mut self, rest: &str) {
        let (service, pair) = rest.split_once(' ').unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        let cloud = self.cloud().await;
        let mut live = cloud.service(service).await;
        live["template"].as_object_mut().unwrap().remove("revision");
        live["template"]["containers"][0]["env"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": name, "value": value}));
        let path = format!("{}?updateMask=template", service_path(service));
        succeeded(&cloud.console("PATCH", &path, Some(&live)).await);
    }

    async fn runs(&mut self, names: &str) {
        assert!(self.cloud.is_none(), "the sandbox runs already");
        let names: Vec<_> = names.split(' ').collect();
        let program = crate::bad_releases::fixture().to_str().unwrap();
        let options = Cloud::running(&names, &[program], self.place.root());
        let options = gcp_sandbox::Options { state: Some(self.place.sandbox_state()), ..options };
        self.cloud = Some(Cloud::start(options).await);
    }

    async fn push(&mut self, rest: &str) {
        let words: Vec<_> = rest.split(' ').collect();
        let body = json!({
            "image": format!("{REGION}-docker.pkg.dev/{PROJECT}/{REPOSITORY}/{}", words[0]),
            "uploadTime": format!("{}T00:00:00Z", words[1]),
            "digest": format!("sha256:{}", words[2].repeat(64)),
        });
        succeeded(&self.cloud().await.console("POST", "/__sandbox/artifacts", Some(&body)).await);
    }

    /// The images that it deletes.
    async fn cleanup(&mut self) -> String {
        let path = "/__sandbox/artifacts/cleanup";
        let (_, answer) = self.cloud().await.console("POST", path, Some(&json!({}))).await;
        let mut shown = String::new();
        for image in answer["deleted"].as_array().unwrap() {
            let _ = writeln!(shown, "  {} by {}", image["uri"].as_str().unwrap(), image["policy"]);
        }
        shown
    }

    async fn live(&mut self, rest: &str) -> String {
        let (path, pointer) = rest.split_once(' ').unwrap_or((rest, ""));
        let (status, answer) = self.cloud().await.console("GET", path, None).await;
        if status != 200 {
            return format!("  {status}\n");
        }
        match answer.pointer(pointer) {
            Some(value) => format!("  {value}\n"),
            None => "  (nothing)\n".to_owned(),
        }
    }

    /// Successful writes by method, in alphabetical order: what runs side by side has no order.
    async fn writes(&mut self) -> String {
        let cloud = self.cloud().await;
        let mut counts = BTreeMap::<_, usize>::new();
        for call in cloud.writes().await.into_iter().filter(|call| call.status == Some(200)) {
            *counts.entry(call.method.unwrap_or_default()).or_default() += 1;
        }
        cloud.forget_calls().await;
        if counts.is_empty() {
            return "  (none)\n".to_owned();
        }
        let lines = counts.iter().map(|(method, count)| format!("  {count} {method}"));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }

    fn shown(&self, done: &Done) -> String {
        let mut text = String::new();
        for line in self.stable(&done.stdout).lines() {
            let _ = writeln!(text, "{}", format!("  {line}").trim_end());
        }
        for line in self.stable(&done.stderr).lines() {
            let _ = writeln!(text, "{}", format!("! {line}").trim_end());
        }
        if done.code != 0 {
            let _ = writeln!(text, "exit {}", done.code);
        }
        text
    }

    /// Without what differs from run to run.
    fn stable(&self, text: &str) -> String {
        let mut text = text.replace(self.place.root().to_str().unwrap(), "{here}").replace('\u{1b}', "{esc}");
        if let Some(cloud) = &self.cloud {
            text = text.replace(&cloud.url(), "{sandbox}");
            let port = cloud.url().rsplit(':').next().unwrap_or_default().to_owned();
            text = text.replace(&format!(".localhost:{port}"), ".localhost:{port}");
        }
        let mut finished = 0;
        let mut lines = Vec::new();
        // A slow machine waits for longer than a second, which is told. Cargo tells what it does in its own words.
        let chatter = ["waiting for ", "   Compiling ", "    Finished "];
        for line in text.lines().filter(|line| !chatter.iter().any(|start| line.starts_with(start))) {
            if is_progress(line) {
                finished += 1;
                continue;
            }
            if finished > 0 {
                lines.push(format!("({finished} done)"));
                finished = 0;
            }
            lines.push(without_chance(&without_uids(&without_amounts(&without_times(line)))));
        }
        if finished > 0 {
            lines.push(format!("({finished} done)"));
        }
        let text = lines.join("\n");
        if text.contains(AGE) { without_columns(&text) } else { text }
    }
}

/// The repository of the scenarios.
const REPOSITORY: &str = "agent-army";

fn images() -> String {
    format!(
        "/artifactregistry.googleapis.com/v1/projects/{PROJECT}/locations/{REGION}/repositories/{REPOSITORY}"
    )
}

/// The call has not failed, nor has its operation.
fn succeeded((status, answer): &(u16, Value)) {
    assert!(*status == 200 && answer.get("error").is_none(), "{answer}");
}

/// `[ 3/22] + create  ...`: in the order in which things happen to finish. `cli.rs` looks at them.
fn is_progress(line: &str) -> bool {
    let head = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(head, _)| head);
    head.and_then(|head| head.split_once('/')).is_some_and(|(count, total)| {
        [count.trim(), total].iter().all(|number| number.parse::<u32>().is_ok())
    })
}

/// What policies keep of deleted accounts, `?uid=NUMBER`, becomes `?uid={uid}`.
fn without_uids(line: &str) -> String {
    let mut parts = line.split("?uid=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| {
        format!("{line}?uid={{uid}}{}", part.trim_start_matches(|c: char| c.is_ascii_digit()))
    })
}

/// What stands for how long ago something was.
const AGE: &str = "{age}";

/// `5 seconds` becomes `{age}`, `0.2 s` `{took}`, `2.2 MiB` `{size}`, and `2026-11-21 10:49:15` `{time}`.
fn without_amounts(line: &str) -> String {
    let mut shown = String::new();
    let mut words = line.split_inclusive(' ').peekable();
    while let Some(word) = words.next() {
        let bare = word.trim_end();
        let next =
            words.peek().map(|next| next.trim_end_matches([' ', ',', ':', ')', '.'])).unwrap_or_default();
        let mask = match next {
            "second" | "seconds" | "minute" | "minutes" if bare.parse::<u32>().is_ok() => AGE,
            "s" if bare.parse::<f64>().is_ok() => "{took}",
            "KiB" | "MiB" if bare.parse::<f64>().is_ok() => "{size}",
            _ if is_digits(bare, "dddd-dd-dd") && is_digits(next, "dd:dd:dd") => "{time}",
            _ => {
                shown.push_str(word);
                continue;
            }
        };
        let rest = words.next().and_then(|word| word.split_at_checked(next.len()));
        shown.push_str(mask);
        shown.push_str(rest.map_or("", |(_, rest)| rest));
    }
    shown
}

/// Whether a text has digits where the form has `d`, and else what the form has.
fn is_digits(text: &str, form: &str) -> bool {
    let fits = |(c, d): (char, char)| if d == 'd' { c.is_ascii_digit() } else { c == d };
    text.len() == form.len() && text.chars().zip(form.chars()).all(fits)
}

/// Where columns begin depends on the ages in them.
fn without_columns(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        let cells = rest.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        format!("{indent}{}", cells.collect::<Vec<_>>().join("  "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names that Cloud Run makes up, `-dev-x7k2p` of an execution, digests of what a compiler made, and ports.
fn without_chance(line: &str) -> String {
    let masks: [(&str, usize, &str); 4] = [
        ("-dev-", 5, "{letters}"),
        ("sha256:", 64, "{digest}"),
        ("src-", 16, "{sources}"),
        ("PORT=", 5, "{port}"),
    ];
    masks.into_iter().fold(line.to_owned(), |line, (before, length, mask)| {
        let mut parts = line.split(before);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |line, part| {
            let chance = part.len() - part.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len();
            // Digests that a scenario made up itself are of one digit.
            let made = part.chars().take(length).any(|c| !part.starts_with(c));
            let rest =
                if chance == length && made { format!("{mask}{}", &part[length..]) } else { part.to_owned() };
            line + before + &rest
        })
    })
}

/// `2026-11-21T10:49:15.971098Z` becomes `{time}`.
fn without_times(line: &str) -> String {
    let words = line.split_inclusive([' ', '"']);
    let words = words.map(|word| {
        let bare = word.trim_end_matches([' ', '"', ';', ',']);
        let is_time = bare.ends_with('Z') && bare.len() >= 20 && bare.as_bytes()[10] == b'T';
        if is_time { word.replace(bare, "{time}") } else { word.to_owned() }
    });
    words.collect()
}
