//! Whom instances run as: the user that their image names. Only root can choose that, and root never gives itself away:
//! an image that asks for root gets `nobody`, who is root in a root of its own and nowhere else.

use std::io;
use std::path::Path;

use super::image;

/// A user and a group by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whom an instance runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// On this machine; `None` for whoever runs the sandbox.
    pub(crate) real: Option<Account>,
    /// In a root of its own.
    pub(crate) shown: Account,
}

impl Identity {
    /// `nobody` is who stands in for root; `None` where the sandbox is not root itself and cannot choose.
    pub(crate) fn new(wanted: Account, nobody: Option<Account>) -> Self {
        let real = nobody.map(|nobody| match wanted {
            Account { uid: 0, .. } => nobody,
            Account { uid, gid: 0 } => Account { uid, gid: nobody.gid },
            other => other,
        });
        Self { real, shown: wanted }
    }

    /// Who has a file of the instance that `owner` has in the image; `None` where owners cannot be chosen.
    pub(crate) fn owner(&self, owner: Account) -> Option<Account> {
        let real = self.real?;
        let gid = if owner.gid == self.shown.gid { real.gid } else { owner.gid };
        Some(if self.shown.uid == 0 { real } else { Account { uid: owner.uid, gid } })
    }
}

/// The account that the configuration of an image names as `User` ("user, uid, user:group, uid:gid, uid:group, user:gid",
/// says the OCI image specification). Names are looked up in the image unpacked at `root`; nothing means root.
///
/// # Errors
/// The image does not know the name, or its lists cannot be read.
pub(crate) fn wanted(named: &str, root: &Path) -> io::Result<Account> {
    let (user, group) = named.split_once(':').map_or((named, ""), |(user, group)| (user, group));
    let users = lines(root, "etc/passwd")?;
    let known = users.iter().map(|line| line.split(':').collect::<Vec<_>>());
    let known = known.filter_map(|parts| match parts[..] {
        [name, _, uid, gid, ..] => Some((name.to_owned(), uid.parse().ok()?, gid.parse().ok()?)),
        _ => None,
    });
    let mut known = known.map(|(name, uid, gid)| (name, Account { uid, gid }));
    let user = if user.is_empty() { "0" } else { user };
    let found = if let Ok(uid) = user.parse::<u32>() {
        known.find(|(_, account)| account.uid == uid).map_or(Account { uid, gid: 0 }, |(_, it)| it)
    } else {
        let found = known.find(|(name, _)| name == user).map(|(_, account)| account);
        found.ok_or_else(|| unknown("user", user, "etc/passwd"))?
    };
    let gid = if group.is_empty() { found.gid } else { group_of(group, root)? };
    Ok(Account { gid, ..found })
}

fn group_of(group: &str, root: &Path) -> io::Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let groups = lines(root, "etc/group")?;
    let gid = groups.iter().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next()? == group).then(|| parts.nth(1)?.parse().ok())?
    });
    gid.ok_or_else(|| unknown("group", group, "etc/group"))
}

fn unknown(what: &str, name: &str, file: &str) -> io::Error {
    io::Error::other(format!("the image is to run as the {what} '{name}', which its /{file} does not have"))
}

/// The lines of a file of the image; none when it has no such file.
fn lines(root: &Path, file: &str) -> io::Result<Vec<String>> {
    match std::fs::read(image::inside(root, Path::new(file))?) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Who stands in for root: `None` where the sandbox is not root.
#[cfg(unix)]
pub(crate) fn nobody() -> Option<Account> {
    /// What `nobody` is on systems that do not name it (`overflowuid` of user_namespaces(7)).
    const OVERFLOW: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let found = nix::unistd::User::from_name("nobody").ok().flatten();
    let found = found.map(|user| Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() });
    Some(found.unwrap_or(Account { uid: OVERFLOW, gid: OVERFLOW }))
}

#[cfg(not(unix))]
pub(crate) fn nobody() -> Option<Account> {
    None
}

/// The owner of a file, not of what a link leads to.
#[cfg(unix)]
pub(crate) fn owner_of(path: &Path) -> io::Result<Account> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(path)?;
    Ok(Account { uid: found.uid(), gid: found.gid() })
}

