//! Roles and a database on a server of this machine that has neither: what an administrator does once, for the command `dev`.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::{Result, quoted, rows};

/// How the API reaches the database that was made.
pub struct Access {
    /// The role that owns the schemas.
    pub owner: PgConnectOptions,
    /// The role that serves requests.
    pub runtime: PgConnectOptions,
}

/// Makes the database `name` with its two roles, none of which is there yet, as the superuser that `admin_url` names.
pub async fn make_database(admin_url: &str, name: &str) -> Result<Access> {
    let options: PgConnectOptions = admin_url.parse()?;
    // What `PGSSLMODE` asks is about servers elsewhere; this one is on the same machine and speaks no TLS.
    let options = options.ssl_mode(PgSslMode::Disable);
    let mut admin = PgConnection::connect_with(&options).await?;
    let of_role = async |admin: &mut PgConnection, role: &str| {
        let password = make_role(admin, role).await?;
        Result::Ok(options.clone().database(name).username(role).password(&password))
    };
    let owner = of_role(&mut admin, "owner").await?;
    let runtime = of_role(&mut admin, "app").await?;
    let database = format!("CREATE DATABASE {} OWNER {}", quoted(name), quoted(owner.get_username()));
    admin.execute(database.as_str()).await?;
    admin.close().await?;
    Ok(Access { owner, runtime })
}

/// Makes a role that may log in and nothing else. Returns its password.
async fn make_role(admin: &mut PgConnection, role: &str) -> Result<String> {
    let password = Uuid::new_v4().simple().to_string();
    // No parameters in DDL: the server itself quotes them.
    let (statement,): (String,) = rows("SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1, $2)")
        .bind(role)
        .bind(&password)
        .fetch_one(&mut *admin)
        .await?;
    admin.execute(statement.as_str()).await?;
    Ok(password)
}
