//! The demo as a newcomer runs it: it shows every check, ends by itself or by Ctrl-C, and leaves nothing.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A folder in place of /tmp, and a demo in it that builds as the tests do.
struct Demo {
    temp: PathBuf,
    child: Child,
}

impl Demo {
    fn start(name: &str, args: &[&str]) -> Demo {
        let temp = PathBuf::from(format!("/tmp/hd-demo-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&temp);
        let made = std::fs::DirBuilder::new().mode(0o755).create(&temp);
        made.expect("/tmp can be written");
        // The folder of the programs that belong to this test.
        let target = PathBuf::from(env!("CARGO_BIN_EXE_healthd-demo"));
        let target = target
            .ancestors()
            .nth(2)
            .expect("target/PROFILE/healthd-demo");
        let child = Command::new(env!("CARGO_BIN_EXE_healthd-demo"))
            .arg("--debug")
            .args(args)
            .env("TMPDIR", &temp)
            .env("CARGO_TARGET_DIR", target)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        Demo { temp, child }
    }

    /// It has ended well, and nothing of it is left.
    fn assert_gone(mut self) {
        let ended = self.child.wait().expect("our own child");
        assert!(ended.success(), "{ended}");
        let left = std::fs::read_dir(&self.temp).expect("our own folder");
        let left: Vec<_> = left.flatten().map(|f| f.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        std::fs::remove_dir(&self.temp).expect("it is empty");
        let name = self.temp.to_str().expect("ASCII").as_bytes();
        for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(
                !line.windows(name.len()).any(|part| part == name),
                "still running: {}",
                String::from_utf8_lossy(&line)
            );
        }
    }
}

#[test]
fn once_ends_by_itself_when_every_check_has_a_verdict() {
    let mut demo = Demo::start("once", &["--once"]);
    let mut said = String::new();
    let mut out = demo.child.stdout.take().expect("piped");
    out.read_to_string(&mut said).expect("text");
    demo.assert_gone();
    for part in [
        "shop/front",
        "shop/stock",
        "shop/port",
        "machine/cpu",
        "shop/orders",
        "connect: connection refused",
        "exit code 0; nothing is left behind",
    ] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
    assert!(!said.contains("pending"), "{said}");
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    let mut demo = Demo::start("interrupt", &[]);
    let mut lines = BufReader::new(demo.child.stdout.take().expect("piped")).lines();
    let changed = |line: &Result<String, _>| {
        line.as_ref()
            .is_ok_and(|line| line.contains("shop/nobody-listens") && line.contains("CRITICAL"))
    };
    assert!(
        lines.any(|line| changed(&line)),
        "it never came to a verdict"
    );
    let pid = rustix::process::Pid::from_child(&demo.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let last = lines.map_while(Result::ok).last().unwrap_or_default();
    assert!(
        last.contains("exit code 0; nothing is left behind"),
        "{last}"
    );
    demo.assert_gone();
}
