//! The part of the Logging query language that people filter Cloud Run's logs with: comparisons, `AND`, `OR`, `NOT`,
//! brackets, and words that are looked for in the payload. A new line means `AND`.

use serde_json::Value;

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare {
        path: Vec<String>,
        sign: Sign,
        value: String,
    },
    /// Text that stands anywhere in the payload.
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Is,
    IsNot,
    Has,
    Less,
    LessOrIs,
    More,
    MoreOrIs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Sign(Sign),
    Minus,
    /// A word, and whether it was quoted as a whole.
    Word(Vec<String>, bool),
}

/// The levels of `LogSeverity`, the lowest first.
const SEVERITIES: [&str; 9] =
    ["DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"];

impl Filter {
    /// Reads a filter; an empty one matches everything.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut reader = Reader { tokens: &tokens, at: 0 };
        let filter = reader.all()?;
        if reader.at < tokens.len() { Err("there is a bracket too many".to_owned()) } else { Ok(filter) }
    }

    /// Whether a log entry passes.
    pub(super) fn matches(&self, entry: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(entry)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(entry)),
            Self::Not(part) => !part.matches(entry),
            Self::Text(text) => {
                let payload =
                    format!("{} {} {}", entry["textPayload"], entry["jsonPayload"], entry["httpRequest"]);
                payload.to_lowercase().contains(&text.to_lowercase())
            }
            Self::Compare { path, sign, value } => compare(find(entry, path), path, *sign, value),
        }
    }
}

fn find<'a>(entry: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(entry, |value, key| value.get(key))
}

fn compare(found: Option<&Value>, path: &[String], sign: Sign, value: &str) -> bool {
    let Some(found) = found else { return sign == Sign::IsNot };
    if sign == Sign::Has {
        return value == "*" || written(found).to_lowercase().contains(&value.to_lowercase());
    }
    let order = if path == ["severity"] {
        let level = |name: &str| SEVERITIES.iter().position(|level| level.eq_ignore_ascii_case(name));
        level(&written(found)).cmp(&level(value))
    } else if let (Some(one), Ok(other)) = (found.as_f64(), value.parse::<f64>()) {
        one.total_cmp(&other)
    } else if let (Ok(one), Ok(other)) = (written(found).parse::<jiff::Timestamp>(), value.parse()) {
        one.cmp(&other)
    } else {
        written(found).as_str().cmp(value)
    };
    match sign {
        Sign::Is | Sign::Has => order.is_eq(),
        Sign::IsNot => order.is_ne(),
        Sign::Less => order.is_lt(),
        Sign::LessOrIs => order.is_le(),
        Sign::More => order.is_gt(),
        Sign::MoreOrIs => order.is_ge(),
    }
}

fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(parts, false)) if *parts == [word]);
        self.at += usize::from(is);
        is
    }

    /// `AND` may be left out, and binds less than `OR`, as Logging has it.
    fn all(&mut self) -> Result<Filter, String> {
        let mut parts = Vec::new();
        while self.peek().is_some_and(|token| *token != Token::Close) {
            parts.push(self.any()?);
            if self.keyword("AND") && self.peek().is_none() {
                return Err("something must follow AND".to_owned());
            }
        }
        Ok(Filter::All(parts))
    }

    fn any(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.one()?];
        while self.keyword("OR") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
    }

    fn one(&mut self) -> Result<Filter, String> {
        if self.keyword("NOT") {
            return Ok(Filter::Not(Box::new(self.one()?)));
        }
        let token = self.peek().cloned().ok_or("it ends too early")?;
        self.at += 1;
        match token {
            Token::Minus => Ok(Filter::Not(Box::new(self.one()?))),
            Token::Open => {
                let inner = self.all()?;
                if self.peek() != Some(&Token::Close) {
                    return Err("a bracket is not closed".to_owned());
                }
                self.at += 1;
                Ok(inner)
            }
            Token::Word(path, _) => self.comparison(path),
            Token::Close | Token::Sign(_) => Err("a comparison has no field".to_owned()),
        }
    }

    fn comparison(&mut self, path: Vec<String>) -> Result<Filter, String> {
        let Some(Token::Sign(sign)) = self.peek().cloned() else { return Ok(Filter::Text(path.join("."))) };
        self.at += 1;
        if self.peek() == Some(&Token::Open) {
            return self.one_of(&path, sign);
        }
        let value = self.value()?;
        Ok(Filter::Compare { path, sign, value })
    }

    /// `field=(a OR b)`
    fn one_of(&mut self, path: &[String], sign: Sign) -> Result<Filter, String> {
        self.at += 1;
        let mut parts = Vec::new();
        loop {
            let value = self.value()?;
            parts.push(Filter::Compare { path: path.to_vec(), sign, value });
            if !self.keyword("OR") {
                break;
            }
        }
        if self.peek() != Some(&Token::Close) {
            return Err("a bracket is not closed".to_owned());
        }
        self.at += 1;
        Ok(Filter::Any(parts))
    }

    fn value(&mut self) -> Result<String, String> {
        let minus = self.peek() == Some(&Token::Minus);
        self.at += usize::from(minus);
        let Some(Token::Word(value, _)) = self.peek().cloned() else {
            return Err("a comparison has no value".to_owned());
        };
        self.at += 1;
        Ok(format!("{}{}", if minus { "-" } else { "" }, value.join(".")))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let two = rest.get(..2).unwrap_or_default();
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '-' => (Token::Minus, 1),
            '#' => {
                rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
                continue;
            }
            _ if two == "!=" => (Token::Sign(Sign::IsNot), 2),
            _ if two == "<=" => (Token::Sign(Sign::LessOrIs), 2),
            _ if two == ">=" => (Token::Sign(Sign::MoreOrIs), 2),
            _ if two == "=~" || two == "!~" => {
                return Err("regular expressions are not known to the sandbox".to_owned());
            }
            '=' => (Token::Sign(Sign::Is), 1),
            ':' => (Token::Sign(Sign::Has), 1),
            '<' => (Token::Sign(Sign::Less), 1),
            '>' => (Token::Sign(Sign::More), 1),
            _ => word(rest)?,
        };
        found.push(token);
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(found)
}

