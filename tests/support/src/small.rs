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

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
