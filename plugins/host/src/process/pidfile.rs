//! A file with a pid in it, which may be old, garbage, or another's by now.

use super::table::Table;
use crate::kernel::Kernel;
use crate::report::time_text;
use healthd_plugin::{Status, failure};
use nix::fcntl::OFlag;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

pub enum Named {
    Process(u32),
    Bad(Status, String),
}

/// More than a pid with blanks around it has.
const MOST: u64 = 64;
/// A file is written a little before or after its process began.
const SLACK: f64 = 5.0;

pub fn read(kernel: &Kernel, path: &Path, table: &Table) -> Named {
    let shown = path.display();
    let (text, age) = match content(path) {
        Ok(Ok(content)) => content,
        Ok(Err(why)) => return Named::Bad(Status::Unknown, format!("{shown}: {why}")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Named::Bad(Status::Critical, format!("{shown}: no such pid file"));
        }
        Err(e) => return Named::Bad(Status::Unknown, failure(&shown.to_string(), &e).1),
    };
    let first = text.lines().next().unwrap_or_default().trim();
    let Some(pid) = first.parse::<u32>().ok().filter(|pid| *pid > 0) else {
        let start: String = first.chars().take(20).collect();
        return Named::Bad(Status::Unknown, format!("{shown}: {start:?} is no pid"));
    };
    match table.all.iter().find(|p| p.pid == pid) {
        None if table.is_partial() => Named::Bad(
            Status::Unknown,
            format!(
                "cannot see process {pid} of {shown}: other users' processes are hidden from this service (ProtectProc or hidepid)"
            ),
        ),
        None => Named::Bad(
            Status::Critical,
            format!("process {pid} of {shown} is not running"),
        ),
        Some(process) => {
            let younger = age - table.age(process);
            // A file from before this boot says so of itself only if the clock was right then.
            let clock_was_right = age < table.uptime + SLACK;
            if younger <= SLACK {
                return Named::Process(pid);
            }
            let text = format!(
                "process {pid} of {shown} began {} after that file was written: it is another one ({})",
                time_text(younger.round()),
                super::table::cmdline(kernel, pid)
                    .filter(|c| !c.is_empty())
                    .unwrap_or(process.name.clone())
            );
            match clock_was_right {
                true => Named::Bad(Status::Critical, text),
                false => Named::Bad(
                    Status::Unknown,
                    format!("{text}, or the clock was set since"),
                ),
            }
        }
    }
}

/// The text and how many seconds ago it was written; the inner error says in words why it is no such file.
fn content(path: &Path) -> io::Result<Result<(String, f64), &'static str>> {
    // A FIFO would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Ok(Err("is no regular file"));
    }
    let mut text = Vec::new();
    file.take(MOST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST {
        return Ok(Err("is too long for a pid file"));
    }
    let age = SystemTime::now().duration_since(about.modified()?);
    let age = age.map_or(0.0, |d| d.as_secs_f64());
    Ok(Ok((String::from_utf8_lossy(&text).into_owned(), age)))
}
