//! Where requests go: Google's hosts, or one endpoint that serves every API under `URL/HOST/`.

use std::net::IpAddr;

use reqwest::Url;

use super::api::Api;
use super::error::{ErrorKind, GcpError};

/// The place that all requests of a client go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Google's own hosts.
    Google,
    /// One base URL, without a slash at its end.
    Base { url: String, loopback: bool },
}

impl Endpoint {
    /// Reads `--endpoint`. Only loopback may be plain HTTP: a token must not travel in clear.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, GcpError> {
        let Some(text) = text else { return Ok(Self::Google) };
        let refuse = |why: String| {
            Err(GcpError::new(format!("use the endpoint {text}"), ErrorKind::InvalidArgument, why))
        };
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(format!("it is not a URL ({error})")),
        };
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return refuse("it may only have a scheme, a host, a port and a path".to_owned());
        }
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return refuse("plain http is only for this machine itself; use https".to_owned()),
            other => return refuse(format!("{other} is not http or https")),
        }
        Ok(Self::Base { url: url.as_str().trim_end_matches('/').to_owned(), loopback })
    }

    /// The base URL of an API, without a slash at its end.
    pub(crate) fn of(&self, api: Api) -> String {
        match self {
            Self::Google => format!("https://{}", api.host()),
            Self::Base { url, .. } => format!("{url}/{}", api.host()),
        }
    }

    /// An image of Artifact Registry as its registry is reached: an endpoint serves it below its own address, with Google's
    /// host as the beginning of the name. Images of other registries are theirs.
    pub(crate) fn image(&self, image: &str) -> String {
        let host = image.split('/').next().unwrap_or_default();
        match self {
            Self::Base { url, .. } if host.ends_with(".pkg.dev") => {
                let address = url.split_once("://").map_or(url.as_str(), |(_, address)| address);
                format!("{address}/{image}")
            }
            Self::Base { .. } | Self::Google => image.to_owned(),
        }
    }

    /// The error of a call, with a hint to what is to be looked at when nothing answered there.
    pub(crate) fn named_in(&self, mut error: GcpError) -> GcpError {
        if let (Self::Base { url, .. }, ErrorKind::Network) = (self, &error.kind) {
            error.hints =
                vec![format!("check that something answers at {url}, which stands in for Google's hosts")];
        }
        error
    }

    /// Whether requests stay on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self, Self::Base { loopback: true, .. })
    }
}

/// Whether `HOST` or `HOST:PORT` is this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    Url::parse(&format!("http://{host}")).is_ok_and(|url| is_loopback(&url))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_is_found_below_the_endpoint() {
        let endpoint = Endpoint::parse(Some("http://127.0.0.1:8080/")).unwrap();
        assert!(endpoint.is_loopback());
        assert_eq!(endpoint.of(Api::Run), "http://127.0.0.1:8080/run.googleapis.com");
        assert_eq!(Endpoint::parse(None).unwrap().of(Api::Iam), "https://iam.googleapis.com");
    }

    #[test]
    fn images_are_found_below_the_endpoint_and_those_of_others_where_they_are() {
        let image = "us-docker.pkg.dev/p/r/api:v1";
        let endpoint = Endpoint::parse(Some("http://127.0.0.1:8080/")).unwrap();
        assert_eq!(endpoint.image(image), format!("127.0.0.1:8080/{image}"));
        assert_eq!(endpoint.image("gcr.io/distroless/cc@sha256:1"), "gcr.io/distroless/cc@sha256:1");
        assert_eq!(Endpoint::Google.image(image), image);
        assert!(is_loopback_host("127.0.0.1:8080") && !is_loopback_host("us-docker.pkg.dev"));
    }

    #[test]
    fn plain_http_is_only_for_loopback() {
        for ok in ["http://localhost:1", "http://[::1]:1", "http://127.9.9.9", "https://proxy.example.com/x"]
        {
            assert!(Endpoint::parse(Some(ok)).is_ok(), "{ok}");
        }
        for bad in ["http://10.0.0.1", "http://localhost.example.com", "ftp://localhost", "localhost:80", ""]
        {
            let error = Endpoint::parse(Some(bad)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument, "{bad}");
        }
    }
}
