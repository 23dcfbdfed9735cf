//! The answers of `secrets`: the catalogue, the matrix of the tenants, and what nobody needs. Never a value.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{FORMAT_VERSION, set};
use super::markdown::{answer_markdown, notes_markdown, table_markdown};
use super::style::{Tone, counted};
use super::table::{Foot, Head, columns};
use super::{Format, Out};
use crate::inventory::{SecretList, SecretRow};

/// A title, the heads of the columns, the rows, and a last row that is about the columns.
struct Table {
    title: &'static str,
    heads: Vec<Head>,
    rows: Vec<Vec<String>>,
    foot: Option<Foot>,
}

impl SecretRow {
    fn versions(&self) -> String {
        match self.enabled {
            0 if self.versions == 0 => "0".to_owned(),
            enabled if enabled == self.versions => enabled.to_string(),
            enabled => format!("{enabled} of {}", self.versions),
        }
    }

    fn newest(&self) -> String {
        self.newest_enabled.map_or_else(|| NO_VALUE.to_owned(), |version| version.to_string())
    }

    fn age(&self, now: Timestamp) -> String {
        self.created.as_deref().map(|made| age(made, now)).unwrap_or_default()
    }

    fn read_by(&self) -> String {
        let Self { readers, environments, other_readers, .. } = self;
        listed(readers.iter().chain(environments).chain(other_readers).map(String::as_str))
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let (name, id) = (self.name.clone(), self.id.clone());
        vec![name, id, self.versions(), self.newest(), self.age(now), self.read_by()]
    }

    /// Name of a tenant's secret without the tenant.
    fn short(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(_, name)| name)
    }
}

fn listed<'a>(readers: impl Iterator<Item = &'a str>) -> String {
    let readers: Vec<_> = readers.collect();
    if readers.is_empty() { "nobody".to_owned() } else { readers.join(", ") }
}

const NO_VALUE: &str = "no value";

/// How old something is that was made at `made` (RFC 3339), in whole days.
fn age(made: &str, now: Timestamp) -> String {
    let Ok(made) = made.parse::<Timestamp>() else { return made.to_owned() };
    match now.duration_since(made).as_hours() / 24 {
        ..1 => "< 1 day".to_owned(),
        days => counted(usize::try_from(days).unwrap_or(usize::MAX), "day"),
    }
}

impl SecretList {
    fn tables(&self, now: Timestamp) -> Vec<Table> {
        let own = self.rows.iter().filter(|row| row.tenant.is_none());
        let catalogue: Vec<_> = own.map(|row| row.cells(now)).collect();
        let mut tables = Vec::new();
        if !catalogue.is_empty() {
            let heads = ["Name", "Id", "Versions", "Newest", "Age", "Read by"].map(Head::Words);
            tables.push(Table { title: "Secrets", heads: heads.to_vec(), rows: catalogue, foot: None });
        }
        tables.extend(self.matrix(now));
        tables
    }

    /// A row for each tenant, a column for each name: the newest version and its age. The last row says who reads them.
    fn matrix(&self, now: Timestamp) -> Option<Table> {
        let of_tenants = || self.rows.iter().filter_map(|row| Some((row.tenant.as_deref()?, row)));
        let (mut slugs, mut names) = (Vec::new(), Vec::new());
        for (slug, row) in of_tenants() {
            if !slugs.contains(&slug) {
                slugs.push(slug);
            }
            if !names.contains(&row.short()) {
                names.push(row.short());
            }
        }
        let cell = |slug: &str, name: &str| {
            let row = of_tenants().find(|(tenant, row)| *tenant == slug && row.short() == name);
            row.map(|(_, row)| match row.newest_enabled {
                Some(version) => format!("{version} ({})", row.age(now)),
                None => NO_VALUE.to_owned(),
            })
        };
        let line = |slug: &str| {
            let cells = names.iter().map(|name| cell(slug, name).unwrap_or_default());
            std::iter::once(slug.to_owned()).chain(cells).collect::<Vec<_>>()
        };
        let read_by = |name: &str| {
            let rows = of_tenants().filter(|(_, row)| row.short() == name);
            let readers = rows.flat_map(|(_, row)| row.readers.iter().chain(&row.environments));
            listed(readers.map(String::as_str).collect::<BTreeSet<_>>().into_iter())
        };
        let foot = Foot { head: "Read by", cells: names.iter().map(|name| read_by(name)).collect() };
        let heads = std::iter::once(Head::Words("Tenant"))
            .chain(names.iter().map(|name| Head::Name((*name).to_owned())));
        let rows = slugs.iter().map(|slug| line(slug)).collect();
        let title = "Secrets of tenants";
        (!slugs.is_empty()).then(|| Table { title, heads: heads.collect(), rows, foot: Some(foot) })
    }

