//! Projects: they come into being at their first use, with a number that stays the same for an id.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Apis;
use crate::error::Status;
use crate::services::serviceusage;
use crate::world::World;

/// Documents by project ID: `{projectId, number, createTime, etag}`.
pub(crate) const COLLECTION: &str = "projects";

/// A project to make at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectSeed {
    pub id: String,
    /// The project number; derived from the id when not given.
    pub number: Option<u64>,
}

/// Whether `id` can be a project ID: 6 to 30 lower-case letters, digits and hyphens, a letter first, no hyphen last.
pub fn is_project_id(id: &str) -> bool {
    (6..=30).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Google does not tell an unknown project from one without access: both are 403.
pub(crate) fn refused(id_or_number: &str) -> Status {
    Status::permission_denied(format!(
        "The caller does not have permission on project '{id_or_number}', or it may not exist."
    ))
}

impl World {
    /// Whether a project, by ID or number, has been used before.
    pub(crate) fn has_project(&self, id_or_number: &str) -> bool {
        let id = id_or_number.parse().ok().and_then(|number| self.project_with_number(number));
        self.doc(COLLECTION, id.as_deref().unwrap_or(id_or_number)).is_some()
    }

    /// The number of a project, also of one that was never used.
    pub fn project_number(&self, project_id: &str) -> u64 {
        self.doc(COLLECTION, project_id)
            .and_then(|doc| doc["number"].as_u64())
            .or_else(|| self.seeds.get(project_id).copied())
            .unwrap_or_else(|| self.derived_number(project_id))
    }

    /// The ID of the project with this number, when it is in use or was given at the start.
    pub fn project_with_number(&self, number: u64) -> Option<String> {
        let used = self.list(COLLECTION, "").find(|(_, doc)| doc["number"] == json!(number));
        used.map(|(id, _)| id.to_owned())
            .or_else(|| self.seeds.iter().find(|(_, seeded)| **seeded == number).map(|(id, _)| id.clone()))
    }

    /// Turns an ID or a number into the ID, making the project when it is used for the first time. 403 for what
    /// cannot be a project.
    pub fn use_project(&mut self, id_or_number: &str) -> Result<String, Status> {
        let refused = || refused(id_or_number);
        if id_or_number.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = id_or_number.parse().map_err(|_| refused())?;
            let id = self.project_with_number(number).ok_or_else(refused)?;
            self.make_project(&id);
            return Ok(id);
        }
        if !is_project_id(id_or_number) {
            return Err(refused());
        }
        self.make_project(id_or_number);
        Ok(id_or_number.to_owned())
    }

    fn make_project(&mut self, id: &str) {
        if self.doc(COLLECTION, id).is_some() {
            return;
        }
        let number = self.project_number(id);
        let etag = self.fresh_etag();
        let created = self.now();
        self.put(
            COLLECTION,
            id,
            json!({ "projectId": id, "number": number, "createTime": created, "etag": etag.trim_matches('"') }),
        );
        if self.apis == Apis::Default {
            serviceusage::enable_first_apis(self, id);
        }
    }

    /// Twelve digits out of the id, the next free ones if another project has those.
    fn derived_number(&self, id: &str) -> u64 {
        let digest = Sha256::digest(id.as_bytes());
        let seed = digest.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let mut number = 100_000_000_000 + seed % 900_000_000_000;
        while self.project_with_number(number).is_some_and(|other| other != id) {
            number += 1;
        }
        number
    }

    /// The project's document; `Null` when it was never used.
    pub(crate) fn project_doc(&self, id: &str) -> Value {
        self.doc(COLLECTION, id).cloned().unwrap_or(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_made_at_its_first_use_and_keeps_its_number() {
        let mut world = World::in_memory(1, Apis::All);
        let number = world.project_number("agent-army-dev");
        assert_eq!(number.to_string().len(), 12);
        world.use_project("agent-army-dev").unwrap();
        assert_eq!(world.use_project(&number.to_string()).unwrap(), "agent-army-dev");
        assert_eq!(world.project_number("agent-army-dev"), number);
    }

    #[test]
    fn a_seeded_number_counts() {
        let mut world = World::in_memory(1, Apis::All);
        world.seeds.insert("agent-army-dev".into(), 123);
        assert_eq!(world.use_project("123").unwrap(), "agent-army-dev");
        assert_eq!(world.project_number("agent-army-dev"), 123);
    }

    #[test]
    fn what_cannot_be_a_project_is_refused() {
        let mut world = World::in_memory(1, Apis::All);
        for wrong in ["Upper-case", "short", "ends-with-", "1starts-with-digit", "999"] {
            assert_eq!(world.use_project(wrong).unwrap_err().code, crate::error::Code::PermissionDenied);
        }
    }
}
