use super::find::{mount_of, targets};
use super::*;
use crate::fuse::Fuse;
use crate::tests::{check, create};
use healthd_plugin::Options as _;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::Folder;
use std::path::Path;
use std::process::Command;

fn options(json: &str) -> Options {
    Options::parse(json.as_bytes()).unwrap()
}

const MOUNTS: &str = "\
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw - ext4 /dev/vda1 rw
30 27 254:0 /srv /export/srv rw - ext4 /dev/vda1 rw
31 27 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
32 27 7:1 / /snap/core ro - squashfs /dev/loop1 ro
33 27 254:16 / /data rw - xfs /dev/vdb ro
34 27 254:32 / /ro ro - ext4 /dev/vdc ro
35 27 0:60 / /net rw - nfs4 server:/x rw
36 27 0:61 / /auto rw - autofs systemd-1 rw
37 27 0:62 /systemd/inaccessible/dir /home ro - tmpfs tmpfs rw
";

#[test]
fn each_file_system_once_and_only_those_that_can_fill() {
    let mounts = mountinfo::parse(MOUNTS.as_bytes());
    let names = |o: &str, was_writable: fn(&Path) -> bool| -> Vec<String> {
        let found = targets(&mounts, &options(o), was_writable);
        found.into_iter().map(|t| t.name).collect()
    };
    // /proc has no size, which statvfs will tell.
    assert_eq!(names("{}", |_| false), ["/", "/data", "/net", "/proc"]);
    let before = names("{}", |p| p == Path::new("/ro"));
    assert!(
        before.contains(&"/ro".into()),
        "it was writable in an earlier run"
    );
    let some = names(
        r#"{"exclude_types": ["nfs*", "proc"], "exclude_paths": ["/da*"]}"#,
        |_| false,
    );
    assert_eq!(some, ["/"]);
}

#[test]
fn the_mount_of_what_a_link_leads_to() {
    let mounts = mountinfo::parse(MOUNTS.as_bytes());
    let of = |path: &str, device: &str| {
        let target = Target {
            path: path.into(),
            name: path.into(),
            is_named: true,
        };
        let mut space = Space::of(Path::new("/")).unwrap();
        space.device = device.into();
        mount_of(&mounts, &target, &space).unwrap().point.clone()
    };
    assert_eq!(of("/data/x", "254:16"), Path::new("/data"));
    assert_eq!(of("/link-to-data", "254:16"), Path::new("/data"));
    assert_eq!(of("/export/srv/y", "254:0"), Path::new("/export/srv"));
    assert_eq!(
        of("/btrfs/subvolume", "0:99"),
        Path::new("/"),
        "by its name"
    );
}

#[test]
fn limits_are_judged() {
    let folder = Folder::new();
    let path = folder.path().to_str().unwrap();
    let fine = check(
        "disk",
        json!({"paths": [path], "free_warn": "0%", "free_crit": "0%", "inodes_warn": 0, "inodes_crit": 0}),
    );
    assert_eq!(fine.status, Status::Ok, "{fine:?}");
    assert!(fine.message.starts_with(path), "{fine:?}");
    let (used, free) = (fine.metric("used"), fine.metric("free"));
    assert_eq!((&*used.unit, free.min), ("By", 0.0));
    assert!(used.value > 0.0 && free.max >= free.value, "{fine:?}");
    let full = check("disk", json!({"paths": [path], "free_crit": "100%"}));
    assert_eq!(full.status, Status::Critical, "{full:?}");
    assert!(full.message.contains(", below 100%"), "{full:?}");
    let warned = check(
        "disk",
        json!({"paths": [path], "free_warn": "900TiB", "free_crit": "0B", "inodes_crit": 0, "inodes_warn": 100}),
    );
    assert_eq!(warned.status, Status::Warn, "{warned:?}");
    assert!(warned.message.contains("below 900TiB"), "{warned:?}");
}

#[test]
fn all_of_this_machine() {
    let all = check(
        "disk",
        json!({
            "free_warn": "0%", "free_crit": "0%", "inodes_warn": 0, "inodes_crit": 0, "readonly": "ok",
            // The test beside has stopped one of these.
            "exclude_types": ["fuse*"],
        }),
    );
    assert_eq!(all.status, Status::Ok, "{all:?}");
    assert!(all.detail.contains("free ("), "{all:?}");
    let none = check("disk", json!({"exclude_paths": ["*"]}));
    assert_eq!(none.status, Status::Unknown);
    assert_eq!(none.message, "nothing that is mounted is to be looked at");
    let large = check(
        "disk",
        json!({"min_size": "900PiB", "exclude_types": ["fuse*"]}),
    );
    assert_eq!(
        (large.status, &*large.message),
        (Status::Unknown, "no file system is of at least 900PiB"),
        "{large:?}"
    );
}

