//! A [`Spec`] laid over a v2 Job document: managed fields are set, all others stay as they are.

use serde_json::{Value, json};

use super::spec::Spec;
use crate::resource::Place;
use crate::resource::kinds::container::write::{
    Volumes, container, execution_environment, network, set, set_or_remove,
};
use crate::resource::kinds::labels;

/// Annotation of the executions' template that makes a job differ from one that is otherwise the same.
const ATTEMPT: &str = "deployer/attempt";

/// Fields that start an execution. Nothing that is written here may start one, nor wait for one.
const STARTS: [&str; 2] = ["startExecutionToken", "runExecutionToken"];

/// Sets the managed fields of the job.
pub fn manage(doc: &mut Value, spec: &Spec, place: &Place) {
    labels::write(doc, labels::RUN, &spec.labels, &place.ownership);
    for field in STARTS {
        set_or_remove(doc, field, None);
    }
    set(doc, "client", "deployer".into());
    set(doc, "clientVersion", env!("CARGO_PKG_VERSION").into());
    let execution = &mut doc["template"];
    set(execution, "taskCount", spec.tasks.into());
    set_or_remove(execution, "parallelism", (spec.parallelism > 0).then(|| spec.parallelism.into()));
    manage_task(&mut execution["template"], spec);
}

fn manage_task(task: &mut Value, spec: &Spec) {
    let before = task["containers"].get_mut(0).map(Value::take);
    if !task.is_object() {
        *task = json!({});
    }
    let mut volumes = Volumes::take(task);
    let mut container = container(before.unwrap_or_else(|| json!({})), &spec.container, &mut volumes);
    // A job has one container: there is nothing else to wait for.
    set_or_remove(&mut container, "dependsOn", None);
    set(task, "containers", json!([container]));
    volumes.put(task);
    set(task, "serviceAccount", spec.service_account.as_str().into());
    set(task, "timeout", spec.timeout.as_str().into());
    set(task, "maxRetries", spec.max_retries.into());
    set(task, "executionEnvironment", execution_environment(&spec.execution_environment));
    network(task, spec.vpc.as_ref());
}

/// Makes the job another one, so that Cloud Run looks again at what it needs.
pub fn look_again(doc: &mut Value) {
    let generation = doc["generation"].as_str().unwrap_or_default().to_owned();
    for field in STARTS {
        set_or_remove(doc, field, None);
    }
    labels::annotate(&mut doc["template"], ATTEMPT, Some(generation));
}

/// Gives the executions that are started from now on a label and an annotation. That is no difference to the YAML.
pub fn mark_executions(doc: &mut Value, label: (&str, &str), annotation: (&str, &str)) {
    for field in STARTS {
        set_or_remove(doc, field, None);
    }
    let template = &mut doc["template"];
    labels::object(template, "labels").insert(label.0.to_owned(), label.1.into());
    labels::annotate(template, annotation.0, Some(annotation.1.to_owned()));
}
