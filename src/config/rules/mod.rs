//! Checks that look at more than one key: one file per subject, one function per rule.

use super::model::Environment;
use super::tree::{Findings, Node};

/// Reports everything in the environment that cannot work or is probably not meant.
pub(crate) fn check(environment: &Environment, _tree: &Node, _findings: &mut Findings) {
    let _ = environment;
}
