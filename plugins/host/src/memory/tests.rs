use super::*;
use crate::tests::{LONG, check, create, sample};
use healthd_plugin::Options as _;
use healthd_plugin::serde_json::json;

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
