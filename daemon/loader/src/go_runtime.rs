//! Plugins written in Go bring a runtime with signal handlers of its own, which must stay: `recover` from a nil pointer
//! stands on SIGSEGV, and the garbage collector on SIGURG. Faults outside of Go code it hands on to the handler that was
//! there before (os/signal, "Go programs that use cgo"), which is ours.

use libc::{SIGBUS, SIGFPE, SIGPIPE, SIGSEGV, SIGURG};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// What the runtime handles in a library.
pub const SIGNALS: [i32; 5] = [SIGSEGV, SIGBUS, SIGFPE, SIGURG, SIGPIPE];

/// Was this file linked by Go? Each such file has this mark (debug/buildinfo).
pub fn is_in(copy: &OwnedFd) -> bool {
    const MARK: &[u8] = b"\xff Go buildinf:";
    let Ok(file) = copy.try_clone().map(File::from) else {
        return false;
    };
    let mut buffer = vec![0; 1 << 20];
    let (mut at, mut kept) = (0, 0);
    while let Ok(n @ 1..) = file.read_at(&mut buffer[kept..], at) {
        let filled = kept + n;
        if buffer[..filled].windows(MARK.len()).any(|w| w == MARK) {
            return true;
        }
        // The mark may lie across two reads.
        kept = filled.min(MARK.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
        at += n as u64;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_mark_is_found_wherever_it_lies() {
        let held = |at: usize, mark: &[u8]| {
            let name = format!("healthd-go-{}-{at}-{}", std::process::id(), mark.len());
            let path = std::env::temp_dir().join(name);
            let mut file = File::create(&path).expect("a temporary file");
            file.write_all(&[&vec![b' '; at], mark].concat())
                .expect("room for it");
            let copy = OwnedFd::from(File::open(&path).expect("just made"));
            std::fs::remove_file(&path).expect("just made");
            is_in(&copy)
        };
        for at in [0, 1, (1 << 20) - 5, 1 << 20, (2 << 20) - 20] {
            assert!(held(at, b"\xff Go buildinf:"), "{at}");
        }
        assert!(!held(0, b"\xff Go buildinf"));
        assert!(!held(0, b""));
    }
}
