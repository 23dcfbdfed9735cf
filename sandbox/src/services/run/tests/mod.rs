//! Rules of services, revisions, jobs and executions that only show through requests.

mod executions;
mod jobs;
mod reads;
mod reconciliation;
mod revisions;
mod writes;

use crate::error::{Answer, Code, Status};
use crate::testing;
use crate::world::World;
use serde_json::{Value, json};

const PROJECT: &str = "agent-army-dev";

/// A world, and requests below one location of it.
struct Run {
    world: World,
}

impl Run {
    fn new() -> Self {
        Self { world: testing::world() }
    }

    /// A world with the service `api`, ready.
    fn with_api() -> Self {
        let mut run = Self::new();
        run.create("api", &service()).unwrap();
        run
    }

    fn call(&mut self, verb: &str, path: &str, body: &Value) -> Answer {
        let target = format!("run.googleapis.com/v2/projects/{PROJECT}/locations/europe-west1/{path}");
        testing::send(&mut self.world, verb, &target, body)
    }

    fn read(&mut self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).unwrap()
    }

    fn api(&mut self) -> Value {
        self.read("services/api")
    }

    fn create(&mut self, id: &str, body: &Value) -> Result<Value, Status> {
        let operation = self.call("POST", &format!("services?serviceId={id}"), body)?;
        self.wait(&operation)
    }

    fn patch(&mut self, query: &str, body: &Value) -> Result<Value, Status> {
        let operation = self.call("PATCH", &format!("services/api{query}"), body)?;
        self.wait(&operation)
    }

    /// A world with the job `backup`, ready.
    fn with_job() -> Self {
        let mut run = Self::new();
        run.create_job("backup", &job()).unwrap();
        run
    }

    fn create_job(&mut self, id: &str, body: &Value) -> Result<Value, Status> {
        let operation = self.call("POST", &format!("jobs?jobId={id}"), body)?;
        self.wait(&operation)
    }

    fn patch_job(&mut self, query: &str, body: &Value) -> Result<Value, Status> {
        let operation = self.call("PATCH", &format!("jobs/backup{query}"), body)?;
        self.wait(&operation)
    }

    /// Polls an operation until it is done: its response, or its error.
    fn wait(&mut self, operation: &Value) -> Result<Value, Status> {
        let mut operation = operation.clone();
        let name = operation["name"].as_str().unwrap().to_owned();
        let id = name.rsplit('/').next().unwrap().to_owned();
        for _ in 0..5 {
            if operation["done"] == true {
                break;
            }
            operation = self.read(&format!("operations/{id}"));
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

    fn secrets(&mut self, verb: &str, path: &str, body: &Value) {
        let target = format!("secretmanager.googleapis.com/v1/projects/{PROJECT}/{path}");
        testing::send(&mut self.world, verb, &target, body).unwrap();
    }

    /// A secret with one version, which the runtime account can read when `granted`.
    fn add_secret(&mut self, granted: bool) {
        self.secrets("POST", "secrets?secretId=key", &json!({"replication": {"automatic": {}}}));
        self.secrets("POST", "secrets/key:addVersion", &json!({"payload": {"data": "eA=="}}));
        if granted {
            let account = format!("serviceAccount:{}", self.account());
            let bindings = json!([{"role": "roles/secretmanager.secretAccessor", "members": [account]}]);
            self.secrets("POST", "secrets/key:setIamPolicy", &json!({"policy": {"bindings": bindings}}));
            testing::let_propagate(&mut self.world);
        }
    }

    fn account(&self) -> String {
        format!("{}-compute@developer.gserviceaccount.com", self.world.project_number(PROJECT))
    }

    fn revisions(&mut self) -> Vec<String> {
        let listed = self.read("services/api/revisions");
        let names = listed["revisions"].as_array().cloned().unwrap_or_default();
        names.iter().map(|revision| short(&revision["name"])).collect()
    }
}

fn service() -> Value {
    json!({"template": {"containers": [{"image": "us-docker.pkg.dev/cloudrun/container/hello"}]}})
}

fn job() -> Value {
    json!({"template": {"template": {"containers": [{"image": "us-docker.pkg.dev/cloudrun/container/job"}]}}})
}

/// A service whose revision has this name and this environment variable.
fn named(revision: &str, value: &str) -> Value {
    let mut service = service();
    service["template"]["revision"] = json!(revision);
    service["template"]["containers"][0]["env"] = json!([{"name": "A", "value": value}]);
    service
}

fn short(name: &Value) -> String {
    name.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned()
}

fn condition<'a>(doc: &'a Value, kind: &str) -> &'a Value {
    doc["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == kind).unwrap()
}
