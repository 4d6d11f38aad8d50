//! Which file systems are looked at, and what statvfs(2) says of one.

use super::Options;
use crate::glob;
use crate::mountinfo::{Mount, covering};
use nix::sys::stat::stat;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// One that is to be asked.
pub struct Target {
    pub path: PathBuf,
    pub name: String,
    /// The config names it.
    pub is_named: bool,
}

/// What statvfs says, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    pub path: PathBuf,
    pub used: f64,
    /// For an ordinary user.
    pub available: f64,
    pub inodes: f64,
    pub inodes_available: f64,
    /// `major:minor`, as mountinfo writes it.
    pub device: String,
}

/// Types that hold no data of anybody, or that asking changes (`autofs` would mount).
const NO_DISKS: [&str; 4] = ["autofs", "fuse.portal", "fuse.gvfsd-fuse", "fuse.lxcfs"];

/// The file systems to look at: those named, or each that can be written, once.
pub fn targets(mounts: &[Mount], o: &Options, was_writable: impl Fn(&Path) -> bool) -> Vec<Target> {
    if !o.paths.is_empty() {
        let named = o.paths.iter().map(|path| Target {
            path: path.to_path_buf(),
            name: path.display().to_string(),
            is_named: true,
        });
        return named.collect();
    }
    let excluded = |mount: &Mount| {
        let point = mount.point.to_string_lossy();
        // Layers of containers share the space of what lies under them; as the root one of them is the disk.
        (mount.kind == "overlay" && mount.point != Path::new("/"))
            || NO_DISKS.contains(&mount.kind.as_str())
            || o.exclude_types
                .iter()
                .any(|p| glob::matches(p, &mount.kind))
            || o.exclude_paths.iter().any(|p| glob::matches(p, &point))
    };
    // Bind mounts and subvolumes of one file system: the one with the shortest path stands for all.
    let mut of_device: BTreeMap<&str, &Mount> = BTreeMap::new();
    for mount in mounts
        .iter()
        .filter(|m| !excluded(m) && m.stand_in().is_none())
    {
        // What was mounted read-only cannot fill up.
        let has_turned = mount.has_turned_read_only() || was_writable(&mount.point);
        if mount.is_read_only() && !has_turned {
            continue;
        }
        let shown = of_device.entry(&mount.device).or_insert(mount);
        if mount.point.as_os_str().len() < shown.point.as_os_str().len() {
            *shown = mount;
        }
    }
    let mut targets: Vec<Target> = of_device
        .into_values()
        .map(|mount| Target {
            path: mount.point.clone(),
            name: mount.point.display().to_string().replace('\n', "?"),
            is_named: false,
        })
        .collect();
    targets.sort_by(|a, b| a.path.cmp(&b.path));
    targets
}

/// The mount that has answered.
pub fn mount_of<'m>(mounts: &'m [Mount], target: &Target, space: &Space) -> Option<&'m Mount> {
    if !target.is_named {
        return mounts.iter().find(|m| m.point == target.path);
    }
    let by_name = covering(mounts, &target.path);
    let is_right = |m: &&Mount| m.device == space.device;
    // Links lead elsewhere. File systems that have a device for each part (btrfs) are found by their name.
    let by_device = mounts
        .iter()
        .filter(is_right)
        .min_by_key(|m| m.point.as_os_str().len());
    by_name.filter(is_right).or(by_device).or(by_name)
}

impl Space {
    pub fn of(path: &Path) -> io::Result<Space> {
        let s = statvfs(path)?;
        let device = stat(path)?.st_dev;
        let block = s.fragment_size() as f64;
        let blocks = |n: u64| n as f64 * block;
        let inodes_used = s.files().saturating_sub(s.files_free()) as f64;
        Ok(Space {
            path: path.to_owned(),
            used: blocks(s.blocks().saturating_sub(s.blocks_free())),
            available: blocks(s.blocks_available()),
            inodes: match s.files() {
                0 => 0.0,
                _ => inodes_used + s.files_available() as f64,
            },
            inodes_available: s.files_available() as f64,
            device: format!(
                "{}:{}",
                nix::sys::stat::major(device),
                nix::sys::stat::minor(device)
            ),
        })
    }

    /// What ordinary users can have of it; the rest is root's.
    pub fn whole(&self) -> f64 {
        self.used + self.available
    }

    pub fn free_share(&self) -> f64 {
        self.available / self.whole() * 100.0
    }

    /// In percent; None: it has no inodes to run out of.
    pub fn free_inodes(&self) -> Option<f64> {
        (self.inodes > 0.0).then(|| self.inodes_available / self.inodes * 100.0)
    }
}
