//! Jobs as they are run: in which order migrations come, and what a run is given.

use std::collections::BTreeMap;

use super::interpolate::{Piece, pieces};
use super::model::{Environment, Job};

impl Environment {
    /// The migrations with their keys, each after those that it needs.
    pub fn migrations(&self) -> Vec<(&str, &Job)> {
        let mut left: Vec<_> = self.jobs.iter().filter(|(_, job)| job.migration).collect();
        let mut ordered: Vec<(&str, &Job)> = Vec::new();
        // No circle gets past validation; what would be left of one keeps its order.
        while !left.is_empty() {
            let waits = |job: &Job| job.needs.iter().any(|need| left.iter().any(|(key, _)| *key == need));
            let at = left.iter().position(|(_, job)| !waits(job)).unwrap_or_default();
            let (key, job) = left.remove(at);
            ordered.push((key, job));
        }
        ordered
    }
}

impl Job {
    /// The arguments of a run that is given these words; `None` for those that the job has anyway.
    ///
    /// A job with `args_from` is given each of its names as `NAME=VALUE`; the words of any other one take the place of its
    /// own arguments.
    ///
    /// # Errors
    /// What is missing, or too much, in words.
    pub fn arguments(&self, given: &[String]) -> Result<Option<Vec<String>>, String> {
        if self.args_from.is_empty() {
            return Ok((!given.is_empty()).then(|| given.to_vec()));
        }
        let mut values = BTreeMap::new();
        for word in given {
            let pair =
                word.split_once('=').filter(|(name, _)| self.args_from.iter().any(|known| known == name));
            let (name, value) = pair.ok_or_else(|| format!("`{word}` is none of its arguments"))?;
            if values.insert(name, value).is_some() {
                return Err(format!("`{name}` is given twice"));
            }
        }
        let missing: Vec<_> =
            self.args_from.iter().filter(|name| !values.contains_key(name.as_str())).collect();
        if let [first, ..] = missing.as_slice() {
            return Err(format!("its argument `{first}` is missing"));
        }
        Ok(Some(self.args_template.iter().map(|word| filled(word, &values)).collect()))
    }
}

/// A word of the template. Its placeholders were checked when the YAML was read.
fn filled(template: &str, values: &BTreeMap<&str, &str>) -> String {
    let mut word = String::with_capacity(template.len());
    for piece in pieces(template).unwrap_or_default() {
        match piece {
            Piece::Literal(literal) => word.push_str(literal),
            Piece::Dollar => word.push('$'),
            Piece::Name(name) => {
                let value = name.strip_prefix("args.").and_then(|name| values.get(name));
                word.push_str(value.copied().unwrap_or_default());
            }
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    const BASE: &str = r#"deployer: v1
environment: base
system: shop
project: {id: shop-project, number: "123456789012"}
region: us-central1
tenants: {list: {red: {}, blue: {}}}
services: {front: {image: "x/y:z"}}
migrations:
  last: {service: front, command: [m], needs: [each]}
  each: {service: front, command: [m, "${tenant.slug}"], for_each: tenants, needs: [shared]}
  shared: {service: front, command: [m]}
jobs:
  restore: {service: front, command: [r, "--file=/b/${args.file}", "$$x", "${args.to}"], args_from: [file, to]}
  plain: {service: front, command: [r, a]}
"#;

    fn environment() -> Environment {
        let folder = tempfile::TempDir::new().unwrap();
        let environments = folder.path().join("environments");
        std::fs::create_dir(&environments).unwrap();
        std::fs::write(environments.join("base.yaml"), BASE).unwrap();
        std::fs::write(environments.join("dev.yaml"), "deployer: v1\nenvironment: dev\n").unwrap();
        config::load(folder.path(), "dev", &Inputs::default()).unwrap().environment
    }

    fn arguments(job: &str, given: &[&str]) -> Result<Option<Vec<String>>, String> {
        let given: Vec<_> = given.iter().map(|word| (*word).to_owned()).collect();
        environment().jobs[job].arguments(&given)
    }

    #[test]
    fn arguments_of_a_run_are_filled_in_by_name() {
        let filled = arguments("restore", &["to=x=y", "file=monday"]).unwrap().unwrap();
        assert_eq!(filled, ["--file=/b/monday", "$x", "x=y"]);
        assert_eq!(arguments("restore", &["file=monday"]).unwrap_err(), "its argument `to` is missing");
        assert_eq!(arguments("restore", &["month=1"]).unwrap_err(), "`month=1` is none of its arguments");
        let twice = arguments("restore", &["to=1", "file=1", "to=2"]).unwrap_err();
        assert_eq!(twice, "`to` is given twice");
    }

    #[test]
    fn a_job_without_names_takes_the_words_as_they_are() {
        assert_eq!(arguments("plain", &[]).unwrap(), None);
        assert_eq!(arguments("plain", &["b=c", "-x"]).unwrap().unwrap(), ["b=c", "-x"]);
    }

    #[test]
    fn a_migration_comes_after_those_that_it_needs() {
        let env = environment();
        let keys: Vec<_> = env.migrations().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["shared", "each/red", "each/blue", "last"]);
    }
}
