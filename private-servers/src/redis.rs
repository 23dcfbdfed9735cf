//! A Redis of one's own.

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::error::StartError;
use crate::folder::Folder;
use crate::server::{Launch, Ready, Server};
use crate::{programs, random};

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
        let program = programs::redis().ok_or_else(|| StartError::NotFound {
            program: "redis-server",
            hint: "install it: `apt-get install redis-server`, `brew install redis`".to_owned(),
        })?;
        let account = Account::of_servers()?;
        let password = random::password()?;
        let folder = Folder::create(&account)?;
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

    /// The port of 127.0.0.1 that it listens on, the same after each restart.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Ends it and removes its folder.
    pub async fn stop(self) -> Result<(), StartError> {
        self.server.stop().await
    }

    /// Ends it, until [`Redis::restart`].
    pub async fn halt(&mut self) -> Result<(), StartError> {
        self.server.halt().await
    }

    /// Halts it if it runs, and starts it again, empty, on the same port.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.server.restart().await
    }

    /// Stops it in its tracks: connections are accepted by the kernel and nothing answers.
    pub fn freeze(&self) -> Result<(), StartError> {
        self.server.freeze()
    }

    /// Lets it go on after [`Redis::freeze`].
    pub fn thaw(&self) -> Result<(), StartError> {
        self.server.thaw()
    }
}

/// Nothing is saved, and nothing but loopback is listened on.
fn configuration(port: u16, password: &str) -> String {
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\ndaemonize no\n\
         logfile \"\"\n"
    )
}
