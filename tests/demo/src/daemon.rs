//! The daemon of the demo: started as a service manager would, and ended like that.

use crate::folder::Folder;
use crate::programs::Programs;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(30);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

pub struct Daemon {
    pub socket: PathBuf,
    pub healthctl: PathBuf,
    pub ready_after: Duration,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Returns once it says READY=1.
    pub fn start(folder: &Folder, programs: &Programs) -> Result<Daemon, String> {
        let log = folder.path("healthd.log");
        let notify = folder.path("notify");
        let from_daemon =
            UnixDatagram::bind(&notify).map_err(|e| format!("{}: {e}", notify.display()))?;
        let stderr = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let begun = Instant::now();
        let child = tied_to_us(&programs.healthd, None)
            .arg("--config")
            .arg(folder.path("healthd.toml"))
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("WATCHDOG_USEC")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|e| format!("{}: {e}", programs.healthd.display()))?;
        let mut daemon = Daemon {
            socket: folder.path("run/control.sock"),
            healthctl: programs.healthctl.clone(),
            ready_after: Duration::ZERO,
            child,
            log,
        };
        daemon.wait_ready(&from_daemon)?;
        daemon.ready_after = begun.elapsed();
        // Read on: a full queue would hold up who writes to it.
        std::thread::spawn(move || while receive(&from_daemon).is_ok() {});
        Ok(daemon)
    }

    fn wait_ready(&mut self, from_daemon: &UnixDatagram) -> Result<(), String> {
        let begun = Instant::now();
        let tick = Some(Duration::from_millis(50));
        from_daemon
            .set_read_timeout(tick)
            .map_err(|e| e.to_string())?;
        loop {
            let text = receive(from_daemon).unwrap_or_default();
            if text.lines().any(|line| line == "READY=1") {
                return from_daemon
                    .set_read_timeout(None)
                    .map_err(|e| e.to_string());
            }
            if let Ok(Some(ended)) = self.child.try_wait() {
                return Err(self.failed(&format!("healthd did not start: {ended}")));
            }
            if begun.elapsed() > READY_WITHIN {
                return Err(self.failed("healthd did not get ready"));
            }
        }
    }

    /// A healthctl that asks this daemon.
    pub fn ask(&self) -> Command {
        let mut command = Command::new(&self.healthctl);
        command
            .env("HEALTHD_SOCKET", &self.socket)
            .stdin(Stdio::null());
        command
    }

    /// Ends it, and tells how that went.
    pub fn stop(mut self) -> Result<String, String> {
        if let Ok(Some(ended)) = self.child.try_wait() {
            return Err(self.failed(&format!("healthd has ended by itself: {ended}")));
        }
        let begun = Instant::now();
        signal(&self.child, Signal::TERM);
        while begun.elapsed() < STOPPED_WITHIN {
            match self.child.try_wait() {
                Ok(Some(ended)) if ended.success() => {
                    let took = begun.elapsed().as_millis();
                    return Ok(format!(
                        "healthd stopped in {took} ms, exit code 0; nothing is left behind"
                    ));
                }
                Ok(Some(ended)) => return Err(self.failed(&how_it_ended(ended))),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(e) => return Err(e.to_string()),
            }
        }
        Err(self.failed("healthd does not stop; it was killed"))
    }

    /// The message, and what the log says last.
    fn failed(&self, what: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(30)..];
        format!("{what}\nThe end of its log:\n{}", last.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // No more than a net: `stop` has ended it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn how_it_ended(ended: ExitStatus) -> String {
    format!("healthd stopped, but not as it should: {ended}")
}

fn receive(socket: &UnixDatagram) -> std::io::Result<String> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A command that Ctrl-C does not reach (we end it ourselves, in order) and, where setpriv(1) is there, that
/// ends if we are killed. `user`: uid and gid to become, which needs setpriv.
pub fn tied_to_us(program: &Path, user: Option<(u32, u32)>) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut command = if setpriv.exists() || user.is_some() {
        let mut command = Command::new(setpriv);
        command.arg("--pdeathsig=TERM");
        if let Some((uid, gid)) = user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
            command.arg("--clear-groups");
        }
        command.arg("--").arg(program);
        command
    } else {
        Command::new(program)
    };
    command.process_group(0);
    command
}

/// To a child that was not yet waited for, so that the number is still its own.
pub fn signal(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}
