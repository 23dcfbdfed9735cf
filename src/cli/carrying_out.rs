//! From a plan that was shown to a report: asks, applies, tells. What every verb that changes something ends with.

use std::sync::Arc;

use super::session::Connection;
use super::{CliError, Exit};
use crate::apply::{self, Interrupt, Observer, Outcome, Report};
use crate::plan::Plan;
use crate::view::{Answer, Out};

/// Everything after planning: shows, asks unless `approved`, applies and reports.
pub async fn shown_and_carried_out(
    connection: &Connection,
    plan: &Plan,
    approved: bool,
    out: &Out,
) -> Result<Exit, CliError> {
    if plan.is_empty() {
        out.applied(plan, &Report::default());
        return Ok(Exit::Fine);
    }
    out.plan_before_apply(plan);
    self::approved(connection, plan, approved, out)?;
    carry_out(connection, plan, out).await
}

/// Asks, unless the answer was given or nothing can be broken. Production wants its name typed, and so does what is
/// destroyed; everything else a yes.
fn approved(connection: &Connection, plan: &Plan, given: bool, out: &Out) -> Result<(), CliError> {
    if given || connection.on_sandbox {
        return Ok(());
    }
    let name = &plan.place.ownership.environment;
    let (question, expected) = match (name.as_str(), plan.destroy) {
        // What is destroyed does not come back: nobody types a name by habit.
        (_, true) => (format!("Type `{name}` to destroy it: "), name.as_str()),
        ("production", false) => (format!("Type `{name}` to apply these changes: "), name.as_str()),
        (_, false) => (format!("Apply these changes to {name}? Only `yes` is accepted: "), "yes"),
    };
    let verb = if plan.destroy { "destroy" } else { "apply" };
    ask(out, &question, expected, verb)
}

/// Asks for a yes, unless it was given or nothing can be broken.
pub fn confirmed(connection: &Connection, question: &str, given: bool, out: &Out) -> Result<(), CliError> {
    if given || connection.on_sandbox {
        return Ok(());
    }
    ask(out, &format!("{question} Only `yes` is accepted: "), "yes", "go on")
}

fn ask(out: &Out, question: &str, expected: &str, verb: &str) -> Result<(), CliError> {
    match out.ask(question) {
        Answer::Text(text) if text.trim() == expected => Ok(()),
        Answer::Text(_) => Err(CliError::user("not approved: nothing was changed")),
        Answer::NobodyThere => Err(CliError::user("nobody can be asked here: nothing was changed")
            .hint(format!("add --auto-approve to {verb} without asking"))),
    }
}

/// Carries out what has to be there before there can be a plan of the rest, on a sandbox. Reports only what goes wrong.
pub async fn prepared(connection: &Connection, plan: &Plan, out: &Out) -> Result<(), CliError> {
    let report = carried_out(connection, plan, out).await;
    connection.interrupts.writing();
    if report.all_applied() {
        return Ok(());
    }
    if report.interrupted {
        return Err(CliError::Interrupted { perhaps_changed: true });
    }
    let failed = report.outcomes.iter().find_map(|(address, outcome)| match outcome {
        Outcome::Failed(failure) | Outcome::RolledBack(failure) => Some((address, failure)),
        _ => None,
    });
    Err(match failed {
        Some((address, failure)) => CliError::User {
            message: format!("{address}: {}", failure.message),
            hints: failure.hints.clone(),
        },
        None => CliError::user("not everything that images need could be made")
            .hint(format!("deployer apply {} --layer foundation", plan.place.ownership.environment)),
    })
}

/// Applies the plan with its progress, and reports.
async fn carry_out(connection: &Connection, plan: &Plan, out: &Out) -> Result<Exit, CliError> {
    let report = carried_out(connection, plan, out).await;
    out.applied(plan, &report);
    Ok(match (report.interrupted, report.all_applied()) {
        (_, true) => Exit::Fine,
        (true, false) => Exit::Interrupted,
        (false, false) if report.only_rolled_back() => Exit::RolledBack,
        (false, false) => Exit::Failed,
    })
}

/// Applies the plan with its progress. The first Ctrl-C ends it after what is in flight, the second at once.
async fn carried_out(connection: &Connection, plan: &Plan, out: &Out) -> Report {
    connection.interrupts.taken_over();
    let (stop, interrupt) = Interrupt::new();
    let listening = {
        let out = out.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                out.interrupting();
                stop.press();
            }
        })
    };
    let progress = Arc::new(out.progress(plan));
    let observer: Arc<dyn Observer> = progress.clone();
    let report = apply::apply(&connection.registry, &connection.gcp, plan, observer, &interrupt).await;
    progress.finish();
    listening.abort();
    report
}
