//! Names that have a value at some places of a file only: a tenant's in the jobs of tenants, arguments in the words of
//! a job's command, and both templates of `tenants`, whose names stay until the tenants are known.

use super::diagnostic::did_you_mean;
use super::interpolate::{Scope, Unfilled};
use super::tree::Node;

/// What `${tenant.X}` may be.
const TENANT: [&str; 4] = ["slug", "slug_underscored", "name", "schema"];

/// The place that a text stands at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Local<'a> {
    /// No name has a value here that it has not everywhere.
    Everywhere,
    /// `tenants.secret_id`: names of tenants, and `${secret}`.
    SecretId,
    /// `tenants.schema`.
    Schema,
    /// What is a tenant's own: the schema of one in `tenants.list`.
    Tenant { slug: &'a str },
    /// A job or migration.
    Job(Job<'a>),
    /// A word of a job's command after the first.
    Word(Job<'a>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    /// The tenant, when the job is repeated for tenants.
    tenant: Option<&'a str>,
    node: &'a Node,
}

/// What becomes of a name.
pub(super) enum Value {
    Text(Result<String, Unfilled>),
    /// It stays as it is: its value comes later.
    Kept,
}

impl<'a> Local<'a> {
    /// The place that begins at `path`, if one does.
    pub(super) fn of(path: &str, root: &'a Node) -> Option<Self> {
        let parts: Vec<&str> = path.split('.').collect();
        match parts.as_slice() {
            ["tenants", "secret_id"] => Some(Self::SecretId),
            ["tenants", "schema"] => Some(Self::Schema),
            ["tenants", "list", slug, "schema"] => {
                let (slug, _) = root.get("tenants")?.get("list")?.as_map()?.get_key_value(*slug)?;
                Some(Self::Tenant { slug })
            }
            [map @ ("jobs" | "migrations"), key] => {
                let (key, entry) = root.get(map)?.as_map()?.get_key_value(*key)?;
                let repeated = entry.node.get("for_each").is_some();
                let tenant = key.rsplit_once('/').filter(|_| repeated).map(|(_, slug)| slug);
                Some(Self::Job(Job { tenant, node: &entry.node }))
            }
            _ => None,
        }
    }

    /// The place of what lies at `path`, below this one.
    pub(super) fn at(&self, path: &str) -> Self {
        match self {
            Self::Job(job) => {
                let mut parts = path.rsplit('.');
                let position = parts.next().unwrap_or_default();
                let word =
                    position != "0" && position.parse::<usize>().is_ok() && parts.next() == Some("command");
                if word { Self::Word(*job) } else { *self }
            }
            _ => *self,
        }
    }

    /// Names may stay in the text, so that a dollar sign must be told from them.
    pub(super) fn is_template(&self) -> bool {
        matches!(self, Self::Word(job) if job.takes_arguments())
    }

    /// The value of `name` here; `None` when it is a name like everywhere.
    pub(super) fn value(&self, name: &str, scope: &Scope<'_>) -> Option<Value> {
        let known = |what: &str| TENANT.contains(&what);
        match (self, name.split_once('.')) {
            (Self::SecretId, None) if name == "secret" => Some(Value::Kept),
            (Self::SecretId, Some(("tenant", what))) if known(what) => Some(Value::Kept),
            (Self::Schema, Some(("tenant", what))) if known(what) && what != "schema" => Some(Value::Kept),
            (Self::Schema | Self::Tenant { .. }, Some(("tenant", "schema"))) => {
                let unfilled = Unfilled::new("`${tenant.schema}` is made from itself", "a circle");
                Some(Value::Text(Err(unfilled)))
            }
            (Self::Tenant { slug }, Some(("tenant", what))) => {
                Some(Value::Text(of_tenant(slug, what, scope)))
            }
            (Self::SecretId | Self::Schema, Some(("tenant", what))) => Some(Value::Text(Err(unknown(what)))),
            (Self::Job(job) | Self::Word(job), Some(("tenant", what))) => {
                Some(Value::Text(of_tenant(job.tenant?, what, scope)))
            }
            (Self::Word(job), Some(("args", argument))) if job.takes_arguments() => {
                Some(job.argument(argument))
            }
            _ => None,
        }
    }
}

impl Job<'_> {
    fn takes_arguments(&self) -> bool {
        self.node.get("args_from").is_some()
    }

    fn argument(&self, name: &str) -> Value {
        let names = self.node.get("args_from").map(Node::items).unwrap_or_default();
        let names: Vec<&str> = names.iter().filter_map(Node::as_text).collect();
        if names.contains(&name) {
            return Value::Kept;
        }
        let unfilled =
            Unfilled::new(format!("`args_from` of the job does not name `{name}`"), "no such argument");
        Value::Text(Err(match did_you_mean(name, names.iter().copied()) {
            Some(meant) => unfilled.hint(format!("did you mean `${{args.{meant}}}`?")),
            None => unfilled.hint(format!("add `{name}` to `args_from`")),
        }))
    }
}

/// One name of a tenant. The slug of nobody stands for the tenant of a job that has none yet, so that its text is checked too.
fn of_tenant(slug: &str, what: &str, scope: &Scope<'_>) -> Result<String, Unfilled> {
    let tenants = scope.root().get("tenants");
    let tenant = tenants.and_then(|tenants| tenants.get("list")?.get(slug));
    let slug_or_any = if slug.is_empty() { "tenant" } else { slug };
    match what {
        "slug" => Ok(slug_or_any.to_owned()),
        "slug_underscored" => Ok(slug_or_any.replace('-', "_")),
        "name" => match tenant.and_then(|tenant| tenant.get("name")).and_then(Node::scalar) {
            Some(name) => scope.fill(&name),
            None => Ok(slug_or_any.to_owned()),
        },
        "schema" => {
            let own = tenant.and_then(|tenant| tenant.get("schema"));
            let schema = own.or_else(|| tenants?.get("schema")).and_then(Node::scalar);
            match schema {
                Some(schema) => scope.fill_at(&schema, &Local::Tenant { slug }),
                None => Err(Unfilled::new(
                    "`${tenant.schema}` has no value: `tenants.schema` is not set",
                    "no value",
                )
                .hint("add `schema: \"tenant_${tenant.slug_underscored}\"` to `tenants`")),
            }
        }
        _ => Err(unknown(what)),
    }
}

fn unknown(what: &str) -> Unfilled {
    let unfilled = Unfilled::new(format!("a tenant has no `{what}`"), "unknown name");
    match did_you_mean(what, TENANT) {
        Some(meant) => unfilled.hint(format!("did you mean `${{tenant.{meant}}}`?")),
        None => unfilled.hint(format!("a tenant has: {}", TENANT.join(", "))),
    }
}

/// `template` with the names of one tenant, as `tenants.schema` and `tenants.secret_id` keep them.
pub(super) fn for_tenant(template: &str, slug: &str, name: &str, schema: Option<&str>) -> String {
    template
        .replace("${tenant.slug}", slug)
        .replace("${tenant.slug_underscored}", &slug.replace('-', "_"))
        .replace("${tenant.name}", name)
        .replace("${tenant.schema}", schema.unwrap_or_default())
}
