//! A gate: the unix socket on which the `hold` plugin waits, so that a test knows that a run is under way, and ends
//! it when it likes.

use super::{DEADLINE, TempDir, poll_readable};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

pub struct Gate {
    listener: UnixListener,
    folder: TempDir,
}

/// A run that stands at the gate.
#[derive(Debug)]
pub struct Visit {
    stream: BufReader<UnixStream>,
    pub check: String,
    pub run_id: u64,
    /// Which try of this run it is: 2 after a worker died with the first.
    pub attempt: u32,
    /// Of the worker.
    pub pid: u32,
}

impl Gate {
    pub fn new() -> Gate {
        let folder = TempDir::new();
        let listener = UnixListener::bind(folder.path().join("gate")).expect("our own folder");
        // A daemon under another uid must reach it too.
        for path in [folder.path().to_owned(), folder.path().join("gate")] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("our own");
        }
        Gate { listener, folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    /// Waits until a run has come in.
    pub fn wait_entered(&self) -> Visit {
        assert!(
            poll_readable(self.listener.as_fd(), DEADLINE),
            "no run came to the gate"
        );
        let (stream, _) = self.listener.accept().expect("somebody is there");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a time-out that is not zero");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("the run says who it is");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [check, run_id, attempt, pid] = words[..] else {
            panic!("an unknown visitor: {line:?}");
        };
        Visit {
            check: check.to_owned(),
            run_id: run_id.parse().expect("a run id"),
            attempt: attempt.parse().expect("a number"),
            pid: pid.parse().expect("a pid"),
            stream,
        }
    }

    /// Whether somebody stands there whom `wait_entered` has not met yet.
    pub fn is_empty(&self) -> bool {
        !poll_readable(self.listener.as_fd(), std::time::Duration::ZERO)
    }
}

impl Visit {
    /// Lets it end with ok.
    pub fn open(self) {
        self.open_with(0);
    }

    /// Lets it end with this status.
    pub fn open_with(mut self, status: u8) {
        // It may have died meanwhile.
        let _ = self.stream.get_mut().write_all(&[b'0' + status]);
    }

    /// Waits until nobody holds the other end: the run has given up, or its process is gone.
    pub fn assert_hung_up(mut self) {
        let mut rest = Vec::new();
        self.stream
            .read_to_end(&mut rest)
            .expect("whoever held the gate hangs up");
        assert!(rest.is_empty(), "{rest:?}");
    }
}