    /// What is not needed, and who reads what is a tenant's although the YAML does not say so.
    fn notes(&self) -> Vec<String> {
        let unused = self.rows.iter().filter(|row| row.readers.is_empty() && row.environments.is_empty());
        let mut seen = BTreeSet::new();
        let unused = unused.filter(|row| seen.insert((row.tenant.is_some(), row.short())));
        let mut notes: Vec<_> = unused
            .map(|row| match row.tenant {
                Some(_) => format!("nothing in the YAML reads `{}` of the tenants", row.short()),
                None => format!("nothing in the YAML reads `{}`", row.name),
            })
            .collect();
        let others = self.rows.iter().filter(|row| row.tenant.is_some() && !row.other_readers.is_empty());
        notes.extend(
            others.map(|row| format!("`{}` is read by others too: {}", row.id, row.other_readers.join(", "))),
        );
        notes.extend(self.undeclared.iter().map(|id| {
            let environment = &self.environment;
            format!(
                "`{id}` is ours and no longer declared: `deployer apply {environment} --prune` deletes it"
            )
        }));
        notes
    }

    fn json(&self) -> Value {
        json!({
            "format_version": FORMAT_VERSION,
            "environment": self.environment,
            "secrets": self.rows.iter().map(row_json).collect::<Vec<_>>(),
            "undeclared": self.undeclared,
        })
    }
}

impl Out {
    /// The answer of `secrets list`; `now` is what ages are counted from.
    pub fn secrets(&self, list: &SecretList, now: Timestamp) {
        match self.format() {
            Format::Human => self.text(&self.secrets_human(list, now)),
            Format::Markdown => self.markdown(&secrets_markdown(list, now)),
            Format::Json => self.json(&list.json()),
        }
    }

    fn secrets_human(&self, list: &SecretList, now: Timestamp) -> String {
        let tables = list.tables(now);
        let mut parts: Vec<_> = tables
            .iter()
            .map(|table| columns(&table.heads, &table.rows, table.foot.as_ref(), self.style()))
            .collect();
        if parts.is_empty() {
            parts.push(format!("{NONE}\n"));
        }
        let notes: String =
            list.notes().iter().map(|note| self.style().labelled(Tone::Hint, "note", note)).collect();
        parts.extend((!notes.is_empty()).then_some(notes));
        parts.join("\n")
    }

    /// The answer of `secrets set`.
    pub fn secret_set(&self, environment: &str, name: &str, id: &str, version: u64) {
        match self.format() {
            Format::Human => {
                self.line(&format!("Added version {version} of {name} ({id})."));
                self.line(&format!("Services get it with the next `deployer apply {environment}`."));
            }
            Format::Markdown => self.markdown(&answer_markdown(
                &format!("Added version {version} of `{name}` (`{id}`)"),
                &[format!("services get it with the next `deployer apply {environment}`")],
            )),
            Format::Json => self.json(&json!({
                "format_version": FORMAT_VERSION,
                "secret": {"name": name, "id": id, "version": version},
            })),
        }
    }
}

const NONE: &str = "The YAML declares no secrets.";

fn secrets_markdown(list: &SecretList, now: Timestamp) -> String {
    let tables = list.tables(now);
    let mut parts: Vec<_> = tables
        .iter()
        .map(|table| table_markdown(table.title, &table.heads, &table.rows, table.foot.as_ref()))
        .collect();
    if parts.is_empty() {
        parts.push(format!("{NONE}\n"));
    }
    let notes = list.notes();
    parts.extend((!notes.is_empty()).then(|| notes_markdown(&notes)));
    parts.join("\n")
}