/// A name with dots, any part of which may be quoted. A value such as a time or a URL is one, too.
fn word(text: &str) -> Result<(Token, usize), String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.char_indices().peekable();
    let mut end = text.len();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                quoted = true;
                loop {
                    match letters.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => part.extend(letters.next().map(|(_, letter)| letter)),
                        Some((_, letter)) => part.push(letter),
                        None => return Err("a quotation mark is not closed".to_owned()),
                    }
                }
            }
            '.' => parts.push(std::mem::take(&mut part)),
            ':' if is_time(text, at) => part.push(letter),
            letter if letter.is_whitespace() || matches!(letter, '(' | ')' | '=' | '<' | '>' | '!' | ':') => {
                end = at;
                break;
            }
            letter => part.push(letter),
        }
    }
    parts.push(part);
    Ok((Token::Word(parts, quoted), end))
}

/// Whether the colon at `at` is one of a time of day and not a sign.
fn is_time(text: &str, at: usize) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    digit(at.checked_sub(1)) && digit(Some(at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Value {
        json!({"timestamp": "2026-09-01T10:00:00.500000Z", "severity": "WARNING", "textPayload": "Connection Refused",
               "resource": {"type": "cloud_run_revision", "labels": {"service_name": "api", "revision_name": "api-1"}},
               "labels": {"run.googleapis.com/execution_name": "x-1"}, "httpRequest": {"status": 503}})
    }

    fn passes(filter: &str) -> bool {
        Filter::read(filter).unwrap().matches(&entry())
    }

    #[test]
    fn what_is_compared_decides() {
        for good in [
            "",
            "resource.type=\"cloud_run_revision\"\nresource.labels.service_name=\"api\"",
            "resource.type = cloud_run_revision AND resource.labels.revision_name = api-1",
            "severity>=WARNING",
            "severity=(ERROR OR WARNING)",
            "timestamp>=\"2026-09-01T10:00:00Z\" timestamp<2026-09-01T10:00:01Z",
            "labels.\"run.googleapis.com/execution_name\"=\"x-1\"",
            "httpRequest.status>=500",
            "NOT severity=ERROR",
            "-resource.labels.service_name=web",
            "refused",
            "textPayload:\"connection\"",
            "severity=ERROR OR severity=WARNING",
            "jsonPayload.a != 1",
            "# only this\nseverity=WARNING",
        ] {
            assert!(passes(good), "{good}");
        }
        for bad in [
            "severity>WARNING",
            "resource.labels.service_name=\"web\"",
            "timestamp>\"2026-09-01T10:00:00.500Z\"",
            "httpRequest.status<500",
            "severity=WARNING AND NOT textPayload:refused",
            "resource.labels.absent=\"a\"",
            "accepted",
        ] {
            assert!(!passes(bad), "{bad}");
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        for bad in ["(severity=ERROR", "severity=", "=a", "textPayload=~\"a\"", "a=\"b", "a)"] {
            assert!(Filter::read(bad).is_err(), "{bad}");
        }
    }
}
