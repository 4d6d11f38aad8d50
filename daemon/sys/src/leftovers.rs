//! What a call into foreign code may leave behind in a process: limits, an alarm, signal handlers, a signal mask, a umask,
//! another working directory. Seen after the call, and put back.

use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, fstat, stat, umask};
use nix::unistd::fchdir;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// What programs and libraries change, of all that there are.
const SIGNALS: [(i32, &str); 13] = [
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGPIPE, "SIGPIPE"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGCHLD, "SIGCHLD"),
    (libc::SIGUSR1, "SIGUSR1"),
];
const LIMITS: [(Resource, &str); 3] = [
    (Resource::RLIMIT_NOFILE, "open files (RLIMIT_NOFILE)"),
    (Resource::RLIMIT_AS, "memory (RLIMIT_AS)"),
    (Resource::RLIMIT_FSIZE, "size of files (RLIMIT_FSIZE)"),
];

/// How files are made, and where relative paths begin.
struct Surroundings {
    umask: Mode,
    folder: OwnedFd,
    /// Device and inode of the folder.
    key: (u64, u64),
}

static SURROUNDINGS: OnceLock<Option<Surroundings>> = OnceLock::new();

impl Surroundings {
    fn now() -> Option<Surroundings> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(".", flags, Mode::empty()).ok()?;
        let about = fstat(&folder).ok()?;
        // The only way to ask for it is to set it.
        let before = umask(Mode::empty());
        umask(before);
        Some(Surroundings {
            umask: before,
            folder,
            key: (about.st_dev, about.st_ino),
        })
    }

    /// Puts them back, and names what was changed.
    fn back(&self) -> impl Iterator<Item = String> {
        let changed = umask(self.umask);
        let changed = (changed != self.umask).then(|| format!("a umask of {:03o}", changed.bits()));
        let here = stat(".").is_ok_and(|a| (a.st_dev, a.st_ino) == self.key);
        let moved =
            (!here && fchdir(&self.folder).is_ok()).then(|| "another working directory".to_owned());
        [changed, moved].into_iter().flatten()
    }
}

/// How signals are to stay.
static ACTIONS: OnceLock<Vec<libc::sigaction>> = OnceLock::new();

/// From now on signals, umask and working directory are to stay as they are. The first call wins.
pub fn all_stays() {
    SURROUNDINGS.get_or_init(Surroundings::now);
    let _ = ACTIONS.set(SIGNALS.iter().filter_map(|(n, _)| action(*n)).collect());
}

/// Puts back the handlers that were changed.
pub fn handlers_back() -> Option<Left> {
    let what: Vec<String> = named_handlers().collect();
    (!what.is_empty()).then_some(Left { what, stays: false })
}

fn named_handlers() -> impl Iterator<Item = String> {
    signals_back().map(|name| format!("another handler for {name}"))
}

/// Names the signals too.
fn signals_back() -> impl Iterator<Item = &'static str> {
    let actions = ACTIONS.get().into_iter().flatten().zip(SIGNALS);
    actions.filter_map(|(was, (n, name))| {
        let now = action(n)?;
        let same = now.sa_sigaction == was.sa_sigaction && flags(&now) == flags(was);
        // SAFETY: `was` is what the kernel said of this signal before, so its handler is still there.
        (!same && unsafe { libc::sigaction(n, was, std::ptr::null_mut()) } == 0).then_some(name)
    })
}

/// How many threads this process has, and a number that stays the same. None: it cannot be told.
pub fn threads() -> Option<u64> {
    static TASKS: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let tasks = TASKS.get_or_init(|| open("/proc/self/task", flags, Mode::empty()).ok());
    // A folder for each.
    Some(fstat(tasks.as_ref()?).ok()?.st_nlink)
}

/// The process as it was before a call.
pub struct Before {
    limits: [Option<(u64, u64)>; LIMITS.len()],
    /// None: only what costs next to nothing is looked at.
    mask: Option<libc::sigset_t>,
}

/// What was left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// In words: `an alarm (SIGALRM)`.
    pub what: Vec<String>,
    /// It could not be put back: this process must go.
    pub stays: bool,
}

impl Before {
    /// Before a call that takes its time. `files`: also the limit of open files, which the caller itself may change.
    pub fn look(files: bool) -> Before {
        let mut limits = LIMITS.map(|(resource, _)| getrlimit(resource).ok());
        if !files {
            limits[0] = None;
        }
        Before {
            limits,
            mask: Some(mask()),
        }
    }

    /// Before one of many short calls: open files and alarms only.
    pub fn glance(files: bool) -> Before {
        let open = files.then(|| getrlimit(LIMITS[0].0).ok()).flatten();
        Before {
            limits: [open, None, None],
            mask: None,
        }
    }

    /// On the same thread, after the call. None: it left nothing.
    pub fn put_back(&self) -> Option<Left> {
        let mut left = Left::default();
        for ((resource, name), before) in LIMITS.into_iter().zip(self.limits) {
            // Asked only where it is compared: a step is short, and each question is a system call.
            let Some((soft, hard)) = before else { continue };
            let Ok(now) = getrlimit(resource) else {
                continue;
            };
            if now != (soft, hard) {
                left.what.push(format!("a limit of {} for {name}", now.0));
                left.stays |= setrlimit(resource, soft, hard).is_err();
            }
        }
        if stop_alarm() {
            left.what.push("an alarm (SIGALRM)".into());
        }
        if let Some(before) = &self.mask {
            if let Some(Some(surroundings)) = SURROUNDINGS.get() {
                left.what.extend(surroundings.back());
            }
            left.what.extend(named_handlers());
            if !same(before, &mask()) {
                left.what.push("a signal mask of its own".into());
                // SAFETY: a mask that was in force before on this thread.
                unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
            }
        }
        (!left.what.is_empty()).then_some(left)
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what.join(" and "))
    }
}

/// Without what the C library adds whenever it sets one (SA_RESTORER).
fn flags(action: &libc::sigaction) -> i32 {
    const ADDED: i32 = 0x0400_0000;
    action.sa_flags & !ADDED
}

fn action(signal: i32) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: a null new action only reads; the kernel fills `action` when it returns 0.
    let r = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call returned 0, so the structure was filled.
    (r == 0).then(|| unsafe { action.assume_init() })
}

fn mask() -> libc::sigset_t {
    let mut mask = MaybeUninit::zeroed();
    // SAFETY: a null new set only reads; the kernel fills `mask`.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr()) };
    // SAFETY: plain data, zeroed before it was filled.
    unsafe { mask.assume_init() }
}

fn same(a: &libc::sigset_t, b: &libc::sigset_t) -> bool {
    (1..=31).all(|n| {
        // SAFETY: a set that sigmask(3) has filled, and the number of a signal.
        let in_a = unsafe { libc::sigismember(a, n) };
        // SAFETY: as above.
        let in_b = unsafe { libc::sigismember(b, n) };
        in_a == in_b
    })
}

/// True: there was one.
fn stop_alarm() -> bool {
    let none = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
    };
    let mut before = none;
    // SAFETY: both are whole values of this frame.
    let r = unsafe { libc::setitimer(libc::ITIMER_REAL, &none, &mut before) };
    r == 0 && (before.it_value.tv_sec != 0 || before.it_value.tv_usec != 0)
}
