//! `deployer apply ENV`: plans, shows, asks, carries out, reports.

use std::sync::Arc;

use super::session::{Reach, Selection, Session};
use super::{CliError, Exit, Global};
use crate::apply::{self, Interrupt, Observer, Report};
use crate::plan::Plan;
use crate::view::{Answer, Out};

/// Show the plan and carry it out
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  deployer apply dev                        the sandbox never asks
  deployer apply staging                    asks before it changes anything
  deployer apply production --auto-approve  for CI, which cannot answer")]
pub struct Args {
    /// Name of the environment: environments/ENV.yaml
    #[arg(value_name = "ENV")]
    environment: String,
    /// Do not ask
    #[arg(long)]
    auto_approve: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    reach: Reach,
}

pub async fn run(args: &Args, global: &Global, out: &Out) -> Result<Exit, CliError> {
    let session = Session::open(&args.environment, global, &args.reach, out).await?;
    let result = plan_and_apply(args, &session, out).await;
    session.close().await;
    result
}

async fn plan_and_apply(args: &Args, session: &Session, out: &Out) -> Result<Exit, CliError> {
    let plan = session.plan(&args.selection).await?;
    if plan.is_empty() {
        out.applied(&plan, args.selection.part().as_deref(), &Report::default());
        return Ok(Exit::Fine);
    }
    out.plan_before_apply(&plan);
    if !(args.auto_approve || session.on_sandbox) {
        approve(session, out)?;
    }
    let report = carry_out(session, &plan, out).await;
    out.applied(&plan, None, &report);
    Ok(match (report.interrupted, report.all_applied()) {
        (_, true) => Exit::Fine,
        (true, false) => Exit::Interrupted,
        (false, false) => Exit::Failed,
    })
}

/// Production wants its name typed; everything else a yes.
fn approve(session: &Session, out: &Out) -> Result<(), CliError> {
    let name = &session.env.name;
    let (question, expected) = if name == "production" {
        (format!("Type `{name}` to apply these changes: "), name.as_str())
    } else {
        (format!("Apply these changes to {name}? Only `yes` is accepted: "), "yes")
    };
    match out.ask(&question) {
        Answer::Text(text) if text.trim() == expected => Ok(()),
        Answer::Text(_) => Err(CliError::user("not approved: nothing was changed")),
        Answer::NobodyThere => Err(CliError::user("nobody can be asked here: nothing was changed")
            .hint("add --auto-approve to apply without asking")),
    }
}

async fn carry_out(session: &Session, plan: &Plan, out: &Out) -> Report {
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
    let report = apply::apply(&session.registry, &session.gcp, plan, observer, &interrupt).await;
    progress.finish();
    listening.abort();
    report
}
