//! A control group of its own for a daemon: what the kernel charges it for memory is what systemd shows of a unit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Group(PathBuf);

impl Group {
    /// None: this user may make none here, or they count no memory.
    pub fn new() -> Option<Group> {
        let of_memory = Path::new("/sys/fs/cgroup/memory");
        let all = match of_memory.is_dir() {
            true => of_memory,
            false => Path::new("/sys/fs/cgroup"),
        };
        let dir = all.join(format!("healthd-bench-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let group = Group(dir);
        group.charged_kb().is_some().then_some(group)
    }

    /// Starts the program, which is of the group from its first moment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.0.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// Of both versions of control groups; kB are 1,000 bytes.
    pub fn charged_kb(&self) -> Option<u64> {
        let files = ["memory.current", "memory.usage_in_bytes"];
        let charged = files.iter().find_map(|file| {
            let text = fs::read_to_string(self.0.join(file)).ok()?;
            text.trim().parse::<u64>().ok()
        });
        charged.map(|bytes| bytes / 1000)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
