//! Rules that only show through requests.

mod content;
mod repositories;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{clean_up, seed};
use crate::ManualClock;
use crate::error::{Answer, Code, Status};
use crate::testing;
use crate::world::World;

const PROJECT: &str = "agent-army-dev";
const LOCATION: &str = "projects/agent-army-dev/locations/europe-west1";
const REGISTRY: &str = "europe-west1-docker.pkg.dev/agent-army-dev";

/// A world in which it is the first of June 2027, noon, and requests below one location of it.
struct Registry {
    world: World,
}

impl Registry {
    fn new() -> Self {
        let now: jiff::Timestamp = "2027-06-01T12:00:00Z".parse().unwrap();
        Self { world: testing::world().with_clock(Arc::new(ManualClock::new(now))) }
    }

    /// A world with the Docker repository `images`.
    fn with_images(body: &Value) -> Self {
        let mut registry = Self::new();
        let mut body = body.clone();
        body["format"] = json!("DOCKER");
        registry.create("images", &body).unwrap();
        registry
    }

    fn call(&mut self, verb: &str, path: &str, body: &Value) -> Answer {
        let target = format!("artifactregistry.googleapis.com/v1/{LOCATION}/{path}");
        testing::send(&mut self.world, verb, &target, body)
    }

    fn read(&mut self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null)
    }

    fn create(&mut self, id: &str, body: &Value) -> Answer {
        let operation = self.call("POST", &format!("repositories?repositoryId={id}"), body)?;
        self.wait(&operation)
    }

    fn patch(&mut self, query: &str, body: &Value) -> Answer {
        self.call("PATCH", &format!("repositories/images{query}"), body)
    }

    fn delete(&mut self, path: &str) -> Answer {
        let operation = self.call("DELETE", path, &Value::Null)?;
        self.wait(&operation)
    }

    /// Polls an operation until it is done: its response, or its error.
    fn wait(&mut self, operation: &Value) -> Answer {
        let mut operation = operation.clone();
        let id = operation["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        for _ in 0..5 {
            if operation["done"] == true {
                break;
            }
            operation = self.read(&format!("operations/{id}")).unwrap();
        }
        assert_eq!(operation["done"], true, "{operation}");
        match operation.get("error") {
            None => Ok(operation["response"].clone()),
            Some(error) => Err(Status::new(
                Code::from_number(error["code"].as_i64().unwrap()).unwrap(),
                error["message"].as_str().unwrap(),
            )),
        }
    }

    fn push(&mut self, push: &Value) -> Answer {
        self.world.attempt(|world| seed(world, push.to_string().as_bytes()))
    }

    /// Puts an image of `images` there and answers its digest.
    fn image(&mut self, name: &str) -> String {
        let pushed = self.push(&json!({"image": format!("{REGISTRY}/images/{name}")})).unwrap();
        pushed["digest"].as_str().unwrap().to_owned()
    }

    fn clean_up(&mut self, request: &Value) -> Value {
        clean_up(&mut self.world, request.to_string().as_bytes()).unwrap()
    }

    /// What the last segments of the names are in a list.
    fn ids(&mut self, path: &str, key: &str) -> Vec<String> {
        let listed = self.read(path).unwrap();
        let items = listed[key].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect()
    }
}

fn code(answer: Answer) -> Code {
    answer.unwrap_err().code
}
