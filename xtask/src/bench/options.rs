//! The command line of `cargo xtask bench`.

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Services of each generated environment.
    pub(super) sizes: Vec<usize>,
    pub(super) runs: usize,
    /// A cargo profile, `dev` or `release`.
    pub(super) profile: String,
    pub(super) json: bool,
}

impl Options {
    /// Reads the words after `bench`. The error names the word and what would be right.
    pub(super) fn parse(args: &[&str]) -> Result<Self, String> {
        let mut options =
            Self { sizes: vec![10, 100, 1000], runs: 3, profile: "release".to_owned(), json: false };
        let mut words =
            args.iter().flat_map(|arg| arg.split_once('=').map_or(vec![*arg], |(a, b)| vec![a, b]));
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word {
                "--sizes" => options.sizes = sizes(value()?)?,
                "--runs" => options.runs = positive(value()?)?,
                "--profile" => options.profile = profile(value()?)?,
                "--json" => options.json = true,
                _ => return Err(format!("bench has no option {word}: see cargo xtask help")),
            }
        }
        Ok(options)
    }
}

fn sizes(text: &str) -> Result<Vec<usize>, String> {
    text.split(',').filter(|size| !size.is_empty()).map(positive).collect()
}

fn positive(text: &str) -> Result<usize, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("`{text}` is not a number above 0"))
}

/// A profile that can be measured.
pub(super) fn profile(text: &str) -> Result<String, String> {
    match text {
        "dev" | "release" => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no profile to measure: dev or release")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_build_of_all_sizes_is_the_default() {
        let options = Options::parse(&[]).unwrap();
        assert_eq!(options.sizes, [10, 100, 1000]);
        assert_eq!((options.profile.as_str(), options.runs, options.json), ("release", 3, false));
    }

    #[test]
    fn values_follow_after_a_space_or_an_equals_sign() {
        let expected = Options { sizes: vec![10, 100], runs: 1, profile: "dev".to_owned(), json: true };
        let spaced = ["--sizes", "10,100", "--runs", "1", "--profile", "dev", "--json"];
        assert_eq!(Options::parse(&spaced).unwrap(), expected);
        let joined = ["--sizes=10,100", "--runs=1", "--profile=dev", "--json"];
        assert_eq!(Options::parse(&joined).unwrap(), expected);
    }

    #[test]
    fn an_empty_list_of_sizes_leaves_the_generated_environments_out() {
        assert!(Options::parse(&["--sizes="]).unwrap().sizes.is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (args, named) in [
            (vec!["--sizes", "ten"], "`ten`"),
            (vec!["--runs", "0"], "`0`"),
            (vec!["--profile", "fast"], "`fast`"),
            (vec!["--runs"], "--runs"),
            (vec!["--size", "3"], "--size"),
        ] {
            let error = Options::parse(&args).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
