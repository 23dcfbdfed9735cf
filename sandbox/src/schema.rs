//! The messages that request bodies are checked against, from `data/schemas.json` (generated).

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use serde::Deserialize;

const TABLE: &str = include_str!("../data/schemas.json");

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    List(Box<Shape>),
    Map(Box<Shape>),
    /// The key of the table of its values.
    Enum(String),
    Message(String),
    Text,
    Bool,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Double,
    Bytes,
    Timestamp,
    Duration,
    Mask,
    Any,
}

impl Shape {
    fn parse(text: &str) -> Self {
        if let Some(inner) = text.strip_prefix("[]") {
            return Self::List(Box::new(Self::parse(inner)));
        }
        if let Some(inner) = text.strip_prefix("{}") {
            return Self::Map(Box::new(Self::parse(inner)));
        }
        if let Some(key) = text.strip_prefix("enum:") {
            return Self::Enum(key.to_owned());
        }
        match text {
            "string" => Self::Text,
            "bool" => Self::Bool,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "uint64" => Self::Uint64,
            "double" => Self::Double,
            "bytes" => Self::Bytes,
            "timestamp" => Self::Timestamp,
            "duration" => Self::Duration,
            "mask" => Self::Mask,
            "any" => Self::Any,
            message => Self::Message(message.to_owned()),
        }
    }
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub shape: Shape,
    /// Set by the server only: dropped from requests.
    pub output_only: bool,
    /// The document calls it required.
    pub required: bool,
}

/// The messages of one API version.
#[derive(Debug, Default)]
pub struct Schema {
    messages: HashMap<String, BTreeMap<String, Field>>,
    enums: HashMap<String, BTreeMap<String, i64>>,
}

impl Schema {
    /// The fields of a message by JSON name.
    pub fn message(&self, name: &str) -> Option<&BTreeMap<String, Field>> {
        self.messages.get(name)
    }

    /// The values of an enum with their numbers; -1 where the number is not known.
    pub fn values(&self, key: &str) -> Option<&BTreeMap<String, i64>> {
        self.enums.get(key)
    }
}

#[derive(Deserialize)]
struct RawSchema {
    messages: HashMap<String, BTreeMap<String, String>>,
    enums: HashMap<String, BTreeMap<String, i64>>,
}

impl From<RawSchema> for Schema {
    fn from(raw: RawSchema) -> Self {
        let field = |text: String| {
            let bare = text.trim_end_matches(['-', '!']);
            Field {
                shape: Shape::parse(bare),
                output_only: text.ends_with('-'),
                required: text.ends_with('!'),
            }
        };
        let messages = raw
            .messages
            .into_iter()
            .map(|(name, fields)| (name, fields.into_iter().map(|(key, text)| (key, field(text))).collect()))
            .collect();
        Self { messages, enums: raw.enums }
    }
}

/// The schema of an API version such as `run.v2`; `None` when its messages are not checked.
pub fn of(api: &str) -> Option<&'static Schema> {
    static SCHEMAS: OnceLock<HashMap<String, Schema>> = OnceLock::new();
    SCHEMAS
        .get_or_init(|| {
            let raw: HashMap<String, RawSchema> = serde_json::from_str(TABLE).unwrap_or_default();
            raw.into_iter().map(|(api, schema)| (api, schema.into())).collect()
        })
        .get(api)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        for api in ["run.v2", "secretmanager.v1", "iam.v1", "cloudresourcemanager.v3", "serviceusage.v1"] {
            assert!(of(api).is_some(), "{api}");
        }
        let service = of("run.v2").unwrap().message("Service").unwrap();
        assert!(service["uid"].output_only);
        assert!(!service["etag"].output_only);
        assert_eq!(service["template"].shape, Shape::Message("RevisionTemplate".into()));
    }

    #[test]
    fn every_named_message_and_enum_is_in_the_table() {
        for api in ["run.v2", "secretmanager.v1", "iam.v1", "artifactregistry.v1", "serviceusage.v1"] {
            let schema = of(api).unwrap();
            for field in schema.messages.values().flat_map(BTreeMap::values) {
                let mut shape = &field.shape;
                while let Shape::List(inner) | Shape::Map(inner) = shape {
                    shape = inner;
                }
                match shape {
                    Shape::Message(name) => assert!(schema.message(name).is_some(), "{api} {name}"),
                    Shape::Enum(key) => assert!(schema.values(key).is_some(), "{api} {key}"),
                    _ => {}
                }
            }
        }
    }
}
