//! A file system for tests that stops answering when it is told to. It stands for NFS whose server is gone, too: Debian's NFS
//! servers have a client in the kernel only, and that of the machines where the tests run has none.

use crate::mountinfo;
use healthd_testing::Folder;
use std::path::PathBuf;
use std::process::{Child, Command};

/// `bindfs` in a folder, which a signal makes silent.
pub struct Fuse {
    server: Child,
    pub point: PathBuf,
}

impl Fuse {
    /// None: bindfs is not installed, or there is no /dev/fuse.
    pub fn mount(folder: &Folder, name: &str) -> Option<Fuse> {
        let (from, point) = (folder.file("from"), folder.file(name));
        std::fs::create_dir_all(&from).unwrap();
        std::fs::create_dir_all(&point).unwrap();
        let mut server = Command::new("bindfs")
            .arg("-f")
            .args([&from, &point])
            .spawn()
            .ok()?;
        // It is mounted when mountinfo has it, and never if the server has ended.
        loop {
            let text = std::fs::read("/proc/self/mountinfo").unwrap();
            if mountinfo::parse(&text).iter().any(|m| m.point == point) {
                return Some(Fuse { server, point });
            }
            if server.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::yield_now();
        }
    }

    pub fn signal(&self, name: &str) {
        healthd_testing::run(Command::new("kill").args([name, &self.server.id().to_string()]));
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.signal("-CONT");
        let _ = Command::new("fusermount3")
            .arg("-uz")
            .arg(&self.point)
            .status();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
