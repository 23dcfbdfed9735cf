//! The command line of `cargo xtask bench tenant-api`.

use std::time::Duration;

use crate::bench::options::profile;

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Numbers of tenants, rising.
    pub(super) tenants: Vec<usize>,
    /// API keys for the last measurement; 0 leaves it out.
    pub(super) keys: u32,
    /// Length of each measurement.
    pub(super) time: Duration,
    /// A cargo profile, `dev` or `release`.
    pub(super) profile: String,
}

impl Options {
    /// Reads the words after `tenant-api`. The error names the word and what would be right.
    pub(super) fn parse(args: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            tenants: vec![1, 1000],
            keys: 1_000_000,
            time: Duration::from_secs(5),
            profile: "release".to_owned(),
        };
        let mut words =
            args.iter().flat_map(|arg| arg.split_once('=').map_or(vec![*arg], |(a, b)| vec![a, b]));
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word {
                "--tenants" => {
                    options.tenants = value()?.split(',').map(number).collect::<Result<_, _>>()?;
                    options.tenants.sort_unstable();
                }
                "--keys" => options.keys = number(value()?)?,
                "--seconds" => {
                    options.time = Duration::from_secs(number(value()?)?).max(Duration::from_secs(1));
                }
                "--profile" => options.profile = profile(value()?)?,
                _ => return Err(format!("bench tenant-api has no option {word}: see cargo xtask help")),
            }
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_what_cannot_be_meant_is_refused_by_name() {
        let options =
            Options::parse(&["--tenants=20,3", "--keys", "0", "--seconds", "2", "--profile=dev"]).unwrap();
        assert_eq!(
            options,
            Options {
                tenants: vec![3, 20],
                keys: 0,
                time: Duration::from_secs(2),
                profile: "dev".to_owned()
            }
        );
        let default = Options::parse(&[]).unwrap();
        assert_eq!((default.tenants.as_slice(), default.profile.as_str()), (&[1, 1000][..], "release"));
        for (args, named) in [(["--keys", "many"], "`many`"), (["--tenant", "1"], "--tenant")] {
            assert!(Options::parse(&args).unwrap_err().contains(named));
        }
    }
}
