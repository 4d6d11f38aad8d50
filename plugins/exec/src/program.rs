//! What a file is that shall be started, and what would keep it from that: the system itself says no more than that
//! something is missing, or that it is no program.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub const NEITHER: &str =
    "neither an executable of this machine nor a script with #! in its first line";
/// An executable says within so much what loads it.
const START: u64 = 4096;

/// Can this be started?
pub fn look(program: &Path) -> Result<(), String> {
    let meta = std::fs::metadata(program).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "there is no such file: install it or correct argv".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "a directory on the way to it is closed to the daemon's user".to_owned()
        }
        _ => e.to_string(),
    })?;
    if meta.is_dir() {
        return Err("a folder and no program".into());
    }
    if !is_executable(&meta) {
        return Err(format!("not executable: chmod +x {}", program.display()));
    }
    // The system may have been told how to start other kinds of files (binfmt_misc).
    let wrong = what_is_wrong(program).filter(|why| why != NEITHER);
    wrong.map_or(Ok(()), Err)
}

/// A plain file that somebody may execute.
pub fn may_run(program: &Path) -> bool {
    std::fs::metadata(program).is_ok_and(|meta| meta.is_file() && is_executable(&meta))
}

fn is_executable(meta: &Metadata) -> bool {
    meta.permissions().mode() & 0o111 != 0
}

/// None: nothing is seen. A program that may be run but not read is a program.
pub fn what_is_wrong(program: &Path) -> Option<String> {
    let mut start = Vec::new();
    let file = File::open(program).ok()?;
    file.take(START).read_to_end(&mut start).ok()?;
    wrong_with(&start, |path| Path::new(path).exists())
}

fn wrong_with(start: &[u8], exists: impl Fn(&str) -> bool) -> Option<String> {
    if start.is_empty() {
        return Some("the file is empty".into());
    }
    if let Some(rest) = start.strip_prefix(b"\xEF\xBB\xBF")
        && rest.starts_with(b"#!")
    {
        return Some("a byte order mark stands before its #!: save it without one".into());
    }
    if start.starts_with(b"\x7fELF") {
        let loader = loader(start)?;
        return (!exists(&loader)).then(|| {
            format!(
                "its loader {loader} does not exist: it was built for another system or C library"
            )
        });
    }
    let Some(rest) = start.strip_prefix(b"#!") else {
        return Some(NEITHER.into());
    };
    let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    // The kernel ends the name at a blank or a tab only.
    let interpreter = line.trim_start().split([' ', '\t']).next()?;
    match interpreter.strip_suffix('\r') {
        Some(bare) => Some(format!(
            "its lines end as on Windows (CR LF), so that its interpreter would be {bare}\\r: save it with LF alone"
        )),
        None if interpreter.starts_with('/') && !exists(interpreter) => Some(format!(
            "the interpreter {interpreter}, which its first line names, does not exist"
        )),
        None => None,
    }
}

/// What an ELF file names as its loader (PT_INTERP); None: nothing, or it cannot be read.
fn loader(elf: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let is_64 = *elf.get(4)? == 2;
    let is_big = *elf.get(5)? == 2;
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        let join = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(match is_big {
            true => bytes.iter().fold(0, join),
            false => bytes.iter().rev().fold(0, join),
        })
    };
    let word = if is_64 { 8 } else { 4 };
    let place = |at| usize::try_from(number(at, word)?).ok();
    let table = place(if is_64 { 32 } else { 28 })?;
    let (size, count) = match is_64 {
        true => (number(54, 2)?, number(56, 2)?),
        false => (number(42, 2)?, number(44, 2)?),
    };
    (0..count).find_map(|n| {
        let header = table.checked_add(usize::try_from(n.checked_mul(size)?).ok()?)?;
        if number(header, 4)? != PT_INTERP {
            return None;
        }
        let from = place(header.checked_add(word)?)?;
        let name = elf.get(from..)?.split(|b| *b == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_started_say_why() {
        let there = |path: &str| path == "/bin/sh";
        for (start, why) in [
            (&b""[..], Some("the file is empty")),
            (b"#!/bin/sh\necho", None),
            (b"#! /bin/sh -e\n", None),
            (b"#!/bin/sh", None),
            (
                b"#!/bin/sh\r\necho\r\n",
                Some(
                    "its lines end as on Windows (CR LF), so that its interpreter would be /bin/sh\\r",
                ),
            ),
            (
                b"\xEF\xBB\xBF#!/bin/sh\n",
                Some("a byte order mark stands before its #!"),
            ),
            (
                b"#!/opt/none/python\n",
                Some(
                    "the interpreter /opt/none/python, which its first line names, does not exist",
                ),
            ),
            (b"echo ok\n", Some(NEITHER)),
            (b"MZ\x90\0", Some(NEITHER)),
            (b"\x7fELF\x02\x01", None),
        ] {
            let told = wrong_with(start, there);
            match (why, &told) {
                (None, None) => {}
                (Some(why), Some(told)) if told.starts_with(why) => {}
                _ => panic!("{}: {told:?}", start.escape_ascii()),
            }
        }
    }

    #[test]
    fn the_loader_of_an_executable() {
        let own = std::fs::read(std::env::current_exe().expect("we run")).expect("it is there");
        let own = &own[..own.len().min(START as usize)];
        let named = loader(own).expect("the tests are dynamic");
        assert!(Path::new(&named).exists(), "{named}");
        let told = wrong_with(own, |_| false).expect("it is missing");
        assert!(told.starts_with(&format!("its loader {named} does not exist")));
        for cut in 0..own.len().min(600) {
            let _ = loader(&own[..cut]);
        }
    }
}
