//! Which address a request comes from. What a caller says about itself is not believed, what the proxies in front say is.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use crate::service::App;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a request's connection; whoever accepts connections puts it into the extensions of their requests.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The address that a request comes from; `None` only where nobody said who connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(pub Option<IpAddr>);

impl FromRequestParts<Arc<App>> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        Ok(Self(forwarded(&parts.headers, app.trusted_proxies).or(peer)))
    }
}

/// The entry of `X-Forwarded-For` that the outermost of the trusted proxies wrote: each adds whom it was called by, at the end.
/// Everything before it is the caller's own word. `None` if there are not as many entries, or this one is no address.
fn forwarded(headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    let place = proxies.checked_sub(1)?;
    let lines: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let entry = lines.iter().rev().flat_map(|line| line.rsplit(',')).nth(place)?.trim();
    let with_port = || entry.parse::<SocketAddr>().map(|address| address.ip());
    entry.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn source(lines: &[&'static str], proxies: usize) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        forwarded(&headers, proxies).map(|address| address.to_string())
    }

    #[test]
    fn only_what_trusted_proxies_wrote_counts() {
        let lines = ["1.1.1.1, 2.2.2.2", "3.3.3.3 ,4.4.4.4"];
        assert_eq!(source(&lines, 0), None);
        assert_eq!(source(&lines, 1).as_deref(), Some("4.4.4.4"));
        assert_eq!(source(&lines, 2).as_deref(), Some("3.3.3.3"));
        assert_eq!(source(&lines, 3).as_deref(), Some("2.2.2.2"));
        assert_eq!(source(&lines, 5), None);
        assert_eq!(source(&[], 1), None);
    }

    #[test]
    fn an_address_may_have_a_port_and_nonsense_is_none() {
        assert_eq!(source(&["1.1.1.1:80"], 1).as_deref(), Some("1.1.1.1"));
        assert_eq!(source(&["[2001:db8::1]:80"], 1).as_deref(), Some("2001:db8::1"));
        for nonsense in ["", "unknown", "1.1.1.1,", "1.1.1"] {
            assert_eq!(source(&[nonsense], 1), None, "{nonsense}");
        }
    }
}
