//! The plugin through MockHost: real Debian plugins, and programs that behave badly.

use crate::{environment, hd_plugin_v1, signal_name};
use healthd_plugin::mock::{MockCheck, MockHost, Outcome};
use healthd_plugin::{Status, abi, serde_json::json};
use healthd_testing::{Peer, free_port};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const DEBIAN: &str = "/usr/lib/nagios/plugins";

fn create(config: healthd_plugin::serde_json::Value) -> Result<MockCheck, String> {
    MockHost::new(hd_plugin_v1)
        .plugin("exec")
        .create(config.to_string())
}

fn run(config: healthd_plugin::serde_json::Value) -> Outcome {
    create(config).unwrap().run(LONG)
}

fn argv<const N: usize>(argv: [&str; N]) -> Outcome {
    run(json!({"argv": argv.as_slice()}))
}

fn sh(script: &str) -> Outcome {
    argv(["/bin/sh", "-c", script])
}

/// None, and a word about it, where monitoring-plugins-basic is not installed.
fn debian<const N: usize>(name: &str, arguments: [&str; N]) -> Option<Outcome> {
    let program = format!("{DEBIAN}/{name}");
    if !Path::new(&program).exists() {
        eprintln!("skipped: {program} is missing (package monitoring-plugins-basic)");
        return None;
    }
    let mut argv = vec![program.as_str()];
    argv.extend(arguments);
    Some(run(json!({ "argv": argv })))
}

// ---- the real ones ----

#[test]
fn check_dummy_says_each_status() {
    for (code, status, message) in [
        ("0", Status::Ok, "OK: fine"),
        ("1", Status::Warn, "WARNING: fine"),
        ("2", Status::Critical, "CRITICAL: fine"),
        ("3", Status::Unknown, "UNKNOWN: fine"),
    ] {
        let Some(o) = debian("check_dummy", [code, "fine"]) else {
            return;
        };
        assert_eq!((o.status, &*o.message), (status, message));
        assert_eq!(o.phases, ["exec"]);
    }
}

#[test]
fn check_load_and_procs_give_metrics() {
    let Some(o) = debian(
        "check_load",
        ["-w", "1000,1000,1000", "-c", "2000,2000,2000"],
    ) else {
        return;
    };
    assert_eq!(o.status, Status::Ok, "{o:?}");
    let load = o.metric("load5");
    assert_eq!((load.warn, load.crit, load.min), (1000.0, 2000.0, 0.0));
    assert!(load.value >= 0.0);

    let Some(o) = debian("check_procs", ["-w", "1:100000", "-c", "0:"]) else {
        return;
    };
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(o.metric("procs").value >= 1.0);
    assert_eq!(
        o.labels.get("warn_range:procs").map(|s| &**s),
        Some("1:100000")
    );
}

#[test]
fn check_disk_counts_bytes() {
    let Some(o) = debian("check_disk", ["-w", "0%", "-c", "0%", "-p", "/"]) else {
        return;
    };
    assert_eq!(o.status, Status::Ok, "{o:?}");
    let root = o.metric("/");
    assert_eq!(root.unit, "By");
    assert!(root.value > 0.0 && root.max >= root.value, "{root:?}");
}

