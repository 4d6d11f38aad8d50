//! Room for what healthd writes, and whether it outlives a reboot.

use super::{Findings, Patient, quoted};
use healthd_units::size;
use rustix::fs::{StatVfs, statfs, statvfs};
use std::path::Path;

/// TMPFS_MAGIC and RAMFS_MAGIC of statfs(2).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
const LEAST: u64 = 100 << 20;
const LEAST_OF_MEMORY: u64 = 16 << 20;

pub fn look(patient: &Patient) -> Findings {
    let mut found = Findings::of("disk");
    room(
        &mut found,
        &patient.state_dir,
        LEAST,
        "verdicts, alerts and history are kept",
    );
    room(
        &mut found,
        &patient.runtime_dir,
        LEAST_OF_MEMORY,
        "the status maps lie",
    );
    let state = existing(&patient.state_dir);
    let kind = statfs(state).map(|s| u64::try_from(s.f_type).unwrap_or_default());
    if !patient.here && kind.is_ok_and(|kind| IN_MEMORY.contains(&kind)) {
        found.warning(
            format!(
                "{} is in memory: a reboot forgets verdicts, pauses and what was told",
                patient.state_dir.display()
            ),
            format!(
                "set `state_dir` in {} to a folder on a disk, and `sudo systemctl restart healthd`",
                quoted(&patient.config)
            ),
        );
    }
    found
}

fn room(found: &mut Findings, folder: &Path, least: u64, what: &str) {
    let shown = folder.display();
    let there = existing(folder);
    let stat = match statvfs(there) {
        Ok(stat) => stat,
        Err(e) => {
            let list = format!("ls -ld {}", quoted(there));
            return found.warning(format!("{shown} cannot be looked at: {e}"), list);
        }
    };
    let free = free(&stat);
    let about = size::about(free as f64);
    let look = format!(
        "sudo du -xh {} | sort -h | tail   # what takes the room",
        quoted(there)
    );
    if free < least {
        found.problem(format!("only {about} are free where {what}: {shown}"), look);
    } else if let Some(share) = inodes(&stat).filter(|share| *share < 0.01) {
        let percent = share * 100.0;
        found.problem(
            format!("only {percent:.1} % of the inodes are free where {what}: {shown}"),
            look,
        );
    } else {
        found.ok(format!("{about} free where {what}: {shown}"));
    }
}

fn free(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

/// None: this file system has no fixed number of them.
fn inodes(stat: &StatVfs) -> Option<f64> {
    (stat.f_files > 0).then(|| stat.f_favail as f64 / stat.f_files as f64)
}

/// The folder, or the one in which it would be made.
fn existing(folder: &Path) -> &Path {
    let there = folder.ancestors().find(|path| path.exists());
    there.unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_will_be_made_is_where_it_will_be() {
        assert_eq!(
            existing(Path::new("/proc/nothing/here")),
            Path::new("/proc")
        );
        let mut found = Findings::of("disk");
        room(
            &mut found,
            Path::new("/proc/nothing/x"),
            u64::MAX,
            "it lies",
        );
        let only = &found.list[0];
        assert!(
            only.what.contains("free where it lies: /proc/nothing/x"),
            "{only:?}"
        );
        assert!(
            only.mend
                .as_deref()
                .is_some_and(|m| m.contains("du -xh /proc ")),
            "{only:?}"
        );
    }
}
