//! A server program that a test starts, and its log.

use crate::{Folder, Process, free_port};
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ATTEMPTS: usize = 20;
/// For a machine that is busy with everything else.
const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks whether a server is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A server in a folder of its own, on a free port of 127.0.0.1. It ends with its owner.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    // Before the folder: a program still writes there.
    _process: Process,
    folder: Folder,
}

impl Server {
    /// Starts what `command` makes for a folder and a port, and waits until `ready` says so. What the program says goes
    /// to the folder's `log`.
    ///
    /// # Panics
    /// With its log, if it ends or is not ready after two minutes. A port that somebody else took is tried anew.
    pub fn start(
        mut command: impl FnMut(&Folder, u16) -> Command,
        ready: impl Fn(&Folder, u16) -> bool,
    ) -> Server {
        for _ in 0..ATTEMPTS {
            let (folder, port) = (Folder::new(), free_port("127.0.0.1"));
            let mut command = command(&folder, port);
            let log = File::create(folder.file("log")).expect("a new folder");
            let both = log.try_clone().expect("an open file");
            let child = command
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(both)
                .spawn()
                .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
            let mut process = Process(child);
            let begun = Instant::now();
            let ended = loop {
                if process.0.try_wait().expect("our own child").is_some() {
                    break true;
                }
                if ready(&folder, port) {
                    break false;
                }
                assert!(
                    begun.elapsed() < DEADLINE,
                    "{:?} is not ready: {}",
                    command.get_program(),
                    log_of(&folder)
                );
                std::thread::sleep(LOOK_AGAIN);
            };
            if !ended {
                return Server {
                    port,
                    _process: process,
                    folder,
                };
            }
            let log = log_of(&folder);
            assert!(
                log.to_lowercase().contains("in use"),
                "{:?} ended: {log}",
                command.get_program()
            );
        }
        panic!("no free port in {ATTEMPTS} attempts");
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn log(&self) -> String {
        log_of(&self.folder)
    }

    pub fn pid(&self) -> u32 {
        self._process.0.id()
    }
}

fn log_of(folder: &Folder) -> String {
    std::fs::read_to_string(folder.file("log")).unwrap_or_default()
}

/// Does somebody accept connections there?
pub fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The program in one of the usual folders; None, and a word about it, if `package` is not installed.
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: {name} is missing (package {package})");
    }
    found
}