/// Gives a file, not what a link leads to, to an account.
///
/// # Errors
/// The sandbox is not root, or its system does not know the account.
#[cfg(unix)]
pub(crate) fn give(path: &Path, to: Account) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(to.uid), Some(to.gid))
}

/// Gives a tree, made as the image has it, to those who have it in the instance.
#[cfg(unix)]
pub(crate) fn hand_over(tree: &Path, identity: &Identity) -> io::Result<()> {
    let before = owner_of(tree)?;
    let Some(owner) = identity.owner(before) else { return Ok(()) };
    if owner != before {
        give(tree, owner)?;
    }
    if std::fs::symlink_metadata(tree)?.is_dir() {
        for entry in std::fs::read_dir(tree)? {
            hand_over(&entry?.path(), identity)?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn owner_of(_: &Path) -> io::Result<Account> {
    Ok(Account { uid: 0, gid: 0 })
}

#[cfg(not(unix))]
pub(crate) fn give(_: &Path, _: Account) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn hand_over(_: &Path, _: &Identity) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Account = Account { uid: 65_534, gid: 65_533 };

    fn account(uid: u32, gid: u32) -> Account {
        Account { uid, gid }
    }

    fn image() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nweb:x:1234:70:Web:/srv:/bin/false\n";
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.path().join("etc/group"), "root:x:0:\nstaff:x:50:web\n").unwrap();
        root
    }

    #[test]
    fn a_user_is_named_by_number_or_by_the_images_own_lists() {
        let image = image();
        for (named, expected) in [
            ("", account(0, 0)),
            ("root", account(0, 0)),
            ("web", account(1234, 70)),
            ("web:staff", account(1234, 50)),
            ("web:7", account(1234, 7)),
            ("1234", account(1234, 70)),
            ("65532", account(65_532, 0)),
            ("65532:65531", account(65_532, 65_531)),
            ("65532:staff", account(65_532, 50)),
            (":staff", account(0, 50)),
        ] {
            assert_eq!(wanted(named, image.path()).unwrap(), expected, "{named}");
        }
    }

    #[test]
    fn a_name_that_the_image_does_not_know_is_refused() {
        let image = image();
        let said = |named| wanted(named, image.path()).unwrap_err().to_string();
        assert_eq!(
            said("ghost"),
            "the image is to run as the user 'ghost', which its /etc/passwd does not have"
        );
        assert_eq!(
            said("web:ghosts"),
            "the image is to run as the group 'ghosts', which its /etc/group does not have"
        );
        let empty = tempfile::tempdir().unwrap();
        assert!(wanted("web", empty.path()).is_err());
        assert_eq!(wanted("1:2", empty.path()).unwrap(), account(1, 2));
    }

    #[test]
    fn nobody_stands_in_for_root_and_for_nobody_else() {
        let real = |uid, gid| Identity::new(account(uid, gid), Some(NOBODY)).real.unwrap();
        assert_eq!(real(0, 0), NOBODY);
        assert_eq!(real(0, 70), NOBODY);
        assert_eq!(real(1234, 70), account(1234, 70));
        assert_eq!(real(1234, 0), account(1234, 65_533), "nor does anybody get root's group");
        assert_eq!(Identity::new(account(1234, 70), None).real, None);
    }

    #[test]
    fn files_stay_with_the_owners_that_the_image_gives_them() {
        let user = Identity::new(account(1234, 0), Some(NOBODY));
        assert_eq!(user.owner(account(0, 5)), Some(account(0, 5)));
        assert_eq!(user.owner(account(1234, 0)), Some(account(1234, 65_533)), "the group that it is shown");
        let root = Identity::new(account(0, 0), Some(NOBODY));
        assert_eq!(root.owner(account(0, 0)), Some(NOBODY), "what stands in for root may write all");
        assert_eq!(root.owner(account(7, 7)), Some(NOBODY));
        assert_eq!(Identity::new(account(1234, 0), None).owner(account(0, 0)), None);
    }
}
