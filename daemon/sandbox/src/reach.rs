//! Which folder is opened for a path that a check names. Never the file alone: files are replaced by others of the same
//! name (logs that are rotated, certificates that are renewed), and rules hold for what was there.
//!
//! Nothing on the network is touched, as that may hang: there the rule is for the folder that it is mounted in.

use healthd_core::wire::sandbox::OpenPath;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// File systems that ask nobody.
const LOCAL: [&str; 18] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "rootfs", "overlay",
    "squashfs", "vfat", "erofs", "f2fs", "bcachefs", "proc", "sysfs", "devtmpfs",
];

pub fn all(paths: &[OpenPath]) -> Vec<(PathBuf, bool)> {
    if paths.is_empty() {
        return Vec::new();
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let foreign = foreign(&mounts);
    let mut found = BTreeSet::new();
    for named in paths {
        let path = without_pattern(&named.path);
        for folder in folders(path, &foreign) {
            found.insert((folder, named.write));
        }
    }
    found.into_iter().collect()
}

/// Where something is mounted that may not answer.
fn foreign(mountinfo: &str) -> Vec<PathBuf> {
    let of = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let kind = kind.split(' ').next()?;
        let place = place.split(' ').nth(4)?;
        // A blank in it is written in octal; such a place is not found, and so is opened as any other.
        (!LOCAL.contains(&kind)).then(|| PathBuf::from(place))
    };
    mountinfo.lines().filter_map(of).collect()
}

/// "/var/log/*.log": what stands before the pattern.
fn without_pattern(path: &str) -> &Path {
    match path.find(['*', '?', '[']) {
        Some(at) => Path::new(&path[..path[..at].rfind('/').map_or(0, |n| n + 1)]),
        None => Path::new(path),
    }
}

/// The folder that holds it, and where it leads to if it is a link.
fn folders(path: &Path, foreign: &[PathBuf]) -> Vec<PathBuf> {
    let mounted = foreign.iter().filter(|m| path.starts_with(m));
    if let Some(mount) = mounted.min_by_key(|m| m.as_os_str().len()) {
        return vec![mount.parent().unwrap_or(mount).to_owned()];
    }
    let mut all = vec![folder(path)];
    if let Ok(real) = std::fs::canonicalize(path)
        && real != path
    {
        all.push(folder(&real));
    }
    all
}

/// A folder is one itself; of what is not there, the next above that is.
fn folder(path: &Path) -> PathBuf {
    let is_folder = |p: &&Path| std::fs::metadata(p).is_ok_and(|m| m.is_dir());
    let found = path.ancestors().find(is_folder);
    found.unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_is_a_folder() {
        for (path, folder) in [
            ("/etc/hostname.none", "/etc"),
            ("/etc", "/etc"),
            ("/proc/self/not/there", "/proc/self"),
        ] {
            assert_eq!(super::folder(Path::new(path)), Path::new(folder), "{path}");
        }
        assert_eq!(without_pattern("/var/log/*/a.log"), Path::new("/var/log/"));
        assert_eq!(without_pattern("/var/log/a[0-9]"), Path::new("/var/log/"));
        assert_eq!(without_pattern("/var/log/a"), Path::new("/var/log/a"));
    }

    #[test]
    fn the_network_is_not_touched() {
        let mounts = "36 35 98:0 / / rw - ext4 /dev/sda1 rw\n\
                      40 36 0:40 / /mnt/nas rw,relatime shared:9 - nfs4 nas:/x rw\n\
                      41 36 0:41 / /var/lib/a rw - fuse.sshfs a rw\n";
        let foreign = foreign(mounts);
        assert_eq!(foreign, [Path::new("/mnt/nas"), Path::new("/var/lib/a")]);
        assert_eq!(
            folders(Path::new("/mnt/nas/deep/file"), &foreign),
            [Path::new("/mnt")]
        );
    }
}
