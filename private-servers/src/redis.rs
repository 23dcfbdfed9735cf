//! A Redis of one's own.

use std::ops::{Deref, DerefMut};

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::error::StartError;
use crate::folder::Folder;
use crate::home::Home;
use crate::server::{Launch, Ready, Server};
use crate::{programs, random};

/// What a home keeps.
const PASSWORD: &str = "password";

/// A running Redis, or Valkey, that keeps nothing: after a restart it is empty.
///
/// Dropping it ends it at once without waiting for that; [`Redis::stop`] waits.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    password: String,
}

impl Redis {
    /// Starts `redis-server`, or `valkey-server`; neither is fetched.
    pub async fn start() -> Result<Self, StartError> {
        let account = Account::of_servers()?;
        Self::start_in(Folder::create(&account)?, account, random::password()?).await
    }

    /// The same with the port and the password that `home` keeps.
    pub async fn start_at(home: Home) -> Result<Self, StartError> {
        let (account, password) = (home.account().clone(), home.password(PASSWORD)?);
        Self::start_in(Folder::of_home(home).await?, account, password).await
    }

    async fn start_in(folder: Folder, account: Account, password: String) -> Result<Self, StartError> {
        let program = programs::redis().ok_or_else(|| StartError::NotFound {
            program: "redis-server",
            hint: "install it: `apt-get install redis-server`, `brew install redis`".to_owned(),
        })?;
        let server = Server::start(account.clone(), folder, |folder, port| {
            let file = folder.write("redis.conf", &configuration(port, &password), &account)?;
            Ok(Launch {
                name: "Redis",
                program: program.clone(),
                args: vec![file.into()],
                halt: Signal::SIGTERM,
                end: Signal::SIGKILL,
                ready: Ready::Log("Ready to accept connections"),
            })
        });
        Ok(Self { server: server.await?, password })
    }

    /// `redis://:PASSWORD@127.0.0.1:PORT/`, database 0.
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/", self.password, self.port())
    }

    /// The password of the default user.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Ends it and removes its folder, unless that is a home.
    pub async fn stop(self) -> Result<(), StartError> {
        self.server.stop().await
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Redis {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Nothing is saved, and nothing but loopback is listened on.
fn configuration(port: u16, password: &str) -> String {
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\ndaemonize no\n\
         logfile \"\"\n"
    )
}
