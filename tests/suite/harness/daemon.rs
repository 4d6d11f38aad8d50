//! A daemon under test: its config, its process, and everything it says.

use super::notify::Notify;
use super::record::Record;
use super::{DEADLINE, TempDir, plugins};
use healthd_test_support::procs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Everything that a daemon is started with.
pub struct Config {
    dir: TempDir,
    daemon: BTreeMap<String, String>,
    pools: BTreeMap<String, String>,
    strangers: bool,
    sections: BTreeMap<String, String>,
    checks: Vec<Check>,
    /// `[[notify]]` and the like, as they are written.
    alerts: String,
    plugin_files: Vec<PathBuf>,
    env: Vec<(OsString, OsString)>,
    wrapper: Vec<String>,
    stdin: Option<OwnedFd>,
}

/// One `[[check]]`.
pub struct Check {
    plugin: String,
    lines: String,
}

/// A check that runs all the time unless it is told otherwise.
pub fn check(name: &str) -> Check {
    Check {
        plugin: String::new(),
        lines: format!("name = {name:?}\n"),
    }
}

/// One of those that `Config::good` makes.
pub fn fine(n: usize) -> Check {
    let plugin = if n.is_multiple_of(2) {
        "echo"
    } else {
        "echo_step"
    };
    check(&format!("fine-{n}"))
        .plugin(plugin)
        .interval("100ms")
        .timeout("30s")
        .set("attempts", "1")
}

impl Check {
    /// `name` is TOML.
    pub fn raw(name: &str) -> Check {
        Check {
            plugin: String::new(),
            lines: format!("name = {name}\n"),
        }
    }

    pub fn plugin(mut self, name: &str) -> Check {
        self.plugin = name.into();
        self.set("plugin", &format!("{name:?}"))
    }

    /// `value` is TOML.
    pub fn set(mut self, key: &str, value: &str) -> Check {
        self.lines += &format!("{key} = {value}\n");
        self
    }

    pub fn interval(self, interval: &str) -> Check {
        self.set("interval", &format!("{interval:?}"))
    }

    pub fn timeout(self, timeout: &str) -> Check {
        self.set("timeout", &format!("{timeout:?}"))
    }

    /// The exec plugin with a shell script.
    pub fn script(self, script: &str) -> Check {
        let argv = format!("{{ argv = [\"/bin/sh\", \"-c\", {script:?}] }}");
        self.plugin("exec").set("config", &argv)
    }
}

impl Config {
    pub fn new() -> Config {
        let config = Config {
            dir: TempDir::new(),
            daemon: BTreeMap::new(),
            pools: BTreeMap::new(),
            strangers: false,
            sections: BTreeMap::new(),
            checks: Vec::new(),
            alerts: String::new(),
            plugin_files: Vec::new(),
            env: Vec::new(),
            wrapper: Vec::new(),
            stdin: None,
        };
        let dir = config.dir().to_owned();
        let path = |name: &str| format!("{:?}", dir.join(name));
        config
            .daemon("plugin_dir", &path("plugins"))
            .daemon("runtime_dir", &path("run"))
            .daemon("state_dir", &path("state"))
            .daemon("stop_grace", "\"5s\"")
            // A test waits for first runs.
            .daemon("start_spread", "\"5s\"")
            .daemon("log", "\"debug\"")
    }

