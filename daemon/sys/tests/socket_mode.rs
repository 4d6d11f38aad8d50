//! Who looks when a socket comes into being never finds it open to more than it is for. Of its own, as the umask is that of
//! the process.

use healthd_sys::unix_socket;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;

const MODE: u32 = 0o660;
const ROUNDS: u32 = 500;

#[test]
fn a_socket_has_its_mode_from_its_first_moment() {
    let name = format!("healthd-socket-mode-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    // All bits that some look has found, how often it was there, and the end.
    let (found, looks, is_over) = (AtomicU32::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|s| {
        s.spawn(|| {
            while !is_over.load(SeqCst) {
                if let Ok(meta) = fs::symlink_metadata(&path) {
                    found.fetch_or(meta.permissions().mode() & 0o777, SeqCst);
                    looks.fetch_add(1, SeqCst);
                }
            }
        });
        // What the process would give away.
        nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        let rounds = (0..ROUNDS).try_for_each(|_| {
            let before = looks.load(SeqCst);
            let socket = unix_socket::listen(&path, MODE)?;
            while looks.load(SeqCst) == before {
                thread::yield_now();
            }
            drop(socket);
            fs::remove_file(&path)
        });
        is_over.store(true, SeqCst);
        rounds.expect("a socket in our own folder");
    });
    assert_eq!(found.into_inner(), MODE);
}
