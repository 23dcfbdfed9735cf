//! What a run of a job is given: its arguments, with what was said on the command line filled in.

use std::collections::BTreeMap;

use super::interpolate::{Piece, pieces};
use super::model::Job;

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
            let pair = word.split_once('=').filter(|(name, _)| self.args_from.iter().any(|known| known == name));
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
