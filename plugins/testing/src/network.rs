//! A network namespace of one test: its own loopback, sysctls and routes.

use crate::run;
use nix::sched::{CloneFlags, unshare};
use std::path::Path;
use std::process::Command;

/// Runs `test` in a thread that has a network of its own, in which only loopback is up. False, and a word about it, if
/// that is not possible here.
///
/// # Panics
/// If `test` does.
pub fn in_own_network(test: impl FnOnce() + Send + 'static) -> bool {
    if !Path::new("/usr/sbin/ip").exists() && !Path::new("/sbin/ip").exists() {
        eprintln!("skipped: ip is missing (package iproute2)");
        return false;
    }
    let thread = std::thread::spawn(|| {
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("skipped: no network namespace of one's own: {e}");
            return false;
        }
        ip("link set lo up");
        test();
        true
    });
    match thread.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// `ip` with these arguments, in the network of the calling thread.
///
/// # Panics
/// If it fails.
pub fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

/// Sets a sysctl of the calling thread's network, like `ipv4/ping_group_range`.
///
/// # Panics
/// If it cannot be set.
pub fn net_sysctl(name: &str, value: &str) {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
