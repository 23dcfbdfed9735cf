//! Where a text stops being JSON, in the words and with the offsets that clients of the original know: those of Python's `json`.
//!
//! Only looked at after the real parser refused a body. Nothing here recurses: how deep a body nests is up to its sender.

/// What is wrong, and before which character.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    /// In characters from the beginning.
    pub(super) offset: usize,
}

/// The first thing that is wrong with `text`; `None` if it has the form of JSON. `NaN` and `Infinity` count as values, as in Python.
pub(super) fn fault(text: &str) -> Option<Fault> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let (what, at) = scan.document().err()?;
    let before = text.as_bytes().iter().take(at);
    // Bytes that begin with the bits 10 only continue a character.
    let offset = before.filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count();
    Some(Fault { what, offset })
}

const VALUE: &str = "Expecting value";
const NAME: &str = "Expecting property name enclosed in double quotes";
const COLON: &str = "Expecting ':' delimiter";
const COMMA: &str = "Expecting ',' delimiter";

/// Values that are words.
const WORDS: [&[u8]; 6] = [b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity"];

type Step<T> = Result<T, (&'static str, usize)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn document(&mut self) -> Step<()> {
        self.space();
        let mut open = Vec::new();
        loop {
            // Here a value begins; one that is not empty and holds others is left for later.
            if let Some(inner) = self.value()? {
                open.push(inner);
                continue;
            }
            if !self.close(&mut open)? {
                break;
            }
        }
        self.space();
        if self.at < self.bytes.len() { Err(("Extra data", self.at)) } else { Ok(()) }
    }

    /// After a value: goes to the next one, out of everything that ends here. False if nothing is open any more.
    fn close(&mut self, open: &mut Vec<Open>) -> Step<bool> {
        while let Some(inner) = open.last().copied() {
            self.space();
            let end = if inner == Open::Object { b'}' } else { b']' };
            if self.take(end) {
                open.pop();
                continue;
            }
            if !self.take(b',') {
                return Err((COMMA, self.at));
            }
            self.space();
            if inner == Open::Object {
                self.name()?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads a value, or only the beginning of one that holds others.
    fn value(&mut self) -> Step<Option<Open>> {
        match self.peek() {
            Some(b'"') => self.string().map(|()| None),
            Some(b'{') => {
                self.at += 1;
                self.space();
                if self.take(b'}') {
                    return Ok(None);
                }
                self.name().map(|()| Some(Open::Object))
            }
            Some(b'[') => {
                self.at += 1;
                self.space();
                Ok(if self.take(b']') { None } else { Some(Open::Array) })
            }
            _ => self.scalar().map(|()| None),
        }
    }

    /// The name of a field, with the colon.
    fn name(&mut self) -> Step<()> {
        if self.peek() != Some(b'"') {
            return Err((NAME, self.at));
        }
        self.string()?;
        self.space();
        if !self.take(b':') {
            return Err((COLON, self.at));
        }
        self.space();
        Ok(())
    }

    fn string(&mut self) -> Step<()> {
        let begin = self.at;
        let unterminated = ("Unterminated string starting at", begin);
        self.at += 1;
        loop {
            match self.peek().ok_or(unterminated)? {
                b'"' => break,
                b'\\' => self.escape(unterminated)?,
                0..=0x1f => return Err(("Invalid control character at", self.at)),
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self, unterminated: (&'static str, usize)) -> Step<()> {
        let backslash = self.at;
        self.at += 1;
        match self.peek().ok_or(unterminated)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                let digits = self.bytes.get(self.at + 1..self.at + 5).unwrap_or_default();
                let ends = self.at + 5 >= self.bytes.len();
                if ends || digits.iter().filter(|digit| digit.is_ascii_hexdigit()).count() != 4 {
                    return Err(("Invalid \\uXXXX escape", self.at));
                }
                self.at += 5;
            }
            _ => return Err(("Invalid \\escape", backslash)),
        }
        Ok(())
    }

    /// A number or a word.
    fn scalar(&mut self) -> Step<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if let Some(word) = WORDS.iter().find(|word| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(());
        }
        let begin = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err((VALUE, begin));
        }
        let whole = self.at;
        if !(self.take(b'.') && self.digits() > 0) {
            self.at = whole;
        }
        let mantissa = self.at;
        let exponent = self.take(b'e') || self.take(b'E');
        let _sign = exponent && (self.take(b'+') || self.take(b'-'));
        if !(exponent && self.digits() > 0) {
            self.at = mantissa;
        }
        Ok(())
    }

    /// Skips digits, and tells how many.
    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - begin
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each was given to FastAPI 0.165 on Python 3.11.
    #[test]
    fn faults_are_told_as_python_tells_them() {
        for (text, what, offset) in [
            ("{", NAME, 1),
            ("{\"slug\":}", VALUE, 8),
            ("{\"slug\":\"abc\",\"name\":\"x\"", COMMA, 24),
            ("{\"slug\":\n x}", VALUE, 10),
            ("{\"a\":1} x", "Extra data", 8),
            ("nul", VALUE, 0),
            ("{\"a\" 1}", COLON, 5),
            ("{\"a\":1,}", NAME, 7),
            ("{a:1}", NAME, 1),
            ("{\"a\":\"\t\"}", "Invalid control character at", 6),
            ("{\"a\":\"x", "Unterminated string starting at", 5),
            ("{\"a\":\"\\q\"}", "Invalid \\escape", 6),
            ("{\"a\":\"\\u12\"}", "Invalid \\uXXXX escape", 7),
            ("[1,]", VALUE, 3),
            ("[1 2]", COMMA, 3),
            ("   ", VALUE, 3),
            ("{\"a\":01}", COMMA, 6),
            ("{\"\u{fc}\": x}", VALUE, 6),
        ] {
            assert_eq!(fault(text), Some(Fault { what, offset }), "{text}");
        }
    }

    #[test]
    fn what_python_takes_has_no_fault() {
        for text in ["{}", "[]", " [1, -0.5e+3, {\"a\": [null, true]}] ", "NaN", "\"\\ud800\"", "1e999"] {
            assert_eq!(fault(text), None, "{text}");
        }
        assert_eq!(fault(&"[".repeat(1_000_000)), Some(Fault { what: VALUE, offset: 1_000_000 }));
    }

    proptest! {
        #[test]
        fn what_the_parser_takes_has_no_fault(text in "[\\[\\]{}\",:\\\\ 0-9.eE+a-u-]{0,16}") {
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert_eq!(fault(&text), None);
            }
        }

        #[test]
        fn a_fault_lies_within_the_text(text in any::<String>()) {
            if let Some(found) = fault(&text) {
                prop_assert!(found.offset <= text.chars().count());
            }
        }
    }
}
