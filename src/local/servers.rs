//! Servers of this machine where there are processes with signals: all systems that deployer is made for.

use std::path::Path;

use private_servers::{Home, Options, Postgres, Redis, StartError};

use super::{Delivery, LocalError, folder, with_scheme};
use crate::config::Environment;
use crate::config::model::{LocalProgram, LocalServer};
use crate::error::chain;
use crate::gcp::Payload;

/// The servers that this process runs. Dropping them ends them, and so does the death of the process.
#[derive(Debug, Default)]
pub struct Servers {
    running: Vec<Running>,
}

#[derive(Debug)]
enum Running {
    Postgres(Postgres),
    Redis(Redis),
}

impl Servers {
    /// Starts those of the environment that no other process runs, and answers them with the URLs that they have. `tell`
    /// hears what is being waited for.
    pub async fn start(
        environment: &Environment,
        state: &Path,
        tell: impl Fn(&str),
    ) -> Result<(Self, Vec<Delivery>), LocalError> {
        let (mut servers, mut deliveries) = (Self::default(), Vec::new());
        for (name, server) in &environment.local.servers {
            let started = start(&format!("{}-{name}", environment.name), server, state, &tell).await;
            let started = started.map_err(|error| refused(&format!("local.services.{name}"), &error))?;
            if let Some((running, urls)) = started {
                servers.running.push(running);
                deliveries.extend(urls);
            }
        }
        Ok((servers, deliveries))
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Ends them in order.
    pub async fn stop(self) -> Result<(), LocalError> {
        for running in self.running {
            let stopped = match running {
                Running::Postgres(server) => server.stop().await,
                Running::Redis(server) => server.stop().await,
            };
            stopped.map_err(|error| refused("a local service", &error))?;
        }
        Ok(())
    }
}

/// `None` when another process runs it.
async fn start(
    name: &str,
    server: &LocalServer,
    state: &Path,
    tell: impl Fn(&str),
) -> Result<Option<(Running, Vec<Delivery>)>, StartError> {
    let Some(home) = Home::claim(&folder(state), name)? else { return Ok(None) };
    let delivery = |alias: &str, url: &str| Delivery {
        alias: alias.to_owned(),
        url: Payload::new(with_scheme(url, &server.url_scheme).into_bytes()),
    };
    let (running, urls) = match &server.program {
        LocalProgram::Redis => {
            let redis = Redis::start_at(home).await?;
            let url = redis.url();
            (Running::Redis(redis), vec![delivery(&server.url_secret, &url)])
        }
        LocalProgram::Postgres { database, owner_url_secret } => {
            tell("Starting PostgreSQL (where none is installed it is fetched, once) ...");
            let (postgres, access) = Postgres::start_at(home, database, &Options::default()).await?;
            let urls = match owner_url_secret {
                Some(owner) => {
                    vec![delivery(&server.url_secret, &access.app), delivery(owner, &access.owner)]
                }
                None => vec![delivery(&server.url_secret, &access.owner)],
            };
            (Running::Postgres(postgres), urls)
        }
    };
    Ok(Some((running, urls)))
}

fn refused(what: &str, error: &StartError) -> LocalError {
    LocalError {
        message: format!("`{what}` does not run: {}", chain(error)),
        hints: error.hint().into_iter().collect(),
    }
}

/// Removes the data of all servers, of every environment, and answers whether there were any. Fails while one runs.
pub fn forget(state: &Path) -> Result<bool, LocalError> {
    let folder = folder(state);
    let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".claim").map(str::to_owned)).collect();
    let failed =
        |error: &StartError| LocalError { message: chain(error), hints: error.hint().into_iter().collect() };
    let mut homes = Vec::new();
    for name in &names {
        let claimed = Home::claim(&folder, name).map_err(|error| failed(&error))?;
        homes.push(claimed.ok_or_else(|| LocalError {
            message: format!("the local service {name} is running: its data were not removed"),
            hints: vec!["end that `deployer` (Ctrl-C where it runs), then run this again".to_owned()],
        })?);
    }
    for home in homes {
        home.remove().map_err(|error| failed(&error))?;
    }
    super::delivered::forget(state);
    Ok(!names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postgresql_that_cannot_be_fetched_is_one_message_with_the_mend() {
        let offline = StartError::Fetch { reason: "error sending request".to_owned() };
        let LocalError { message, hints } = refused("local.services.db", &offline);
        assert_eq!(
            message,
            "`local.services.db` does not run: fetching PostgreSQL failed: error sending request"
        );
        assert_eq!(hints, ["install PostgreSQL, or go online"]);
    }
}
