//! What a binary needs to run: read from its ELF headers (System V ABI, chapters 4 and 5; 64 bits, little end first).

use super::BuildError;

const MAGIC: &[u8] = b"\x7fELF";
/// `EI_CLASS` and `EI_DATA` of 64 bits with the little end first.
const CLASS_64: u8 = 2;
const LITTLE_END: u8 = 1;
/// `e_machine` of x86-64, the one machine that Cloud Run has.
const X86_64: u16 = 62;
/// `p_type` of the segment that names the program's loader.
const PT_INTERP: u32 = 3;

/// Refuses what Cloud Run cannot start: another system's binary, and without a base one that needs a loader, which an empty
/// image does not have.
pub(super) fn check(binary: &[u8], has_base: bool) -> Result<(), BuildError> {
    let machine = field(binary, 18).map(u16::from_le_bytes);
    let linux = binary.starts_with(MAGIC)
        && binary.get(4) == Some(&CLASS_64)
        && binary.get(5) == Some(&LITTLE_END)
        && machine == Some(X86_64);
    if !linux {
        return Err(BuildError::new("the binary is not one for Linux on x86-64, which Cloud Run needs"));
    }
    match interpreter(binary) {
        Some(loader) if !has_base => Err(BuildError::new(format!(
            "the binary is not static: it needs {loader}, and an image without a base has no files"
        ))
        .hint("name an image that has what it needs: `build.base: gcr.io/distroless/cc-debian12@sha256:...`")
        .hint("or find out what links it dynamically: arguments of the linker in RUSTFLAGS, .cargo/config.toml or a build script")),
        _ => Ok(()),
    }
}

/// The program's loader, if it needs one.
fn interpreter(binary: &[u8]) -> Option<String> {
    let table = usize::try_from(u64::from_le_bytes(field(binary, 32)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(field(binary, 54)?));
    let count = usize::from(u16::from_le_bytes(field(binary, 56)?));
    (0..count).find_map(|index| {
        let header = table.checked_add(index.checked_mul(size)?)?;
        if u32::from_le_bytes(field(binary, header)?) != PT_INTERP {
            return None;
        }
        Some(name(binary, header).unwrap_or_else(|| "a loader".to_owned()))
    })
}

/// What the segment with this header holds.
fn name(binary: &[u8], header: usize) -> Option<String> {
    let place = |at: usize| usize::try_from(u64::from_le_bytes(field(binary, header.checked_add(at)?)?)).ok();
    let (offset, length) = (place(8)?, place(32)?);
    let name = binary.get(offset..offset.checked_add(length)?)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

fn field<const N: usize>(binary: &[u8], offset: usize) -> Option<[u8; N]> {
    binary.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest binary that has the headers of one; with a loader's name, if it is to need one.
    pub(in crate::build) fn binary(loader: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&[CLASS_64, LITTLE_END]);
        bytes[18..20].copy_from_slice(&X86_64.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        if let Some(loader) = loader {
            bytes[64..68].copy_from_slice(&PT_INTERP.to_le_bytes());
            bytes[72..80].copy_from_slice(&120_u64.to_le_bytes());
            bytes[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
            bytes.extend(loader.bytes().chain([0]));
        }
        bytes
    }

    #[test]
    fn a_static_binary_needs_no_base() {
        assert_eq!(check(&binary(None), false), Ok(()));
    }

    #[test]
    fn a_binary_with_a_loader_needs_a_base() {
        let dynamic = binary(Some("/lib64/ld-linux-x86-64.so.2"));
        let error = check(&dynamic, false).unwrap_err();
        assert!(error.message.contains("/lib64/ld-linux-x86-64.so.2"), "{error}");
        assert!(error.hints[0].contains("build.base"), "{error:?}");
        assert_eq!(check(&dynamic, true), Ok(()));
    }

    #[test]
    fn binaries_of_other_systems_are_refused() {
        let mut arm = binary(None);
        arm[18] = 183;
        for other in [arm, b"MZ".to_vec(), b"#!/bin/sh\n".to_vec(), Vec::new()] {
            assert!(check(&other, true).is_err());
        }
    }

    #[test]
    fn headers_that_lead_nowhere_are_read_without_harm() {
        let mut broken = binary(Some("/lib/ld.so"));
        broken[72..80].fill(0xff);
        assert!(check(&broken, false).unwrap_err().message.contains("a loader"));
        broken[32..40].fill(0xff);
        assert_eq!(check(&broken, false), Ok(()));
    }
}