#[test]
fn check_tcp_and_http_against_a_server() {
    let web = Peer::answering("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let port = web.addr.port().to_string();
    let Some(o) = debian("check_http", ["-I", "127.0.0.1", "-p", &port]) else {
        return;
    };
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(o.message.starts_with("HTTP OK"), "{o:?}");
    assert_eq!(o.metric("time").unit, "s");
    assert_eq!(o.metric("size").unit, "By");

    let o = debian("check_tcp", ["-H", "127.0.0.1", "-p", &port]).unwrap();
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(o.metric("time").value > 0.0);

    let port = free_port("127.0.0.1").to_string();
    let o = debian("check_tcp", ["-H", "127.0.0.1", "-p", &port]).unwrap();
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(o.message.contains("refused"), "{o:?}");
}

// ---- ends of all kinds ----

#[test]
fn other_ends_are_unknown_and_named() {
    for (script, message) in [
        (
            "echo hi; exit 4",
            "/bin/sh: exit code 4, where Nagios plugins use 0 to 3; hi",
        ),
        (
            "exit 127",
            "/bin/sh: exit code 127: a command it calls was not found; no output (exit code 127)",
        ),
        ("echo hi; kill -SEGV $$", "/bin/sh: killed by SIGSEGV; hi"),
        (
            "kill -KILL $$",
            "/bin/sh: killed by SIGKILL: the machine ran out of memory, a limit was hit, or somebody killed it; no output",
        ),
        (
            "exit 137",
            "/bin/sh: exit code 137: a command it calls was killed by SIGKILL; no output (exit code 137)",
        ),
    ] {
        let o = sh(script);
        assert_eq!(
            (o.status, &*o.message),
            (Status::Unknown, message),
            "{script}"
        );
    }
    assert_eq!(signal_name(11).as_deref(), Some("SIGSEGV"));
    assert_eq!(signal_name(31).as_deref(), Some("SIGSYS"));
    assert_eq!(signal_name(36).as_deref(), Some("SIGRTMIN+2"));
    assert_eq!(signal_name(0).or(signal_name(-1)).or(signal_name(32)), None);
}

#[test]
fn a_program_that_cannot_start_is_unknown_with_the_way_out() {
    let dir = tempdir("start");
    let plain = dir.join("plain");
    std::fs::write(&plain, "data").unwrap();
    let no_interpreter = script(&dir, "no_interpreter", "#!/nowhere/sh\n");
    let windows = script(&dir, "windows", "#!/bin/sh\r\nexit 0\r\n");
    let no_format = script(&dir, "no_format", "neither ELF nor script");
    let plain = plain.to_str().unwrap();

    for (program, end) in [
        (
            "/nowhere/check_x",
            "no such file; install it or correct argv",
        ),
        (
            &*no_interpreter,
            "the interpreter /nowhere/sh, which its first line names, does not exist",
        ),
        (
            &*windows,
            "(CR LF), so that its interpreter would be /bin/sh\\r: save it with LF alone",
        ),
        (
            plain,
            "not executable for the daemon's user; see its mode and that of its directories",
        ),
    ] {
        let o = argv([program]);
        assert_eq!(o.status, Status::Unknown);
        assert!(
            o.message.starts_with(program) && o.message.ends_with(end),
            "{o:?}"
        );
    }
    let o = run(json!({"argv": ["check_nowhere"], "env": {"PATH": "/usr/bin:/bin"}}));
    assert_eq!(
        (o.status, &*o.message),
        (
            Status::Unknown,
            "check_nowhere: command not found in PATH /usr/bin:/bin; write its full path in argv"
        )
    );

    // One that the search finds and that cannot be started is there all the same.
    let path = format!("{}:/usr/bin:/bin", dir.display());
    let o = run(json!({"argv": ["no_interpreter"], "env": {"PATH": path}}));
    assert_eq!(
        o.message,
        "no_interpreter: not started: the interpreter /nowhere/sh, which its first line names, does not exist"
    );
    // Which of the two depends on the host's way to start a child: some shells' exec runs it as a script.
    let o = argv([&*no_format]);
    assert_eq!(o.status, Status::Unknown, "{o:?}");

    let o = run(json!({"argv": ["/bin/true"], "cwd": "/nowhere"}));
    assert_eq!(o.status, Status::Unknown);
    assert!(o.message.contains("/nowhere is no directory"), "{o:?}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_deadline_kills_the_whole_group() {
    let dir = tempdir("deadline");
    let fifo = dir.join("fifo");
    let fifo = fifo.to_str().unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(fifo)
            .status()
            .unwrap()
            .success()
    );
    // A grandchild holds the write end; when the group is dead, the read end sees an end of file.
    let check =
        create(json!({"argv": ["/bin/sh", "-c", "sleep 60 >\"$0\" & wait", fifo]})).unwrap();
    let reader = {
        let fifo = fifo.to_string();
        std::thread::spawn(move || std::fs::read(fifo).unwrap())
    };
    let begun = Instant::now();
    let o = check.run(Duration::from_millis(300));
    assert_eq!(o.code, abi::PENDING);
    assert_eq!(o.message, "timeout after 300ms in phase exec");
    // Should the machine have been too slow to start the grandchild at all, this ends the reader's open.
    while !reader.is_finished() {
        drop(File::options().read(true).write(true).open(fifo).unwrap());
        std::thread::yield_now();
    }
    assert_eq!(reader.join().unwrap(), b"");
    assert!(
        begun.elapsed() < Duration::from_secs(45),
        "the grandchild lived on"
    );
    std::fs::remove_dir_all(dir).unwrap();
}

// ---- output ----

#[test]
fn message_detail_metrics() {
    let o = sh(
        "echo 'OK - all | t=5ms;10;20 x=1;10:20'; echo 'long 1'; echo 'long 2 | y=3c'; echo 'z=U bad'; echo oops >&2",
    );
    assert_eq!((o.status, &*o.message), (Status::Ok, "OK - all"));
    assert_eq!(
        o.detail,
        "long 1\nlong 2\nstderr: oops\nperformance data not understood: bad\n\
         performance data: t=5ms;10;20 x=1;10:20\ny=3c\nz=U bad"
    );
    let t = o.metric("t");
    assert_eq!(
        (t.value, &*t.unit, t.warn, t.crit),
        (0.005, "s", 0.01, 0.02)
    );
    assert!(o.metric("x").warn.is_nan());
    assert_eq!(o.labels["warn_range:x"], "10:20");
    assert_eq!(o.metric("y").kind, abi::COUNTER);
    assert!(o.metric("z").value.is_nan());
}

#[test]
fn poor_outputs_are_said() {
    for (script, status, message) in [
        ("exit 0", Status::Ok, "/bin/sh gave no output (exit code 0)"),
        (
            "echo 'cannot open' >&2; echo more >&2; exit 2",
            Status::Critical,
            "/bin/sh gave no output (exit code 2); stderr: cannot open",
        ),
        (
            "echo '|a=1'",
            Status::Ok,
            "/bin/sh gave no text but performance data (exit code 0)",
        ),
        (
            "printf 'caf\\351'",
            Status::Ok,
            "caf\u{fffd} [output is not UTF-8]",
        ),
    ] {
        let o = sh(script);
        assert_eq!((o.status, &*o.message), (status, message), "{script}");
    }
    let o = run(
        json!({"argv": ["/bin/sh", "-c", "echo short; head -c 300000 /dev/zero | tr '\\0' x"], "max_output": 1000}),
    );
    assert_eq!(
        o.message,
        "short [output cut after 1000 bytes, see max_output]"
    );
    assert_eq!(o.detail.len(), 1000 - "short\n".len());

    let o = sh("printf 'many |'; seq -f 'm%g=1' 1 1200 | tr '\\n' ' '");
    assert_eq!(o.metrics.len(), 1000);
    let detail = "1000 of 1200 metrics kept\nperformance data: m1=1 m2=1";
    assert!(o.detail.starts_with(detail), "{:.200}", o.detail);
}

#[test]
fn a_line_of_any_length_is_shown_or_its_cut_is() {
    let o = sh("printf 'DISK CRITICAL -'; seq -f ' /srv/%g 1 MB' -s, 1 200; exit 2");
    assert!(o.message.ends_with(", /srv/200 1 MB"), "{o:?}");
    let o = sh("printf 'OK '; head -c 50000 /dev/zero | tr '\\0' x; echo '|a=1'");
    assert!(
        o.message.ends_with("xx… [a line of 50003 bytes, cut]"),
        "{:.200}",
        o.message
    );
    assert!(o.message.len() <= 32 << 10);
    assert_eq!(o.metric("a").value, 1.0);
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let dir = tempdir("bytes");
    let file = dir.join("bytes");
    let alphabet = b"|'=;:@~U0123456789. \n\r\tms%c\x00\xff\x80abKB";
    let check = create(json!({"argv": ["/bin/cat", file.to_str().unwrap()]})).unwrap();
    for _ in 0..40 {
        let bytes: Vec<u8> = (0..500)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                alphabet[seed as usize % alphabet.len()]
            })
            .collect();
        std::fs::write(&file, bytes).unwrap();
        let o = check.run(LONG);
        assert_eq!(o.status, Status::Ok, "{o:?}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

// ---- what the program gets ----

#[test]
fn environment_input_folder_and_limits() {
    let o = run(json!({
        "argv": ["/bin/sh", "-c", "echo \"$TOKEN $(pwd) $(cat) $(ulimit -n) $(ulimit -t) ${CARGO_PKG_NAME:-unset}\""],
        "env": {"TOKEN": "s3cret"}, "cwd": "/usr", "stdin": "typed in", "max_files": 33, "max_cpu": "1500ms",
    }));
    assert_eq!(o.message, "s3cret /usr typed in 33 2 unset");
    let o = run(json!({"argv": ["/bin/sh", "-c", "while :; do :; done"], "max_cpu": "1s"}));
    assert!(
        o.message
            .starts_with("/bin/sh: killed by SIGXCPU: it used more CPU time than max_cpu")
            || o.message.starts_with("/bin/sh: killed by SIGKILL"),
        "{o:?}"
    );
    assert_eq!(o.status, Status::Unknown);
}

#[test]
fn the_environment_is_small() {
    let own = [
        ("B".to_string(), "2".to_string()),
        ("PATH".into(), "/own".into()),
    ]
    .into();
    let env = environment(&own, |name| match name {
        "HOME" => Some("/home/x".into()),
        "LANG" => Some(String::new()),
        "PATH" => Some("/daemon".into()),
        _ => None,
    });
    assert_eq!(
        env.unwrap(),
        ["B=2", "HOME=/home/x", "LC_NUMERIC=C", "PATH=/own"]
    );
    let env = environment(&Default::default(), |_| None).unwrap();
    assert_eq!(env[1], format!("PATH={}", crate::DEFAULT_PATH));
}

#[test]
fn mistakes_in_the_options() {
    let error = |config| create(config).err().unwrap();
    assert_eq!(error(json!({})), "argv: missing");
    assert_eq!(error(json!({"argv": []})), "argv: at least 1 entries");
    assert!(error(json!({"argv": [""]})).contains("must not be empty"));
    assert!(error(json!({"argv": ["plugins/x"]})).contains("is relative"));
    assert!(error(json!({"argv": ["check_x -H y"]})).contains("no shell splits it"));
    assert!(
        error(json!({"argv": ["/bin/true", "a\u{0}b"]})).starts_with("argv[1]: must not contain")
    );
    assert!(error(json!({"argv": ["x"], "cwd": "tmp"})).contains("no absolute path"));
    assert!(error(json!({"argv": ["x"], "env": {"A=B": "c"}})).contains("no name of a variable"));
    assert!(!error(json!({"argv": ["x"], "env": {"A": "s3cret\u{0}"}})).contains("s3cret"));
    assert!(error(json!({"argv": ["x"], "max_output": 1})).contains("below 256"));
}

#[test]
fn the_schema_describes_every_option() {
    let plugin = MockHost::new(hd_plugin_v1).plugin("exec");
    plugin.assert_documented(include_str!("../README.md"));
    assert_eq!(plugin.schema()["required"], json!(["argv"]));
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("healthd-exec-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Written by a child: if this process had it open for writing while another test forks, its exec says ETXTBSY.
fn script(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name).to_str().unwrap().to_string();
    let write = r#"printf %s "$2" >"$1" && chmod 755 "$1""#;
    let done = std::process::Command::new("/bin/sh")
        .args(["-c", write, "sh", &path, text])
        .status();
    assert!(done.unwrap().success());
    path
}
