//! `deployer up`: an environment on this machine, with real processes: a service of a few lines, PostgreSQL, and what is
//! left of them afterwards.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Run, Workplace, repository, shop, signal};

const BASE: &str = shop!(
    r#"registry: {repository: shop}
secrets:
  database-url: {id: "database-url-${env}"}
services:
  api:
    name: api-${env}
    startup_probe: /
    access: public
    build: {builder: cargo, package: tiny, paths: [src]}
    env: {WORD: one}
    secrets: {DATABASE_URL: database-url}
"#
);

const DEV: &str = r"deployer: v1
environment: dev
target: sandbox
local:
  services:
    db: {image: postgres, url_secret: database-url}
";

const MANIFEST: &str = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"tiny\"\nversion = \"0.1.0\"\n";

/// Answers each request with its process, its word and its database.
const MAIN: &str = r#"use std::io::{BufRead, BufReader, Write};

fn main() {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let listener = std::net::TcpListener::bind(("0.0.0.0", of("PORT").parse().unwrap())).unwrap();
    println!("listening with the word {}", of("WORD"));
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
        let body = format!("{} {} {}", std::process::id(), of("WORD"), of("DATABASE_URL"));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = stream.write_all((head + &body).as_bytes());
    }
}
"#;

/// What comes comes much sooner; tenant-api may have to be compiled first.
const EVENTUALLY: Duration = Duration::from_mins(20);

fn place() -> Workplace {
    Workplace::with(&[
        ("environments/base.yaml", BASE),
        ("environments/dev.yaml", DEV),
        ("environments/staging.yaml", "deployer: v1\nenvironment: staging\n"),
        ("Cargo.toml", MANIFEST),
        ("Cargo.lock", LOCK),
        ("src/main.rs", MAIN),
    ])
}

fn deployer(place: &Workplace, words: &str) -> Run {
    place.deployer(words).with_cargo()
}

/// A port that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Waits for what comes by itself.
async fn until(what: &str, happened: impl Fn() -> bool) {
    let mut looked = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !happened() {
            looked.tick().await;
        }
    };
    assert!(timeout(EVENTUALLY, waiting).await.is_ok(), "never happened: {what}");
}

/// A `deployer up` that runs; both of its outputs in the order of lines.
struct Up {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    seen: String,
}

