//! The answers of `tenants`: who there is, and what an edit of the YAML has changed.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::errors::{error_human, error_json};
use super::json::{FORMAT_VERSION, plan_json, set};
use super::markdown::{table_markdown, tenant_edit_markdown};
use super::style::{Tone, printable};
use super::table::{Head, columns};
use super::{Format, Out, plan_human};
use crate::error::CliError;
use crate::plan::Plan;

/// One line of `deployer tenants list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRow {
    pub slug: String,
    /// Its name for people.
    pub name: String,
    pub schema: Option<String>,
    pub secrets: Vec<TenantSecret>,
    /// Cloud Run's names of its jobs.
    pub jobs: Vec<String>,
    /// `FILE:LINE:COLUMN` of what declares it.
    pub location: Option<String>,
}

/// A secret of a tenant, without anything about its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSecret {
    /// `SLUG/NAME`
    pub name: String,
    /// Secret Manager's id.
    pub id: String,
    /// Deleting it is refused.
    pub protected: bool,
}

/// An edit that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantEdit {
    /// The environment that was named.
    pub environment: String,
    pub slug: String,
    /// Else it was removed.
    pub added: bool,
    /// Relative to the folder that holds `environments/`.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// All environments that changed.
    pub environments: Vec<String>,
    /// What the tenant has in the environment that was named, or had there.
    pub secrets: Vec<TenantSecret>,
}

const HEADS: [Head; 6] = [
    Head::Words("Slug"),
    Head::Words("Name"),
    Head::Words("Schema"),
    Head::Words("Secrets"),
    Head::Words("Jobs"),
    Head::Words("Declared at"),
];

impl TenantRow {
    fn cells(&self) -> Vec<String> {
        let secrets: Vec<_> = self.secrets.iter().map(|secret| secret.id.as_str()).collect();
        vec![
            self.slug.clone(),
            self.name.clone(),
            self.schema.clone().unwrap_or_default(),
            secrets.join(", "),
            self.jobs.join(", "),
            self.location.clone().unwrap_or_default(),
        ]
    }
}

impl TenantEdit {
    /// ``Added the tenant `acme` in environments/base.yaml, line 12.``
    pub(super) fn headline(&self) -> String {
        let word = if self.added { "Added" } else { "Removed" };
        format!("{word} the tenant `{}` in {}, line {}.", self.slug, self.file.display(), self.line)
    }

    /// What follows from it, and what to do next, one sentence each.
    pub(super) fn remarks(&self) -> Vec<String> {
        let Self { environment, environments, .. } = self;
        let mut remarks = Vec::new();
        let others: Vec<_> = environments.iter().filter(|name| *name != environment).cloned().collect();
        if !others.is_empty() {
            remarks.push(format!("the file counts for {} too", others.join(", ")));
        }
        if self.added {
            let set = self
                .secrets
                .iter()
                .map(|secret| format!("`deployer secrets set {environment} {}`", secret.name));
            remarks.extend(set.map(|command| format!("{command} gives it a value")));
            return remarks;
        }
        let ids = |protected: bool| {
            let some = self.secrets.iter().filter(|secret| secret.protected == protected);
            some.map(|secret| secret.id.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (free, kept) = (ids(false), ids(true));
        if !free.is_empty() {
            remarks.push(format!("its secrets stay until `deployer apply {environment} --prune`: {free}"));
        }
        if !kept.is_empty() {
            remarks.push(format!("its secrets are protected and stay, whatever is pruned: {kept}"));
        }
        remarks
    }
}

impl Out {
    /// The answer of `tenants list`.
    pub fn tenants(&self, environment: &str, rows: &[TenantRow]) {
        let nobody = || format!("{} has no tenants.\n", printable(environment));
        let cells = || rows.iter().map(TenantRow::cells).collect::<Vec<_>>();
        match self.format() {
            Format::Human if rows.is_empty() => self.text(&nobody()),
            Format::Human => self.text(&columns(&HEADS, &cells(), None, self.style())),
            Format::Markdown if rows.is_empty() => self.markdown(&nobody()),
            Format::Markdown => self.markdown(&table_markdown("Tenants", &HEADS, &cells(), None)),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "environment": environment,
                "tenants": rows.iter().map(row_json).collect::<Vec<_>>(),
            })),
        }
    }

    /// The answer of `tenants add` and `tenants remove`.
    ///
    /// Why there is no plan goes to standard error too.
    pub fn tenant_edited(&self, edit: &TenantEdit, plan: Option<&Result<Plan, CliError>>) {
        match self.format() {
            Format::Human => self.text(&self.edit_human(edit, plan.and_then(|plan| plan.as_ref().ok()))),
            Format::Markdown => self.markdown(&tenant_edit_markdown(edit, plan)),
            Format::Json => self.json(&edit_json(edit, plan)),
        }
        if let Some(Err(error)) = plan {
            self.note(&error_human(error, self.notes_style()));
        }
    }

    fn edit_human(&self, edit: &TenantEdit, plan: Option<&Plan>) -> String {
        let mut text = format!("{}\n", printable(&edit.headline()));
        text.extend(edit.remarks().iter().map(|remark| self.style().labelled(Tone::Hint, "note", remark)));
        if let Some(plan) = plan {
            let _ = write!(text, "\n{}", plan_human(plan, self.detail(), self.style()));
        }
        text
    }
}

