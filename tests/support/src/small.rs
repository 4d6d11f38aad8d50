//! A file system that is easily full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system; None where this machine does not let us.
pub struct Small(PathBuf);

impl Small {
    pub fn mount(on: &Path, size: &str) -> Option<Small> {
        fs::create_dir_all(on).expect("our own folder");
        let done = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("mode=755,size={size}"),
                "tmpfs",
            ])
            .arg(on)
            .output();
        done.is_ok_and(|d| d.status.success())
            .then(|| Small(on.to_owned()))
    }

    /// Leaves no byte free.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("our own folder");
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|n| n > 0) {}
        path
    }
}

/// A folder in which nothing more can be opened for writing, as long as this lives.
pub struct ReadOnly(PathBuf);

impl ReadOnly {
    /// It stays the same folder. None where this machine does not let us.
    pub fn over(folder: &Path) -> Option<ReadOnly> {
        let mount = |args: &[&str]| {
            let done = Command::new("mount").args(args).arg(folder).output();
            done.is_ok_and(|d| d.status.success())
        };
        let on_itself = folder.to_string_lossy();
        let mounted = mount(&["--bind", &on_itself]).then(|| ReadOnly(folder.to_owned()))?;
        mount(&["-o", "remount,bind,ro"]).then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// All that is mounted in a folder of a test.
pub fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut below: Vec<&Path> = (mounts.lines())
        .filter_map(|line| line.split(' ').nth(4).map(Path::new))
        .filter(|path| path.starts_with(folder))
        .collect();
    // The last first: one may lie on or in another.
    while let Some(path) = below.pop() {
        unmount(path);
    }
}

/// That it is not there any more is fine.
fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("-l").arg(path).output();
}
