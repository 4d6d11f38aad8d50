//! `/proc/self/mountinfo`: what is mounted where, as the kernel tells it without asking any file system.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Of the superblock; the same for all mounts of one file system.
    pub device: String,
    /// What of the file system is mounted: `/`, or a folder in it for a bind mount.
    pub root: PathBuf,
    pub point: PathBuf,
    /// Of this mount: `rw`, `noexec`, ...
    pub options: String,
    pub kind: String,
    pub source: String,
    /// Of the file system: `rw`, `errors=remount-ro`, ...
    pub super_options: String,
}

impl Mount {
    /// The file system itself takes no writes.
    pub fn is_read_only(&self) -> bool {
        has(&self.super_options, "ro")
    }

    /// The file system takes no writes, and yet nobody mounted it so: it has turned read-only after an error.
    pub fn has_turned_read_only(&self) -> bool {
        self.is_read_only() && has(&self.options, "rw")
    }

    /// What a service's sandbox has put over the real one; None: it is the real one.
    pub fn stand_in(&self) -> Option<&'static str> {
        let root = self.root.to_string_lossy();
        if root.starts_with("/systemd/inaccessible") {
            return Some("ProtectHome or InaccessiblePaths");
        }
        root.contains("/systemd-private-").then_some("PrivateTmp")
    }
}

fn has(options: &str, word: &str) -> bool {
    options.split(',').any(|o| o == word)
}

/// All mounts that can be reached: of several at one point, the last one. Lines that make no sense are left out.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for mount in text.split(|b| *b == b'\n').filter_map(line) {
        match at.get(&mount.point) {
            Some(&i) => mounts[i] = mount,
            None => {
                at.insert(mount.point.clone(), mounts.len());
                mounts.push(mount);
            }
        }
    }
    mounts
}

/// The mount that a path lies on, going by its name.
pub fn covering<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    mounts
        .iter()
        .filter(|m| path.starts_with(&m.point))
        .max_by_key(|m| m.point.as_os_str().len())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|b| *b == b' ');
    let device = words.nth(2)?;
    let (root, point, options) = (words.next()?, words.next()?, words.next()?);
    // Optional fields, then a dash.
    words.find(|w| *w == b"-")?;
    let (kind, source) = (words.next()?, words.next()?);
    // A source may be empty, and no file system has no options.
    let super_options = words.next().unwrap_or_default();
    let path = |word: &[u8]| PathBuf::from(OsString::from_vec(unescaped(word)));
    let text = |word: &[u8]| String::from_utf8_lossy(&unescaped(word)).into_owned();
    Some(Mount {
        device: text(device),
        root: path(root),
        point: path(point),
        options: text(options),
        kind: text(kind),
        source: text(source),
        super_options: text(super_options),
    })
}

/// `\040` is a blank: the kernel writes blanks, tabs, line ends and backslashes in octal.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| {
                let text = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(text, 8).ok()
            });
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda1 ro,discard,errors=remount-ro
40 27 254:0 /srv/a\040b /mnt/new\012line rw shared:7 master:1 - ext4 /dev/vda1 rw
41 27 0:40 / /mnt rw - tmpfs tmpfs rw,size=4k
42 27 0:41 / /mnt rw - nfs4 server:/export rw,vers=4.2
43 27 0:42 /systemd/inaccessible/dir /home ro - tmpfs tmpfs rw
44 27 254:0 /tmp/systemd-private-12ab-healthd.service-x/tmp /tmp rw - ext4 /dev/vda1 rw
this is no line
45 27 0:43 / /back\134slash rw - fuse.sshfs user@host:/ rw
";

    #[test]
    fn lines_with_odd_names() {
        let mounts = parse(SAMPLE.as_bytes());
        let points: Vec<_> = mounts.iter().map(|m| m.point.to_str().unwrap()).collect();
        assert_eq!(
            points,
            [
                "/proc",
                "/",
                "/mnt/new\nline",
                "/mnt",
                "/home",
                "/tmp",
                "/back\\slash"
            ]
        );
        assert_eq!(mounts[2].root, Path::new("/srv/a b"));
        assert_eq!(mounts[2].device, "254:0");
        assert_eq!(
            (&*mounts[3].kind, &*mounts[3].source),
            ("nfs4", "server:/export"),
            "the last one counts"
        );
        assert!(mounts[1].has_turned_read_only());
        assert!(!mounts[4].is_read_only(), "only this mount of it is");
        assert_eq!(
            mounts[4].stand_in(),
            Some("ProtectHome or InaccessiblePaths")
        );
        assert_eq!(mounts[5].stand_in(), Some("PrivateTmp"));
        assert_eq!(mounts[2].stand_in(), None);
        assert_eq!(unescaped(br"\04"), br"\04");
        assert_eq!(unescaped(br"\777"), br"\777");
    }

    #[test]
    fn the_mount_of_a_path() {
        let mounts = parse(SAMPLE.as_bytes());
        let of = |path: &str| covering(&mounts, Path::new(path)).unwrap().point.clone();
        assert_eq!(of("/mnt/x"), Path::new("/mnt"));
        assert_eq!(of("/mntx"), Path::new("/"));
        assert_eq!(of("/mnt/new\nline/y"), Path::new("/mnt/new\nline"));
    }

    #[test]
    fn ten_thousand_mounts() {
        let text: String = (0..10_000)
            .map(|n| format!("{n} 27 0:{n} / /m/{n} rw - tmpfs none rw\n"))
            .collect();
        assert_eq!(parse(text.as_bytes()).len(), 10_000);
    }
}
