//! Installs the servers that tests need, where a package manager can do it without asking anybody; else says what to do.
//!
//! PostgreSQL is not among them: `private-servers` finds or fetches it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use private_servers::programs;

/// A program, the package that has it (Debian's and Homebrew's names), and where it is.
struct Needed {
    program: &'static str,
    apt: &'static str,
    brew: &'static str,
    find: fn() -> Option<PathBuf>,
}

const SERVERS: [Needed; 2] = [
    Needed { program: "redis-server", apt: "redis-server", brew: "redis", find: programs::redis },
    Needed { program: "pgbouncer", apt: "pgbouncer", brew: "pgbouncer", find: programs::pgbouncer },
];

/// How packages are installed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Installer {
    /// We are root.
    Apt,
    /// `sudo` asks for no password.
    SudoApt,
    Brew,
}

/// Installs what is missing. The error says what still is, and what to do.
pub(crate) fn servers() -> Result<(), String> {
    let absent = missing();
    if absent.is_empty() {
        return Ok(());
    }
    if let Some(installer) = installer() {
        for mut command in commands(installer, &absent) {
            println!("xtask: {command:?}");
            // One that fails shows in what is still missing; what it says goes to the terminal.
            let _ = command.stdin(Stdio::null()).status();
        }
    }
    let absent = missing();
    if absent.is_empty() { Ok(()) } else { Err(told(&absent)) }
}

fn missing() -> Vec<&'static Needed> {
    SERVERS.iter().filter(|needed| (needed.find)().is_none()).collect()
}

fn installer() -> Option<Installer> {
    if works("apt-get", &["--version"]) {
        let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
        if root {
            return Some(Installer::Apt);
        }
        return works("sudo", &["-n", "true"]).then_some(Installer::SudoApt);
    }
    works("brew", &["--version"]).then_some(Installer::Brew)
}

fn works(program: &str, args: &[&str]) -> bool {
    let command = Command::new(program).args(args).stdin(Stdio::null()).output();
    command.is_ok_and(|output| output.status.success())
}

fn commands(installer: Installer, absent: &[&Needed]) -> Vec<Command> {
    let packages: Vec<_> = absent.iter().map(|needed| package(installer, needed)).collect();
    let start: &[&str] = match installer {
        Installer::Apt => &["apt-get"],
        Installer::SudoApt => &["sudo", "-n", "apt-get"],
        Installer::Brew => &["brew"],
    };
    let steps: &[&[&str]] = match installer {
        Installer::Apt | Installer::SudoApt => {
            &[&["-qq", "update"], &["-qq", "install", "--yes", "--no-install-recommends"]]
        }
        Installer::Brew => &[&["install", "--quiet"]],
    };
    let last = steps.len().saturating_sub(1);
    let command = |(number, step): (usize, &&[&str])| {
        let mut words = start.iter().chain(step.iter()).copied();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        if number == last {
            command.args(&packages);
        }
        command
    };
    steps.iter().enumerate().map(command).collect()
}

fn package(installer: Installer, needed: &Needed) -> &'static str {
    match installer {
        Installer::Apt | Installer::SudoApt => needed.apt,
        Installer::Brew => needed.brew,
    }
}

/// One message with everything.
fn told(absent: &[&Needed]) -> String {
    let list = |name: fn(&Needed) -> &'static str| {
        absent.iter().map(|needed| name(needed)).collect::<Vec<_>>().join(" ")
    };
    format!(
        "the tests need {}, and could not install it here\n  Debian, Ubuntu: sudo apt-get install {}\n  \
         macOS: brew install {}\n  elsewhere: the package with that program; it only has to be on PATH",
        absent.iter().map(|needed| format!("`{}`", needed.program)).collect::<Vec<_>>().join(" and "),
        list(|needed| needed.apt),
        list(|needed| needed.brew),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn everything_is_installed_at_once_without_questions() {
        let absent: Vec<_> = SERVERS.iter().collect();
        let apt: Vec<_> = commands(Installer::SudoApt, &absent).iter().map(words).collect();
        assert_eq!(
            apt,
            [
                "sudo -n apt-get -qq update",
                "sudo -n apt-get -qq install --yes --no-install-recommends redis-server pgbouncer"
            ]
        );
        let brew: Vec<_> = commands(Installer::Brew, &absent).iter().map(words).collect();
        assert_eq!(brew, ["brew install --quiet redis pgbouncer"]);
    }

    #[test]
    fn one_message_says_all_that_is_missing() {
        let message = told(&SERVERS.iter().collect::<Vec<_>>());
        assert!(message.starts_with("the tests need `redis-server` and `pgbouncer`"), "{message}");
        assert!(message.contains("sudo apt-get install redis-server pgbouncer"), "{message}");
        assert!(message.contains("brew install redis pgbouncer"), "{message}");
    }
}
