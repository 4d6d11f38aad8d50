//! What only a process of its own can show: Ctrl-C, a reader that leaves, the helper program.
//!
//! This program is healthctl when a test starts it as a child, else it runs the tests below.

mod support;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use support::replies::{ALL, CRITICAL, DETAIL, EVENTS, OK};
use support::{Dir, Fake};

const AS_CHILD: &str = "HEALTHCTL_TEST_CHILD";

fn main() -> ExitCode {
    if std::env::var_os(AS_CHILD).is_some() {
        let code = healthd_ctl::main(std::env::args_os(), healthd_ctl::Outputs::of_process());
        return ExitCode::from(code);
    }
    let tests: [(&str, fn()); 10] = [
        (
            "names_are_completed_from_the_daemon",
            names_are_completed_from_the_daemon,
        ),
        ("ctrl_c_ends_a_watch_with_0", ctrl_c_ends_a_watch_with_0),
        ("ctrl_c_ends_a_run_with_3", ctrl_c_ends_a_run_with_3),
        (
            "a_reader_that_leaves_ends_status_quietly",
            a_reader_that_leaves_ends_status_quietly,
        ),
        (
            "a_reader_that_leaves_ends_a_watch_at_once",
            a_reader_that_leaves_ends_a_watch_at_once,
        ),
        ("a_full_disk_is_told", a_full_disk_is_told),
        (
            "the_socket_from_the_environment",
            the_socket_from_the_environment,
        ),
        ("times_are_those_of_tz", times_are_those_of_tz),
        ("validate_asks_healthd", validate_asks_healthd),
        ("try_and_verify_ask_healthd", try_and_verify_ask_healthd),
    ];
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    for (name, test) in tests {
        if filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
        {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn healthctl(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(args).env(AS_CHILD, "1").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn against(fake: &Fake, args: &[&str]) -> Child {
    healthctl(args)
        .env("HEALTHD_SOCKET", fake.dir.socket())
        .spawn()
        .expect("spawn")
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("kill");
}

/// A fake that sends these lines and then waits for the client to leave.
fn open_ended(lines: String) -> Fake {
    Fake::once(move |peer| {
        peer.read_request();
        peer.send(lines.as_bytes());
        peer.await_hang_up();
    })
}

fn rest(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().expect("wait");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn ctrl_c_ends_a_watch_with_0() {
    let fake = open_ended(format!(
        "{{\"type\":\"started\",\"total\":1}}\n{CRITICAL}\n"
    ));
    let mut child = against(&fake, &["watch"]);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // Two lines out: it is in its loop.
    assert!(
        lines
            .next()
            .expect("a line")
            .expect("UTF-8")
            .starts_with("watching 1 check")
    );
    assert!(
        lines
            .next()
            .expect("a line")
            .expect("UTF-8")
            .contains("CRITICAL")
    );
    interrupt(&child);
    let (code, _, err) = rest(child);
    assert_eq!((code, &*err), (Some(0), ""));
}

fn ctrl_c_ends_a_run_with_3() {
    let fake = open_ended(format!("{{\"type\":\"started\",\"total\":2}}\n{OK}\n"));
    let mut child = against(&fake, &["run", "--all"]);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(
        lines
            .next()
            .expect("a line")
            .expect("UTF-8")
            .contains("web/frontpage")
    );
    interrupt(&child);
    let (code, _, err) = rest(child);
    assert_eq!(code, Some(3));
    assert_eq!(
        err,
        "healthctl: note: interrupted: 1 of 2 finished; healthd ends the others by itself\n"
    );
}

fn a_reader_that_leaves_ends_status_quietly() {
    let mut text: String = (0..2_000).map(|_| format!("{OK}\n")).collect();
    text += "{\"type\":\"end\"}\n";
    let fake = open_ended(text);
    let mut child = against(&fake, &["status", "--timeout", "60s"]);
    // More than a pipe holds is to come; one byte is read, then the reader is gone.
    let mut out = child.stdout.take().expect("piped");
    out.read_exact(&mut [0]).expect("a byte");
    drop(out);
    let (code, _, err) = rest(child);
    assert_eq!((code, &*err), (Some(0), ""));
}

fn a_reader_that_leaves_ends_a_watch_at_once() {
    let fake = open_ended(format!("{{\"type\":\"started\",\"total\":1}}\n{OK}\n"));
    let mut child = against(&fake, &["watch"]);
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    out.read_line(&mut String::new()).expect("the first line");
    drop(out);
    // No further change comes, and yet it ends.
    let (code, _, err) = rest(child);
    assert_eq!((code, &*err), (Some(0), ""));
}

fn a_full_disk_is_told() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let child = healthctl(&["completions", "bash"])
        .stdout(full)
        .spawn()
        .expect("spawn");
    let (code, _, err) = rest(child);
    assert_eq!(code, Some(3));
    assert!(
        err.starts_with("healthctl: error: cannot write the output: No space left"),
        "{err}"
    );
}

fn the_socket_from_the_environment() {
    let fake = Fake::lines(&ALL);
    let (code, out, _) = rest(against(&fake, &["list", "--timeout", "60s"]));
    assert_eq!((code, out.lines().count()), (Some(0), 6));
    // The option wins over the environment.
    let dir = Dir::new();
    let socket = dir.socket();
    let mut command = healthctl(&["list", "--socket", socket.to_str().expect("UTF-8")]);
    let child = command
        .env("HEALTHD_SOCKET", "/nonexistent/sock")
        .spawn()
        .expect("spawn");
    let (code, _, err) = rest(child);
    assert_eq!(code, Some(3));
    assert!(err.contains(socket.to_str().expect("UTF-8")), "{err}");
}

fn times_are_those_of_tz() {
    for (zone, shown) in [("UTC", "08:00:00"), ("Asia/Kolkata", "13:30:00")] {
        let fake = Fake::lines(&[EVENTS[1]]);
        let mut command = healthctl(&["events"]);
        command
            .env("HEALTHD_SOCKET", fake.dir.socket())
            .env("TZ", zone);
        let (code, out, _) = rest(command.spawn().expect("spawn"));
        assert_eq!(code, Some(0), "{zone}: {out}");
        assert!(out.contains(shown), "{zone}: {out}");
    }
}

/// A program `healthd` in PATH that does what this script says; there is none beside this test program.
fn with_healthd(script: &str, args: &[&str]) -> (Option<i32>, String, String) {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let program = dir.0.join("healthd");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("write");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
    let mut path = OsString::from(&dir.0);
    path.push(":/usr/bin:/bin");
    rest(healthctl(args).env("PATH", path).spawn().expect("spawn"))
}

fn names_are_completed_from_the_daemon() {
    let fake = Fake::lines(&ALL);
    let mut asked = healthctl(&["--", "healthctl", "show", "web/l"]);
    asked
        .env("HEALTHD_SOCKET", fake.dir.socket())
        .env("HEALTHCTL_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2")
        .env("_CLAP_IFS", "\n");
    let (code, out, err) = rest(asked.spawn().expect("spawn"));
    assert_eq!((code, &*out, &*err), (Some(0), "web/login", ""));
    // Nobody answers: nothing to choose from, and no noise into the prompt.
    let mut asked = healthctl(&["--", "healthctl", "show", "web/l"]);
    asked
        .env("HEALTHD_SOCKET", "/nonexistent/socket")
        .env("HEALTHCTL_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2");
    let (code, out, err) = rest(asked.spawn().expect("spawn"));
    assert_eq!((code, &*out, &*err), (Some(0), "", ""));
}

fn validate_asks_healthd() {
    let good = r#"test "$*" = "--config a.toml -t" && echo "a.toml: good, checks: 2""#;
    let (code, out, _) = with_healthd(good, &["validate", "--config", "a.toml"]);
    assert_eq!((code, &*out), (Some(0), "a.toml: good, checks: 2\n"));

    let bad =
        "printf 'error: unknown key\\n  --> a.toml:1:1\\n\\nerror: no plugin\\n' >&2; exit 78";
    let (code, out, err) = with_healthd(bad, &["validate", "-c", "a.toml"]);
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(err.starts_with("error: unknown key\n"), "{err}");
    let answer = r#"{"ok":false,"config":"a.toml","checks":null,"diagnostics":[{"code":"unknown-key","line":1}]}"#;
    let bad = format!("test \"$*\" = '--config a.toml -t --json' && echo '{answer}'; exit 78");
    let (code, out, err) = with_healthd(&bad, &["validate", "-c", "a.toml", "--json"]);
    assert_eq!((code, &*err), (Some(2), ""));
    let shown: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        shown,
        serde_json::from_str::<serde_json::Value>(answer).expect("JSON")
    );

    let (code, _, err) = with_healthd("kill -9 $$", &["validate"]);
    assert_eq!(code, Some(3));
    assert!(
        err.contains("was killed by SIGKILL without a readable answer"),
        "{err}"
    );
}

fn try_and_verify_ask_healthd() {
    // A probe prints what a detail line holds, without its type.
    let detail = DETAIL.replace(r#""type":"detail","#, "");
    // Before anything runs the file is judged.
    let judged = "case $1 in --verify) echo '{\"ok\":true,\"plugins\":[{\"name\":\"http\"}]}'; exit;; esac\n";
    let run = format!(
        "{judged}test \"$*\" = '--try x.so --plugin http a.b=1 c=two words' || exit 1\ncat <<'X'\n{detail}\nX"
    );
    let args = ["try", "x.so", "a.b=1", "c=two words", "--plugin", "http"];
    let (code, out, err) = with_healthd(&run, &args);
    assert_eq!((code, &*err), (Some(0), ""));
    assert!(out.starts_with("ok  HTTP 200, 5120 bytes\n"), "{out}");

    let (code, out, err) = with_healthd(
        &format!("{judged}echo 'x.so: no such file' >&2; exit 65"),
        &args,
    );
    assert_eq!((code, &*out, &*err), (Some(3), "", "x.so: no such file\n"));

    let probe = r#"echo '{"ok":true,"plugins":[{"name":"http","version":"1.0","summary":"HTTP","vendor":"us","license":"MIT","abi":"1.0","workload":"io","default_timeout_ms":5000,"schema":{"required":["url"],"properties":{"url":{"type":"string","description":"what to ask"},"insecure":{"type":"boolean","default":false}}},"flags":[]}]}'"#;
    let (code, out, _) = with_healthd(probe, &["plugins", "verify", "x.so"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        "x.so: good\n  http 1.0  HTTP\n    by us, license MIT, abi 1.0, workload io, timeout 5s\n    \
         OPTION    TYPE     DEFAULT     MEANING\n    insecure  boolean  false\n    url       string   (required)  what to ask\n"
    );
    let refused = r#"echo '{"ok":false,"reason":"not an ELF file"}'; exit 1"#;
    let (code, _, err) = with_healthd(refused, &["plugins", "verify", "x.so"]);
    assert_eq!(
        (code, &*err),
        (Some(2), "healthctl: error: x.so: not an ELF file\n")
    );
    let (code, out, _) = with_healthd(refused, &["plugins", "verify", "x.so", "--json"]);
    assert_eq!(
        (code, &*out),
        (
            Some(2),
            "{\"ok\":false,\"reason\":\"not an ELF file\",\"plugins\":[]}\n"
        )
    );

    for (script, args, reason) in [
        (
            "kill -SEGV $$",
            &["plugins", "verify", "x.so"][..],
            "loading it crashes: SIGSEGV",
        ),
        (
            "exec sleep 600",
            &["plugins", "verify", "x.so", "--timeout", "50ms"],
            "loading it does not end within 50ms",
        ),
    ] {
        let (code, _, err) = with_healthd(script, args);
        assert_eq!(
            (code, err),
            (Some(2), format!("healthctl: error: x.so: {reason}\n"))
        );
    }
    let (code, _, err) = with_healthd(refused, &args);
    assert_eq!(
        (code, &*err),
        (Some(3), "healthctl: error: x.so: not an ELF file\n")
    );
    let (code, _, err) = with_healthd(&format!("{judged}exit 7"), &args);
    assert_eq!(code, Some(3));
    assert!(
        err.contains("the plugin ended its process with exit code 7"),
        "{err}"
    );
    let (code, _, err) = with_healthd(&format!("{judged}kill -SEGV $$"), &args);
    assert_eq!(
        (code, &*err),
        (
            Some(3),
            "healthctl: error: x.so: the plugin crashed: SIGSEGV\n"
        )
    );
    let (code, _, err) = with_healthd(
        &format!("{judged}echo \"$*\" >&2; exit 65"),
        &["try", "x.so", "a=1", "--options", "f", "--timeout", "60s"],
    );
    assert_eq!(
        (code, &*err),
        (Some(3), "--try x.so --options f --timeout 60000ms a=1\n")
    );

    let (code, _, err) = with_healthd("echo nonsense; exit 0", &["plugins", "verify", "x.so"]);
    assert_eq!(code, Some(3));
    assert!(
        err.contains("ended with exit code 0 without a readable answer: `nonsense`"),
        "{err}"
    );
}
