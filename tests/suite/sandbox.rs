//! What a worker gives up before it loads a plugin: tried by a plugin that tries it.

use crate::harness::ctl::wait_for;
use crate::harness::{Check, Config, Daemon, check, fixtures, skipped};
use healthd_testing::Peer;
use serde_json::{Value, json};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

/// A folder that no check names.
struct Outside(std::path::PathBuf);

impl Outside {
    fn new(daemons: &Path) -> Outside {
        let name = daemons.file_name().expect("a folder").to_string_lossy();
        let folder = daemons.with_file_name(format!("{name}-outside"));
        fs::create_dir(&folder).expect("a new folder");
        fs::write(folder.join("there"), "x").expect("our own");
        Outside(folder)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn of(name: &str, plugin: &str, config: &str) -> Check {
    check(name)
        .plugin(plugin)
        .interval("1h")
        .set("attempts", "1")
        .set("retry_interval", "\"1h\"")
        .set("config", config)
}

fn config() -> Config {
    Config::new()
        .strangers()
        .daemon("log", "\"info\"")
        .pool("exec", "sandbox = \"on\"")
        .plugin_file(fixtures::fixture("forbidden"))
}

fn spawn(config: Config) -> Daemon {
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    daemon
}

/// Of the worker of this class, once it is there: what it has given up.
fn sandbox(daemon: &Daemon, class: &str) -> String {
    let of_class = |w: &&Value| w["class"] == class && w["state"] == "ready";
    let rows = daemon.until_workers(&format!("a worker of {class}"), |rows| {
        rows.iter().any(|w| of_class(&w))
    });
    let worker = rows.iter().find(of_class).expect("it was there");
    worker["sandbox"].as_str().expect("a word of it").to_owned()
}

/// The parts of a sandbox that this kernel has, by the letters of the fixture.
fn layers(words: &str) -> String {
    if words == "full" {
        return "cfbs".into();
    }
    let letter = |part: &str| part.chars().next();
    words.split('+').filter_map(letter).collect()
}

#[test]
fn what_no_check_needs_is_refused_in_each_class() {
    let config = config().env("FORBIDDEN_EARLY", "1");
    let outside = Outside::new(config.dir());
    // Signals and abstract sockets are others' too.
    let name = outside.0.to_string_lossy().into_owned();
    let address = SocketAddr::from_abstract_name(&name[..name.len().min(100)]).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("an abstract socket");
    let inside = config.dir().join("inside");
    fs::create_dir(&inside).expect("our own");
    fs::write(inside.join("open"), "x").expect("our own");
    let written = config.dir().join("written");
    fs::create_dir(&written).expect("our own");
    let plugins = [
        ("forbidden", "io"),
        ("forbidden_cpu", "cpu"),
        ("forbidden_exec", "exec"),
    ];
    let try_all = |plugin: &str, layers: &str| {
        // A sign before it, so that the folder is named and yet not opened.
        let options = format!(
            "{{ layers = {layers:?}, outside = {:?}, open = {:?}, write = {:?} }}",
            format!("-{name}"),
            inside.join("open"),
            written.join("new"),
        );
        of(plugin, plugin, &options)
    };
    let daemon = spawn(
        plugins
            .iter()
            .fold(config, |c, (plugin, _)| c.check(try_all(plugin, "c"))),
    );
    for (plugin, class) in plugins {
        let words = sandbox(&daemon, class);
        if !words.contains("full") && !words.contains("calls") {
            skipped(&format!("this kernel has no seccomp filters: {words}"));
            return;
        }
        let mut checks: Vec<Check> = Vec::new();
        for (other, _) in plugins {
            let layers = if other == plugin {
                layers(&words)
            } else {
                "c".into()
            };
            checks.push(try_all(other, &layers));
        }
        daemon.written.rewrite(&checks);
        daemon.ask("reload", json!({}));
        let row = daemon.run_anew(plugin);
        let message = row["message"].as_str().unwrap_or_default();
        assert_eq!(row["status"], "ok", "{plugin}, sandbox {words}: {message}");
        let tried: u32 = message
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let least = if class == "exec" { 37 } else { 66 };
        assert!(tried >= least, "{plugin}: {message}");
    }
    // Nothing of it has happened.
    assert_eq!(
        fs::read(outside.0.join("there")).expect("still there"),
        b"x"
    );
    assert!(!outside.0.join("other").exists());
}

#[test]
fn a_path_that_comes_with_a_reload_is_open() {
    let config = config();
    let dir = config.dir().to_owned();
    for name in ["first", "second"] {
        fs::create_dir(dir.join(name)).expect("our own");
        fs::write(dir.join(name).join("file"), "x").expect("our own");
    }
    let read = |name: &str| {
        let path = dir.join(name).join("file");
        of(
            name,
            "forbidden",
            &format!("{{ layers = \"-\", open = {path:?} }}"),
        )
    };
    let daemon = spawn(config.check(read("first")));
    assert_eq!(daemon.run("first")["status"], "ok");
    // Others take its place, as what a process has given up it cannot get back.
    daemon.written.rewrite(&[read("first"), read("second")]);
    let report = daemon.ask("reload", json!({})).remove(0);
    assert!(report["new_generation"].is_u64(), "{report}");
    for name in ["first", "second"] {
        let row = daemon.run(name);
        assert_eq!(row["status"], "ok", "{row}");
    }
    // One that goes takes nothing from the others.
    daemon.written.rewrite(&[read("second")]);
    let report = daemon.ask("reload", json!({})).remove(0);
    assert!(report["new_generation"].is_null(), "{report}");
    // A file that another has taken the place of is still open.
    let file = dir.join("second/file");
    fs::write(dir.join("second/new"), "y").expect("our own");
    fs::rename(dir.join("second/new"), &file).expect("our own");
    assert_eq!(daemon.run_anew("second")["status"], "ok");
}

#[test]
fn who_says_nothing_of_a_sandbox_has_none_and_may_be_refused() {
    let echo = || of("echo", "echo", "{ status = \"ok\" }");
    let fine = || of("fine", "forbidden", "{ layers = \"-\" }");
    let both = || {
        config()
            .plugin_file(fixtures::fixture("echo"))
            .check(echo())
            .check(fine())
    };
    let daemon = spawn(both());
    let words = |plugin: &str| {
        let of_plugin = |w: &&Value| w["plugins"][0] == plugin && w["state"] == "ready";
        let rows = daemon.until_workers(&format!("a worker of {plugin}"), |rows| {
            rows.iter().any(|w| of_plugin(&w))
        });
        rows.iter().find(of_plugin).expect("it was there")["sandbox"].clone()
    };
    assert_eq!(words("echo"), "legacy");
    assert_ne!(words("forbidden"), "legacy");
    drop(daemon);

    let daemon = spawn(both().daemon("require_sandbox", "true"));
    assert_eq!(daemon.run("fine")["status"], "ok");
    let row = daemon.row("echo");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(message.contains("HD_F_SANDBOX"), "{row}");
    drop(daemon);

    let off = both().pool("io", "sandbox = \"off\"").spawn();
    off.expect_notify("READY=1");
    assert_eq!(sandbox(&off, "io"), "off");
}

#[test]
fn what_delivers_messages_has_one_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let tcp = of(
        "port",
        "tcp",
        &format!("{{ host = \"127.0.0.1\", port = {port} }}"),
    );
    let daemon = spawn(
        Config::new()
            .check(tcp)
            .notify("plugin = \"webhook\"\nconfig = { url = \"http://127.0.0.1:1/\" }\n"),
    );
    let words = sandbox(&daemon, "io");
    assert_eq!(sandbox(&daemon, "notify"), words);
    // A program that tells somebody may do what programs do.
    let daemon = spawn(
        Config::new()
            .check(check("fine").interval("1h").script("exit 0"))
            .notify("plugin = \"script\"\nconfig = { argv = [\"/bin/true\"] }\n"),
    );
    assert_eq!(sandbox(&daemon, "notify"), sandbox(&daemon, "exec"));
}

/// Without `[users]` both are the daemon's user, and so are the programs of all checks.
#[test]
fn a_program_ends_neither_its_worker_nor_another_program() {
    let config = config();
    let (pid, fifo) = (config.dir().join("pid"), config.dir().join("fifo"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("our own");
    let (pid, fifo) = (pid.display(), fifo.display());
    let script = |name: &str, script: &str| {
        check(name)
            .interval("1h")
            .timeout("100s")
            .set("attempts", "1")
            .script(script)
    };
    let other = format!("echo $$ > {pid}.new; mv {pid}.new {pid}; read word < {fifo}; echo $word");
    let ends = format!(
        "kill -9 $PPID; a=$?; kill -9 $(cat {pid}); b=$?; sleep 100 & kill -9 $!; echo $a $b $?"
    );
    let daemon = spawn(
        config
            .check(script("other", &other))
            .check(script("fine", "exit 0")),
    );
    daemon.run("fine");
    let words = sandbox(&daemon, "exec");
    if !layers(&words).contains('s') {
        fs::write(fifo.to_string(), "").expect("its reader waits");
        return skipped(&format!("this kernel does not keep signals in: {words}"));
    }
    wait_for("the other program", || Path::new(&pid.to_string()).exists());
    let before = daemon.pids("exec");
    daemon.written.rewrite(&[
        script("other", &other),
        script("fine", "exit 0"),
        script("ends", &ends),
    ]);
    daemon.ask("reload", json!({}));
    let row = daemon.run("ends");
    assert_eq!(row["message"], "1 1 0", "{row}");
    assert_eq!(daemon.pids("exec"), before);
    fs::write(fifo.to_string(), "alive\n").expect("its reader waits");
    daemon.until_ok(&["other"]);
    assert_eq!(daemon.row("other")["message"], "alive");
}

/// An error that a library makes nothing of is not seen in a verdict: here a call that is refused is the end of its worker.
#[test]
fn the_shipped_kinds_make_no_call_that_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let page = Peer::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let config = Config::new()
        .daemon("log", "\"info\"")
        .env("HEALTHD_TEST_SANDBOX", "kill")
        .pool("exec", "sandbox = \"on\"");
    let dir = config.dir().to_owned();
    for (name, text) in [("numbers", "1\n2\n3\n"), ("log", "fine\n")] {
        fs::write(dir.join(name), text).expect("our own");
    }
    let [log, numbers, database] = ["log", "numbers", "database"].map(|name| dir.join(name));
    let made = Command::new("sqlite3")
        .arg(&database)
        .arg("create table t (a)")
        .status();
    let has_database = made.is_ok_and(|status| status.success());
    let mut kinds = vec![
        ("cpu", "{ duration = \"20ms\" }".to_owned()),
        ("disk", "{ paths = [\"/\"] }".to_owned()),
        ("file", format!("{{ path = {log:?} }}")),
        (
            "http",
            format!("{{ url = \"http://localhost:{}/\" }}", page.addr.port()),
        ),
        ("interface", "{ name = \"lo\" }".to_owned()),
        ("load", "{ load5_warn = 1000 }".to_owned()),
        (
            "log",
            format!("{{ path = {log:?}, pattern = [\"ERROR\"] }}"),
        ),
        ("memory", "{ available_warn = \"0%\" }".to_owned()),
        ("process", "{ name = \"healthd\" }".to_owned()),
        (
            "sqlite",
            format!("{{ path = {database:?}, query = \"select 1\" }}"),
        ),
        (
            "stats",
            format!("{{ path = {numbers:?}, format = \"csv\", column = \"1\", header = false }}"),
        ),
        ("tcp", format!("{{ host = \"localhost\", port = {port} }}")),
    ];
    kinds.retain(|(kind, _)| has_database || *kind != "sqlite");
    let made = kinds.iter().fold(config, |config, (kind, options)| {
        config.check(of(kind, kind, options))
    });
    let daemon = spawn(made.check(of("exec", "exec", "{ argv = [\"/bin/true\"] }")));
    for name in kinds.iter().map(|(kind, _)| *kind).chain(["exec"]) {
        let row = daemon.run(name);
        let message = row["message"].as_str().unwrap_or_default();
        assert!(!message.starts_with("self:"), "{row}");
    }
    for worker in daemon.workers() {
        assert_eq!(
            (&worker["restarts"], &worker["lost"]),
            (&json!(0), &json!(0)),
            "{worker}"
        );
    }
    // And it does end who makes one.
    if sandbox(&daemon, "io") == "none" {
        return skipped("this kernel has no seccomp filters");
    }
    drop(daemon);
    let fatal = "{ layers = \"c\", outside = \"-/nowhere\" }";
    let config = self::config().env("HEALTHD_TEST_SANDBOX", "kill");
    let daemon = spawn(config.check(of("fatal", "forbidden", fatal)));
    let row = daemon.run("fatal");
    let message = row["message"].as_str().unwrap_or_default();
    assert!(message.contains("SIGSYS"), "{row}");
}
