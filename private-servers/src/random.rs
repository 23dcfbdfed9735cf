//! Passwords and ports.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::StartError;

/// Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 on macOS): a halted server has
/// to get its port back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

fn bytes<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| StartError::Io { doing: "reading random bytes".to_owned(), source: error.into() })?;
    Ok(bytes)
}

/// 128 bits in hexadecimal: good in URLs, in configuration files and in quotes.
pub(crate) fn password() -> Result<String, StartError> {
    Ok(format!("{:032x}", u128::from_be_bytes(bytes()?)))
}

/// A port of 127.0.0.1 that nobody listens on now. Somebody may, a moment later: who starts a server tries again.
pub(crate) fn free_port() -> Result<u16, StartError> {
    loop {
        let port = PORTS.start + u16::from_be_bytes(bytes()?) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_differ() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }

    #[test]
    fn ports_are_free_and_not_those_of_outgoing_connections() {
        let port = free_port().unwrap();
        assert!(PORTS.contains(&port));
    }
}
