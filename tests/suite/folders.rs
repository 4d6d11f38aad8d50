//! `runtime_dir` and `state_dir`: who may write there, and what lies there that should not.

use crate::harness::ctl::say;
use crate::harness::{Config, Daemon, Leash, check, is_root, skipped};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

fn config() -> Config {
    let map = "{ argv = [\"/bin/echo\", \"fine\"] }";
    Config::new().check(check("a").plugin("exec").set("config", map))
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn only_the_daemon_s_user_may_write_a_file_there_or_lock_it() {
    // Whatever whoever starts it thinks of files.
    let open = ["sh", "-c", "umask 0; exec \"$@\"", "sh"];
    let daemon = config().wrapper(&open).spawn();
    daemon.expect_notify("READY=1");
    daemon.run("a");
    let mut seen = 0;
    for entry in fs::read_dir(daemon.dir().join("run")).expect("it is there") {
        let path = entry.expect("an entry").path();
        // One that is made under another name, or goes with its worker, may be gone by now.
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        // Whoever may write to a map that we have mapped may end us.
        if meta.is_file() {
            let expected = if path.ends_with("healthd.pid") {
                0o600
            } else {
                0o640
            };
            assert_eq!(meta.mode() & 0o777, expected, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 4, "lock, state, objects and a worker");
    if is_root() {
        strangers_try(&daemon);
    }
    stop(daemon);
}

/// Nobody tries what others might with each file, and with the folders themselves.
fn strangers_try(daemon: &Daemon) {
    fs::set_permissions(daemon.dir(), Permissions::from_mode(0o755)).expect("our own folder");
    let mut tries = vec![": <'/etc/passwd'".to_owned()];
    for folder in ["run", "state"].map(|name| daemon.dir().join(name)) {
        for entry in fs::read_dir(&folder).expect("the daemon's own") {
            let path = entry.expect("a name").path().display().to_string();
            let ways = [
                format!(": <'{path}'"),
                format!("test -w '{path}'"),
                format!(": >>'{path}'"),
                format!("flock -n '{path}' true"),
                format!("rm '{path}'"),
                format!("mv '{path}' '{path}.old'"),
            ];
            tries.extend(ways);
        }
        tries.push(format!("touch '{}/new'", folder.display()));
    }
    let script =
        "for act in \"$@\"; do (eval \"$act\") >/dev/null 2>&1 && echo \"$act\"; done; true";
    let mut nobody = std::process::Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let said = say(nobody.args(["sh", "-c", script, "sh"]).args(&tries));
    // What anybody may shows that it tells.
    assert_eq!(said.out, format!("{}\n", tries[0]), "{said:?}");
    assert_eq!(daemon.run("a")["verdict"], "ok");
}

#[test]
fn a_folder_that_others_may_change_is_refused() {
    for (key, name) in [("runtime_dir", "run"), ("state_dir", "state")] {
        for (mode, whom) in [
            (0o777, "everybody"),
            (0o1777, "everybody"),
            (0o770, "its group"),
        ] {
            let config = config();
            let dir = config.dir().join(name);
            fs::create_dir(&dir).expect("our own directory");
            fs::set_permissions(&dir, Permissions::from_mode(mode)).expect("our own");
            let (code, said) = config.refused();
            assert_eq!(code, Some(73), "{said}");
            let why = format!("as `{key}`: mode {mode:04o} lets {whom} change it");
            assert!(said.contains(&why) && said.contains("chmod go-w"), "{said}");
        }
    }
}

#[test]
fn a_folder_or_a_link_of_a_stranger_is_refused_and_nothing_is_changed_through_one_of_root() {
    if !is_root() {
        return skipped("only root can give things to others");
    }
    let foreign = |make: &dyn Fn(&Path)| {
        let config = config();
        let dir = config.dir().join("run");
        make(&dir);
        let (code, said) = config.refused();
        assert_eq!(code, Some(73), "{said}");
        said
    };
    let said = foreign(&|dir| {
        fs::create_dir(dir).expect("our own directory");
        chown(dir, Some(4242), None).expect("we are root");
    });
    assert!(said.contains("it belongs to uid 4242"), "{said}");
    let said = foreign(&|dir| {
        symlink("/usr", dir).expect("our own directory");
        std::os::unix::fs::lchown(dir, Some(4242), None).expect("we are root");
    });
    assert!(said.contains("it is no folder"), "{said}");

    let config = config().daemon("control_group", "\"daemon\"");
    let elsewhere = config.dir().join("elsewhere");
    fs::create_dir(&elsewhere).expect("our own directory");
    symlink(&elsewhere, config.dir().join("run")).expect("our own directory");
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(fs::metadata(&elsewhere).expect("it is there").gid(), 0);
    stop(daemon);
}

#[test]
fn a_fifo_in_place_of_a_map_or_of_the_lock_holds_nobody() {
    let fifo = |path: &Path| {
        let _ = fs::remove_file(path);
        nix::unistd::mkfifo(path, Mode::S_IRWXU).expect("our own directory");
    };
    let mut config = config();
    let run = config.dir().join("run");
    fs::create_dir(&run).expect("our own directory");
    for name in ["state.map", "objects.map", "healthd.pid"] {
        fifo(&run.join(name));
    }
    let mut leash = Leash::new(config.dir());
    let held = leash.script("exec sleep 1000");
    config = config
        .daemon("stop_grace", "\"100ms\"")
        .check(check("held").script(&held).interval("1h").timeout("1h"));
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    leash.wait_held(&daemon);
    // And under its feet: the manager's next life reads them, the supervisor looks for its beat there.
    for name in ["state.map", "objects.map"] {
        fifo(&run.join(name));
    }
    crate::harness::kill(daemon.manager(), Signal::SIGKILL);
    daemon.expect_log("the state map cannot be used");
    daemon.expect_notify("READY=1");
    daemon.watch(&["a"]).until_verdict("a", "ok");
    stop(daemon);
}

#[test]
fn healthctl_waits_for_no_fifo_and_reads_no_file_without_end() {
    let daemon = config().spawn();
    daemon.expect_notify("READY=1");
    daemon.run("a");
    let run = daemon.dir().join("run");
    let mut daemon = daemon;
    daemon.signal(Signal::SIGKILL);
    daemon.wait_exit();
    let _ = fs::remove_file(daemon.socket());
    let lock = run.join("healthd.pid");
    fs::File::create(&lock)
        .and_then(|f| f.set_len(1 << 40))
        .expect("a hole costs nothing");
    let said = daemon.healthctl(&["version"]);
    assert!(said.out.contains("by its maps: pid ?"), "{said:?}");
    let map = run.join("state.map");
    let whole = fs::read(&map).expect("the daemon left it");
    // A stranger's, and behind a link: neither is read.
    let said = daemon.healthctl(&["status"]);
    assert!(said.out.contains("ok (stale)"), "{said:?}");
    let refused = |why: &str| {
        let said = daemon.healthctl(&["status"]);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.err.contains(why) && said.out.is_empty(), "{said:?}");
    };
    if is_root() {
        chown(&map, Some(4242), None).expect("we are root");
        refused("it belongs to uid 4242");
        chown(&map, Some(0), None).expect("we are root");
    }
    let behind = run.join("behind");
    fs::rename(&map, &behind).expect("our own directory");
    symlink(&behind, &map).expect("our own directory");
    refused("it is a symbolic link");
    fs::rename(&behind, &map).expect("our own directory");
    fs::OpenOptions::new()
        .write(true)
        .open(&map)
        .and_then(|f| f.set_len(1 << 40))
        .expect("a hole costs nothing");
    let said = daemon.healthctl(&["status"]);
    let told = format!(
        "it has {} bytes where its header says {}",
        1u64 << 40,
        whole.len()
    );
    assert!(said.err.contains(&told), "{said:?}");
    fs::remove_file(&map).expect("our own directory");
    nix::unistd::mkfifo(&map, Mode::S_IRWXU).expect("our own directory");
    let said = daemon.healthctl(&["status"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("it is no regular file"), "{said:?}");
}

#[test]
fn healthctl_believes_no_socket_of_a_stranger() {
    if !is_root() {
        return skipped("only root can give things to others");
    }
    let daemon = config().daemon("user", "\"nobody\"").spawn();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.told_by_daemon(&["version"]).code, Some(0));
    // As if nobody had made it in a folder of root's that he may write.
    chown(daemon.dir().join("run"), Some(0), None).expect("we are root");
    let said = daemon.healthctl(&["version"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(
        said.err
            .contains("is served by uid 65534, who is not healthd"),
        "{said:?}"
    );
    stop(daemon);
}

fn answers(daemon: &Daemon) {
    daemon.expect_notify("READY=1");
    let said = daemon.told_by_daemon(&["--json", "version"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    daemon.run("a");
}

#[test]
fn what_is_taken_away_is_made_anew() {
    let daemon = config().spawn();
    let dir = daemon.dir().to_owned();
    let (run, state) = (dir.join("run"), dir.join("state"));
    answers(&daemon);
    // In one step each: the daemon looks whenever it likes, and makes anew what it misses.
    let remove = |folder: &Path| {
        let gone = folder.with_extension("gone");
        fs::rename(folder, &gone)
            .and_then(|()| fs::remove_dir_all(&gone))
            .expect("the folder");
    };
    let new = dir.join("run.new");
    fs::create_dir(&new).expect("our own directory");
    fs::set_permissions(&new, Permissions::from_mode(0o755)).expect("our own");
    let takes: [&dyn Fn(); 5] = [
        &|| fs::remove_file(run.join("control.sock")).expect("the socket"),
        &|| remove(&run),
        &|| exchange(&new, &run),
        &|| remove(&state),
        &|| fs::rename(&state, dir.join("state.old")).expect("the folder"),
    ];
    for take in takes {
        take();
        daemon.expect_log("taken away under a running daemon, and made anew");
        answers(&daemon);
        assert_eq!(daemon.row("a")["verdict"], "ok");
    }
    let plugins = dir.join("plugins");
    fs::remove_dir_all(&plugins).expect("the folder");
    daemon.run("a");
    let mut daemon = daemon;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    // What is written at the end is in the new folder.
    assert!(fs::read_dir(&state).expect("it is there").count() > 0);
}

/// In one step: what the daemon does not find when it looks it makes, and in between it could look.
fn exchange(new: &Path, folder: &Path) {
    let flags = RenameFlags::RENAME_EXCHANGE;
    renameat2(AT_FDCWD, new, AT_FDCWD, folder, flags).expect("both are our own");
}

#[test]
fn what_cannot_be_made_anew_is_an_end_for_the_service_manager() {
    for name in ["run", "state"] {
        let mut daemon = config().spawn();
        daemon.expect_notify("READY=1");
        let (folder, file) = (daemon.dir().join(name), daemon.dir().join("file"));
        fs::write(&file, "no folder").expect("our own directory");
        exchange(&file, &folder);
        daemon.expect_log("which ends, as it cannot be made anew");
        assert_eq!(daemon.wait_exit().code(), Some(73));
        daemon.assert_no_orphan();
    }
}
