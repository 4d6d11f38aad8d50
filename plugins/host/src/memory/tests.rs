use super::*;
use crate::tests::{LONG, check, create, sample};
use healthd_plugin::Options as _;
use healthd_plugin::serde_json::json;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MEMINFO: &str = "MemTotal:       8000000 kB\nMemFree:         100000 kB\nMemAvailable:   2000000 kB\n\
    SwapTotal:      1000000 kB\nSwapFree:        250000 kB\n";
const VMSTAT: &str = "nr_free_pages 1\npswpin 10\npswpout 20\noom_kill 3\n";

fn read(files: &[(&str, &str)], options: &str) -> Result<Found, String> {
    let (_folder, kernel) = sample(files);
    let memory = Memory {
        options: Options::parse(options.as_bytes()).unwrap(),
        kernel,
        before: Kept::default(),
    };
    memory.read()
}

#[test]
fn the_machine() {
    let found = read(&[("proc/meminfo", MEMINFO), ("proc/vmstat", VMSTAT)], "{}").unwrap();
    assert_eq!(found.of, "this machine");
    assert_eq!(found.available, 2_000_000.0 * 1024.0, "not MemFree");
    assert_eq!(found.swap_used, 750_000.0 * 1024.0);
    assert_eq!(found.swapped, Some(30 * page_size()));
    assert_eq!(found.oom_kills, Some(3));
    assert_eq!(found.pressure, None, "a kernel without PSI");
}

#[test]
fn containers_of_both_versions() {
    let v2 = [
        ("proc/meminfo", MEMINFO),
        ("sys/fs/cgroup/memory.max", "1000000000\n"),
        ("sys/fs/cgroup/memory.current", "900000000\n"),
        (
            "sys/fs/cgroup/memory.stat",
            "anon 5\nfile 7\ninactive_file 50000000\n",
        ),
        ("sys/fs/cgroup/memory.swap.max", "max\n"),
        ("sys/fs/cgroup/memory.events", "low 0\noom 2\noom_kill 1\n"),
    ];
    let found = read(&v2, "{}").unwrap();
    assert_eq!(
        (found.of, found.total, found.available),
        ("this container", 1e9, 1.5e8)
    );
    assert_eq!((found.oom_kills, found.swap_total), (Some(1), 0.0));
    assert_eq!(
        read(&v2, r#"{"cgroup": "none"}"#).unwrap().of,
        "this machine"
    );

    let mut unlimited = v2;
    unlimited[1].1 = "max\n";
    assert_eq!(read(&unlimited, "{}").unwrap().of, "this machine");

    let v1 = [
        ("proc/meminfo", MEMINFO),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000000\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900000000\n"),
        (
            "sys/fs/cgroup/memory/memory.stat",
            "cache 1\ntotal_inactive_file 100000000\n",
        ),
        (
            "sys/fs/cgroup/memory/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
        ),
    ];
    let found = read(&v1, "{}").unwrap();
    assert_eq!(
        (found.of, found.available, found.oom_kills),
        ("this container", 2e8, Some(4))
    );
    let mut root = v1;
    root[1].1 = "9223372036854771712\n";
    assert_eq!(read(&root, "{}").unwrap().of, "this machine");
}

#[test]
fn what_cannot_be_read_is_said() {
    assert!(read(&[], "{}").unwrap_err().starts_with("/proc/meminfo: "));
    let old = read(&[("proc/meminfo", "MemTotal: 5 kB\nMemFree: 3 kB\n")], "{}");
    assert_eq!(old.unwrap_err(), "/proc/meminfo: no line MemAvailable");
}

#[test]
fn this_machine_is_judged() {
    let fine = check(
        "memory",
        json!({"available_warn": "0%", "available_crit": "0%"}),
    );
    assert_eq!(fine.status, Status::Ok, "{fine:?}");
    assert!(fine.message.contains(" available ("), "{fine:?}");
    assert!(fine.metric("available").value > 0.0);
    let none = check(
        "memory",
        json!({"available_warn": "0%", "available_crit": "100%"}),
    );
    assert_eq!(none.status, Status::Critical, "{none:?}");
    assert!(none.message.contains(", below 100%"), "{none:?}");
}

#[test]
fn rates_need_two_runs() {
    let check = create(
        "memory",
        &json!({"available_warn": "0%", "available_crit": "0%", "swap_rate_crit": "1TiB"}),
    )
    .unwrap();
    let first = check.run(LONG);
    let told = !first.message.contains("does not tell");
    if told {
        assert!(
            first.message.contains("first run: no swap rate yet"),
            "{first:?}"
        );
        assert_eq!(check.run(LONG).metric("swap_rate").unit, "By/s");
    }
    if std::path::Path::new("/proc/pressure/memory").exists() {
        assert_eq!(first.metric("pressure_full").max, 100.0);
    }
}

/// A cgroup with a limit, of either version.
struct Group {
    path: PathBuf,
    /// Where a container would see it.
    seen_at: &'static str,
}

const LIMIT: u64 = 64 << 20;

impl Group {
    /// None, and a word about it, where nobody may make one.
    fn new() -> Option<Group> {
        let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let (tree, seen_at, limits) = match is_v2 {
            true => (
                "/sys/fs/cgroup",
                "sys/fs/cgroup",
                [("memory.swap.max", 0), ("memory.max", LIMIT)],
            ),
            // The limit with swap may not be below the one without.
            false => (
                "/sys/fs/cgroup/memory",
                "sys/fs/cgroup/memory",
                [
                    ("memory.limit_in_bytes", LIMIT),
                    ("memory.memsw.limit_in_bytes", LIMIT),
                ],
            ),
        };
        let path = Path::new(tree).join(format!("healthd-test-{}", std::process::id()));
        if let Err(e) = std::fs::create_dir(&path) {
            eprintln!("skipped: no cgroup of one's own: {}: {e}", path.display());
            return None;
        }
        let group = Group { path, seen_at };
        for (file, limit) in limits {
            let set = std::fs::write(group.path.join(file), limit.to_string());
            // Kernels without swap accounting do not have that one.
            if let Err(e) = set.or_else(|e| if file.contains("sw") { Ok(()) } else { Err(e) }) {
                eprintln!("skipped: no cgroup with a limit of memory: {file}: {e}");
                return None;
            }
        }
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[test]
fn a_real_cgroup_and_who_dies_in_it() {
    let Some(group) = Group::new() else { return };
    let (folder, kernel) = sample(&[("proc/meminfo", MEMINFO)]);
    let seen = folder.path().join(group.seen_at);
    std::fs::create_dir_all(seen.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&group.path, &seen).unwrap();
    let memory = Memory {
        options: Options::parse(b"{}").unwrap(),
        kernel,
        before: Kept::default(),
    };
    let found = memory.read().unwrap();
    assert_eq!(
        (found.of, found.total, found.oom_kills),
        ("this container", LIMIT as f64, Some(0))
    );
    assert!(
        (0.0..=found.total).contains(&found.available),
        "{}",
        found.available
    );
    // It keeps a line without an end: all of it.
    let greedy = "echo $$ >\"$0/cgroup.procs\" && ulimit -v 4000000 && exec tail /dev/zero";
    let ended = Command::new("sh")
        .args(["-c", greedy])
        .arg(&group.path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    if ended.signal() != Some(9) {
        eprintln!("skipped: nobody was killed for the limit: {ended}");
        return;
    }
    assert_eq!(memory.read().unwrap().oom_kills, Some(1));
}
