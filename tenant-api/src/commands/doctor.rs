//! `doctor`: proves isolation, or says where it is broken.

use std::process::ExitCode;

use super::{CommandError, say};
use crate::settings::Settings;
use crate::store::database::Database;

pub(super) async fn run(settings: &Settings) -> Result<ExitCode, CommandError> {
    let database = Database::new(settings);
    let role = database.check_runtime_role(settings.owner_role()).await?;
    let findings = database.inspect().await?;
    database.close().await;
    let mut problems: Vec<String> = role.objection_in_production().into_iter().collect();
    problems.extend(findings.iter().map(|finding| format!("{}: {}", finding.place, finding.problem)));
    for warning in settings.warnings() {
        say(&format!("warning: {warning}"))?;
    }
    for problem in &problems {
        say(&format!("problem: {problem}"))?;
    }
    if problems.is_empty() {
        say("Roles, versions and row-level security are as they have to be")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
