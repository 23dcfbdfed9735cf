//! Servers of one's own, for tests and development: PostgreSQL, Redis and PgBouncer, real ones, on loopback and free
//! ports.
//!
//! * [`Postgres`] is found on the machine, or fetched once and kept (feature `fetch`). The others have to be there;
//!   [`StartError::hint`] says how they come there.
//! * **Also as root.** PostgreSQL and PgBouncer refuse to run as root, so there all servers run as `postgres`, or as
//!   `nobody` where that does not exist. What they need is then kept under `/var/cache` and not at home, which they
//!   cannot enter.
//! * **Nothing is left.** A server has one folder under the system's temporary directory, with its data and its log.
//!   `stop` and dropping end the server and remove the folder. So does the death of the program, even by SIGKILL: between
//!   the program and the server stands a shell (`supervisor.sh`) that reads from a pipe whose other end the program holds,
//!   and the kernel closes that pipe. What a killed shell leaves, the next start removes: the log is locked by everybody who
//!   has it open, so a folder whose log can be locked belongs to nobody.
//! * **Unless it is asked to.** A server that is started at a [`Home`] keeps its data, its port and its passwords there, and the
//!   next one goes on with them. The processes go all the same.
//! * **Nobody else gets in.** Servers listen on 127.0.0.1 only and ask for a random password.
//!
//! Hardly any SQL is spoken here: whoever starts a server has a client, and makes roles and databases with it through
//! [`Postgres::admin_url`]. Who has none gets one database with two roles from [`Postgres::start_at`].
//!
//! Unix only: elsewhere the crate is empty.
#![cfg(unix)]

mod account;
mod cache;
mod error;
#[cfg(feature = "fetch")]
mod fetch;
mod folder;
mod home;
mod kept;
mod pgbouncer;
mod postgres;
pub mod programs;
mod random;
mod redis;
mod server;
mod template;
mod url;

pub use error::StartError;
pub use home::Home;
pub use pgbouncer::{PgBouncer, PoolMode};
pub use postgres::{Access, Options, Postgres};
pub use redis::Redis;
pub use server::Server;