impl Up {
    fn start(run: &Run) -> Self {
        let mut child = run.spawn();
        let (sender, lines) = mpsc::unbounded_channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // The test may have seen enough.
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, lines, seen: String::new() }
    }

    /// The first line from here on that has `text` in it.
    async fn says(&mut self, text: &str) -> String {
        let waiting = async {
            while let Some(line) = self.lines.recv().await {
                self.seen.push_str(&line);
                self.seen.push('\n');
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        let found = timeout(EVENTUALLY, waiting).await.ok().flatten();
        found.unwrap_or_else(|| panic!("it never said {text:?}:\n{}", self.seen))
    }

    /// The URL of the service `api`, once it is up.
    async fn url(&mut self) -> String {
        self.says(" is up:").await;
        self.says("  api  http://").await.split_whitespace().last().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Its exit code; -1 when a signal ended it.
    async fn ended(self) -> i32 {
        let mut child = self.child;
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
        timeout(EVENTUALLY, status).await.unwrap().unwrap().code().unwrap_or(-1)
    }
}

/// What the service of these tests answers.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    process: u32,
    word: String,
    database: String,
}

impl Answer {
    fn database_port(&self) -> u16 {
        let place = self.database.split('@').nth(1).unwrap().split('/').next().unwrap();
        place.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Whether its process still runs: a zombie does not.
    fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process)).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

/// A client that resolves the URL's host as a browser does: names below `localhost` are this machine.
fn client(url: &str) -> reqwest::Client {
    let host = url.strip_prefix("http://").unwrap().split(':').next().unwrap();
    let here = ([127, 0, 0, 1], port_of(url)).into();
    reqwest::Client::builder().no_proxy().resolve(host, here).build().unwrap()
}

/// The answer with 200. A grant takes a moment to be seen, and until then there is 403.
async fn until_answered(client: &reqwest::Client, url: &str) -> String {
    let mut asked = tokio::time::interval(Duration::from_millis(20));
    let asking = async {
        loop {
            asked.tick().await;
            let answer = client.get(url).send().await.unwrap();
            if answer.status() == 200 {
                return answer.text().await.unwrap();
            }
            assert_eq!(answer.status(), 403, "{}", answer.text().await.unwrap());
        }
    };
    timeout(EVENTUALLY, asking).await.unwrap()
}

async fn answer(url: &str) -> Answer {
    let text = until_answered(&client(url), &format!("{url}/")).await;
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap().to_owned();
    Answer { process: word().parse().unwrap(), word: word(), database: word() }
}

/// Fails unless everything of this run is gone.
async fn all_gone(url: &str, answer: &Answer) {
    let (sandbox, database) = (port_of(url), answer.database_port());
    until("the sandbox ends", || is_free(sandbox)).await;
    until("the database ends", || is_free(database)).await;
    until("the service ends", || !answer.lives()).await;
}

/// The homes of a place may lie outside of it.
async fn forget(place: &Workplace) {
    let done = deployer(place, "sandbox reset").ok().await;
    assert!(done.stdout.starts_with("Emptied"), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn up_serves_follows_another_terminal_and_leaves_nothing_but_its_data() {
    let place = place();
    let port = free_port();
    let mut up = Up::start(&deployer(&place, &format!("up dev --port {port}")));
    let url = up.url().await;
    assert_eq!(url, format!("http://api-dev-123456789012.us-central1.run.app.localhost:{port}"));
    up.says("api | listening with the word one").await;
    up.says("api * api-dev-").await;
    let first = answer(&url).await;
    assert_eq!(first.word, "one");
    assert!(first.database.starts_with("postgresql://owner:"), "{first:?}");
    assert!(!is_free(first.database_port()));
    let secret = first.database.split(':').nth(2).unwrap().split('@').next().unwrap();
    assert!(!up.seen.contains(secret), "a password is shown");

    // Another terminal sees what was said before it began, and goes on.
    let mut logs = Up::start(&deployer(&place, "logs dev api --follow"));
    logs.says("listening with the word one").await;
    // Another terminal: the same sandbox, and nothing that runs is started twice.
    deployer(&place, "plan dev --detailed-exitcode").ok().await;
    place.edit("environments/base.yaml", "WORD: one", "WORD: two");
    let done = deployer(&place, "apply dev").ok().await;
    assert!(done.stdout.contains(&format!("On this machine: {url}")), "{done}");
    assert!(!done.stderr.contains("PostgreSQL"), "{done}");
    up.says("api | listening with the word two").await;
    up.says(" serves").await;
    logs.says("listening with the word two").await;
    logs.signal("INT");
    assert_eq!(logs.ended().await, 130);
    let second = answer(&url).await;
    assert_eq!((second.word.as_str(), &second.database), ("two", &first.database));
    let status = deployer(&place, "status dev").ok().await;
    assert!(status.stdout.contains(&format!("api  {url}\n")), "{status}");
    let json = deployer(&place, "status dev --output json").ok().await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["services"][0]["local_url"], &json["running"]), (&json!(url), &json!(true)));
    let refused = deployer(&place, "up dev").fails(1).await;
    assert!(refused.stderr.contains("is running already, at http://127.0.0.1:"), "{refused}");
    deployer(&place, "sandbox reset").fails(1).await;
    // What runs on this machine is read once.
    assert!(!done.stderr.contains("`local` changed"), "{done}");
    place.edit("environments/dev.yaml", "image: postgres,", "image: postgres, database: other,");
    let done = deployer(&place, "apply dev").ok().await;
    assert!(done.stderr.contains("`local` changed since `deployer up dev` was started"), "{done}");
    place.edit("environments/dev.yaml", "image: postgres, database: other,", "image: postgres,");

    up.signal("INT");
    assert_eq!(up.ended().await, 0);
    all_gone(&url, &second).await;

    // The next run finds everything as it was, and has nothing to change.
    let mut up = Up::start(&deployer(&place, "up dev"));
    let again = up.url().await;
    assert_eq!(again, url);
    assert!(up.seen.contains("No changes. dev matches its YAML."), "{}", up.seen);
    assert!(!up.seen.contains("as version"), "{}", up.seen);
    let third = answer(&url).await;
    assert_eq!((third.word.as_str(), &third.database), ("two", &first.database));

    // However it ends.
    up.signal("KILL");
    assert_eq!(up.ended().await, -1);
    all_gone(&url, &third).await;
    let mut up = Up::start(&deployer(&place, "up dev"));
    assert_eq!(up.url().await, url, "what the killed one left does not stand in the way");
    let fourth = answer(&url).await;
    up.signal("TERM");
    assert_eq!(up.ended().await, 0);
    all_gone(&url, &fourth).await;
    forget(&place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_apply_runs_the_database_as_long_as_it_needs_it() {
    let place = place();
    let plan = deployer(&place, "plan dev").ok().await;
    let value = plan.stdout.lines().find(|line| line.contains("secret_value/database-url-dev"));
    assert!(value.is_some_and(|line| line.contains("version 1 (local)")), "{plan}");
    let done = deployer(&place, "apply dev").ok().await;
    assert!(done.stderr.contains("into secret/database-url-dev as version 1"), "{done}");
    assert!(done.stdout.contains("after this: `deployer up dev` serves"), "{done}");
    let homes = place.sandbox_state().join("local");
    assert!(private_servers::Home::claim(&homes, "dev-db").unwrap().is_some(), "somebody still has it");
    let status = deployer(&place, "status dev --check").fails(2).await;
    assert!(status.stdout.starts_with("not running: deployer up dev\n"), "{status}");
    // A saved plan is of Google's side alone, and says so.
    place.edit("environments/base.yaml", "WORD: one", "WORD: two");
    deployer(&place, "plan dev -o dev.plan").ok().await;
    let done = deployer(&place, "apply dev.plan").ok().await;
    let left_out =
        "a saved plan starts nothing on this machine: `local.services.db` would run with deployer apply dev";
    assert!(done.stderr.contains(left_out), "{done}");
    // Planning starts nothing, and a second apply has nothing to deliver.
    let done = deployer(&place, "plan dev --detailed-exitcode").ok().await;
    assert!(!done.stderr.contains("PostgreSQL"), "{done}");
    let done = deployer(&place, "apply dev").ok().await;
    assert!(!done.stderr.contains("as version"), "{done}");
    forget(&place).await;
    assert!(!homes.join("dev-db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_told_with_the_mend() {
    let place = place();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let says = |done: &crate::support::Done, texts: &[&str]| {
        for text in texts {
            assert!(done.stderr.contains(text), "{text} is not in:\n{done}");
        }
    };
    let done = deployer(&place, &format!("up dev --port {port}")).fails(1).await;
    let message = format!("port {port} on 127.0.0.1 is taken by another program");
    says(&done, &[&message, "take another port: --port PORT"]);
    let done = deployer(&place, "up staging").fails(1).await;
    says(&done, &["staging lives at Google", "deployer up staging --sandbox"]);
    let done = deployer(&place, "up dev --output json").fails(1).await;
    says(&done, &["no single document", "deployer apply ENV --output json"]);
    let none = place.path("none");
    let done = deployer(&place, "up dev").env("PRIVATE_POSTGRES_BIN", &none).fails(1).await;
    says(&done, &["`local.services.db` does not run", "has no `postgres`", "name the folder of `postgres`"]);
    assert!(!place.path("target").exists(), "nothing was built before that was known");
    place.edit("environments/base.yaml", "project:", "local: {run: {api: [cat]}}\nproject:");
    let done = deployer(&place, "plan staging").fails(1).await;
    says(&done, &["`local` is for the sandbox", "`target: sandbox`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_installed_is_told_before_anything_is_built() {
    // Where it is found without a PATH it cannot be missing.
    let folders = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "/usr/local/bin"];
    let programs = ["redis-server", "valkey-server"];
    let found = |folder: &&str| programs.iter().any(|program| Path::new(folder).join(program).exists());
    if folders.iter().any(found) {
        return;
    }
    let place = place();
    place.write("environments/dev.yaml", &DEV.replace("image: postgres", "image: redis"));
    // Nothing is on the PATH of this run.
    let done = place.deployer("up dev").fails(1).await;
    let message = "`local.services.db` does not run: there is no redis-server on this machine";
    assert!(done.stderr.contains(message), "{done}");
    assert!(done.stderr.contains("hint: install it: "), "{done}");
    assert!(!place.path("target").exists(), "nothing was built before that was known");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_runs_in_place_of_an_image() {
    let place = place();
    let program = place.path("tiny");
    let source = place.path("src/main.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(rustc).arg("--edition=2024").arg(&source).arg("-o").arg(&program).status();
    assert!(compiled.unwrap().success());
    open_to_all(place.root());
    place.edit(
        "environments/base.yaml",
        "build: {builder: cargo, package: tiny, paths: [src]}",
        "image: us-docker.pkg.dev/p/r/api:v1",
    );
    let dev = format!("{DEV}  run: {{api: [{}]}}\n", program.display());
    place.write("environments/dev.yaml", &dev);
    let mut up = Up::start(&deployer(&place, &format!("up dev --port {}", free_port())));
    let url = up.url().await;
    let answered = answer(&url).await;
    assert_eq!(answered.word, "one");
    up.signal("INT");
    assert_eq!(up.ended().await, 0);
    all_gone(&url, &answered).await;
    forget(&place).await;
}

/// As root the service runs as somebody else, who has to reach the program.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The way from one folder to another, both absolute.
fn way(from: &Path, to: &Path) -> String {
    let up = from.components().skip(1).map(|_| "..");
    let down = to.components().skip(1).map(|part| part.as_os_str().to_str().unwrap());
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// What README shows first: this repository's own `dev`, that is tenant-api, built here. What was compiled before is kept in
/// the target folder of these tests.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_dev_of_this_repository_comes_up() {
    let place = Workplace::empty();
    for name in ["base", "dev"] {
        let file = format!("environments/{name}.yaml");
        place.write(&file, &std::fs::read_to_string(repository().join(&file)).unwrap());
    }
    let context = way(&place.root().canonicalize().unwrap(), repository());
    let build = "build: {builder: cargo, package: tenant-api,";
    place.edit("environments/base.yaml", build, &format!("{build} context: \"{context}\","));
    let target = Path::new(env!("CARGO_BIN_EXE_deployer")).parent().unwrap().parent().unwrap();
    let run = deployer(&place, &format!("up dev --port {}", free_port())).env("CARGO_TARGET_DIR", target);
    let mut up = Up::start(&run);
    let url = up.url().await;
    let (client, asked) = (client(&url), format!("{url}/health/ready"));
    let ready = until_answered(&client, &asked).await;
    up.says(" serves").await;
    // README shows what is shown.
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let shown = |after: &str| readme.split(after).nth(1).unwrap().split("```").next().unwrap().to_owned();
    for line in shown("$ cargo run -- up dev\n").lines().filter(|line| *line != "...") {
        let line = line.replace(":8787", &format!(":{}", port_of(&url)));
        // Revisions are named after what is in them.
        let line = line.split("-dev-da000fd9").next().unwrap();
        assert!(up.seen.contains(line), "{line:?} of README is not in:\n{}", up.seen);
    }
    assert!(shown("/health/ready\n").starts_with(&format!("{ready}\n")), "{ready}");
    // The schemas are there: a tenant can be made, and asks for a login.
    let tenants = client.post(format!("{url}/api/v1/tenants")).json(&json!({"slug": "acme", "name": "Acme"}));
    let made = tenants.send().await.unwrap();
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    let done = deployer(&place, "plan dev --detailed-exitcode").env("CARGO_TARGET_DIR", target).ok().await;
    assert!(done.stdout.contains("No changes. dev matches its YAML."), "{done}");
    up.signal("INT");
    assert_eq!(up.ended().await, 0);
    forget(&place).await;
}
