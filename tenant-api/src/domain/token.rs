//! Access and refresh tokens: JWTs signed with a shared secret.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `iss` of every token.
pub const ISSUER: &str = "tenant-api";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    Access,
    Refresh,
}

/// Whom a token is made for.
#[derive(Debug, Clone)]
pub struct Subject {
    pub user: Uuid,
    pub tenant: Uuid,
    pub tenant_slug: String,
    pub email: String,
    pub role: String,
    /// The login that the token comes from; ending it ends all its tokens.
    pub session: Uuid,
}

/// How long tokens live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Seconds.
    pub access: u64,
    /// Seconds.
    pub refresh: u64,
}

/// An access and a refresh token of one login.
pub struct Pair {
    pub access: String,
    pub refresh: String,
    /// `jti` of the refresh token: the only one that may be used next.
    pub refresh_id: Uuid,
}

/// What a token said whose signature, time and use were checked. Only [`TokenKeys::verify`] makes one.
#[derive(Debug, Clone)]
pub struct Verified {
    user: Uuid,
    tenant: Uuid,
    tenant_slug: Option<String>,
    session: Option<Uuid>,
    id: Option<Uuid>,
}

impl Verified {
    pub fn user(&self) -> Uuid {
        self.user
    }

    pub fn tenant(&self) -> Uuid {
        self.tenant
    }

    /// A claim that is compared with the registry; no schema is ever derived from it.
    pub fn tenant_slug(&self) -> Option<&str> {
        self.tenant_slug.as_deref()
    }

    pub fn session(&self) -> Option<Uuid> {
        self.session
    }

    pub fn id(&self) -> Option<Uuid> {
        self.id
    }
}

/// What is written into a token.
#[derive(Serialize)]
struct Written<'a> {
    sub: Uuid,
    tenant_id: Uuid,
    tenant_slug: &'a str,
    email: &'a str,
    role: &'a str,
    iat: u64,
    exp: u64,
    #[serde(rename = "type")]
    usage: Use,
    jti: Uuid,
    sid: Uuid,
    iss: &'a str,
    aud: &'a str,
}

/// What is read from a token besides the claims that [`Validation`] checks. The rest of what it says is not believed: the
/// database knows e-mail address and role.
#[derive(Deserialize)]
struct Read {
    sub: Uuid,
    tenant_id: Uuid,
    tenant_slug: Option<String>,
    #[serde(rename = "type")]
    usage: Use,
    /// Tokens that others signed in the contract's form may have any text here.
    jti: Option<String>,
    sid: Option<Uuid>,
}

/// Why no token could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign a token")]
pub struct SigningFailed(#[from] jsonwebtoken::errors::Error);

/// The keys that sign and check tokens of one environment.
#[derive(Clone)]
pub struct TokenKeys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    header: Header,
    validation: Validation,
    audience: String,
    lifetimes: Lifetimes,
}

