//! A token from the environment or Application Default Credentials, shared by both transports, and a clear word when
//! there are none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use google_cloud_auth::credentials::{
    Builder, CacheableResource, Credentials, CredentialsProvider, EntityTag, anonymous,
};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap, HeaderValue, header};

use super::error::{ErrorKind, GcpError};
use super::failure::{Failure, Stage, chain};

/// The scope that covers every API that deployer calls.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// An access token that somebody has already; Terraform's provider for Google calls it so too.
const TOKEN: &str = "GOOGLE_OAUTH_ACCESS_TOKEN";

/// The metadata server of Google's machines (documented address), and how long it may take to answer.
const METADATA: &str = "169.254.169.254";
const METADATA_PATIENCE: Duration = Duration::from_millis(700);
/// The same for a server that the environment announces, which may be just starting.
const ANNOUNCED_PATIENCE: Duration = Duration::from_secs(3);
/// Set on every request to a metadata server and in every answer of one (documented).
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

/// What this layer is doing, for errors.
const CALL: &str = "log in to Google Cloud";

/// Where credentials can come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The file named by `GOOGLE_APPLICATION_CREDENTIALS`.
    Variable,
    /// The file that `gcloud auth application-default login` writes.
    Gcloud,
    /// A metadata server that `GCE_METADATA_HOST` announces.
    Announced(String),
    /// A container on Cloud Run, which always has a metadata server.
    CloudRun,
}

/// Credentials for calls to Google. `loopback`: none are needed, those that exist are used. A token comes first.
pub(crate) async fn credentials(loopback: bool) -> Result<Credentials, GcpError> {
    if let Some(token) = std::env::var_os(TOKEN).filter(|token| !token.is_empty()) {
        return Ok(Bearer::new(token.as_encoded_bytes())?.into());
    }
    let origin = origin(&|name| std::env::var_os(name), &|path| path.is_file());
    let found = match origin {
        Some(Origin::Announced(host)) => metadata_answers(&host, ANNOUNCED_PATIENCE).await,
        Some(_) => true,
        None => !loopback && metadata_answers(METADATA, METADATA_PATIENCE).await,
    };
    match found {
        true => application_default(),
        false if loopback => Ok(anonymous()),
        false => Err(none()),
    }
}

/// A token that was given: it is sent until Google refuses it.
#[derive(Debug)]
struct Bearer {
    /// Marked as sensitive: its debug form does not show it.
    value: HeaderValue,
    tag: EntityTag,
}

impl Bearer {
    fn new(token: &[u8]) -> Result<Self, GcpError> {
        // The text of the error of the library is about nothing but the value, which is not to be shown.
        let mut value =
            HeaderValue::from_bytes(&[b"Bearer ", token.trim_ascii()].concat()).map_err(|_| {
                let what = format!("{TOKEN} holds something that is no access token");
                GcpError::new(CALL, ErrorKind::Unauthenticated, what)
                    .with_hint("set it to the output of: gcloud auth print-access-token")
                    .with_hint(format!("or unset {TOKEN}, so that other credentials are looked for"))
            })?;
        value.set_sensitive(true);
        Ok(Self { value, tag: EntityTag::new() })
    }
}

impl CredentialsProvider for Bearer {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        if extensions.get::<EntityTag>() == Some(&self.tag) {
            return Ok(CacheableResource::NotModified);
        }
        let data = HeaderMap::from_iter([(header::AUTHORIZATION, self.value.clone())]);
        Ok(CacheableResource::New { entity_tag: self.tag.clone(), data })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
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
    if let Some(host) = set("GCE_METADATA_HOST") {
        return Some(Origin::Announced(host.to_string_lossy().into_owned()));
    }
    // Cloud Run sets these in containers of services and of jobs.
    ["K_SERVICE", "CLOUD_RUN_JOB"].iter().any(|name| set(name).is_some()).then_some(Origin::CloudRun)
}

/// Whether Google's metadata server answers. Other clouds have a server of their own at the same address.
async fn metadata_answers(host: &str, patience: Duration) -> bool {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(patience).build() else { return false };
    let answer = client.get(format!("http://{host}/")).header(FLAVOR.0, FLAVOR.1).send().await;
    answer.is_ok_and(|answer| answer.headers().get(FLAVOR.0).is_some_and(|flavor| flavor == FLAVOR.1))
}

fn none() -> GcpError {
    GcpError::new(CALL, ErrorKind::NoCredentials, "there are no credentials on this machine")
        .with_hint("log in: gcloud auth application-default login")
        .with_hint("or set GOOGLE_APPLICATION_CREDENTIALS to the path of a credentials file")
        .with_hint(format!("or set {TOKEN} to an access token"))
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
        let announced = Some(Origin::Announced("127.0.0.1:8080".into()));
        assert_eq!(found(&[("GCE_METADATA_HOST", "127.0.0.1:8080")], None), announced);
        assert_eq!(found(&[("K_SERVICE", "api")], None), Some(Origin::CloudRun));
    }

    /// Answers one request with `head`; gives its address.
    async fn server(head: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_a_server_that_says_google_is_a_metadata_server() {
        let google = server("Metadata-Flavor: Google\r\n").await;
        assert!(metadata_answers(&google, ANNOUNCED_PATIENCE).await);
        let other_cloud = server("Server: IIS\r\n").await;
        assert!(!metadata_answers(&other_cloud, ANNOUNCED_PATIENCE).await);
        assert!(!metadata_answers("127.0.0.1:9", ANNOUNCED_PATIENCE).await);
    }

    #[test]
    fn without_any_source_the_message_says_every_way_out() {
        let error = none();
        assert_eq!(error.kind, ErrorKind::NoCredentials);
        let hints = error.hints.join("\n");
        for way in
            ["gcloud auth application-default login", "GOOGLE_APPLICATION_CREDENTIALS", TOKEN, "--sandbox"]
        {
            assert!(hints.contains(way), "{hints}");
        }
    }

    #[tokio::test]
    async fn a_token_is_sent_as_it_is_and_shown_nowhere() {
        let bearer = Bearer::new(b"ya29.token\n").unwrap();
        assert!(!format!("{bearer:?}").contains("ya29"), "{bearer:?}");
        let credentials = Credentials::from(bearer);
        assert!(!format!("{credentials:?}").contains("ya29"), "{credentials:?}");
        assert_eq!(headers(&credentials).await.unwrap()["authorization"], "Bearer ya29.token");
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        let error = Bearer::new(b"two\nlines").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        assert!(error.message.contains(TOKEN) && !format!("{error:?}").contains("lines"), "{error:?}");
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
