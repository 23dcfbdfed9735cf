//! Access tokens that the sandbox issued, and whom they make the caller.
//!
//! They are kept in memory only, by their digest: neither the journal nor the state that the control endpoint shows
//! has them. After a restart the earlier ones are refused rather than forgotten, because a bearer that is not one of
//! ours counts as owner: they are told by their first characters.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Status};
use crate::services::iam as accounts;
use crate::world::World;

/// Every token of a sandbox starts so.
const PREFIX: &str = "ya29.sandbox.";
/// For so long an expired token is told from one that never was.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// The tokens, by SHA-256 digest.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<[u8; 32], Issued>);

#[derive(Debug)]
struct Issued {
    /// The unique id, so that a token does not pass to a new account of the same name.
    account: String,
    expires: Timestamp,
}

impl Tokens {
    /// Makes every token worthless.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl World {
    /// A new token for the account with this unique id, good until `expires`.
    pub(crate) fn issue_token(&mut self, account: &str, expires: Timestamp) -> String {
        let now = self.instant();
        // With the time: two runs of the same seed must not give the same token to different accounts.
        let chance = format!("{:x}{:x}{}", self.random(), self.random(), now.as_nanosecond());
        let token =
            digest(&chance).iter().fold(PREFIX.to_owned(), |token, byte| format!("{token}{byte:02x}"));
        self.tokens.0.retain(|_, issued| now.duration_since(issued.expires) < REMEMBERED);
        self.tokens.0.insert(digest(&token), Issued { account: account.to_owned(), expires });
        token
    }

    /// The address of the account that a bearer token stands for; `None` for a token that no sandbox issued.
    ///
    /// 401 UNAUTHENTICATED for a token that is expired, of an earlier run, or of an account that is deleted or
    /// disabled by now.
    pub(crate) fn account_of_token(&self, token: &str) -> Result<Option<String>, Status> {
        if !token.starts_with(PREFIX) {
            return Ok(None);
        }
        let Some(issued) = self.tokens.0.get(&digest(token)) else {
            return Err(refused(
                "The access token is not one that this sandbox has issued since it started.",
            ));
        };
        if issued.expires <= self.instant() {
            return Err(refused("The access token has expired.").with_info("ACCESS_TOKEN_EXPIRED", json!({})));
        }
        match accounts::with_unique_id(self, &issued.account) {
            Some(account) if account["disabled"] != true => Ok(account["email"].as_str().map(str::to_owned)),
            _ => Err(refused("The service account of the access token is deleted or disabled.")
                .with_info("ACCOUNT_STATE_INVALID", json!({}))),
        }
    }
}

fn refused(why: &str) -> Status {
    Status::new(Code::Unauthenticated, format!("The request has invalid authentication credentials. {why}"))
}
