//! The emulated APIs, one module each, and the table of what serves which method.

pub mod artifactregistry;
pub mod cloudresourcemanager;
pub mod iam;
pub mod iamcredentials;
pub mod logging;
pub(crate) mod names;
pub mod run;
pub mod secretmanager;
pub mod serviceusage;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::call::Handler;
use crate::operations;

/// The handler of a method id, when the sandbox serves it.
pub fn handler(method_id: &str) -> Option<Handler> {
    static TABLE: OnceLock<HashMap<&'static str, Handler>> = OnceLock::new();
    TABLE.get_or_init(|| routes().into_iter().collect()).get(method_id).copied()
}

/// Every served method with its handler.
pub fn routes() -> Vec<(&'static str, Handler)> {
    [
        operations::routes(),
        artifactregistry::routes(),
        cloudresourcemanager::routes(),
        iam::routes(),
        iamcredentials::routes(),
        logging::routes(),
        run::routes(),
        secretmanager::routes(),
        serviceusage::routes(),
    ]
    .concat()
}
