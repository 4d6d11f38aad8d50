use super::table::parse_stat;
use super::*;
use crate::tests::{LONG, check, create, sample};
use healthd_plugin::serde_json::json;
use healthd_testing::{Folder, Process as Child};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// As the kernel writes it; with the start time.
fn line(pid: u32, name: &str, start: u64) -> String {
    format!(
        "{pid} ({name}) S 1 5 5 0 -1 4194304 100 0 0 0 7 3 0 0 20 0 2 0 {start} 1000000 250 1844 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
    )
}

#[test]
fn names_with_anything_in_them() {
    for name in ["sh", "a b", "a) S 1", "(sd-pam)", ") ", "ü"] {
        let p = parse_stat(&line(42, name, 99)).unwrap_or_else(|| panic!("{name:?}"));
        assert_eq!((p.pid, &*p.name, p.state, p.parent), (42, name, 'S', 1));
        assert_eq!((p.ticks, p.threads, p.start), (10, 2, 99));
    }
    for bad in ["", "12", "12 (x", "12 (x) ", "x (y) S 1", "12 (x) S 1 5 5"] {
        assert_eq!(parse_stat(bad), None, "{bad:?}");
    }
}

/// A machine of samples: pid, name, start.
fn machine(processes: &[(u32, &str, u64)]) -> (Folder, Kernel) {
    let mut files = vec![("proc/uptime".to_owned(), "1000.00 5.00\n".to_owned())];
    for (pid, name, start) in processes {
        files.push((format!("proc/{pid}/stat"), line(*pid, name, *start)));
        files.push((
            format!("proc/{pid}/cmdline"),
            format!("/bin/{name}\0--flag\0"),
        ));
        files.push((
            format!("proc/{pid}/status"),
            "Name: x\nUid:\t0\t33\t0\t0\n".to_owned(),
        ));
    }
    let files: Vec<_> = files.iter().map(|(p, t)| (&**p, &**t)).collect();
    sample(&files)
}

fn read(kernel: &Kernel) -> Table {
    Table::read(kernel, || false).unwrap()
}

#[test]
fn hidden_processes_are_told_from_absent_ones() {
    let (_folder, kernel) = machine(&[(1, "init", 1), (7, "web", 5000)]);
    let table = read(&kernel);
    assert!(!table.is_partial());
    assert_eq!(
        table
            .age(&table.all.iter().find(|p| p.pid == 7).unwrap().clone())
            .round(),
        950.0
    );
    assert_eq!(table::uid(&kernel, 7), Some(33));
    assert_eq!(
        table::cmdline(&kernel, 7).as_deref(),
        Some("/bin/web --flag")
    );
    // A thread of the kernel has no program.
    assert_eq!(table::exe(&kernel, 7).as_deref(), Some(""));
    let (_folder, kernel) = machine(&[(7, "web", 5000)]);
    assert!(read(&kernel).is_partial());
}

#[test]
fn pid_files_of_all_kinds() {
    let (folder, kernel) = machine(&[(1, "init", 1), (7, "web", 5000)]);
    let table = read(&kernel);
    let judge = |path: &std::path::Path| match pidfile::read(&kernel, path, &table) {
        Named::Process(pid) => (Status::Ok, pid.to_string()),
        Named::Bad(status, why) => (status, why),
    };
    let file = folder.write("run.pid", "7\n");
    let written = |ago: u64| {
        let at = SystemTime::now() - Duration::from_secs(ago);
        std::fs::File::open(&file)
            .unwrap()
            .set_modified(at)
            .unwrap();
        judge(&file)
    };
    // It began 950 seconds ago.
    assert_eq!(written(940), (Status::Ok, "7".into()));
    assert_eq!(written(953), (Status::Ok, "7".into()));
    let (status, why) = written(990);
    assert_eq!(status, Status::Critical, "{why}");
    assert!(why.contains("it is another one (/bin/web --flag)"), "{why}");
    let (status, why) = written(5000);
    assert_eq!(status, Status::Unknown, "from before this boot: {why}");

    let link = folder.file("link.pid");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    written(940);
    assert_eq!(judge(&link), (Status::Ok, "7".into()));
    assert_eq!(judge(&folder.write("gone", "99")).0, Status::Critical);
    assert_eq!(judge(&folder.file("none")).0, Status::Critical);
    for garbage in [
        "",
        "\n7",
        "seven",
        "-1",
        "0",
        "7 8",
        "99999999999999",
        "\0\0",
    ] {
        let (status, why) = judge(&folder.write("garbage", garbage));
        assert_eq!(status, Status::Unknown, "{garbage:?}: {why}");
        assert!(why.contains(" is no pid"), "{why}");
    }
    assert!(
        judge(&folder.write("long", "1".repeat(1000)))
            .1
            .contains("too long")
    );
    assert!(judge(folder.path()).1.contains("is no regular file"));
    let fifo = folder.file("fifo");
    healthd_testing::run(Command::new("mkfifo").arg(&fifo));
    assert!(judge(&fifo).1.contains("is no regular file"));
    let looped = folder.file("loop");
    std::os::unix::fs::symlink(&looped, &looped).unwrap();
    assert_eq!(judge(&looped).0, Status::Unknown);
}

