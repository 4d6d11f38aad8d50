//! What the supervisor and the manager say to each other, over one SOCK_SEQPACKET pair. One message is one
//! JSON object: these are rare, and both ends are our own; the fds that some carry are named beside them.

pub use super::class::WorkerClass;
use super::roles::Reader;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The largest message, either way: far below what SEQPACKET takes.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// The most fds in one message: unix(7) takes 253.
pub const FDS_A_MESSAGE: usize = 250;

/// A worker process to be: all that the supervisor must know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSpec {
    pub slot: u32,
    pub class: WorkerClass,
    pub generation: u64,
    /// Run-lane threads, or children at once in class exec.
    pub threads: u32,
    /// Tells this use of the slot's number from others before and after it.
    pub birth: u64,
    /// Not started again when it dies: a solo worker goes with its check.
    pub once: bool,
    /// The only plugins that it loads; empty: those that share the workers of its class.
    pub plugins: Vec<String>,
}

/// A reader to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderSpec {
    pub role: Reader,
    /// Fingerprint of its settings.
    pub settings: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToSupervisor {
    /// Have exactly these slots, and keep each alive: start what is missing. A slot that is no longer
    /// named is left to end by itself and not replaced; one whose spec has changed gets the new one at
    /// its next start.
    Slots(Vec<SlotSpec>),
    /// Carries a memfd with names of environment variables, a NUL behind each: who is started from now on does not inherit
    /// them, but for a manager.
    SecretVariables,
    /// The worker came up: from now on its death is no crash loop. The pid tells it from one that has
    /// taken its slot since.
    WorkerReady {
        slot: u32,
        pid: u32,
    },
    /// Kill the worker (it stalls, is stuck, or talks rubbish); it is then replaced.
    Kill {
        slot: u32,
        pid: u32,
        reason: String,
    },
    /// What is in force: memfds with the model and with the plugins' bytes, in as many messages as it takes.
    /// Kept unread from `first` to `last`. A respawned manager gets them back, so it does not depend on what
    /// the files say by then.
    Keep {
        first: bool,
        last: bool,
    },
    /// Carries the memfd in which the manager keeps the plugins' maps from now on; the one before is dropped. It is
    /// memory, never on a disk, and outlives the manager.
    KeepMaps,
    /// The same, of who has been told of what.
    KeepAlerts,
    /// All needed classes are ready, or given up with a reason.
    Ready {
        status: String,
    },
    /// A reload began or ended.
    Reloading,
    Reloaded {
        status: String,
    },
    /// What of `[daemon]` the supervisor goes by and a reload may change; sent after each of them.
    Settings {
        stop_grace_ms: u64,
        log: String,
    },
    /// Have exactly these readers, and keep each alive. Carries for each, in this order, a sealed memfd with its
    /// settings, which is passed on unread. One whose settings are others is started anew.
    Readers(Vec<ReaderSpec>),
    /// One line for `systemctl status`.
    Status {
        status: String,
    },
    /// A client asked for a stop.
    Stop,
    /// While draining: this many runs are still in flight.
    Draining {
        in_flight: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToManager {
    /// The first messages to a respawned manager; they carry what `Keep` brought.
    Restore {
        last: bool,
        /// The last fds of the last one are what `KeepMaps` brought, and behind it what `KeepAlerts` did.
        maps: bool,
        #[serde(default)]
        alerts: bool,
    },
    /// A worker was started; carries our end of its socket pair. `birth` is that of the slot it was started for, which
    /// may be gone by now, and its number another's.
    Started {
        slot: u32,
        pid: u32,
        birth: u64,
    },
    /// A worker has died, and its process groups with it. `left`: but for a process that does not end, as it hangs in the
    /// kernel or may not be killed by us; once it has, `Buried` follows.
    Died {
        slot: u32,
        pid: u32,
        death: Death,
        left: bool,
    },
    Buried {
        slot: u32,
        pid: u32,
    },
    /// It dies before it is ready again and again: no new one before `retry_ms` from now.
    GivenUp {
        slot: u32,
        retry_ms: u64,
        reason: String,
    },
    /// The readers that live now: what they ask the control socket for is people's wish.
    ReadersAre {
        pids: Vec<u32>,
    },
    Reload,
    /// Finish by then (milliseconds from now), then exit 0.
    Stop {
        grace_ms: u64,
    },
    /// Now.
    StopNow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    Exited { code: i32 },
    Signaled { signal: i32, core: bool },
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Death::Exited { code } => write!(f, "exit code {code}"),
            Death::Signaled { signal, core } => {
                f.write_str(&signal_name(*signal))?;
                if *core {
                    f.write_str(" (core dumped)")
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// As kill -l has it: `SIGSEGV`, `SIGRTMIN+3`; on x86, ARM and RISC-V.
pub fn signal_name(signal: i32) -> Cow<'static, str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let name = usize::try_from(signal)
        .ok()
        .and_then(|n| NAMES.get(n.checked_sub(1)?));
    match (name, signal) {
        (Some(name), _) => Cow::Borrowed(*name),
        // 32 and 33 are the C library's own.
        (None, 34) => "SIGRTMIN".into(),
        (None, 35..=64) => format!("SIGRTMIN+{}", signal - 34).into(),
        (None, _) => format!("signal {signal}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_its_name() {
        for (signal, name) in [
            (1, "SIGHUP"),
            (9, "SIGKILL"),
            (10, "SIGUSR1"),
            (11, "SIGSEGV"),
            (16, "SIGSTKFLT"),
            (29, "SIGIO"),
            (31, "SIGSYS"),
            (32, "signal 32"),
            (34, "SIGRTMIN"),
            (37, "SIGRTMIN+3"),
            (64, "SIGRTMIN+30"),
            (65, "signal 65"),
            (0, "signal 0"),
            (-1, "signal -1"),
        ] {
            assert_eq!(signal_name(signal), name);
        }
    }
}
