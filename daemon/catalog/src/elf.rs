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

/// Why this machine cannot load it, if that can be told without trying. None: the loader has to judge it.
pub fn foreign(file: &OwnedFd) -> io::Result<Option<String>> {
    let file = File::from(file.try_clone()?);
    let mut header = [0; 20];
    let mut length = 0;
    while length < header.len() {
        match file.read_at(&mut header[length..], length as u64)? {
            0 => break,
            n => length += n,
        }
    }
    let known = &header[..length];
    if length == 0 {
        return Ok(Some("it is empty".into()));
    }
    if !known.starts_with(b"\x7fELF") {
        let what = match known {
            [b'#', b'!', ..] => "it is a script; `plugin = \"exec\"` runs programs",
            [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => "it is a static library (.a)",
            _ => "it is no ELF file, so no shared library",
        };
        return Ok(Some(what.into()));
    }
    if length < header.len() {
        return Ok(Some(
            "it ends within its own header: is it still being copied?".into(),
        ));
    }
    let (bits, order) = (header[4], header[5]);
    let half = |at: usize| match order {
        2 => u16::from_be_bytes([header[at], header[at + 1]]),
        _ => u16::from_le_bytes([header[at], header[at + 1]]),
    };
    let (kind, machine) = (half(16), half(18));
    Ok(match () {
        () if machine != MACHINE || bits != 2 => Some(format!(
            "it was built for {}, and this machine is {}",
            machine_name(machine, bits),
            std::env::consts::ARCH
        )),
        () if kind == RELOCATABLE => Some("it is an object file: link it with `cc -shared`".into()),
        () if kind != SHARED => Some("it is a program and no shared library".into()),
        () => None,
    })
}

const RELOCATABLE: u16 = 1;
const SHARED: u16 = 3;
/// elf(5), e_machine, of those that healthd is built for; others are judged by the loader.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    0
};

fn machine_name(machine: u16, bits: u8) -> String {
    let name = match machine {
        3 => "x86 (32 bits)",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm (32 bits)",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        _ => {
            return format!(
                "machine {machine}, {} bits",
                if bits == 2 { 64 } else { 32 }
            );
        }
    };
    name.to_owned()
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
    fn what_cannot_be_loaded_here_is_told_without_trying() {
        let ours = std::fs::read("/proc/self/exe").expect("our own program");
        let why = |bytes: &[u8]| {
            let file = healthd_sys::memfd::sealed_bytes("elf", bytes).expect("memfd");
            foreign(&file).expect("it can be read").unwrap_or_default()
        };
        let with = |at: usize, value: u8| {
            let mut bytes = ours[..64].to_vec();
            bytes[at] = value;
            why(&bytes)
        };
        assert_eq!(why(b""), "it is empty");
        assert!(why(b"#!/bin/sh\n").starts_with("it is a script"));
        assert_eq!(why(b"!<arch>\n"), "it is a static library (.a)");
        assert_eq!(why(b"hello"), "it is no ELF file, so no shared library");
        assert!(why(&ours[..10]).contains("still being copied"));
        assert_eq!(with(16, 3), "");
        assert_eq!(with(16, 2), "it is a program and no shared library");
        assert!(with(16, 1).starts_with("it is an object file"));
        assert!(with(18, 21).starts_with("it was built for powerpc64, and this machine is "));
    }

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
