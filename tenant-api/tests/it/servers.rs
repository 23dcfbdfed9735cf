//! The PostgreSQL, Redis and PgBouncer that all tests of this process share: started when first needed, gone with the process.
//! A test that stops its PostgreSQL starts one of its own.

use std::net::{Ipv4Addr, TcpListener};

use private_servers::{Options, PgBouncer, PoolMode, Postgres, Redis};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;

/// Roles beside the superuser `postgres`, with what they may.
const ROLES: [(&str, &str); 4] =
    [("owner", ""), ("app", ""), ("bypasser", "BYPASSRLS"), ("member", "IN ROLE owner")];

/// The password of the [`ROLES`].
const PASSWORD: &str = "only-loopback";

pub const SUPERUSER: &str = "postgres";

/// The PostgreSQL of all.
pub async fn postgres() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER.get_or_init(start_postgres).await
}

/// Starts a PostgreSQL with the [`ROLES`].
pub async fn start_postgres() -> Postgres {
    let mut options = Options::for_tests();
    // Each test has pools of its own, and a machine with many cores runs many tests at once.
    options.settings.push(("max_connections".to_owned(), "500".to_owned()));
    let server = Postgres::start(&options).await.unwrap();
    let mut admin = PgConnection::connect(&server.admin_url()).await.unwrap();
    for (role, rights) in ROLES {
        let make = format!("CREATE ROLE {role} LOGIN {rights} PASSWORD '{PASSWORD}'");
        admin.execute(make.as_str()).await.unwrap();
    }
    admin.close().await.unwrap();
    server
}

/// The address of a database for one of the roles.
pub fn url(server: &Postgres, role: &str, database: &str) -> String {
    let password = if role == SUPERUSER { server.password() } else { PASSWORD };
    server.url(role, password, database)
}

/// Redis, which keeps nothing.
pub async fn redis() -> &'static Redis {
    static SERVER: OnceCell<Redis> = OnceCell::const_new();
    SERVER.get_or_init(async || Redis::start().await.unwrap()).await
}

/// PgBouncer that pools transactions, with one connection to [`postgres`] for each role and database: whatever a client leaves
/// behind on a connection, the next client finds.
pub async fn pgbouncer() -> &'static PgBouncer {
    static SERVER: OnceCell<PgBouncer> = OnceCell::const_new();
    SERVER
        .get_or_init(async || PgBouncer::start(postgres().await, PoolMode::Transaction, 1).await.unwrap())
        .await
}

/// A port of 127.0.0.1 that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The same address at another port: through what stands there to the server.
pub fn through(port: u16, url: &str) -> String {
    let (before, after) = url.rsplit_once(':').unwrap();
    let path = after.find('/').map_or("", |slash| &after[slash..]);
    format!("{before}:{port}{path}")
}

#[test]
fn only_the_port_of_an_address_changes() {
    assert_eq!(through(7, "redis://:p@127.0.0.1:6379/"), "redis://:p@127.0.0.1:7/");
}
