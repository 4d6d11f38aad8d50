//! A healthd under measurement.

use crate::charged::Group;
use healthd_core::wire::maps::{self, StateSnapshot};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub struct Daemon {
    pub dir: PathBuf,
    child: Child,
    /// From start to READY=1.
    pub ready_after: Duration,
}

/// Where cargo put the release programs and plugins.
pub fn target_dir() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.parent().map(Path::to_owned).unwrap_or_default()
}

pub fn temp_dir(name: &str) -> Result<PathBuf, String> {
    let dir = std::env::temp_dir().join(format!("healthd-bench-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}

/// A folder with the plugins and a config in it, and where its daemon says that it is ready.
fn prepared(
    name: &str,
    keys: &str,
    checks: &str,
    more: &[PathBuf],
) -> Result<(PathBuf, UnixDatagram), String> {
    let dir = temp_dir(name)?;
    let text = |e: std::io::Error| e.to_string();
    let plugins = dir.join("plugins");
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&plugins)
        .map_err(text)?;
    let built = fs::read_dir(target_dir()).map_err(text)?.flatten();
    // Those that are compiled for one measurement are named here and nowhere else.
    let ours = built.map(|e| e.path()).filter(|p| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".so") && !name.starts_with("bench-")
    });
    for from in ours.chain(more.iter().cloned()) {
        let to = plugins.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).map_err(text)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).map_err(text)?;
    }
    let config = dir.join("healthd.toml");
    fs::write(&config, config_text(&dir, keys, checks)).map_err(text)?;
    let notify_path = dir.join("notify");
    let notify = UnixDatagram::bind(&notify_path).map_err(text)?;
    // Of another user, where `user` is set.
    fs::set_permissions(&notify_path, fs::Permissions::from_mode(0o666)).map_err(text)?;
    notify
        .set_read_timeout(Some(Duration::from_secs(60)))
        .map_err(text)?;
    Ok((dir, notify))
}

impl Daemon {
    /// `checks`: the text of the config after `[daemon]`.
    pub fn start(name: &str, checks: &str) -> Result<Daemon, String> {
        Daemon::start_with(name, "", checks, &[])
    }

    /// `keys`: further keys of `[daemon]`; `more`: plugins that are not of this tree's crates.
    pub fn start_with(
        name: &str,
        keys: &str,
        checks: &str,
        more: &[PathBuf],
    ) -> Result<Daemon, String> {
        let (dir, notify) = prepared(name, keys, checks, more)?;
        Daemon::run(dir, &notify, None)
    }

    pub fn start_within(name: &str, checks: &str, group: &Group) -> Result<Daemon, String> {
        let (dir, notify) = prepared(name, "", checks, &[])?;
        Daemon::run(dir, &notify, Some(group))
    }

    /// Stopped and started again on the same folder.
    pub fn restarted(mut self) -> Result<Daemon, String> {
        let text = |e: std::io::Error| e.to_string();
        let dir = std::mem::take(&mut self.dir);
        self.stop();
        let path = dir.join("notify");
        fs::remove_file(&path).map_err(text)?;
        let notify = UnixDatagram::bind(&path).map_err(text)?;
        notify
            .set_read_timeout(Some(Duration::from_secs(60)))
            .map_err(text)?;
        Daemon::run(dir, &notify, None)
    }

    /// The socket is that of its folder, on which it says that it is ready.
    fn run(dir: PathBuf, notify: &UnixDatagram, group: Option<&Group>) -> Result<Daemon, String> {
        let text = |e: std::io::Error| e.to_string();
        let (config, notify_path) = (dir.join("healthd.toml"), dir.join("notify"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .map_err(text)?;
        let begun = Instant::now();
        let program = target_dir().join("healthd");
        let child = group
            .map_or_else(|| Command::new(&program), |group| group.command(&program))
            .arg("--config")
            .arg(&config)
            .env("NOTIFY_SOCKET", &notify_path)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("healthd: {e}"))?;
        let mut daemon = Daemon {
            dir,
            child,
            ready_after: Duration::ZERO,
        };
        let mut buffer = [0; 4096];
        loop {
            match notify.recv(&mut buffer) {
                Ok(n)
                    if String::from_utf8_lossy(&buffer[..n])
                        .lines()
                        .any(|l| l == "READY=1") =>
                {
                    break;
                }
                Ok(_) => {}
                Err(e) => {
                    return Err(format!(
                        "healthd did not get ready ({e}):\n{}",
                        daemon.log()
                    ));
                }
            }
        }
        daemon.ready_after = begun.elapsed();
        Ok(daemon)
    }

    fn stop(&mut self) {
        // Its number may be another's once it is gone.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
            let _ = self.child.wait();
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The state map, read as any other process would.
    pub fn state(&self) -> Result<StateSnapshot, String> {
        let bytes =
            fs::read(self.dir.join("run").join(maps::STATE_FILE)).map_err(|e| e.to_string())?;
        maps::read_state(&bytes)
    }

    /// Another config in place of the one before, in one step.
    pub fn write_config(&self, more: &str, checks: &str) -> Result<(), String> {
        let temp = self.dir.join("healthd.toml.new");
        fs::write(&temp, config_text(&self.dir, more, checks))
            .and_then(|()| fs::rename(&temp, self.dir.join("healthd.toml")))
            .map_err(|e| format!("{}: {e}", temp.display()))
    }

    /// What healthctl prints, as JSON.
    pub fn ctl(&self, args: &[&str]) -> Result<serde_json::Value, String> {
        let out = self.asked(args)?;
        serde_json::from_slice(&out.stdout)
            .map_err(|e| format!("healthctl: {e}: {}", String::from_utf8_lossy(&out.stderr)))
    }

    /// The same, for people.
    pub fn printed(&self, args: &[&str]) -> Result<String, String> {
        let out = self.asked(args)?;
        String::from_utf8(out.stdout).map_err(|e| format!("healthctl: {e}"))
    }

    fn asked(&self, args: &[&str]) -> Result<Output, String> {
        let mut command = Command::new(target_dir().join("healthctl"));
        command.args(args).arg("--socket");
        command.arg(self.dir.join("run/control.sock"));
        command.output().map_err(|e| format!("healthctl: {e}"))
    }

    pub fn status(&self) -> Result<Vec<serde_json::Value>, String> {
        match self.ctl(&["--json", "status"])? {
            serde_json::Value::Array(rows) => Ok(rows),
            other => Err(format!("healthctl status: {other}")),
        }
    }
}

fn config_text(dir: &Path, more: &str, checks: &str) -> String {
    format!(
        "[daemon]\nplugin_dir = \"{0}/plugins\"\nruntime_dir = \"{0}/run\"\nstate_dir = \"{0}/state\"\nlog = \"info\"\n{more}\n{checks}",
        dir.display()
    )
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        if !self.dir.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// When each request of each check reached the server: the server's own log, `MSEC URI` a line.
pub fn arrivals(log: &Path) -> Result<Vec<(String, f64)>, String> {
    let file = File::open(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut list = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|e| e.to_string())?;
        if let Some((at, uri)) = line.split_once(' ')
            && let Ok(at) = at.parse()
        {
            list.push((uri.to_owned(), at));
        }
    }
    Ok(list)
}
