//! Which user servers run as: we, or somebody harmless when we are root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::error::{Doing, StartError};

/// In the order of preference. `postgres` may own a real cluster, but is what a server of it is expected to run as.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The user that servers run as.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// Who to become; `None` when it is who we are.
    other: Option<Other>,
}

#[derive(Debug, Clone)]
struct Other {
    name: String,
    user: u32,
    group: u32,
}

impl Account {
    /// Ourselves, or an unprivileged user when we are root.
    pub(crate) fn of_servers() -> Result<Self, StartError> {
        if !geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let found = UNPRIVILEGED.into_iter().find_map(|name| User::from_name(name).ok().flatten());
        let found = found.ok_or(StartError::NoAccount)?;
        let (user, group) = (found.uid.as_raw(), found.gid.as_raw());
        Ok(Self { other: Some(Other { name: found.name, user, group }) })
    }

    /// Whether servers run as somebody else than we do.
    pub(crate) fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// The number of the user.
    pub(crate) fn user(&self) -> u32 {
        self.other.as_ref().map_or_else(|| geteuid().as_raw(), |other| other.user)
    }

    /// Makes `command` run as this user. Supplementary groups are dropped with the user, as `Command::uid` documents.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Some(other) = &self.other {
            command.uid(other.user).gid(other.group);
        }
    }

    /// Gives `path`, not what is in it, to this user.
    pub(crate) fn give(&self, path: &Path) -> Result<(), StartError> {
        let Some(other) = &self.other else { return Ok(()) };
        chown(path, Some(other.user), Some(other.group))
            .doing(|| format!("giving {} to `{}`", path.display(), other.name))
    }

    /// Fails when this user cannot enter `folder`: that is, when it is not ours and a folder above is closed to others.
    pub(crate) fn check_reach(&self, folder: &Path) -> Result<(), StartError> {
        let Some(other) = &self.other else { return Ok(()) };
        let closed = folder.ancestors().find(|above| {
            fs::metadata(above).is_ok_and(|meta| meta.mode() & 0o001 == 0 && meta.uid() != other.user)
        });
        closed.map_or(Ok(()), |closed| {
            Err(StartError::Unreachable { user: other.name.clone(), folder: closed.to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn closed_folder_is_told_before_a_server_fails_in_it() {
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let user = geteuid().as_raw().wrapping_add(1);
        let account = Account { other: Some(Other { name: "somebody".to_owned(), user, group: user }) };
        let error = account.check_reach(&inner).unwrap_err();
        assert!(matches!(error, StartError::Unreachable { folder, .. } if folder == outer.path()));

        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).unwrap();
        // What is above is not ours to say.
        let above = account.check_reach(&inner).err();
        let still = above.filter(|error| matches!(error, StartError::Unreachable { folder, .. } if folder.starts_with(outer.path())));
        assert!(still.is_none());
    }

    #[test]
    fn servers_never_run_as_root() {
        assert_ne!(Account::of_servers().unwrap().user(), 0);
    }
}