fn row_json(row: &TenantRow) -> Value {
    let TenantRow { slug, name, schema, secrets, jobs, location } = row;
    let secrets: Vec<_> = secrets.iter().map(secret_json).collect();
    let mut document = json!({"slug": slug, "name": name, "secrets": secrets, "jobs": jobs});
    set(&mut document, "schema", schema.as_deref().map(Value::from));
    set(&mut document, "location", location.as_deref().map(Value::from));
    document
}

fn secret_json(secret: &TenantSecret) -> Value {
    let TenantSecret { name, id, protected } = secret;
    json!({"name": name, "id": id, "protected": protected})
}

fn edit_json(edit: &TenantEdit, plan: Option<&Result<Plan, CliError>>) -> Value {
    let TenantEdit { environment, slug, added, file, line, environments, secrets } = edit;
    let mut document = json!({
        "format_version": FORMAT_VERSION,
        "edit": {
            "environment": environment,
            "tenant": slug,
            "change": if *added { "added" } else { "removed" },
            "file": file,
            "line": line,
            "environments": environments,
            "secrets": secrets.iter().map(secret_json).collect::<Vec<_>>(),
        },
    });
    match plan {
        Some(Ok(plan)) => set(&mut document, "plan", Some(plan_json(plan))),
        Some(Err(error)) => set(&mut document, "error", error_json(error).get("error").cloned()),
        None => {}
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    fn secret(name: &str, protected: bool) -> TenantSecret {
        TenantSecret { name: format!("acme/{name}"), id: format!("acme-{name}"), protected }
    }

    fn edit(added: bool) -> TenantEdit {
        TenantEdit {
            environment: "dev".into(),
            slug: "acme".into(),
            added,
            file: "environments/base.yaml".into(),
            line: 12,
            environments: vec!["dev".into(), "staging".into()],
            secrets: vec![secret("db", false), secret("key", true)],
        }
    }

    #[test]
    fn tenants_are_listed_with_what_they_have() {
        let (out, stdout, _) = captured::out(Format::Human);
        let row = TenantRow {
            slug: "acme".into(),
            name: "Acme Inc.".into(),
            schema: None,
            secrets: vec![secret("db", false)],
            jobs: vec!["migrate-acme".into()],
            location: Some("environments/base.yaml:9:5".into()),
        };
        out.tenants("dev", &[row]);
        insta::assert_snapshot!(stdout.text(), @r"
        SLUG  NAME       SCHEMA  SECRETS  JOBS          DECLARED AT
        acme  Acme Inc.          acme-db  migrate-acme  environments/base.yaml:9:5
        ");
    }

    #[test]
    fn removing_says_what_stays_and_whether_pruning_takes_it() {
        let (out, stdout, _) = captured::out(Format::Human);
        out.tenant_edited(&edit(false), None);
        insta::assert_snapshot!(stdout.text(), @r"
        Removed the tenant `acme` in environments/base.yaml, line 12.
        note: the file counts for staging too
        note: its secrets stay until `deployer apply dev --prune`: acme-db
        note: its secrets are protected and stay, whatever is pruned: acme-key
        ");
    }

    #[test]
    fn adding_says_how_to_give_its_secrets_values() {
        let (out, stdout, _) = captured::out(Format::Markdown);
        out.tenant_edited(&edit(true), None);
        insta::assert_snapshot!(stdout.text(), @r"
        ### Added the tenant `acme` in environments/base.yaml, line 12

        #### Notes

        * the file counts for staging too
        * `deployer secrets set dev acme/db` gives it a value
        * `deployer secrets set dev acme/key` gives it a value
        ");
    }
}