fn row_json(row: &SecretRow) -> Value {
    let SecretRow { name, id, tenant, versions, enabled, newest_enabled, created, .. } = row;
    let mut document = json!({
        "name": name,
        "id": id,
        "versions": versions,
        "enabled": enabled,
        "readers": row.readers,
        "environments": row.environments,
        "other_readers": row.other_readers,
    });
    set(&mut document, "tenant", tenant.as_deref().map(Value::from));
    set(&mut document, "newest_enabled", newest_enabled.map(Into::into));
    set(&mut document, "created", created.as_deref().map(Into::into));
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::out::captured;

    const MADE: &str = "2026-11-01T10:00:00Z";

    fn row(name: &str, newest: Option<u64>) -> SecretRow {
        let versions = newest.map_or(0, |newest| usize::try_from(newest).unwrap());
        SecretRow {
            name: name.into(),
            id: format!("{}-dev", name.replace('/', "-")),
            tenant: name.split_once('/').map(|(slug, _)| slug.to_owned()),
            versions,
            enabled: versions.min(1),
            newest_enabled: newest,
            created: newest.map(|_| MADE.into()),
            readers: vec!["services.api".into()],
            environments: Vec::new(),
            other_readers: Vec::new(),
        }
    }

    fn shown(format: Format, list: &SecretList) -> String {
        let (out, stdout, _) = captured::out(format);
        out.secrets(list, "2026-11-21T09:59:59Z".parse().unwrap());
        stdout.text()
    }

    fn list(rows: Vec<SecretRow>) -> SecretList {
        SecretList { environment: "dev".into(), rows, undeclared: Vec::new() }
    }

    #[test]
    fn secrets_are_listed_in_columns_without_values() {
        let mut unread = row("jwt", Some(12));
        unread.readers.clear();
        unread.other_readers.push("user:ann@example.com".into());
        let mut list = list(vec![row("database-url", None), unread]);
        list.undeclared.push("old-dev".into());
        insta::assert_snapshot!(shown(Format::Human, &list), @r"
        NAME          ID                VERSIONS  NEWEST    AGE      READ BY
        database-url  database-url-dev  0         no value           services.api
        jwt           jwt-dev           1 of 12   12        19 days  user:ann@example.com

        note: nothing in the YAML reads `jwt`
        note: `old-dev` is ours and no longer declared: `deployer apply dev --prune` deletes it
        ");
    }

    #[test]
    fn secrets_of_tenants_are_a_matrix() {
        let rows = vec![row("acme/db", Some(1)), row("acme/key", None), row("beta/db", None)];
        insta::assert_snapshot!(shown(Format::Human, &list(rows.clone())), @r"
        TENANT   db            key
        acme     1 (19 days)   no value
        beta     no value
        READ BY  services.api  services.api
        ");
        insta::assert_snapshot!(shown(Format::Markdown, &list(rows)), @r"
        ### Secrets of tenants

        | Tenant | `db` | `key` |
        |---|---|---|
        | `acme` | `1 (19 days)` | `no value` |
        | `beta` | `no value` |  |
        | **Read by** | `services.api` | `services.api` |
        ");
    }

    #[test]
    fn markdown_has_one_line_between_a_table_and_its_notes() {
        let mut unread = row("jwt", Some(1));
        unread.readers.clear();
        let text = shown(Format::Markdown, &list(vec![unread]));
        assert!(text.contains("|\n\n#### Notes\n\n* nothing in the YAML reads `jwt`\n"), "{text}");
        let (out, stdout, _) = captured::out(Format::Markdown);
        out.secret_set("dev", "jwt", "jwt-dev", 2);
        insta::assert_snapshot!(stdout.text(), @r"
        ### Added version 2 of `jwt` (`jwt-dev`)

        #### Notes

        * services get it with the next `deployer apply dev`
        ");
    }

    #[test]
    fn age_is_told_in_whole_days() {
        let at = |now: &str| age(MADE, now.parse().unwrap());
        assert_eq!(at("2026-11-02T09:59:59Z"), "< 1 day");
        assert_eq!(at("2026-11-02T10:00:00Z"), "1 day");
        assert_eq!(at("2026-10-01T10:00:00Z"), "< 1 day");
    }

    #[test]
    fn an_environment_without_secrets_says_so() {
        assert_eq!(shown(Format::Human, &list(Vec::new())), "The YAML declares no secrets.\n");
    }
}