/// A process of our own that waits, with a command line of its own.
fn sleeper(mark: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", "echo; read line", mark])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It runs the shell by now, and not us.
    let mut line = [0; 1];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    Child(child)
}

#[test]
fn real_processes_are_counted_and_followed() {
    let mark = format!("mark-{}", std::process::id());
    let (one, two) = (sleeper(&mark), sleeper(&mark));
    let options = json!({"cmdline": mark, "count_crit": "2", "cpu_crit": 100_000, "restarts_warn": 0, "pss_crit": "1TiB"});
    let it = create("process", &options).unwrap();
    let o = it.run(LONG);
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert_eq!(o.metric("count").value, 2.0);
    assert!(o.message.contains("2 processes; "), "{o:?}");
    assert!(
        o.message.contains("first run: use of the processor"),
        "{o:?}"
    );
    assert!(o.metric("rss").value > 0.0 && o.metric("pss").value > 0.0);
    assert!(o.metric("fds").value >= 3.0, "{o:?}");
    let o = it.run(LONG);
    assert!(o.metric("cpu").value >= 0.0, "{o:?}");
    // The oldest ends, and another one is it.
    let shell = one.0.id();
    drop(one);
    let o = it.run(LONG);
    assert_eq!(
        (o.status, o.metric("count").value),
        (Status::Warn, 1.0),
        "{o:?}"
    );
    assert!(
        o.message.starts_with("restarted 1 times within 1 h"),
        "{o:?}"
    );
    let o = check(
        "process",
        json!({"cmdline": mark, "exe": "/no/such/program"}),
    );
    assert_eq!(
        (o.status, &*o.message),
        (Status::Critical, "0 processes, not 1:"),
        "{o:?}"
    );
    let o = check(
        "process",
        json!({"cmdline": mark, "age_min_crit": "1d", "user": "0"}),
    );
    if nix::unistd::geteuid().is_root() {
        assert_eq!(o.status, Status::Critical, "{o:?}");
        assert!(o.message.starts_with("running only for "), "{o:?}");
    }
    let folder = Folder::new();
    let gone = folder.write("gone.pid", shell.to_string());
    let o = check("process", json!({"pidfile": gone}));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    let there = folder.write("there.pid", two.0.id().to_string());
    let o = check(
        "process",
        json!({"pidfile": there, "name": "sh|dash|bash", "children": true}),
    );
    assert_eq!(o.status, Status::Ok, "{o:?}");
}

#[test]
fn a_zombie_is_no_running_process() {
    // Nobody has waited for it yet.
    let child = Child(Command::new("true").spawn().unwrap());
    let pid = child.0.id();
    while table::stat(&Kernel::default(), pid).is_some_and(|p| p.state != 'Z') {
        std::thread::yield_now();
    }
    let folder = Folder::new();
    let file = folder.write("run.pid", pid.to_string());
    let o = check("process", json!({"pidfile": file, "zombies_crit": 0}));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert_eq!(
        (o.metric("count").value, o.metric("zombies").value),
        (0.0, 1.0)
    );
    assert!(o.message.contains("0 processes, not 1:"), "{o:?}");
}

#[test]
fn mistakes_in_the_options() {
    let error = |o| create("process", &o).err().unwrap();
    assert!(error(json!({})).starts_with("name: missing"));
    assert!(error(json!({"name": "("})).starts_with("name: "));
    assert!(error(json!({"pidfile": "run.pid"})).contains("no absolute path"));
    let o = check("process", json!({"name": "x", "user": "no-such-user"}));
    assert_eq!(
        (o.status, &*o.message),
        (Status::Unknown, "user: there is no \"no-such-user\"")
    );
}

/// As `ProtectProc=invisible` leaves it, and without root.
#[test]
fn under_protect_proc_it_cannot_see_and_says_so() {
    if std::env::var_os("HEALTHD_TEST_HIDDEN_PROC").is_none() {
        let script = "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups -- \
            \"$0\" --exact process::tests::under_protect_proc_it_cannot_see_and_says_so --nocapture";
        let done = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("HEALTHD_TEST_HIDDEN_PROC", "1")
            .output();
        let said = done.map(|d| (d.status, String::from_utf8_lossy(&d.stdout).into_owned()));
        match said {
            Ok((status, said)) if said.contains("running 1 test") => {
                assert!(status.success(), "{said}")
            }
            _ => eprintln!(
                "skipped: no mount namespace here, or the test cannot run as another user"
            ),
        }
        return;
    }
    let o = check("process", json!({"name": "no-such-program"}));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(
        o.message
            .starts_with("cannot see: 0 processes found, and other users' processes are hidden"),
        "{o:?}"
    );
    // More of them would change nothing: these can be judged.
    let o = check("process", json!({"user": "65534"}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    let o = check("process", json!({"user": "65534", "count_crit": "0"}));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    let o = check("process", json!({"user": "65534", "count_crit": "1:100"}));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
}
