//! A healthd of one bench: its own folder, its own socket, only the plugins that it needs.

use super::usage::{self, Usage};
use super::{Way, failed};
use crate::connection::{Connection, Incoming};
use crate::error::CtlError;
use crate::{healthd, plugin_file};
use healthd_core::wire::control::{Filter, Op, Reply};
use healthd_core::wire::maps;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

const GETS_READY_WITHIN: Duration = Duration::from_secs(120);
/// A run that does not end in this time will not end.
const ENDS_WITHIN: Duration = Duration::from_secs(300);

pub struct Private {
    dir: PathBuf,
    child: Child,
}

impl Private {
    /// `plugins` by name; `config` is all behind `[daemon]`.
    pub fn start(way: &mut Way<'_>, plugins: &[&str], config: &str) -> Result<Private, CtlError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "healthctl-bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        let text = |path: &Path| {
            let path = path.to_owned();
            move |e: std::io::Error| failed(format!("{}: {e}", path.display()))
        };
        let _ = fs::remove_dir_all(&dir);
        let folder = dir.join("plugins");
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o755).recursive(true);
        builder.create(&folder).map_err(text(&folder))?;
        for plugin in plugins {
            let from = plugin_file::installed(plugin)?;
            let to = folder.join(from.file_name().unwrap_or_default());
            if !to.exists() {
                fs::copy(&from, &to).map_err(text(&from))?;
                fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).map_err(text(&to))?;
            }
        }
        let main = dir.join("healthd.toml");
        let all = format!(
            "[daemon]\nplugin_dir = \"{0}/plugins\"\nruntime_dir = \"{0}/run\"\nstate_dir = \"{0}/state\"\n\
             start_spread = \"1h\"\n\n{config}",
            dir.display()
        );
        fs::write(&main, all).map_err(text(&main))?;
        let notify_path = dir.join("notify");
        let notify = UnixDatagram::bind(&notify_path).map_err(text(&notify_path))?;
        let wait = Some(Duration::from_millis(100));
        notify.set_read_timeout(wait).map_err(text(&notify_path))?;
        let log = dir.join("log");
        let program = healthd::find()?;
        let child = Command::new(&program)
            .arg("--config")
            .arg(&main)
            .env("NOTIFY_SOCKET", &notify_path)
            .env_remove("HEALTHD_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).map_err(text(&log))?)
            .spawn();
        let child = child.map_err(|error| CtlError::Helper { program, error })?;
        let mut private = Private { dir, child };
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            way.pause(Duration::ZERO)?;
            if let Ok(n) = notify.recv(&mut buffer)
                && buffer[..n].split(|b| *b == b'\n').any(|l| l == b"READY=1")
            {
                return Ok(private);
            }
            let ended = private.child.try_wait().ok().flatten().is_some();
            if ended || begun.elapsed() > GETS_READY_WITHIN {
                return Err(failed(format!(
                    "healthd does not start: {}",
                    private.last_words()
                )));
            }
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let last = log.lines().rev().find(|l| !l.trim().is_empty());
        last.unwrap_or("it says nothing").to_owned()
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("run/control.sock")
    }

    /// Runs these checks now and waits for all; how many have run, and each one's status is ok.
    pub fn run(&self, way: &mut Way<'_>, names: &[String]) -> Result<usize, CtlError> {
        let filter = Filter {
            names: names.to_vec(),
            ..Filter::default()
        };
        let patience = Some(Duration::from_secs(60));
        let mut connection = Connection::ask(&self.socket(), Op::Run(filter), patience)?;
        let until = Instant::now() + ENDS_WITHIN;
        let mut ran = 0;
        loop {
            match connection.next(Some(until), Some(&way.interrupt))? {
                Incoming::Reply(Reply::Check(row)) => {
                    ran += 1;
                    let is_ok = row.status.is_some_and(|s| s.as_str() == "ok");
                    if !is_ok {
                        let said = row.message.unwrap_or_default();
                        return Err(failed(format!("{} was not ok: {said}", row.name)));
                    }
                }
                Incoming::End => return Ok(ran),
                Incoming::Stop => return Err(failed("interrupted")),
                Incoming::Quiet => return Err(failed("a run does not end")),
                _ => {}
            }
        }
    }

    /// Runs finished since the start.
    pub fn finished(&self) -> u64 {
        let bytes = fs::read(self.dir.join("run").join(maps::STATE_FILE));
        let word = |bytes: &[u8]| {
            let at = maps::state_header::FINISHED * maps::WORD;
            let word = bytes.get(at..at + maps::WORD)?;
            Some(u64::from_ne_bytes(word.try_into().ok()?))
        };
        bytes.ok().and_then(|b| word(&b)).unwrap_or(0)
    }

    pub fn usage(&self) -> Usage {
        usage::of(self.child.id())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// `[[check]]` blocks that differ in their names only: `NAME-0`, `NAME-1`, ...
pub fn checks(name: &str, plugin: &str, count: usize, keys: &str) -> String {
    let interval = match keys.contains("interval") {
        true => "",
        false => "interval = \"24h\"\n",
    };
    format!(
        "[[check]]\nname = \"{name}-{{item}}\"\nplugin = \"{plugin}\"\nfor_each = {{ item = \"0..{count}\" }}\n{interval}{keys}\n\n"
    )
}

pub fn names(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name}-{n}")).collect()
}
