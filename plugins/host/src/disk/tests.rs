use super::find::{mount_of, targets};
use super::*;
use crate::fuse::Fuse;
use crate::tests::{check, create};
use healthd_plugin::Options as _;
use healthd_plugin::serde_json::json;
use healthd_testing::Folder;
use std::path::Path;

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
        json!({"free_warn": "0%", "free_crit": "0%", "inodes_warn": 0, "inodes_crit": 0, "readonly": "ok"}),
    );
    assert_eq!(all.status, Status::Ok, "{all:?}");
    assert!(all.detail.contains("free ("), "{all:?}");
    let none = check("disk", json!({"exclude_paths": ["*"]}));
    assert_eq!(none.status, Status::Unknown);
    assert_eq!(none.message, "nothing that is mounted is to be looked at");
    let large = check("disk", json!({"min_size": "900PiB"}));
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

/// As a large server has them: two hundred file systems, of which one does not answer.
#[test]
fn a_stopped_server_among_two_hundred_mounts() {
    const MANY: usize = 200;
    if std::env::var_os("HEALTHD_TEST_MANY_MOUNTS").is_none() {
        let done = std::process::Command::new("unshare")
            .args(["--mount", "--"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "disk::tests::a_stopped_server_among_two_hundred_mounts",
            ])
            .arg("--nocapture")
            .env("HEALTHD_TEST_MANY_MOUNTS", "1")
            .output();
        let said = done.map(|d| (d.status, String::from_utf8_lossy(&d.stdout).into_owned()));
        match said {
            Ok((status, said)) if said.contains("running 1 test") => {
                assert!(status.success(), "{said}")
            }
            _ => eprintln!("skipped: no mount namespace here"),
        }
        return;
    }
    // Those of other tests, which may be stopped too; only here they go.
    let _ = std::process::Command::new("umount")
        .args(["-a", "-l", "-t", "fuse,fuse.bindfs"])
        .output();
    let folder = Folder::new();
    for n in 0..MANY {
        let point = folder.file(&n.to_string());
        std::fs::create_dir(&point).unwrap();
        healthd_testing::run(
            std::process::Command::new("mount")
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
        assert_eq!(
            threads(),
            1,
            "one thread waits for it, however often it is asked"
        );
    }
    drop(fuse);
    let mut all = std::process::Command::new("umount");
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
