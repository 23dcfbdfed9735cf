//! Ctrl-C: ends a command at once, except while an apply runs, which finishes what is in flight.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use super::CliError;

/// Who minds Ctrl-C, and what is to be said after it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Interrupts {
    stage: Arc<Mutex<Stage>>,
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It only reads: it can end anywhere.
    #[default]
    Reading,
    /// It may end anywhere, and what it has sent may be done.
    Writing,
    /// It minds Ctrl-C itself.
    Taken,
}

impl Interrupts {
    /// From here on a Ctrl-C may come too late to prevent a change.
    pub fn writing(&self) {
        self.set(Stage::Writing);
    }

    /// From here on the verb itself minds Ctrl-C.
    pub fn taken_over(&self) {
        self.set(Stage::Taken);
    }

    fn set(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work`, which only reads, and ends it at Ctrl-C; what comes after it still happens.
    pub async fn ending<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        self.taken_over();
        tokio::select! {
            // It has to be listened for before the work begins: nobody else minds a Ctrl-C any more.
            biased;
            Ok(()) = tokio::signal::ctrl_c() => Err(CliError::Interrupted { perhaps_changed: false }),
            done = work => done,
        }
    }

    /// Resolves at the first Ctrl-C that nobody else minds.
    pub async fn end(&self) -> CliError {
        while tokio::signal::ctrl_c().await.is_ok() {
            match self.stage() {
                Stage::Reading => return CliError::Interrupted { perhaps_changed: false },
                Stage::Writing => return CliError::Interrupted { perhaps_changed: true },
                Stage::Taken => {}
            }
        }
        std::future::pending().await
    }
}

/// Resolves at Ctrl-C or when the process is asked to end.
pub async fn asked_to_end() {
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