impl TokenKeys {
    /// `audience` is the environment's name, so that a token of another one is refused even where the secret is shared.
    /// A token without `iss` and `aud` is taken when it is otherwise right: the contract's tokens have none, and every
    /// environment of this program writes them.
    pub fn new(secret: &str, algorithm: Algorithm, audience: &str, lifetimes: Lifetimes) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            header: Header::new(algorithm),
            validation,
            audience: audience.to_owned(),
            lifetimes,
        }
    }

    /// Seconds that tokens live.
    pub fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// Signs a pair; `now` is in seconds since 1970.
    pub fn issue(&self, subject: &Subject, now: u64) -> Result<Pair, SigningFailed> {
        let refresh_id = Uuid::new_v4();
        Ok(Pair {
            access: self.sign(subject, now, Use::Access, Uuid::new_v4())?,
            refresh: self.sign(subject, now, Use::Refresh, refresh_id)?,
            refresh_id,
        })
    }

    /// Checks signature, algorithm, time, issuer, audience and use. Why a token is refused is nobody's business.
    pub fn verify(&self, token: &str, usage: Use) -> Option<Verified> {
        let claims = jsonwebtoken::decode::<Read>(token, &self.decoding, &self.validation).ok()?.claims;
        (claims.usage == usage).then_some(Verified {
            user: claims.sub,
            tenant: claims.tenant_id,
            tenant_slug: claims.tenant_slug,
            session: claims.sid,
            id: claims.jti.and_then(|id| Uuid::parse_str(&id).ok()),
        })
    }

    fn sign(&self, subject: &Subject, now: u64, usage: Use, id: Uuid) -> Result<String, SigningFailed> {
        let lifetime = match usage {
            Use::Access => self.lifetimes.access,
            Use::Refresh => self.lifetimes.refresh,
        };
        let claims = Written {
            sub: subject.user,
            tenant_id: subject.tenant,
            tenant_slug: &subject.tenant_slug,
            email: &subject.email,
            role: &subject.role,
            iat: now,
            exp: now.saturating_add(lifetime),
            usage,
            jti: id,
            sid: subject.session,
            iss: ISSUER,
            aud: &self.audience,
        };
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.encoding)?)
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const SECRET: &str = "a secret of more than thirty-two bytes";

    fn keys(audience: &str) -> TokenKeys {
        TokenKeys::new(SECRET, Algorithm::HS256, audience, Lifetimes { access: 1800, refresh: 604_800 })
    }

    fn subject() -> Subject {
        Subject {
            user: Uuid::new_v4(),
            tenant: Uuid::new_v4(),
            tenant_slug: "acme".into(),
            email: "a@b.com".into(),
            role: "member".into(),
            session: Uuid::new_v4(),
        }
    }

    fn signed(claims: &Value, algorithm: Algorithm) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn plain_claims() -> Value {
        json!({"sub": Uuid::new_v4(), "tenant_id": Uuid::new_v4(), "tenant_slug": "acme", "email": "a@b.com",
               "role": "member", "iat": now(), "exp": now() + 60, "type": "access"})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut claims = plain_claims();
        claims[key] = value;
        claims
    }

    fn without(key: &str) -> Value {
        let mut claims = plain_claims();
        claims.as_object_mut().unwrap().remove(key);
        claims
    }

    #[test]
    fn a_token_serves_its_use_only() {
        let (keys, subject) = (keys("production"), subject());
        let pair = keys.issue(&subject, now()).unwrap();
        assert_eq!(keys.verify(&pair.access, Use::Access).unwrap().user(), subject.user);
        assert_eq!(keys.verify(&pair.refresh, Use::Refresh).unwrap().id(), Some(pair.refresh_id));
        assert!(keys.verify(&pair.access, Use::Refresh).is_none());
        assert!(keys.verify(&pair.refresh, Use::Access).is_none());
    }

    #[test]
    fn a_token_of_another_environment_is_refused() {
        let pair = keys("staging").issue(&subject(), now()).unwrap();
        assert!(keys("production").verify(&pair.access, Use::Access).is_none());
    }

    #[test]
    fn two_logins_in_one_second_give_different_tokens() {
        let (keys, subject) = (keys("production"), subject());
        let now = now();
        assert_ne!(keys.issue(&subject, now).unwrap().access, keys.issue(&subject, now).unwrap().access);
    }

    #[test]
    fn a_token_in_the_form_of_the_contract_is_taken() {
        assert!(keys("production").verify(&signed(&plain_claims(), Algorithm::HS256), Use::Access).is_some());
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        let float = now() as f64 + 60.5;
        for claims in [
            with("iat", json!(now() + 3600)),
            with("iat", json!(float)),
            with("exp", json!(float)),
            with("jti", json!("no uuid")),
            without("iat"),
            without("role"),
        ] {
            let token = signed(&claims, Algorithm::HS256);
            assert!(keys("production").verify(&token, Use::Access).is_some(), "{claims}");
        }
    }

    #[test]
    fn a_token_with_a_wrong_claim_is_refused() {
        let refused = [
            without("exp"),
            without("sub"),
            without("tenant_id"),
            without("type"),
            with("exp", json!(now() - 1)),
            with("exp", json!("never")),
            with("nbf", json!(now() + 60)),
            with("sub", json!("no uuid")),
            with("tenant_id", json!(7)),
            with("type", json!("other")),
            with("iss", json!("somebody")),
            with("aud", json!("staging")),
        ];
        for claims in refused {
            let token = signed(&claims, Algorithm::HS256);
            assert!(keys("production").verify(&token, Use::Access).is_none(), "{claims}");
        }
    }

    #[test]
    fn only_the_configured_algorithm_is_accepted() {
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            assert!(keys("production").verify(&signed(&plain_claims(), algorithm), Use::Access).is_none());
        }
        let body = signed(&plain_claims(), Algorithm::HS256);
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", body.split('.').nth(1).unwrap());
        assert!(keys("production").verify(&unsigned, Use::Access).is_none());
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(place in 0_usize..600, byte in 0_u8..64) {
            let keys = keys("production");
            let token = keys.issue(&subject(), now()).unwrap().access;
            let mut bytes = token.clone().into_bytes();
            let place = place % bytes.len();
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            bytes[place] = alphabet[usize::from(byte)];
            let changed = String::from_utf8(bytes).unwrap();
            // The last character carries unused bits; base64 readers differ about them, the signature does not change.
            prop_assume!(changed != token && place + 1 != token.len());
            prop_assert!(keys.verify(&changed, Use::Access).is_none());
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            prop_assert!(keys("production").verify(&text, Use::Access).is_none());
        }
    }
}
