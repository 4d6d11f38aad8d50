//! Whether an ELF file is all there: half a copy may look whole to the loader until a page of it is touched.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// How many bytes the file lacks by its own account. None: it is whole, or the loader has to judge it.
pub fn missing(file: &OwnedFd) -> io::Result<Option<u64>> {
    let file = File::from(file.try_clone()?);
    let length = file.metadata()?.len();
    let mut header = [0; 64];
    if length < 64 {
        return Ok(None);
    }
    file.read_exact_at(&mut header, 0)?;
    Ok(end(&header)
        .filter(|end| *end > length)
        .map(|end| end - length))
}

/// Where the section headers end, which linkers put last (elf(5)). 64 bits in this machine's byte order;
/// other kinds cannot be loaded anyway.
fn end(header: &[u8; 64]) -> Option<u64> {
    const CLASS64: u8 = 2;
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if header[..4] != *b"\x7fELF" || header[4] != CLASS64 || header[5] != order {
        return None;
    }
    let word = |at: usize| u64::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let mut offset = [0; 8];
    offset.copy_from_slice(&header[40..48]);
    let (offset, size, count) = (u64::from_ne_bytes(offset), word(58), word(60));
    Some(offset.saturating_add(size * count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_file_says_what_it_lacks() {
        let whole = std::fs::read("/proc/self/exe").expect("our own program");
        let missing = |bytes: &[u8]| {
            let file = healthd_sys::memfd::sealed_bytes("elf", bytes).expect("memfd");
            missing(&file).expect("it can be read")
        };
        assert_eq!(missing(&whole), None);
        assert!(missing(&whole[..whole.len() / 2]).is_some_and(|n| n <= whole.len() as u64));
        // More than that is no harm, and what is no ELF file is not judged here.
        assert_eq!(missing(&[&whole[..], b"more"].concat()), None);
        assert_eq!(missing(&[7; 100]), None);
        assert_eq!(missing(b"short"), None);
    }
}
