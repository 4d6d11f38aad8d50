//! Real servers for the plugins' tests. Each test has its own folder, ports and processes; all end with it.

#![forbid(unsafe_code)]

mod certs;
mod dovecot;
mod exim;
mod mariadb;
mod name_server;
mod network;
mod nginx;
mod peer;
mod postfix;
mod postgres;
mod rabbitmq;
mod server;

pub use certs::Certs;
pub use dovecot::Dovecot;
pub use exim::Exim;
pub use mariadb::MariaDb;
pub use name_server::NameServer;
pub use network::{in_own_network, ip, net_sysctl};
pub use nginx::Nginx;
pub use peer::Peer;
pub use postfix::Postfix;
pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;
pub use server::{Server, accepts, end_all_of, program, unpacked};

use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A folder of one test, removed at its end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "healthd-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        // What a killed run of the same pid left behind.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child process that ends with its owner.
#[derive(Debug)]
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end.
///
/// # Panics
/// With its output if it fails, with its name if it is not installed.
pub fn run(command: &mut Command) {
    let done = command
        .output()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Waits until something holds that a server does in its own time.
///
/// # Panics
/// With `log` if it does not hold within a minute.
pub fn until(mut holds: impl FnMut() -> bool, log: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {}", log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A TCP port of `address` that is free now, and that no other process of ours gets as long as this one lives. Not from
/// the range of which the kernel takes the ports of outgoing connections: the tests beside make thousands. Whoever
/// listens there must still cope with losing a race against a stranger.
pub fn free_port(address: &str) -> u16 {
    const FIRST: u32 = 10_240;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static OURS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    for _ in 0..COUNT {
        let start = std::process::id().wrapping_mul(101);
        let port = (FIRST + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % COUNT) as u16;
        let Some(mark) = mark(port) else { continue };
        // Nothing of ours listens meanwhile: a child of a test beside would keep it open until it runs its program.
        if TcpStream::connect((address, port)).is_err() {
            OURS.lock().expect("nobody panics here").push(mark);
            return port;
        }
    }
    panic!("no free port on {address}");
}

/// Says to the other processes of tests whose port this is: an abstract socket, which belongs to the same network as the
/// port, and ends with its owner. None: it is somebody else's.
fn mark(port: u16) -> Option<UnixDatagram> {
    let name = format!("healthd-test-port-{port}");
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()
}