    /// A check whose interval is an hour runs when it is asked to: the run that each has by itself after a start, seconds
    /// later on a busy machine than on others, comes in no test's life.
    pub fn only_asked(self) -> Config {
        self.daemon("start_spread", "\"1h\"")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A key of `[daemon]`; `value` is TOML.
    pub fn daemon(mut self, key: &str, value: &str) -> Config {
        self.daemon.insert(key.into(), value.into());
        self
    }

    /// `pool("io", "workers = 1")`
    pub fn pool(mut self, pool: &str, lines: &str) -> Config {
        self.pools.insert(pool.into(), lines.into());
        self
    }

    /// Files that are not healthd's own have workers of their own, as by default. Elsewhere the fixtures stand for
    /// healthd's own plugins, and share.
    pub fn strangers(mut self) -> Config {
        self.strangers = true;
        self
    }

    /// `section("web", "listen = \"unix:web.sock\"")`
    pub fn section(mut self, name: &str, lines: &str) -> Config {
        self.sections.insert(name.into(), lines.into());
        self
    }

    pub fn check(mut self, check: Check) -> Config {
        self.checks.push(check);
        self
    }

    /// A `[[notify]]` with these lines; its plugin is one of the shipped.
    pub fn notify(self, lines: &str) -> Config {
        self.alerts(&format!("[[notify]]\n{lines}"))
    }

    /// As it is written in the file.
    pub fn alerts(mut self, text: &str) -> Config {
        self.alerts += &format!("\n{text}\n");
        self
    }

    /// `fine-0` and so on: so many checks that are always well, in both lanes. They need the fixture `echo`.
    pub fn good(self, count: usize) -> Config {
        (0..count).fold(self, |config, n| config.check(fine(n)))
    }

    /// A plugin that is not one of the shipped.
    pub fn plugin_file(mut self, file: impl Into<PathBuf>) -> Config {
        self.plugin_files.push(file.into());
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Config {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn watchdog(self, period: Duration) -> Config {
        self.env("WATCHDOG_USEC", period.as_micros().to_string())
    }

    /// Starts the daemon through this program.
    pub fn wrapper(mut self, words: &[&str]) -> Config {
        self.wrapper = words.iter().map(|w| (*w).to_owned()).collect();
        self
    }

    /// Starts the daemon in the foreground of this terminal, as a shell would.
    pub fn terminal(mut self, terminal: OwnedFd) -> Config {
        self.stdin = Some(terminal);
        self.wrapper(&["setsid", "--ctty"])
    }

    /// Writes it all out.
    pub fn write(self) -> Written {
        let plugin_dir = self.dir().join("plugins");
        fs::create_dir_all(&plugin_dir).expect("our own directory");
        let own: Vec<String> = self
            .plugin_files
            .iter()
            .filter_map(|f| Some(f.file_stem()?.to_str()?.to_owned()))
            .collect();
        let mut files = self.plugin_files.clone();
        for name in self.checks.iter().map(|c| &c.plugin) {
            let is_own = own.iter().any(|o| o.ends_with(name.as_str()));
            let shipped = plugins::library_of(name).filter(|_| !is_own);
            files.extend(shipped.map(plugins::shipped));
        }
        if self.alerts.contains("[[notify]]") {
            files.push(plugins::shipped("notify"));
        }
        for file in files {
            let name = file.file_name().expect("a plugin is a file");
            fs::copy(&file, plugin_dir.join(name))
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
        let written = Written {
            env: self.env,
            wrapper: self.wrapper,
            stdin: self.stdin,
            daemon: self.daemon,
            pools: self.pools,
            strangers: self.strangers,
            sections: self.sections.into(),
            alerts: self.alerts,
            dir: self.dir,
            here: false,
        };
        written.rewrite(&self.checks);
        written
    }

    pub fn spawn(self) -> Daemon {
        self.write().spawn()
    }

    /// `healthd --here` in the test's folder, which is empty.
    pub fn spawn_here(self) -> Daemon {
        let written = Written {
            env: self.env,
            wrapper: self.wrapper,
            daemon: self.daemon,
            pools: self.pools,
            strangers: self.strangers,
            sections: self.sections.into(),
            alerts: self.alerts,
            dir: self.dir,
            stdin: self.stdin,
            here: true,
        };
        Written::spawn_with(Rc::new(written), true)
    }

    /// Runs a daemon that is not expected to start.
    pub fn refused(self) -> (Option<i32>, String) {
        let output = self.write().run(&[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }
}

/// A config on disk.
pub struct Written {
    dir: TempDir,
    daemon: BTreeMap<String, String>,
    pools: BTreeMap<String, String>,
    strangers: bool,
    /// A test may change them before it rewrites the file.
    pub sections: RefCell<BTreeMap<String, String>>,
    alerts: String,
    env: Vec<(OsString, OsString)>,
    wrapper: Vec<String>,
    stdin: Option<OwnedFd>,
    /// Started with `--here`: all of it lies in a folder below.
    here: bool,
}

impl Written {
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self) -> PathBuf {
        self.base().join("healthd.toml")
    }

    fn base(&self) -> PathBuf {
        match self.here {
            true => self.dir().join(".healthd"),
            false => self.dir().to_owned(),
        }
    }

    /// Other checks in place of those before, as an editor does it: a new file renamed over the old one.
    pub fn rewrite(&self, checks: &[Check]) {
        let mut text = "[daemon]\n".to_owned();
        for (key, value) in &self.daemon {
            text += &format!("{key} = {value}\n");
        }
        if !self.strangers {
            text += "\n[pool]\nisolate = false\n";
        }
        for (pool, lines) in &self.pools {
            text += &format!("\n[pool.{pool}]\n{lines}\n");
        }
        for (section, lines) in self.sections.borrow().iter() {
            text += &format!("\n[{section}]\n{lines}\n");
        }
        for check in checks {
            text += &format!("\n[[check]]\n{}", check.lines);
        }
        text += &self.alerts;
        let temp = self.dir().join("healthd.toml.new");
        fs::write(&temp, text).expect("our own directory");
        fs::rename(temp, self.file()).expect("our own directory");
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut words: Vec<OsString> = self.wrapper.iter().map(Into::into).collect();
        words.push(env!("CARGO_BIN_EXE_healthd").into());
        if self.here {
            words.push("--here".into());
        } else {
            words.push("--config".into());
            words.push(self.file().into());
        }
        words.extend(more.iter().map(Into::into));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        if self.here {
            command.current_dir(self.dir());
        }
        command
            .env_remove("HEALTHD_LOG")
            .env_remove("NOTIFY_SOCKET");
        command
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID");
        command.envs(self.env.iter().map(|(n, v)| (n, v)));
        let stdin = self.stdin.as_ref().map(|fd| fd.try_clone());
        command.stdin(match stdin {
            Some(terminal) => terminal.expect("a copy of an fd").into(),
            None => Stdio::null(),
        });
        command
    }

    /// To its end.
    pub fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().expect("healthd runs")
    }

    pub fn spawn(self) -> Daemon {
        Written::spawn_with(Rc::new(self), true)
    }

    /// The service manager's socket is not ours.
    pub fn spawn_without_notify(self) -> Daemon {
        Written::spawn_with(Rc::new(self), false)
    }

    fn spawn_with(written: Rc<Written>, notified: bool) -> Daemon {
        let notify = Notify::listen(written.dir());
        let mut command = written.command(&[]);
        if notified {
            command.env("NOTIFY_SOCKET", &notify.path);
        }
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("healthd starts");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Record::default();
        let reader = log.clone();
        let told = notify.record.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                reader.push(line);
            }
            reader.end();
            // Nobody is left who could tell the service manager anything.
            told.end();
        });
        Daemon {
            child,
            exited: None,
            log,
            notify,
            written,
        }
    }
}

/// A running daemon. Dropped, it is killed with everything below it.
pub struct Daemon {
    child: Child,
    exited: Option<ExitStatus>,
    pub log: Record,
    notify: Notify,
    pub written: Rc<Written>,
}

impl Daemon {
    /// The next one in the same directory, once this has ended.
    pub fn restart(self) -> Daemon {
        assert!(self.exited.is_some(), "the first has to end first");
        let written = Rc::clone(&self.written);
        drop(self);
        let _ = fs::remove_file(written.dir().join("notify.sock"));
        Written::spawn_with(written, true)
    }

