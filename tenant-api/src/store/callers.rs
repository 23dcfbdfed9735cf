//! Who is calling: from a checked token or a key to a tenant and a user, in one exchange with the database.

use sqlx::FromRow;
use uuid::Uuid;

use super::Result;
use super::database::Database;
use super::unit::TenantScope;
use super::users::User;
use crate::domain::api_key::ApiKeyHash;
use crate::domain::token::Verified;

/// An active tenant, and the user that a credential of it stands for.
pub struct Caller {
    pub scope: TenantScope,
    /// `None` if the user is gone or not active, or the login was ended.
    pub user: Option<User>,
}

/// What both functions of `0002_callers.sql` return: a tenant, and a user or nothing.
type Row = (
    Uuid,
    String,
    Option<String>,
    Option<Uuid>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<jiff_sqlx::Timestamp>,
);

fn caller((tenant, slug, config, user, email, name, role, created_at): Row) -> Caller {
    let user = user.zip(email).zip(role).map(|((id, email), role)| User {
        id,
        email,
        name,
        role,
        is_active: true,
        created_at: created_at.map(jiff_sqlx::Timestamp::to_jiff),
    });
    Caller { scope: TenantScope::of_row(tenant, slug, config.as_deref()), user }
}

// Both statements hold their values as text, since the driver sends parameters in a second exchange, which outside a transaction a
// proxy may lead to another connection. The types of these values can write nothing but hexadecimal digits and hyphens.
impl Database {
    /// The caller behind a token; `None` if its tenant is not active, or has another slug than the token says.
    pub async fn caller_by_token(&self, token: &Verified) -> Result<Option<Caller>> {
        let (tenant, user) = (token.tenant(), token.user());
        let session = token.session().map_or_else(|| "NULL".to_owned(), |id| format!("'{id}'"));
        let caller = self
            .caller(&format!("SELECT * FROM shared.caller_by_token('{tenant}', '{user}', {session})"))
            .await?;
        // A slug never changes: a token that says another one was not made here.
        let slug = token.tenant_slug();
        Ok(caller.filter(|caller| slug.is_none_or(|slug| slug == caller.scope.slug())))
    }

    /// The caller behind an API key, whose use is noted; `None` if the key may not be used.
    pub async fn caller_by_key(&self, hash: &ApiKeyHash) -> Result<Option<Caller>> {
        self.caller(&format!("SELECT * FROM shared.caller_by_key('{hash}')")).await
    }

    async fn caller(&self, statement: &str) -> Result<Option<Caller>> {
        let row = self.ask(statement).await?;
        Ok(row.map(|row| Row::from_row(&row)).transpose()?.map(caller))
    }
}