#[test]
fn what_is_not_there_or_has_no_size() {
    let missing = check("disk", json!({"paths": ["/no/such/place"]}));
    assert_eq!(missing.status, Status::Critical);
    assert_eq!(missing.message, "/no/such/place: no such file or directory");
    let empty = check("disk", json!({"paths": ["/proc"]}));
    assert_eq!(
        (empty.status, &*empty.message),
        (Status::Unknown, "/proc: this file system has no size")
    );
    let both = create("disk", &json!({"paths": ["/"], "exclude_types": ["nfs"]}));
    assert!(both.err().unwrap().starts_with("paths: "));
}

#[test]
fn a_link_is_told_with_its_mount() {
    let folder = Folder::new();
    let link = folder.file("link");
    std::os::unix::fs::symlink("/dev", &link).unwrap();
    let o = check(
        "disk",
        json!({"paths": [link], "free_warn": "0%", "free_crit": "0%"}),
    );
    assert!(o.message.contains(" (on /dev)"), "{o:?}");
}

/// Runs a test of this file once more, in a process whose mounts are its own. True: this is it.
fn in_own_mounts(test: &str) -> bool {
    const INSIDE: &str = "HEALTHD_TEST_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let done = Command::new("unshare")
        .args(["--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("disk::tests::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match done.map(|d| (d.status, text(&d.stdout), text(&d.stderr))) {
        Ok((status, said, why)) if said.contains("running 1 test") => {
            eprint!(
                "{}",
                why.lines()
                    .filter(|l| l.starts_with("skipped: "))
                    .collect::<String>()
            );
            assert!(status.success(), "{said}{why}");
        }
        _ => eprintln!("skipped: no mount namespace here"),
    }
    false
}

#[test]
fn ext4_that_fills_up_turns_read_only_and_is_covered() {
    if !in_own_mounts("ext4_that_fills_up_turns_read_only_and_is_covered") {
        return;
    }
    let folder = Folder::new();
    let (image, point) = (folder.file("image"), folder.file("point"));
    std::fs::File::create(&image)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    std::fs::create_dir(&point).unwrap();
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-N", "64"])
        .arg(&image)
        .output();
    if !made.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: mkfs.ext4 is missing (package e2fsprogs)");
        return;
    }
    let mounted = Command::new("mount")
        .args(["-o", "loop"])
        .args([&image, &point])
        .output()
        .unwrap();
    if !mounted.status.success() {
        let why = String::from_utf8_lossy(&mounted.stderr).replace('\n', " ");
        eprintln!("skipped: no loop device here: {why}");
        return;
    }
    let made = |limits: Value| {
        let mut options = json!({
            "paths": [point], "free_warn": "0%", "free_crit": "0%", "inodes_warn": 0, "inodes_crit": 0,
        });
        for (key, value) in limits.as_object().unwrap() {
            options[key] = value.clone();
        }
        create("disk", &options).unwrap()
    };
    let of = |limits: Value| made(limits).run(crate::tests::LONG);
    let tight = || of(json!({"free_warn": "50%", "free_crit": "10%"}));
    let writes = made(json!({}));
    for fine in [tight(), writes.run(crate::tests::LONG)] {
        assert_eq!(fine.status, Status::Ok, "{fine:?}");
    }
    let big = point.join("big");
    // Root may have the last blocks too, so that nothing is left for anybody.
    let full = std::fs::write(&big, vec![7; 20 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let o = tight();
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(o.message.contains(", below 10%"), "{o:?}");
    assert!(o.metric("free").value < 1e6, "{o:?}");
    std::fs::remove_file(&big).unwrap();
    let mut files = 0;
    while std::fs::File::create_new(point.join(files.to_string())).is_ok() {
        files += 1;
    }
    assert!(files > 0);
    let o = of(json!({"inodes_warn": 20, "inodes_crit": 10}));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(o.message.contains("inodes"), "{o:?}");
    // As the kernel does after an error.
    healthd_testing::run(Command::new("mount").args(["-o", "remount,ro"]).arg(&point));
    let o = writes.run(crate::tests::LONG);
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(o.message.contains("has turned read-only"), "{o:?}");
    // It is mounted still, and nobody can reach it: as one that vanishes after mountinfo was read.
    healthd_testing::run(
        Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(folder.path()),
    );
    let o = of(json!({}));
    let text = format!("{}: no such file or directory", point.display());
    assert_eq!((o.status, &*o.message), (Status::Critical, &*text));
    let all = check("disk", json!({"readonly": "ok", "mount_timeout": "5s"}));
    let named = point.to_str().unwrap();
    assert!(
        !all.message.contains(named) && !all.detail.contains(named),
        "{all:?}"
    );
    healthd_testing::run(Command::new("umount").arg(folder.path()));
    healthd_testing::run(Command::new("umount").arg(&point));
}

/// As a large server has them: two hundred file systems, of which one does not answer.
#[test]
fn a_stopped_server_among_two_hundred_mounts() {
    const MANY: usize = 200;
    if !in_own_mounts("a_stopped_server_among_two_hundred_mounts") {
        return;
    }
    // Those of other tests, which may be stopped too; only here they go.
    let _ = Command::new("umount")
        .args(["-a", "-l", "-t", "fuse,fuse.bindfs"])
        .output();
    let folder = Folder::new();
    for n in 0..MANY {
        let point = folder.file(&n.to_string());
        std::fs::create_dir(&point).unwrap();
        healthd_testing::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
                .arg(&point),
        );
    }
    let Some(fuse) = Fuse::mount(&folder, "dead") else {
        eprintln!("skipped: bindfs is not installed, or there is no /dev/fuse");
        return;
    };
    fuse.signal("-STOP");
    let options = json!({
        "free_warn": "0%", "free_crit": "0%", "inodes_warn": 0, "inodes_crit": 0, "readonly": "ok",
        "mount_timeout": "5s", "exclude_types": ["proc", "sysfs", "devpts", "cgroup*", "mqueue"],
    });
    let check = create("disk", &options).unwrap();
    for _ in 0..3 {
        let o = check.run(crate::tests::LONG);
        assert_eq!(o.status, Status::Unknown, "{o:?}");
        let silent = o.message.matches("does not answer for ").count();
        assert_eq!(silent, 1, "only the one that is stopped: {}", o.message);
        assert!(
            o.detail.lines().count() > MANY,
            "the others are told: {o:?}"
        );
        // However often it is asked. One that has answered ends by itself, a moment later.
        healthd_testing::until(
            || threads() == 1,
            || format!("{} threads wait for it", threads()),
        );
    }
    drop(fuse);
    let mut all = Command::new("umount");
    all.args((0..MANY).map(|n| folder.file(&n.to_string())));
    healthd_testing::run(&mut all);
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter(|t| {
            let name = t.as_ref().unwrap().path().join("comm");
            std::fs::read_to_string(name).is_ok_and(|n| n == "asks\n")
        })
        .count()
}

#[test]
fn a_stopped_server_costs_one_thread_and_is_said() {
    let folder = Folder::new();
    let Some(fuse) = Fuse::mount(&folder, "a b\nc") else {
        eprintln!("skipped: bindfs is not installed, or there is no /dev/fuse");
        return;
    };
    let point = fuse.point.to_str().unwrap();
    let limits = json!({"free_warn": "0%", "free_crit": "0%", "inodes_warn": 0, "inodes_crit": 0});
    let with = |paths: &[&str], timeout: &str| {
        let mut options = limits.clone();
        options["paths"] = json!(paths);
        options["mount_timeout"] = json!(timeout);
        create("disk", &options).unwrap()
    };
    let check = with(&["/", point], "20s");
    let fine = check.run(crate::tests::LONG);
    assert_eq!(fine.status, Status::Ok, "{fine:?}");
    fuse.signal("-STOP");
    let alone = with(&[point], "100ms").run(crate::tests::LONG);
    assert_eq!(alone.status, Status::Unknown, "{alone:?}");
    for _ in 0..5 {
        let o = check.run(crate::tests::LONG);
        assert_eq!(o.status, Status::Unknown, "{o:?}");
        assert!(o.message.contains("does not answer for "), "{o:?}");
        assert!(o.message.contains("(one thread waits for it)"), "{o:?}");
        assert!(
            o.metric("free").value > 0.0,
            "the other one is judged: {o:?}"
        );
    }
    // This test's; others of this process come and go.
    assert!(threads() >= 1);
    fuse.signal("-CONT");
    loop {
        let o = check.run(crate::tests::LONG);
        if o.status == Status::Ok {
            break;
        }
        assert!(o.message.contains("does not answer"), "{o:?}");
    }
}