    /// The process that was started: the supervisor, or the program that wraps it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn dir(&self) -> &Path {
        self.written.dir()
    }

    /// What is on the disk of its state, as text.
    pub fn saved(&self) -> String {
        let bytes = fs::read(self.dir().join("state/state.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn socket(&self) -> PathBuf {
        self.written.base().join("run/control.sock")
    }

    /// Waits until the service manager is told this, after what was expected before it; returns the message.
    pub fn expect_notify(&self, what: &str) -> String {
        match self.notify.record.next(what) {
            Some(message) => message,
            None => self.fail(&format!("the service manager was not told `{what}`")),
        }
    }

    /// Waits until the log says this, after what was expected before it; returns the line.
    pub fn expect_log(&self, what: &str) -> String {
        match self.log.next(what) {
            Some(line) => line,
            None => self.fail(&format!("the log does not say `{what}`")),
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// The processes of this role below the supervisor, oldest first.
    pub fn role(&self, role: &str) -> Vec<u32> {
        let mut pids = procs::children(self.pid());
        pids.retain(|pid| procs::role(*pid).is_some_and(|r| r.starts_with(role)));
        pids
    }

    pub fn manager(&self) -> u32 {
        match self.role("manager")[..] {
            [pid] => pid,
            ref others => self.fail(&format!("one manager was expected: {others:?}")),
        }
    }

    /// It has no reason to end, and so it does not, for this long.
    pub fn assert_alive_for(&self, time: Duration) {
        if ends_within(self.pid(), time) {
            self.fail("it has ended");
        }
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        if !ends_within(self.pid(), DEADLINE) {
            self.fail("it does not end");
        }
        let status = self.child.wait().expect("it is our child");
        self.exited = Some(status);
        // The last words.
        self.log.wait_end();
        status
    }

    /// No process that has this daemon's directory in its arguments is left.
    pub fn assert_no_orphan(&self) {
        for pid in procs::in_directory(self.dir()) {
            if !ends_within(pid, DEADLINE) {
                self.fail(&format!("process {pid} is left"));
            }
        }
    }

    pub fn fail(&self, why: &str) -> ! {
        let indent = |lines: Vec<String>| {
            lines
                .iter()
                .map(|l| format!("    {}\n", l.trim_end().replace('\n', " | ")))
                .collect::<String>()
        };
        panic!(
            "{why}\n  log:\n{}  service manager:\n{}",
            indent(self.log.all()),
            indent(self.notify.record.all())
        );
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            eprintln!("---- log of the daemon of {name}");
            self.log.all().iter().for_each(|line| eprintln!("{line}"));
        }
        let mut left = procs::in_directory(self.dir());
        if self.exited.is_none() {
            left.extend(procs::tree(self.pid()).into_iter().skip(1));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Whoever starts another meanwhile is killed too.
        while !left.is_empty() {
            left.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
            // Before the folder is removed: who lives may write a file into it once more.
            if !left.iter().all(|pid| ends_within(*pid, DEADLINE)) {
                eprintln!("processes {left:?} do not end");
                return;
            }
            left = procs::in_directory(self.dir());
        }
    }
}

/// That it is gone already is fine.
pub fn kill(pid: u32, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    let _ = nix::sys::signal::kill(pid, signal);
}

fn ends_within(pid: u32, time: Duration) -> bool {
    let Ok(process) = healthd_sys::process::pidfd_open(pid) else {
        return true; // it is gone already
    };
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).expect("a minute")) {
            Ok(n) => return n > 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}
