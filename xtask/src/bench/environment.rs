//! What is planned: the environments of the example `python-api`, side by side in one project, and generated ones of
//! any size.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Secrets in the catalogue of a generated environment.
const SECRETS: usize = 50;
/// Service accounts that the services of a generated environment share.
const ACCOUNTS: usize = 20;
/// agent-army, as far as deployer knows its kinds.
const EXAMPLE: &str = "examples/python-api";
/// References to secrets of each service.
const REFERENCES: usize = 5;

/// A folder with `environments/` and the environment in it that is measured.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) environment: String,
    folder: PathBuf,
    /// How many services were generated; 0 for an environment that was not.
    pub(super) services: usize,
    /// Flags of its first `apply`.
    pub(super) release: &'static [&'static str],
}

impl Subject {
    /// The environments of the example, in a copy below `parent`: a first release names its image.
    pub(super) fn of_example(workspace: &Path, parent: &Path) -> Result<[Self; 3], String> {
        let folder = parent.join("example");
        copy(&workspace.join(EXAMPLE), &folder)?;
        Ok(["dev", "staging", "production"].map(|environment| Self {
            name: format!("agent-army {environment}"),
            environment: environment.to_owned(),
            folder: folder.clone(),
            services: 0,
            release: &["--image", "api=us-docker.pkg.dev/cloudrun/container/hello"],
        }))
    }

    /// An environment of `services` services below `parent`.
    pub(super) fn generated(parent: &Path, services: usize) -> Result<Self, String> {
        let name = format!("{services} services");
        let folder = parent.join(format!("generated-{services}"));
        let subject = Self { name, environment: "bench".to_owned(), folder, services, release: &[] };
        subject.write(services)?;
        Ok(subject)
    }

    pub(super) fn root(&self) -> String {
        self.folder.display().to_string()
    }

    /// Where `plan` and `apply` look for the sandbox that they are to use.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join(".deployer").join("sandbox")
    }

    /// How many services to write before each `apply`, so that none adds more than `most`.
    pub(super) fn portions(&self, most: usize) -> Vec<usize> {
        let mut sizes: Vec<usize> = (most..self.services).step_by(most).collect();
        sizes.push(self.services);
        sizes
    }

    /// Writes the files with the first `services` services; nothing to do for what was not generated.
    pub(super) fn write(&self, services: usize) -> Result<(), String> {
        if self.services == 0 {
            return Ok(());
        }
        let environments = self.folder.join("environments");
        made(&environments, fs::create_dir_all(&environments))?;
        for (file, text) in [("base.yaml", base(services)), ("bench.yaml", overlay())] {
            let path = environments.join(file);
            made(&path, fs::write(&path, text))?;
        }
        Ok(())
    }
}

fn made(path: &Path, result: std::io::Result<()>) -> Result<(), String> {
    result.map_err(|error| format!("{}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    made(to, fs::create_dir_all(to))?;
    let entries = fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            made(&target, fs::copy(&path, &target).map(drop))?;
        }
    }
    Ok(())
}

fn overlay() -> String {
    "deployer: v1\nenvironment: bench\ntarget: sandbox\n".to_owned()
}

/// The services that share an account also share their secrets, as the parts of one application do.
fn base(services: usize) -> String {
    let mut text = String::from(
        "deployer: v1\nenvironment: base\nsystem: bench\n\
         project: {id: deployer-bench, number: \"123456789012\"}\nregion: us-central1\nsecrets:\n",
    );
    // Writing into a String cannot fail.
    for secret in 0..SECRETS {
        let _ = writeln!(text, "  secret-{secret:02}: {{}}");
    }
    text.push_str("services:\n");
    for service in 0..services {
        let account = service % ACCOUNTS;
        let _ = write!(
            text,
            "  service-{service:04}:\n    image: us-docker.pkg.dev/cloudrun/container/hello\n    \
             service_account: runner-{account:02}\n    memory: 512Mi\n    env: {{LOG_LEVEL: INFO}}\n    secrets:\n"
        );
        for reference in 0..REFERENCES {
            let secret = (account * REFERENCES + reference) % SECRETS;
            let _ = writeln!(text, "      REFERENCE_{reference}: secret-{secret:02}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_secret_and_account_is_used_and_every_service_has_five_references() {
        let text = base(40);
        let used = |marker: &str| -> BTreeSet<&str> {
            text.lines().filter_map(|line| line.trim().strip_prefix(marker)).collect()
        };
        assert_eq!(used("service_account: ").len(), ACCOUNTS);
        let secrets: BTreeSet<&str> = text
            .lines()
            .filter(|line| line.contains("REFERENCE_"))
            .filter_map(|line| line.split(": ").nth(1))
            .collect();
        assert_eq!(secrets.len(), SECRETS);
        assert_eq!(text.matches("REFERENCE_").count(), 40 * REFERENCES);
        assert_eq!(text.matches("\n  service-").count(), 40);
    }

    #[test]
    fn portions_end_with_all_services() {
        let folder = tempfile::tempdir().unwrap();
        let portions = |services| Subject::generated(folder.path(), services).unwrap().portions(80);
        assert_eq!(portions(200), [80, 160, 200]);
        assert_eq!(portions(160), [80, 160]);
        assert_eq!(portions(10), [10]);
    }

    #[test]
    fn the_environments_of_the_example_share_a_copy_with_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("checkout");
        fs::create_dir_all(from.join(EXAMPLE).join("environments")).unwrap();
        fs::write(from.join(EXAMPLE).join("environments/dev.yaml"), "a").unwrap();
        let subjects = Subject::of_example(&from, folder.path()).unwrap();
        assert_eq!(
            subjects.each_ref().map(|subject| subject.environment.as_str()),
            ["dev", "staging", "production"]
        );
        for subject in subjects {
            let copied = Path::new(&subject.root()).join("environments/dev.yaml");
            assert_eq!(fs::read_to_string(copied).unwrap(), "a");
            assert_eq!(subject.portions(80), [0], "applied once, as it is");
        }
    }
}
