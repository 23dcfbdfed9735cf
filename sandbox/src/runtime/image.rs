//! Container images with content: what the runtime is told of one, and its layers put into a folder.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use tar::{Archive, Entry, EntryType};

use super::user::{self, Account};
use crate::world::World;

/// An image that can be run.
#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:` and 64 hexadecimal digits: of the manifest.
    pub digest: String,
    /// The image configuration of the OCI image specification.
    pub config: Value,
    /// The lowest first.
    pub layers: Vec<Layer>,
}

/// One layer: a tar archive on disk.
#[derive(Debug, Clone)]
pub struct Layer {
    pub path: PathBuf,
    pub media_type: String,
}

/// Where content of images comes from.
pub trait Images: Debug + Send + Sync {
    /// The image that a reference names, if its content is here. An image that is only known to exist has none.
    fn find(&self, world: &World, reference: &str) -> Option<Image>;
}

const WHITEOUT: &str = ".wh.";
/// Hides everything that lower layers have in the folder.
const OPAQUE: &str = ".wh..wh..opq";

/// Unpacks the layers of an image into `into`, which must not exist yet. On an error nothing is left behind.
pub(crate) fn unpack(image: &Image, into: &Path) -> io::Result<()> {
    let unfinished = into.with_extension("part");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    open(&unfinished)?;
    let done = image.layers.iter().try_for_each(|layer| apply(layer, &unfinished));
    let done = done.and_then(|()| fs::rename(&unfinished, into));
    if done.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    done
}

fn apply(layer: &Layer, root: &Path) -> io::Result<()> {
    let file = File::open(&layer.path)?;
    let reader: Box<dyn Read> = if layer.media_type.ends_with("gzip") {
        Box::new(GzDecoder::new(file))
    } else if layer.media_type.ends_with("zstd") {
        return Err(refused(format!("layers compressed as {} cannot be unpacked", layer.media_type)));
    } else {
        Box::new(file)
    };
    let mut archive = Archive::new(reader);
    for entry in archive.entries()? {
        put(&mut entry?, root)?;
    }
    Ok(())
}

fn put<R: Read>(entry: &mut Entry<'_, R>, root: &Path) -> io::Result<()> {
    let named = entry.path()?.into_owned();
    let inside = relative(&named)?;
    let Some(name) = inside.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
        return Ok(());
    };
    let folder = inside.parent().unwrap_or(Path::new(""));
    let folder = real_folder(root, folder)?;
    if name == OPAQUE {
        for old in fs::read_dir(&folder)? {
            remove(&old?.path())?;
        }
        return Ok(());
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        return remove(&folder.join(relative(Path::new(hidden))?));
    }
    let target = folder.join(&name);
    match entry.header().entry_type() {
        EntryType::Directory => {
            if !fs::symlink_metadata(&target).is_ok_and(|found| found.is_dir()) {
                remove(&target)?;
                fs::create_dir(&target)?;
            }
            mode(entry, &target)?;
            own(entry, &target)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            remove(&target)?;
            io::copy(entry, &mut File::create_new(&target)?)?;
            mode(entry, &target)?;
            own(entry, &target)
        }
        EntryType::Symlink => {
            let to = entry.link_name()?.ok_or_else(|| refused("a link without a target"))?;
            remove(&target)?;
            symlink(&to, &target)?;
            own(entry, &target)
        }
        EntryType::Link => {
            let to = entry.link_name()?.ok_or_else(|| refused("a link without a target"))?;
            let to = relative(&to)?;
            let source = real_folder(root, to.parent().unwrap_or(Path::new("")))?
                .join(to.file_name().ok_or_else(|| refused("a link to a folder"))?);
            if !fs::symlink_metadata(&source)?.is_file() {
                return Err(refused(format!("'{}' is a hard link to no file", named.display())));
            }
            remove(&target)?;
            fs::hard_link(source, &target)
        }
        EntryType::XGlobalHeader => Ok(()),
        _ => Err(refused(format!("'{}' is a device or another special file", named.display()))),
    }
}

/// The path without `/` and `.` in front. One that leads out is refused.
fn relative(path: &Path) -> io::Result<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(format!("'{}' leads out of the image", path.display())));
            }
        }
    }
    Ok(inside)
}

/// The folder, made where it is missing. A link on the way is refused when it leads out of the image; an absolute one
/// starts at the image's root.
fn real_folder(root: &Path, folder: &Path) -> io::Result<PathBuf> {
    let mut at = root.to_owned();
    let mut todo: Vec<PathBuf> =
        folder.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == Path::new("..") {
            if at == root {
                return Err(refused(format!("'{}' leads out of the image", folder.display())));
            }
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if links > 40 {
                    return Err(refused(format!("'{}' has too many links", folder.display())));
                }
                let to = fs::read_link(&next)?;
                if to.is_absolute() {
                    root.clone_into(&mut at);
                }
                let parts: Vec<PathBuf> = to
                    .components()
                    .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
                    .map(|part| PathBuf::from(part.as_os_str()))
                    .collect();
                todo.extend(parts.into_iter().rev());
            }
            Ok(found) if found.is_dir() => at = next,
            Ok(_) => return Err(refused(format!("'{}' goes through a file", folder.display()))),
            Err(_) => {
                fs::create_dir(&next)?;
                open(&next)?;
                at = next;
            }
        }
    }
    Ok(at)
}

