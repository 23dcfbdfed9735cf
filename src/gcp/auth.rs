//! Application Default Credentials, shared by both transports, and a clear word when there are none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use google_cloud_auth::credentials::{Builder, CacheableResource, Credentials, anonymous};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};

use super::error::{ErrorKind, GcpError};
use super::failure::{Failure, Stage, chain};

/// The scope that covers every API that deployer calls.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The metadata server of Google's machines (documented address), and how long it may take to accept.
const METADATA: &str = "169.254.169.254:80";
const METADATA_PATIENCE: Duration = Duration::from_millis(700);

/// What this layer is doing, for errors.
const CALL: &str = "log in to Google Cloud";

/// Where credentials can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The file named by `GOOGLE_APPLICATION_CREDENTIALS`.
    Variable,
    /// The file that `gcloud auth application-default login` writes.
    Gcloud,
    /// A metadata server that the environment announces.
    Metadata,
}

/// Credentials for calls to Google. `loopback`: none are needed, those that exist are used.
pub(crate) async fn credentials(loopback: bool) -> Result<Credentials, GcpError> {
    let origin = origin(&|name| std::env::var_os(name), &|path| path.is_file());
    match origin {
        Some(_) => application_default(),
        None if loopback => Ok(anonymous()),
        None if metadata_answers().await => application_default(),
        None => Err(none()),
    }
}

/// Credentials that send nothing.
pub(crate) fn anonymous() -> Credentials {
    anonymous::Builder::new().build()
}

fn application_default() -> Result<Credentials, GcpError> {
    Builder::default().with_scopes([SCOPE]).build().map_err(|error| {
        GcpError::new(CALL, ErrorKind::Unauthenticated, chain(&error))
            .with_hint("make them anew: gcloud auth application-default login")
            .with_hint("or set GOOGLE_APPLICATION_CREDENTIALS to the path of a readable credentials file")
    })
}

/// The headers that authenticate one request.
pub(crate) async fn headers(credentials: &Credentials) -> Result<HeaderMap, Failure> {
    match credentials.headers(Extensions::new()).await {
        Ok(CacheableResource::New { data, .. }) => Ok(data),
        Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
        Err(error) => Err(refused(&error)),
    }
}

/// The failure to get a token. The outer message of the library says little, so that the whole chain is shown.
pub(crate) fn refused(error: &CredentialsError) -> Failure {
    Failure::without_answer(Stage::Login { transient: error.is_transient() }, chain(error), None)
}

/// The first place that holds credentials, in the order in which the library looks.
fn origin(variable: &dyn Fn(&str) -> Option<OsString>, is_file: &dyn Fn(&Path) -> bool) -> Option<Origin> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if set("GOOGLE_APPLICATION_CREDENTIALS").is_some() {
        return Some(Origin::Variable);
    }
    let folder = if cfg!(windows) {
        set("APPDATA").map(PathBuf::from)
    } else {
        set("HOME").map(|home| PathBuf::from(home).join(".config"))
    };
    let file = folder.map(|folder| folder.join("gcloud/application_default_credentials.json"));
    if file.is_some_and(|file| is_file(&file)) {
        return Some(Origin::Gcloud);
    }
    // K_SERVICE and CLOUD_RUN_JOB are set by Cloud Run, whose containers always have a metadata server.
    let announced = ["GCE_METADATA_HOST", "K_SERVICE", "CLOUD_RUN_JOB"];
    announced.iter().any(|name| set(name).is_some()).then_some(Origin::Metadata)
}

/// Whether a metadata server accepts connections, which only happens on Google's machines.
async fn metadata_answers() -> bool {
    let attempt = tokio::net::TcpStream::connect(METADATA);
    matches!(tokio::time::timeout(METADATA_PATIENCE, attempt).await, Ok(Ok(_)))
}

fn none() -> GcpError {
    GcpError::new(CALL, ErrorKind::NoCredentials, "there are no credentials on this machine")
        .with_hint("log in: gcloud auth application-default login")
        .with_hint("or set GOOGLE_APPLICATION_CREDENTIALS to the path of a credentials file")
        .with_hint("or rehearse without Google: add --sandbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], file: Option<&str>) -> Option<Origin> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        origin(&variable, &|path| file.is_some_and(|file| path == Path::new(file)))
    }

    #[test]
    fn the_variable_comes_before_the_file_of_gcloud() {
        let file = "/home/u/.config/gcloud/application_default_credentials.json";
        let both = [("GOOGLE_APPLICATION_CREDENTIALS", "/x.json"), ("HOME", "/home/u")];
        assert_eq!(found(&both, Some(file)), Some(Origin::Variable));
        #[cfg(unix)]
        assert_eq!(found(&both[1..], Some(file)), Some(Origin::Gcloud));
    }

    #[test]
    fn a_file_that_is_not_there_is_no_credential() {
        assert_eq!(found(&[("HOME", "/home/u")], None), None);
        assert_eq!(found(&[("GOOGLE_APPLICATION_CREDENTIALS", "")], None), None);
    }

    #[test]
    fn an_announced_metadata_server_is_a_source() {
        assert_eq!(found(&[("GCE_METADATA_HOST", "127.0.0.1:8080")], None), Some(Origin::Metadata));
        assert_eq!(found(&[("K_SERVICE", "api")], None), Some(Origin::Metadata));
    }

    #[test]
    fn without_any_source_the_message_says_three_ways_out() {
        let error = none();
        assert_eq!(error.kind, ErrorKind::NoCredentials);
        let hints = error.hints.join("\n");
        for way in ["gcloud auth application-default login", "GOOGLE_APPLICATION_CREDENTIALS", "--sandbox"] {
            assert!(hints.contains(way), "{hints}");
        }
    }

    #[test]
    fn the_whole_chain_of_a_refused_token_is_shown() {
        let error = CredentialsError::new(
            false,
            "the token exchange failed",
            std::io::Error::other("invalid_grant: rejected by the attribute condition"),
        );
        let failure = refused(&error);
        assert!(failure.message.contains("rejected by the attribute condition"), "{}", failure.message);
        assert_eq!(failure.stage, Stage::Login { transient: false });
    }
}
