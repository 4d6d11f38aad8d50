//! From nothing to a check of one's own: `healthd --here`, `healthctl add`, and the mistakes on the way.

use crate::harness::ctl::{Said, say};
use crate::harness::{Config, Daemon, TempDir, plugins, skipped};
use nix::sys::signal::Signal;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

fn here() -> Daemon {
    // Beside the program, where `--here` looks.
    for name in ["http", "tcp", "exec"] {
        plugins::shipped(name);
    }
    let daemon = Config::new().spawn_here();
    daemon.expect_notify("READY=1");
    daemon
}

/// As typed in the folder in which the daemon was started.
fn healthctl(dir: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_healthctl"));
    command.args(["--timeout", "60s", "--here"]).args(args);
    command.current_dir(dir).env_remove("HEALTHD_SOCKET");
    say(&mut command)
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join(".healthd/checks.d")).expect("it was made");
    let mut names: Vec<String> = entries
        .map(|e| {
            e.expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_check_is_added_runs_and_outlives_a_restart() {
    let mut daemon = here();
    let dir = daemon.dir().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = format!("port={}", listener.local_addr().expect("bound").port());
    let said = healthctl(&dir, &["add", "my/port", "tcp", "host=127.0.0.1", &port]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("added my/port in "), "{said:?}");
    assert!(said.out.contains("ok"), "{said:?}");
    assert_eq!(files(&dir), ["my-port.toml"]);

    let said = healthctl(&dir, &["status"]);
    assert!(said.out.contains("my/port"), "{said:?}");
    let said = healthctl(&dir, &["validate"]);
    assert!(said.out.ends_with("good, checks: 1\n"), "{said:?}");

    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    // Without a daemon it is judged all the same, and takes force later.
    let said = healthctl(
        &dir,
        &["add", "true", "exec", "argv=[\"true\"]", "--interval", "5s"],
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("comes into effect at its start"),
        "{said:?}"
    );
    let said = healthctl(&dir, &["add", "true", "exec", "argv=[\"true\"]"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("the check `true` is already defined"),
        "{said:?}"
    );
    assert_eq!(files(&dir), ["my-port.toml", "true.toml"]);

    let daemon = daemon.restart();
    daemon.expect_notify("READY=1");
    assert_eq!(daemon.run("true")["status"], "ok");
}

#[test]
fn a_mistake_in_add_is_explained_and_leaves_nothing_behind() {
    let daemon = here();
    let dir = daemon.dir().to_owned();
    for (args, wrong) in [
        (&["a", "tcp", "host=127.0.0.1", "prt=22"][..], "`port`"),
        (&["a", "htpp", "url=http://127.0.0.1/"], "`http`"),
        (&["a", "http"], "`url`"),
        (&["a", "http", "url=5"], "url"),
        (&["", "tcp", "host=127.0.0.1", "port=22"], "`name`"),
        (
            &["a", "http", "url=http://127.0.0.1/", "--interval", "5"],
            "`interval`",
        ),
    ] {
        let said = healthctl(&dir, &[&["add"], args].concat());
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(wrong), "{args:?}: {said:?}");
        assert!(
            said.err.contains("is taken away again"),
            "{args:?}: {said:?}"
        );
        assert!(said.err.contains("say it again"), "{args:?}: {said:?}");
        assert!(files(&dir).is_empty(), "{args:?}");
    }
    // What is no option at all is told before anything is written.
    let said = healthctl(&dir, &["add", "a", "http", "url"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("key=value"), "{said:?}");
}

#[test]
fn without_a_daemon_here_the_way_to_one_is_told() {
    let dir = TempDir::new();
    for args in [&["status"][..], &["run", "--all"], &["reload"]] {
        let said = healthctl(dir.path(), args);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.err.contains("`healthd --here` starts one"), "{said:?}");
    }
    let said = healthctl(dir.path(), &["add", "a", "cpu"]);
    assert!(said.err.contains("start healthd first"), "{said:?}");
}

/// In a real terminal of two sizes, as who we are and as a user without rights: see there. It prints how long each
/// step took.
#[test]
fn a_newcomer_walks_through_mistakes_in_a_terminal() {
    if say(Command::new("sh").args(["-c", "command -v tmux python3"])).code != Some(0) {
        return skipped("tmux and python3 are not both installed");
    }
    for name in ["tcp", "http"] {
        plugins::shipped(name);
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_healthd")).parent();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/walk");
    let mut walk = Command::new(script);
    let said = say(walk.arg("--programs").arg(programs.expect("a folder")));
    println!("{}", said.out);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// `etc/install` into a folder: a page of each plugin, examples where documentation is, and no check that nobody asked for.
#[test]
fn an_installation_explains_each_plugin_and_brings_no_checks() {
    let (built, root) = (TempDir::new(), TempDir::new());
    let programs = Path::new(env!("CARGO_BIN_EXE_healthd")).parent();
    let programs = programs.expect("a folder");
    for program in ["healthd", "healthctl"] {
        symlink(programs.join(program), built.path().join(program)).expect("our own folder");
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in plugins::all_shipped() {
        let name = file.file_name().expect("it has one");
        symlink(&file, built.path().join(name)).expect("our own folder");
    }
    let mut install = Command::new(tree.join("etc/install"));
    install
        .env("DESTDIR", root.path())
        .env("BUILT", built.path());
    let said = say(&mut install);
    assert_eq!(said.code, Some(0), "{said:?}");
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(root.path().join(folder)).expect("it is installed");
        let names = entries.map(|entry| entry.expect("a name").file_name());
        names.map(|n| n.to_string_lossy().into_owned()).collect()
    };
    let pages = names("usr/share/man/man7");
    // Those that the README lists, each with its page.
    let readme = fs::read_to_string(tree.join("README.md")).expect("shipped");
    let table = readme.split("## Plugins").nth(1).expect("its plugins");
    let table = table.split("\n## ").next().unwrap_or_default();
    let listed: Vec<&str> = table
        .split('[')
        .skip(1)
        .filter_map(|cell| cell.split_once("](plugins/"))
        .filter(|(name, _)| !name.contains('.'))
        .map(|(name, _)| name)
        .collect();
    assert!(listed.len() > 30, "{listed:?}");
    for name in listed {
        let page = format!("healthd-{name}.7");
        assert!(pages.contains(&page), "{page}: {pages:?}");
        let file = root.path().join("usr/share/man/man7").join(page);
        let text = fs::read_to_string(&file).expect("it is there");
        assert!(text.contains(".SH OPTIONS"), "{}: {text}", file.display());
        let mut groff = Command::new("sh");
        groff.args([
            "-c",
            "command -v groff >/dev/null || exit 0; exec groff -Kutf8 -Tutf8 -man -ww -z \"$1\"",
            "sh",
        ]);
        let read = say(groff.arg(&file));
        assert_eq!((read.code, &*read.err), (Some(0), ""), "{}", file.display());
    }
    assert!(names("usr/share/doc/healthd/examples").len() > 30);
    let schema = fs::read_to_string(root.path().join("usr/share/healthd/healthd.schema.json"));
    assert!(schema.expect("it is made").contains("options-http"));
    assert!(!root.path().join("etc/healthd/checks.d").exists());
}

/// All of them are good in one `checks.d`.
#[test]
fn each_example_has_a_name_of_its_own() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/examples");
    let mut seen = std::collections::HashMap::new();
    for entry in std::fs::read_dir(folder).expect("it is in the repository") {
        let path = entry.expect("a name").path();
        let text = std::fs::read_to_string(&path).expect("an example");
        for name in text.lines().filter(|line| line.starts_with("name = ")) {
            let other = seen.insert(name.to_owned(), path.clone());
            assert_eq!(other, None, "{name} stands in {} too", path.display());
        }
    }
    assert!(seen.len() > 30, "{seen:?}");
}
