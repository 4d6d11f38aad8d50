//! A place for one daemon: folders, plugins, config; and the daemon that runs there.

use super::ctl::{self, Client, Said, Watch};
use super::{DEADLINE, plugins, poll_readable};
use healthd_testing::Folder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Folders, plugins and config of one test.
pub struct Site {
    folder: Folder,
    daemon: String,
    pub envs: Vec<(String, String)>,
    /// What healthd is started through: `setpriv` and the like.
    pub wrapper: Vec<String>,
}

impl Site {
    /// With copies of these plugin files.
    pub fn new(files: &[PathBuf]) -> Site {
        let folder = Folder::new();
        for dir in ["plugins", "run", "state"] {
            std::fs::create_dir(folder.file(dir)).expect("our own folder");
        }
        let site = Site {
            folder,
            daemon: String::new(),
            envs: Vec::new(),
            wrapper: Vec::new(),
        };
        for file in files {
            plugins::install(file, &site.plugin_dir());
        }
        site
    }

    /// With fixtures, by the names of their files.
    pub fn with(fixtures: &[&str]) -> Site {
        let files: Vec<PathBuf> = fixtures.iter().map(|f| plugins::fixture(f)).collect();
        Site::new(&files)
    }

    /// A line more for `[daemon]`.
    pub fn daemon(mut self, line: &str) -> Site {
        self.daemon.push_str(line);
        self.daemon.push('\n');
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.folder.write(name, content)
    }

    pub fn plugin_dir(&self) -> PathBuf {
        self.path("plugins")
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.path("run")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    pub fn config(&self) -> PathBuf {
        self.path("healthd.toml")
    }

    /// Writes the config: `[daemon]` as the site has it, and this below it.
    pub fn configure(&self, rest: &str) {
        let level = if self.daemon.contains("log =") {
            ""
        } else {
            "log = \"info\""
        };
        let text = format!(
            "[daemon]\nplugin_dir = {:?}\nruntime_dir = {:?}\nstate_dir = {:?}\n{level}\n{}\n{rest}\n",
            self.plugin_dir(),
            self.runtime_dir(),
            self.state_dir(),
            self.daemon,
        );
        // Replaced in one step: a reload must never see half of it.
        let path = self.write("healthd.toml.new", text);
        std::fs::rename(path, self.config()).expect("our own folder");
    }

    pub fn healthctl(&self, args: &[&str]) -> Said {
        ctl::healthctl(&self.socket(), args)
    }

    /// Starts healthd and does not wait for it.
    pub fn spawn(self) -> Daemon {
        let notify = UnixDatagram::bind(self.path("notify")).expect("our own folder");
        notify
            .set_read_timeout(Some(DEADLINE))
            .expect("a time-out that is not zero");
        std::fs::set_permissions(
            self.path("notify"),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .expect("our own");
        let healthd = env!("CARGO_BIN_EXE_healthd").to_owned();
        let argv: Vec<String> = self.wrapper.iter().cloned().chain([healthd]).collect();
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .arg("--config")
            .arg(self.config())
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env_remove("HEALTHD_LOG")
            .env_remove("WATCHDOG_USEC")
            .env_remove("JOURNAL_STREAM")
            .envs(self.envs.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().expect("healthd is built");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("piped");
        let reader = log.clone();
        std::thread::spawn(move || reader.fill(BufReader::new(stderr)));
        Daemon {
            site: self,
            child,
            notify,
            log,
            gone: false,
        }
    }

    /// Starts healthd with this config and waits until it is ready.
    pub fn start(self, config: &str) -> Daemon {
        self.configure(config);
        let mut daemon = self.spawn();
        daemon.expect_notify("READY=1");
        daemon
    }

    /// Runs healthd to its end: for one that must not come up.
    pub fn refuse(&self) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_healthd"));
        command.arg("--config").arg(self.config());
        command.envs(self.envs.iter().cloned());
        ctl::say(&mut command)
    }
}

/// A block `[[check]]`; `more` is further lines of it.
pub fn check(name: &str, plugin: &str, more: &str) -> String {
    format!("[[check]]\nname = {name:?}\nplugin = {plugin:?}\n{more}\n")
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    news: Condvar,
}

impl Log {
    fn fill(&self, mut from: impl BufRead) {
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.lines.lock().expect("no panic inside").0.push(text);
            self.news.notify_all();
            line.clear();
        }
        self.lines.lock().expect("no panic inside").1 = true;
        self.news.notify_all();
    }
}

/// A running healthd; the test is its service manager.
pub struct Daemon {
    pub site: Site,
    child: Child,
    notify: UnixDatagram,
    log: Arc<Log>,
    gone: bool,
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a message to the service manager that has this line, and returns the message.
    pub fn expect_notify(&mut self, line: &str) -> String {
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        while begun.elapsed() < DEADLINE {
            // It may have ended instead; then nothing will ever come.
            if !poll_readable(self.notify.as_fd(), std::time::Duration::from_millis(200)) {
                if let Some(status) = self.child.try_wait().expect("our own child") {
                    self.gone = true;
                    panic!("healthd ended ({status}) before `{line}`");
                }
                continue;
            }
            let n = self.notify.recv(&mut buffer).expect("something is there");
            let message = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if message.lines().any(|l| l.starts_with(line)) {
                return message;
            }
        }
        panic!("`{line}` did not come");
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("our own child");
    }