/// The path of a file of an unpacked image that a process names, with links resolved inside the image's root.
pub(crate) fn inside(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let path = relative(path)?;
    let folder = real_folder(root, path.parent().unwrap_or(Path::new("")))?;
    Ok(path.file_name().map_or_else(|| folder.clone(), |name| folder.join(name)))
}

/// The same for a folder, which is made where it is missing.
pub(crate) fn folder(root: &Path, path: &Path) -> io::Result<PathBuf> {
    real_folder(root, &relative(path)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(unix)]
fn mode<R: Read>(entry: &Entry<'_, R>, target: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // Everybody reads what the image has: the process is not the user who unpacked it. No set-uid files.
    let mode = (entry.header().mode()? & 0o777) | 0o444;
    let mode = if target.is_dir() { mode | 0o755 } else { mode };
    fs::set_permissions(target, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn mode<R: Read>(_: &Entry<'_, R>, _: &Path) -> io::Result<()> {
    Ok(())
}

/// A folder that no layer describes is root's, and everybody may look into it.
#[cfg(unix)]
fn open(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Gives a file to the owner whom its layer names, where the sandbox is root.
fn own<R: Read>(entry: &Entry<'_, R>, target: &Path) -> io::Result<()> {
    if user::nobody().is_none() {
        return Ok(());
    }
    // A header that names nobody means root, as for other programs that read archives.
    let number = |number: io::Result<u64>| number.ok().and_then(|number| u32::try_from(number).ok());
    let (uid, gid) = (number(entry.header().uid()), number(entry.header().gid()));
    user::give(target, Account { uid: uid.unwrap_or(0), gid: gid.unwrap_or(0) })
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(refused("links cannot be made on this system"))
}

/// Copies an unpacked image with its owners, so that an instance writes into a tree of its own.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    keep_owner(from, to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(&fs::read_link(entry.path())?, &target)?;
            keep_owner(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            keep_owner(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn keep_owner(from: &Path, to: &Path) -> io::Result<()> {
    let (owner, now) = (user::owner_of(from)?, user::owner_of(to)?);
    if owner == now { Ok(()) } else { user::give(to, owner) }
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Maker(tar::Builder<Vec<u8>>);

    impl Maker {
        fn new() -> Self {
            Self(tar::Builder::new(Vec::new()))
        }

        /// Writes the name into the header as it is, which `tar` itself would refuse for some.
        fn entry(mut self, kind: EntryType, name: &str, link: &str, body: &str) -> Self {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o755);
            header.set_size(body.len() as u64);
            let old = header.as_old_mut();
            old.name[..name.len()].copy_from_slice(name.as_bytes());
            old.linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            self.0.append(&header, body.as_bytes()).unwrap();
            self
        }

        fn file(self, name: &str, body: &str) -> Self {
            self.entry(EntryType::Regular, name, "", body)
        }
    }

    fn unpacked(layers: Vec<Maker>) -> (tempfile::TempDir, io::Result<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers.into_iter().enumerate().map(|(index, maker)| {
            let path = dir.path().join(format!("{index}.tar"));
            fs::write(&path, maker.0.into_inner().unwrap()).unwrap();
            Layer { path, media_type: "application/vnd.oci.image.layer.v1.tar".to_owned() }
        });
        let image = Image { digest: "sha256:1".into(), config: Value::Null, layers: layers.collect() };
        let root = dir.path().join("root");
        let result = unpack(&image, &root).map(|()| root);
        (dir, result)
    }

    #[test]
    fn upper_layers_win_and_whiteouts_hide() {
        let lower = Maker::new().file("etc/a", "1").file("etc/b", "1").file("var/x", "1").file("var/y", "1");
        let upper = Maker::new()
            .file("etc/a", "2")
            .file("etc/.wh.b", "")
            .file("var/.wh..wh..opq", "")
            .file("var/z", "2");
        let (_dir, root) = unpacked(vec![lower, upper]);
        let root = root.unwrap();
        assert_eq!(fs::read_to_string(root.join("etc/a")).unwrap(), "2");
        assert!(!root.join("etc/b").exists());
        let left: Vec<_> =
            fs::read_dir(root.join("var")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["z"]);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for name in ["../evil", "a/../../evil"] {
            let (dir, root) = unpacked(vec![Maker::new().file(name, "x")]);
            assert!(root.is_err(), "{name}");
            assert!(!dir.path().join("evil").exists());
        }
        let link = Maker::new().entry(EntryType::Symlink, "out", "../..", "").file("out/evil", "x");
        assert!(unpacked(vec![link]).1.is_err());
        let hard = Maker::new().entry(EntryType::Link, "passwd", "../../../../../../etc/passwd", "");
        assert!(unpacked(vec![hard]).1.is_err());
    }

    #[test]
    fn a_link_from_the_root_stays_in_the_image() {
        let layer = Maker::new()
            .file("usr/lib/a", "1")
            .entry(EntryType::Symlink, "lib", "/usr/lib", "")
            .file("lib/b", "2");
        let (_dir, root) = unpacked(vec![layer]);
        assert_eq!(fs::read_to_string(root.unwrap().join("usr/lib/b")).unwrap(), "2");
    }

    #[test]
    fn a_device_is_refused_and_nothing_is_left() {
        let (dir, root) =
            unpacked(vec![Maker::new().file("a", "1").entry(EntryType::Char, "dev/null", "", "")]);
        assert!(root.unwrap_err().to_string().contains("special file"));
        assert!(!dir.path().join("root").exists() && !dir.path().join("root.part").exists());
    }
}
