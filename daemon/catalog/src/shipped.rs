//! Which plugin files came with this program: they share workers, and every other file has workers of its own.
//!
//! A file is one of them by its bytes, never by its name alone. Either `../lib/healthd/shipped.sha256`, seen from the
//! program, has their SHA-256, as the installation writes it; or they are those of the file of that name beside the
//! program, where a build leaves both. Whoever can write there can replace the program itself: so what is dropped into
//! the plugin folder cannot make itself one of them, and a plugin that somebody built anew is a stranger.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a build leaves beside the program besides these is no part of healthd.
const NAMES: [&str; 12] = [
    "cpu",
    "digest",
    "exec",
    "heartbeat",
    "host",
    "http",
    "net",
    "notify",
    "postgres",
    "sqlite",
    "stats",
    "tcp",
];
const LIST: &str = "../lib/healthd/shipped.sha256";
/// More is no list of ours.
const LIST_MOST: u64 = 64 << 10;

/// `copy` has the bytes of the file at `path`.
pub fn is(path: &Path, copy: &OwnedFd, owners: &[u32]) -> bool {
    let (Some(name), Some(folder)) = (path.file_name().and_then(|n| n.to_str()), folder()) else {
        return false;
    };
    if !is_name(name) {
        return false;
    }
    let sums = list(&folder.join(LIST), owners).unwrap_or_default();
    let listed = listed(&sums, name).is_some_and(|sum| sha256(copy).is_ok_and(|s| s == sum));
    listed || same(&folder.join(name), copy).unwrap_or(false)
}

fn is_name(file: &str) -> bool {
    let name = file.strip_prefix("libhealthd_");
    name.and_then(|n| n.strip_suffix(".so"))
        .is_some_and(|name| NAMES.contains(&name))
}

/// Where the program is, or was before another took its place.
fn folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let path = program.to_str()?;
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    Some(Path::new(path).parent()?.to_owned())
}

/// One that others may change says nothing.
fn list(path: &Path, owners: &[u32]) -> io::Result<String> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || healthd_sys::files::changed_by_others(&meta, owners).is_some() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut text = String::new();
    file.take(LIST_MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// As sha256sum writes it: the sum, two signs, the name.
fn listed<'a>(sums: &'a str, name: &str) -> Option<&'a str> {
    let of = |line: &'a str| {
        let (sum, file) = line.split_once(' ')?;
        (file.trim_start_matches([' ', '*']) == name).then_some(sum)
    };
    sums.lines().find_map(of)
}

fn sha256(copy: &OwnedFd) -> io::Result<String> {
    let mut hasher = Sha256::new();
    parts(&File::from(copy.try_clone()?), |_, part| {
        hasher.update(part);
        Ok(true)
    })?;
    let mut hex = String::new();
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

fn same(beside: &Path, copy: &OwnedFd) -> io::Result<bool> {
    let (beside, copy) = (File::open(beside)?, File::from(copy.try_clone()?));
    let (theirs, ours) = (beside.metadata()?, copy.metadata()?);
    if !theirs.is_file() || theirs.len() != ours.len() {
        return Ok(false);
    }
    let mut there = vec![0; PART];
    parts(&copy, |at, part| {
        let there = &mut there[..part.len()];
        beside.read_exact_at(there, at)?;
        Ok(*there == *part)
    })
}

const PART: usize = 64 << 10;

/// Until one says false.
fn parts(file: &File, mut each: impl FnMut(u64, &[u8]) -> io::Result<bool>) -> io::Result<bool> {
    let mut buffer = vec![0; PART];
    let mut at = 0;
    loop {
        let n = file.read_at(&mut buffer, at)?;
        if n == 0 {
            return Ok(true);
        }
        if !each(at, &buffer[..n])? {
            return Ok(false);
        }
        at += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_sys::memfd::sealed_bytes;

    #[test]
    fn the_names_are_those_of_a_plain_build() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).expect("our own");
        let (_, members) = manifest.split_once("default-members = [").expect("a list");
        let (members, _) = members.split_once(']').expect("its end");
        let built: Vec<&str> = members
            .split('"')
            .filter_map(|m| m.strip_prefix("plugins/"))
            .collect();
        assert_eq!(built, NAMES);
    }

    #[test]
    fn a_sum_is_found_by_its_whole_name() {
        let sums = "aa  libhealthd_tcp.so\nbb *libhealthd_net.so\n\nrubbish";
        assert_eq!(listed(sums, "libhealthd_tcp.so"), Some("aa"));
        assert_eq!(listed(sums, "libhealthd_net.so"), Some("bb"));
        assert_eq!(listed(sums, "tcp.so"), None);
        let abc = sealed_bytes("t", b"abc").expect("memfd");
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&abc).expect("read"), sum);
    }

    #[test]
    fn a_name_alone_makes_nobody_one_of_ours() {
        let dir = std::env::temp_dir().join(format!("healthd-shipped-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a new folder");
        let beside = dir.join("libhealthd_tcp.so");
        std::fs::write(&beside, vec![7; 3 * PART + 1]).expect("our own");
        let mut bytes = vec![7; 3 * PART + 1];
        let copy = sealed_bytes("t", &bytes).expect("memfd");
        assert!(same(&beside, &copy).expect("read"));
        *bytes.last_mut().expect("not empty") = 8;
        let other = sealed_bytes("t", &bytes).expect("memfd");
        assert!(!same(&beside, &other).expect("read"));
        assert!(!same(&beside, &sealed_bytes("t", b"x").expect("memfd")).expect("read"));
        assert!(same(&dir.join("none.so"), &copy).is_err());
        std::fs::remove_dir_all(&dir).expect("our own");
        assert!(!is_name("libhealthd_mine.so"));
    }
}