    /// Waits until healthd has ended.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let fd = pidfd(self.pid());
        assert!(
            poll_readable(fd.as_fd(), DEADLINE),
            "healthd does not end"
        );
        self.gone = true;
        self.child.wait().expect("our own child")
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_exit();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// Waits for a line of the log that contains this.
    pub fn wait_log(&self, what: &str) -> String {
        let lines = self.log.lines.lock().expect("no panic inside");
        let found = |lines: &(Vec<String>, bool)| lines.0.iter().any(|l| l.contains(what));
        let (lines, _) = self
            .log
            .news
            .wait_timeout_while(lines, DEADLINE, |l| !found(l) && !l.1)
            .expect("no panic inside");
        let line = lines.0.iter().find(|l| l.contains(what)).cloned();
        drop(lines);
        line.unwrap_or_else(|| panic!("never logged: {what}"))
    }

    /// What has been logged so far.
    pub fn log(&self) -> String {
        self.log.lines.lock().expect("no panic inside").0.join("\n")
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.site.socket())
    }

    pub fn watch(&self, names: &[&str]) -> Watch {
        Watch::new(&self.site.socket(), names)
    }

    pub fn healthctl(&self, args: &[&str]) -> Said {
        self.site.healthctl(args)
    }

    /// An answer that must be no error.
    pub fn ask(&self, op: &str, fields: Value) -> Vec<Value> {
        self.client()
            .ask(op, fields)
            .unwrap_or_else(|e| panic!("{op}: {e}"))
    }

    /// A row of `status`.
    pub fn row(&self, name: &str) -> Value {
        self.ask("status", json!({ "names": [name] })).remove(0)
    }

    pub fn detail(&self, name: &str) -> Value {
        self.ask("show", json!({ "name": name })).remove(0)
    }

    /// Runs a check now and returns its row.
    pub fn run(&self, name: &str) -> Value {
        let lines = self.ask("run", json!({ "names": [name] }));
        lines.into_iter().next_back().expect("one run, one row")
    }

    /// The rows of `workers`, each with balanced accounts.
    pub fn workers(&self) -> Vec<Value> {
        let rows = self.ask("workers", json!({}));
        for row in &rows {
            assert_balanced(row);
        }
        rows
    }

    /// Waits for the workers to be like this. Each look is a question that the manager answers.
    pub fn until_workers(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        let mut client = self.client();
        loop {
            let rows = client.ask("workers", json!({})).expect("workers");
            rows.iter().for_each(assert_balanced);
            if wanted(&rows) {
                return rows;
            }
            assert!(begun.elapsed() < DEADLINE, "never seen: {what}: {rows:#?}");
            // No event tells of this; the daemon shall get the processor meanwhile.
            let _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::from(5u16));
        }
    }

    /// Pids by slot of the workers of a class.
    pub fn pids(&self, class: &str) -> BTreeMap<u64, u32> {
        self.workers()
            .iter()
            .filter(|row| row["class"] == class)
            .filter_map(|row| Some((row["slot"].as_u64()?, row["pid"].as_u64()? as u32)))
            .collect()
    }

    pub fn manager_pid(&self) -> u32 {
        let version = self.ask("version", json!({})).remove(0);
        version["manager_pid"].as_u64().expect("a pid") as u32
    }
}

/// dispatched = finished + in flight + lost
pub fn assert_balanced(row: &Value) {
    let n = |key: &str| {
        row[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} is missing: {row}"))
    };
    assert_eq!(
        n("dispatched"),
        n("finished") + n("in_flight") + n("lost"),
        "{row}"
    );
}

pub fn pidfd(pid: u32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: pidfd_open takes two numbers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(fd >= 0, "pid {pid}: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just made this fd, and nobody else has it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as i32) }
}

/// Kills a process that a test may kill, and waits until it is gone.
pub fn kill_and_wait(pid: u32, signal: Signal) {
    let fd = pidfd(pid);
    kill(Pid::from_raw(pid as i32), signal).expect("it was there a moment ago");
    assert!(poll_readable(fd.as_fd(), DEADLINE), "{pid} does not end");
}

/// Children of a process, by /proc.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return found;
    };
    for task in tasks.flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
    }
    found
}

/// The process and all below it.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        all.extend(children(all[at]));
        at += 1;
    }
    all
}

pub fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            eprintln!("---- log of the daemon of {name}\n{}\n----", self.log());
        }
        if !self.gone {
            // Children of a supervisor that is killed end by themselves; what a test left stopped or stuck
            // would not.
            let all = tree(self.pid());
            for pid in all {
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            let _ = self.child.wait();
        }
    }
}
