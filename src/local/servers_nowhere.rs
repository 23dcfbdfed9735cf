//! Servers of this machine where it cannot end what it starts: there are none.

use std::path::Path;

use super::{Delivery, LocalError};
use crate::config::Environment;

/// No servers.
#[derive(Debug, Default)]
pub struct Servers;

impl Servers {
    /// Fails where the environment wants any.
    pub async fn start(
        environment: &Environment,
        _: &Path,
        _: impl Fn(&str),
    ) -> Result<(Self, Vec<Delivery>), LocalError> {
        if environment.local.servers.is_empty() {
            return Ok((Self, Vec::new()));
        }
        let message = "`local.services` needs Linux or macOS".to_owned();
        let hint = "use the Windows Subsystem for Linux, or take `local.services` out".to_owned();
        Err(LocalError { message, hints: vec![hint] })
    }

    pub fn is_empty(&self) -> bool {
        true
    }

    pub async fn stop(self) -> Result<(), LocalError> {
        Ok(())
    }
}

/// There is nothing to remove.
pub fn forget(_: &Path) -> Result<bool, LocalError> {
    Ok(false)
}
