//! healthd as a service: this program is its service manager, and starts it again when it was killed.

use healthd_test_support::procs;
use nix::sys::signal::{Signal, kill as send_signal};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// In the environment of each process of the daemon.
pub const MARK: &str = "HEALTHD_CHAOS";
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Service {
    pub dir: PathBuf,
    program: PathBuf,
    healthctl: PathBuf,
    shim: Option<PathBuf>,
    child: Option<Child>,
    ready: Arc<AtomicU64>,
    notify: PathBuf,
    clock: File,
    pub mark: String,
}

impl Service {
    pub fn new(dir: &Path, programs: &Path, shim: Option<PathBuf>) -> Result<Service, String> {
        let told = |e: std::io::Error| format!("{}: {e}", dir.display());
        let notify = dir.join("notify");
        let socket = UnixDatagram::bind(&notify).map_err(told)?;
        let ready = Arc::new(AtomicU64::new(0));
        let count = ready.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = socket.recv(&mut buffer) {
                if buffer[..n].split(|b| *b == b'\n').any(|l| l == b"READY=1") {
                    count.fetch_add(1, SeqCst);
                }
            }
        });
        let mut clock = File::create(dir.join("clock")).map_err(told)?;
        clock.write_all(&0i64.to_ne_bytes()).map_err(told)?;
        Ok(Service {
            dir: dir.to_owned(),
            program: programs.join("healthd"),
            healthctl: programs.join("healthctl"),
            shim,
            child: None,
            ready,
            notify,
            clock,
            mark: format!("{}", std::process::id()),
        })
    }

    /// Until READY=1.
    pub fn start(&mut self) -> Result<Duration, String> {
        let before = self.ready.load(SeqCst);
        let told = |e: std::io::Error| e.to_string();
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.log_file());
        // It ends with this program, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .arg("--config")
            .arg(self.dir.join("healthd.toml"))
            .env("NOTIFY_SOCKET", &self.notify)
            .env(MARK, &self.mark)
            .env("CHAOS_CLOCK", self.dir.join("clock"))
            .env_remove("HEALTHD_LOG")
            .env_remove("WATCHDOG_USEC")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_err(told)?);
        if let Some(shim) = &self.shim {
            command.env("LD_PRELOAD", shim);
        }
        let begun = Instant::now();
        self.child = Some(
            command
                .spawn()
                .map_err(|e| format!("setpriv (of util-linux): {e}"))?,
        );
        while self.ready.load(SeqCst) == before {
            if let Some(status) = self.ended() {
                return Err(format!("healthd has ended before it was ready: {status}"));
            }
            if begun.elapsed() > READY_WITHIN {
                return Err("healthd did not get ready".into());
            }
            crate::pause(2);
        }
        Ok(begun.elapsed())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Some: it is no more.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|c| c.try_wait().ok().flatten())
    }

    pub fn wait_end(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                self.child = None;
                return Ok(status);
            }
            if begun.elapsed() > patience {
                return Err("the supervisor does not end".into());
            }
            crate::pause(5);
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/control.sock")
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Where the log ends now.
    pub fn log_mark(&self) -> u64 {
        fs::metadata(self.log_file()).map_or(0, |m| m.len())
    }

    pub fn log_since(&self, mark: u64) -> String {
        let mut text = Vec::new();
        let read = File::open(self.log_file()).and_then(|mut f| {
            f.seek(SeekFrom::Start(mark))?;
            f.read_to_end(&mut text)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// Waits until the log says this; None: it does not.
    pub fn wait_log(&self, mark: u64, words: &[&str], patience: Duration) -> Option<String> {
        let begun = Instant::now();
        loop {
            let log = self.log_since(mark);
            let line = log.lines().find(|l| words.iter().any(|w| l.contains(w)));
            if let Some(line) = line {
                return Some(line.to_owned());
            }
            if begun.elapsed() > patience {
                return None;
            }
            crate::pause(5);
        }
    }

    /// Processes of this role, by pid. A fork that a plugin made looks like its parent, but is nobody's role.
    pub fn role(&self, role: &str) -> Vec<u32> {
        let mut pids = procs::children(self.pid());
        pids.retain(|pid| procs::role(*pid).is_some_and(|r| r.starts_with(role)));
        pids.sort_unstable();
        pids
    }

    pub fn healthctl(&self, args: &[&str]) -> Result<std::process::Output, String> {
        Command::new(&self.healthctl)
            .arg("--socket")
            .arg(self.socket())
            .args(args)
            .env_remove("HEALTHD_SOCKET")
            .output()
            .map_err(|e| format!("healthctl: {e}"))
    }

    /// The wall clock of every process of the daemon is off by so much from now on.
    pub fn step_clock(&self, seconds: i64) -> Result<(), String> {
        let ns = (seconds * 1_000_000_000).to_ne_bytes();
        self.clock.write_all_at(&ns, 0).map_err(|e| e.to_string())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill(child.id(), Signal::SIGKILL);
            let _ = child.wait();
        }
        for pid in procs::with_variable(MARK, &self.mark) {
            kill(pid, Signal::SIGKILL);
        }
    }
}

/// That it is gone already is fine.
pub fn kill(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        let _ = send_signal(Pid::from_raw(pid), signal);
    }
}
