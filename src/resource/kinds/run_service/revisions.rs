//! Revisions of a service as people choose between them: image, age, and whether they can serve.

use serde_json::Value;

/// What matters of a v2 Revision document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Short name.
    pub name: String,
    /// Image of the container that gets the requests.
    pub image: String,
    /// As Cloud Run writes times: RFC 3339.
    pub created: String,
}

impl Revision {
    pub fn read(doc: &Value) -> Self {
        let containers = doc["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let main = containers.iter().find(|container| container["ports"].is_array()).or(containers.first());
        let image = main.and_then(|container| container["image"].as_str()).unwrap_or_default();
        Self {
            name: short(&doc["name"]).to_owned(),
            image: image.to_owned(),
            created: doc["createTime"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// The last part of a resource name, which is what people call it; empty for what is none.
pub fn short(name: &Value) -> &str {
    name.as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_image_is_that_of_the_container_that_gets_the_requests() {
        let sidecar = json!({"name": "proxy", "image": "p"});
        let main = json!({"image": "main", "ports": [{"containerPort": 8080}]});
        assert_eq!(Revision::read(&json!({"containers": [sidecar, main]})).image, "main");
        assert_eq!(Revision::read(&json!({"containers": [sidecar]})).image, "p");
        assert_eq!(Revision::read(&json!({"name": "x/revisions/api-1"})).name, "api-1");
        assert_eq!(short(&Value::Null), "");
    }
}
