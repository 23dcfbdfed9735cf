//! Addresses of databases.

use std::fmt::Write;

/// `postgres://ROLE:PASSWORD@127.0.0.1:PORT/DATABASE`, every part escaped.
pub(crate) fn postgres(port: u16, role: &str, password: &str, database: &str) -> String {
    let [role, password, database] = [role, password, database].map(escape);
    format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}")
}

/// RFC 3986: everything but what is unreserved is written as `%XX`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_cannot_break_a_url() {
        let url = postgres(5432, "a@b", "p/w:?#", "täst");
        assert_eq!(url, "postgres://a%40b:p%2Fw%3A%3F%23@127.0.0.1:5432/t%C3%A4st");
    }
}
