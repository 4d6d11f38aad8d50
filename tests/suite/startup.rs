//! READY, and every way in which a daemon does not start: each with a message, a way out, and its exit code.

use crate::harness::{Config, Daemon, check, is_root, skipped};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};

fn some_check() -> crate::harness::Check {
    check("truth").script("true").interval("100ms")
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn ready_means_that_the_socket_answers_and_the_workers_are_there() {
    let daemon = Config::new().check(some_check()).spawn();
    let ready = daemon.expect_notify("READY=1");
    assert!(
        ready.contains(&format!("MAINPID={}\n", daemon.pid())),
        "{ready}"
    );
    assert!(ready.contains("STATUS="), "{ready}");
    UnixStream::connect(daemon.socket()).expect("the socket is there");
    let mode = fs::metadata(daemon.socket())
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(daemon.role("worker exec").len(), 1);
    stop(daemon);
}

#[test]
fn without_a_service_manager_it_runs_all_the_same() {
    // The variable names a socket that nobody listens on, and then a form that is not supported.
    for socket in ["/nonexistent/notify", "vsock:2:1"] {
        let written = Config::new().env("NOTIFY_SOCKET", socket).write();
        let daemon = written.spawn_without_notify();
        daemon.expect_log("manager: ready");
        stop(daemon);
    }
}

#[test]
fn a_second_instance_names_the_first() {
    let first = Config::new().spawn();
    first.expect_notify("READY=1");
    let output = first.written.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    let run = first.dir().join("run");
    let who = format!(
        "healthd runs already in {} as pid {}",
        run.display(),
        first.pid()
    );
    assert!(said.contains(&who), "{said}");
    // And the first has not been disturbed.
    UnixStream::connect(first.socket()).expect("the first still listens");
    stop(first);
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way_of_the_next() {
    let mut first = Config::new().check(some_check()).spawn();
    first.expect_notify("READY=1");
    first.signal(Signal::SIGKILL);
    first.wait_exit();
    // Nobody told the others: they end because their parent did.
    first.assert_no_orphan();
    assert!(first.socket().exists(), "it had no time to clean up");
    let second = first.restart();
    second.expect_notify("READY=1");
    UnixStream::connect(second.socket()).expect("the second listens");
    stop(second);
}

#[test]
fn a_stale_socket_is_replaced_and_another_file_is_not() {
    let written = Config::new().write();
    let run = written.dir().join("run");
    fs::create_dir(&run).expect("our own directory");
    drop(UnixListener::bind(run.join("control.sock")).expect("a socket"));
    let daemon = written.spawn();
    daemon.expect_notify("READY=1");
    UnixStream::connect(daemon.socket()).expect("somebody listens");
    stop(daemon);

    let written = Config::new().write();
    let run = written.dir().join("run");
    fs::create_dir(&run).expect("our own directory");
    fs::write(run.join("control.sock"), "precious").expect("our own directory");
    let output = written.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{said}");
    assert!(
        said.contains("control.sock is there and is no socket"),
        "{said}"
    );
    let content = fs::read(run.join("control.sock")).expect("it is left alone");
    assert_eq!(content, b"precious");
}

#[test]
fn a_bad_config_says_every_mistake_and_exits_with_78() {
    for more in [&[][..], &["-t"]] {
        let config = Config::new()
            .check(check("web").plugin("exec").set("intervall", "\"10s\""))
            .check(check("web two").plugin("exec").set("attempts", "0"))
            .check(
                check("options")
                    .plugin("exec")
                    .set("config", "{ argvv = 1 }"),
            );
        let output = config.write().run(more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        for mistake in ["intervall", "web two", "attempts", "argvv"] {
            assert!(said.contains(mistake), "{mistake}: {said}");
        }
        assert!(said.contains("healthd.toml:"), "{said}");
    }
}

#[test]
fn a_mistake_that_only_the_plugin_knows_is_found_by_the_manager_and_ends_the_start() {
    let config = Config::new().check(check("a").plugin("exec").set("config", "{ argvv = 1 }"));
    let (code, said) = config.refused();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("argvv"), "{said}");
}

#[test]
fn a_good_config_is_called_good() {
    let output = Config::new().check(some_check()).write().run(&["-t"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("good, checks: 1"), "{said}");
}

#[test]
fn a_config_that_cannot_be_read_is_named() {
    let written = Config::new().write();
    fs::remove_file(written.file()).expect("our own directory");
    for more in [&[][..], &["-t"]] {
        let output = written.run(more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        let file = written.file();
        let told = format!("cannot read {}: there is no such file", file.display());
        assert!(said.contains(&told), "{said}");
    }
}

#[test]
fn a_config_that_only_root_can_read_is_no_config_for_the_user() {
    if !is_root() {
        return skipped("needs root");
    }
    let written = Config::new().daemon("user", "\"nobody\"").write();
    let secret = fs::Permissions::from_mode(0o600);
    fs::set_permissions(written.file(), secret).expect("our own directory");
    let output = written.run(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    // A reload would fail on it, so the start does.
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("permission denied"), "{said}");
    assert!(
        said.contains("the daemon's user has to be able to read it"),
        "{said}"
    );
}

#[test]
fn a_socket_path_that_is_too_long_says_how_long_and_how_long_it_may_be() {
    let config = Config::new();
    let long = config.dir().join("x".repeat(120));
    let length = long.join("control.sock").as_os_str().len();
    let (code, said) = config
        .daemon("runtime_dir", &format!("{:?}", long.display().to_string()))
        .refused();
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains(&format!("has {length} bytes, the system takes 107")),
        "{said}"
    );
    assert!(
        said.contains("choose a `runtime_dir` of at most 94 bytes"),
        "{said}"
    );
}

#[test]
fn unknown_user_and_group_are_config_errors_with_a_hint() {
    let (code, said) = Config::new()
        .daemon("user", "\"nobody-of-that-name\"")
        .refused();
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("there is no user `nobody-of-that-name`"),
        "{said}"
    );
    assert!(
        said.contains("useradd --system nobody-of-that-name"),
        "{said}"
    );

    let (code, said) = Config::new()
        .daemon("control_group", "\"nogroup-of-that-name\"")
        .refused();
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("there is no group `nogroup-of-that-name`"),
        "{said}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_a_way_out() {
    let config = Config::new();
    let file = config.dir().join("file");
    fs::write(&file, "").expect("our own directory");
    let below = file.join("state");
    let (code, said) = config
        .daemon("state_dir", &format!("{:?}", below.display().to_string()))
        .refused();
    assert_eq!(code, Some(73), "{said}");
    assert!(
        said.contains(&format!("cannot make {}", below.display())),
        "{said}"
    );
    assert!(said.contains("set `state_dir` in [daemon]"), "{said}");
}

#[test]
fn started_as_root_it_drops_to_the_user_for_good() {
    if !is_root() {
        return skipped("needs root");
    }
    let config = Config::new()
        .check(some_check())
        .daemon("user", "\"nobody\"");
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("nss")
        .expect("nobody");
    let mut everybody = daemon.role("");
    everybody.push(daemon.pid());
    assert_eq!(everybody.len(), 3, "supervisor, manager, worker");
    for pid in everybody {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let ids = |name: &str| -> Vec<u32> {
            let line = status
                .lines()
                .find_map(|l| l.strip_prefix(name))
                .unwrap_or("");
            line.split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect()
        };
        assert_eq!(ids("Uid:"), [nobody.uid.as_raw(); 4], "{pid}");
        assert_eq!(ids("Gid:"), [nobody.gid.as_raw(); 4], "{pid}");
        assert!(!ids("Groups:").contains(&0), "{pid}: root's groups stay");
        assert!(
            status.contains("CapEff:\t0000000000000000"),
            "{pid}: {status}"
        );
    }
    for made in ["run", "run/control.sock", "run/state.map", "state"] {
        let meta = fs::metadata(daemon.dir().join(made)).expect(made);
        assert_eq!(meta.uid(), nobody.uid.as_raw(), "{made}");
    }
    let environ = fs::read(format!("/proc/{}/environ", daemon.manager())).expect("it runs");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    let home = format!("HOME={}\0", nobody.dir.display());
    assert!(
        environ.contains(&home) && environ.contains("USER=nobody\0"),
        "{environ}"
    );
    assert!(!environ.contains("NOTIFY_SOCKET"), "{environ}");
    stop(daemon);
}

#[test]
fn the_control_group_gets_the_socket_and_may_read_the_maps() {
    if !is_root() {
        return skipped("needs root");
    }
    let config = Config::new()
        .check(some_check())
        .daemon("user", "\"nobody\"")
        .daemon("control_group", "\"daemon\"");
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    let group = nix::unistd::Group::from_name("daemon")
        .expect("nss")
        .expect("Debian's");
    let worker = daemon.role("worker exec")[0];
    let map = format!("run/worker.0.{worker}.map");
    for file in ["run", "run/control.sock", "run/state.map", &map] {
        let meta = fs::metadata(daemon.dir().join(file)).expect(file);
        assert_eq!(meta.gid(), group.gid.as_raw(), "{file}");
        assert_eq!(
            meta.mode() & 0o007,
            if file == "run" { 0o005 } else { 0 },
            "{file}"
        );
    }
    stop(daemon);
}

#[test]
fn an_ordinary_user_is_enough() {
    if !is_root() {
        return skipped("needs root to become somebody else; the other tests show it then");
    }
    let config = Config::new().check(some_check()).env("HOME", "/");
    let dir = config.dir().to_owned();
    let daemon = config.wrapper(&[
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ]);
    let written = daemon.write();
    // The plugins are root's, which every user may load; the rest is that user's.
    nix::unistd::chown(&dir, Some(nix::unistd::Uid::from_raw(65534)), None).expect("chown");
    let daemon = written.spawn();
    daemon.expect_notify("READY=1");
    stop(daemon);
}

#[test]
fn a_folder_of_somebody_else_is_said_to_be() {
    if !is_root() {
        return skipped("needs root");
    }
    let config = Config::new();
    let run = config.dir().join("run");
    fs::create_dir(&run).expect("our own directory");
    let (code, said) = config.daemon("user", "\"nobody\"").refused();
    assert_eq!(code, Some(73), "{said}");
    assert!(
        said.contains(&format!("cannot write in {}", run.display())),
        "{said}"
    );
    assert!(
        said.contains("it belongs to uid 0, healthd runs as uid 65534"),
        "{said}"
    );
}
