//! A server program that a test starts, and its log.

use crate::{Folder, Process, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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
    process: Process,
    folder: Folder,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
        end_all_of(&self.folder);
    }
}

/// Ends what a server has started itself, with this folder on its command line: until that is gone it writes there, also when
/// the folder is removed.
pub fn end_all_of(folder: &Folder) {
    let begun = Instant::now();
    loop {
        let left = naming(folder.path());
        left.iter().for_each(|pid| {
            let _ = kill(*pid, Signal::SIGKILL);
        });
        if left.is_empty() || begun.elapsed() > DEADLINE {
            return;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The processes with a path in this folder on their command line.
fn naming(folder: &Path) -> Vec<Pid> {
    let below = format!("{}/", folder.display());
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let names = |pid: &i32| {
        // That of a zombie is empty.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&below)
    };
    pids.filter(names).map(Pid::from_raw).collect()
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
                    process,
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
        self.process.0.id()
    }
}

fn log_of(folder: &Folder) -> String {
    std::fs::read_to_string(folder.file("log")).unwrap_or_default()
}

/// Does somebody accept connections there?
pub fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A program of a package that `tests/run` only unpacks, since Debian has one of its sort installed at a time: of the machine,
/// or unpacked. None, and a word about it, if it is in neither.
pub fn unpacked(package: &str, file: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let trees = [PathBuf::from("/"), target.join(package)];
    let found = trees
        .iter()
        .map(|tree| tree.join(file))
        .find(|f| f.exists());
    if found.is_none() {
        eprintln!("skipped: {package} is missing (`tests/run` unpacks it)");
    }
    found
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
