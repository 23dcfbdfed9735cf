//! A layer of an image: a tar archive in the form of POSIX (ustar), compressed. Order, owners and times are fixed, so
//! that the same files make the same bytes.
//!
//! Compressed, because it travels from laptops; fast, because binaries for trying out are large.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

/// What ustar reads and writes at a time.
const BLOCK: usize = 512;

/// Something in an archive, with its mode.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// `path` ends in a slash.
    Folder {
        path: &'a str,
        mode: u32,
    },
    File {
        path: &'a str,
        mode: u32,
        content: &'a [u8],
    },
}

/// A compressed layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) bytes: Vec<u8>,
    /// `sha256:...` of the bytes.
    pub(super) digest: String,
    /// `sha256:...` of the archive before it was compressed (`rootfs.diff_ids` of an image's configuration).
    pub(super) diff_id: String,
}

/// `sha256:` and the digest in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A layer with these entries, in their order. Fails when a path is longer than 100 bytes or a file than 8 GiB, which the
/// format has no room for.
pub(super) fn pack(entries: &[Entry<'_>]) -> io::Result<Layer> {
    let mut archive = Vec::new();
    for entry in entries {
        let (path, mode, kind, content) = match *entry {
            Entry::Folder { path, mode } => (path, mode, b'5', [].as_slice()),
            Entry::File { path, mode, content } => (path, mode, b'0', content),
        };
        archive.extend(header(path, mode, kind, content.len())?);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end an archive.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    let mut compressed =
        GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::fast());
    compressed.write_all(&archive)?;
    let bytes = compressed.finish()?;
    Ok(Layer { digest: sha256(&bytes), diff_id: sha256(&archive), bytes })
}

/// The block before an entry. Owner and time are 0: whoever builds it, whenever.
fn header(path: &str, mode: u32, kind: u8, size: usize) -> io::Result<Vec<u8>> {
    let mut fields: Vec<u8> = Vec::with_capacity(BLOCK);
    text(&mut fields, path, 100)?;
    octal(&mut fields, u64::from(mode), 8)?;
    octal(&mut fields, 0, 8)?;
    octal(&mut fields, 0, 8)?;
    octal(&mut fields, u64::try_from(size).map_err(io::Error::other)?, 12)?;
    octal(&mut fields, 0, 12)?;
    let checksum = fields.len();
    fields.extend(b"        ");
    fields.push(kind);
    text(&mut fields, "", 100)?;
    fields.extend(b"ustar\x0000");
    // Names of owner and group, and numbers of devices; nothing stands in the prefix of the path.
    text(&mut fields, "", 32)?;
    text(&mut fields, "", 32)?;
    octal(&mut fields, 0, 8)?;
    octal(&mut fields, 0, 8)?;
    fields.resize(BLOCK, 0);
    // The sum of all bytes with the sum's own as spaces, in six digits, a zero and a space.
    let sum: u32 = fields.iter().copied().map(u32::from).sum();
    let sum = format!("{sum:06o}\0 ");
    for (field, byte) in fields.iter_mut().skip(checksum).zip(sum.bytes()) {
        *field = byte;
    }
    Ok(fields)
}

fn text(fields: &mut Vec<u8>, text: &str, width: usize) -> io::Result<()> {
    if text.len() > width {
        return Err(io::Error::other(format!("`{text}` is longer than the {width} bytes of a tar archive")));
    }
    let end = fields.len() + width;
    fields.extend(text.as_bytes());
    fields.resize(end, 0);
    Ok(())
}

/// A number in octal digits, with a zero byte at its end.
fn octal(fields: &mut Vec<u8>, number: u64, width: usize) -> io::Result<()> {
    let digits = width - 1;
    let written = format!("{number:0digits$o}\0");
    text(fields, &written, width)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpacked(layer: &Layer) -> Vec<u8> {
        let mut archive = Vec::new();
        flate2::read::GzDecoder::new(layer.bytes.as_slice()).read_to_end(&mut archive).unwrap();
        archive
    }

    fn entries(content: &[u8]) -> [Entry<'_>; 2] {
        [Entry::Folder { path: "a/", mode: 0o755 }, Entry::File { path: "a/b", mode: 0o555, content }]
    }

    #[test]
    fn the_digests_are_those_of_the_bytes_before_and_after() {
        let layer = pack(&entries(b"hello")).unwrap();
        assert_eq!(layer.digest, sha256(&layer.bytes));
        assert_eq!(layer.diff_id, sha256(&unpacked(&layer)));
    }

    #[test]
    fn an_archive_has_whole_blocks_and_the_fields_of_ustar() {
        let archive = unpacked(&pack(&entries(b"hello")).unwrap());
        assert_eq!(archive.len(), 5 * BLOCK);
        let file = &archive[BLOCK..2 * BLOCK];
        assert_eq!(&file[..4], b"a/b\0");
        assert_eq!(&file[100..108], b"0000555\0");
        assert_eq!(&file[124..136], b"00000000005\0");
        assert_eq!(&file[136..148], b"00000000000\0");
        assert_eq!(&file[257..265], b"ustar\x0000");
        let sum: u32 = file
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        assert_eq!(&file[148..156], format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(&archive[2 * BLOCK..2 * BLOCK + 6], b"hello\0");
        assert!(archive[3 * BLOCK..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        let path = "a".repeat(101);
        assert!(pack(&[Entry::File { path: &path, mode: 0, content: b"" }]).is_err());
    }

    #[test]
    fn the_system_s_own_tar_reads_it() {
        let Ok(mut tar) = std::process::Command::new("tar")
            .args(["-tvzf", "-", "--utc", "--full-time", "--numeric-owner"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
        else {
            return;
        };
        tar.stdin.take().unwrap().write_all(&pack(&entries(b"hello")).unwrap().bytes).unwrap();
        let listed = tar.wait_with_output().unwrap();
        // The tar of another system has other words for the same flags.
        if listed.status.success() {
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert!(
                listed.contains("-r-xr-xr-x 0/0") && listed.contains("1970-01-01 00:00:00 a/b"),
                "{listed}"
            );
        }
    }
}
