//! Opening a plugin file.

use crate::call::Plugin;
use crate::descriptor;
use crate::go_runtime;
use crate::guarded::{self, pointer};
use crate::host;
use crate::last_words;
use healthd_abi::EntryFn;
use healthd_sys::signal_snapshot::SignalSnapshot;
use libloading::os::unix::{Library as Dl, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub enum LoadError {
    /// What the dynamic linker said.
    Open {
        file: PathBuf,
        why: String,
    },
    NoEntry {
        file: PathBuf,
        newer: bool,
    },
    Empty {
        file: PathBuf,
    },
    Refused {
        file: PathBuf,
        why: String,
    },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Open { file, why } => write!(f, "{}: {why}", file.display()),
            LoadError::NoEntry { file, newer: false } => {
                write!(
                    f,
                    "{}: not a check plugin: no symbol `hd_plugin_v1`",
                    file.display()
                )
            }
            LoadError::NoEntry { file, newer: true } => write!(
                f,
                "{}: not a v1 plugin; has `hd_plugin_v2`: it needs a newer healthd (this one has ABI 1.{})",
                file.display(),
                healthd_abi::ABI_MINOR
            ),
            LoadError::Empty { file } => {
                write!(f, "{}: `hd_plugin_v1` offers no plugin", file.display())
            }
            LoadError::Refused { file, why } => write!(f, "{}: {why}", file.display()),
        }
    }
}

impl std::error::Error for LoadError {}

/// An opened plugin file; the code stays mapped for ever.
pub struct Library {
    pub plugins: Vec<&'static Plugin>,
    /// Where its code lies: base and size; (0, 0) if that could not be told.
    pub span: (u64, u64),
    /// Signals whose disposition its constructors had changed; they were put back.
    pub restored: Vec<i32>,
}

/// More plugins than this in one file: something is wrong with it.
const MAX_PLUGINS: u32 = 64;

impl Library {
    /// `copy` is the sealed copy of `file` and must stay open as long as the process lives: a reused
    /// /proc/self/fd number was seen to return the library that was loaded under it before.
    pub fn open(copy: &OwnedFd, file: &Path) -> Result<Library, LoadError> {
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let signals = SignalSnapshot::take();
        // SAFETY: running a stranger's constructors is what a worker exists for: the process holds nothing
        // that it could hurt but its own checks.
        let opened = unsafe { Dl::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let go = signals.differs() && go_runtime::is_in(copy);
        let restored = signals.restore(if go { &go_runtime::SIGNALS } else { &[] });
        let dl = opened.map_err(|e| LoadError::Open {
            file: file.to_owned(),
            why: linker_message(&e, &path),
        })?;
        last_words::listen(&dl);
        // SAFETY: the symbol's type is fixed by its name, which carries the ABI's major.
        let entry: Result<Symbol<EntryFn>, _> =
            unsafe { dl.get(healthd_abi::ENTRY.to_bytes_with_nul()) };
        let entry = match entry {
            Ok(entry) => *entry,
            Err(_) => {
                // SAFETY: only looked up, never called.
                let newer = unsafe { dl.get::<EntryFn>(b"hd_plugin_v2\0") }.is_ok();
                std::mem::forget(dl);
                return Err(LoadError::NoEntry {
                    file: file.to_owned(),
                    newer,
                });
            }
        };
        let span = span_of(entry as *const ());
        // Never closed: see the head of this crate.
        std::mem::forget(dl);
        let mut plugins: Vec<&'static Plugin> = Vec::new();
        for index in 0..MAX_PLUGINS {
            // SAFETY: the entry function may be called with any index, from any thread, by contract.
            let ptr = unsafe { entry(index) };
            if ptr.is_null() {
                break;
            }
            let (descriptor, raw) =
                descriptor::read(ptr, index).map_err(|why| LoadError::Refused {
                    file: file.to_owned(),
                    why,
                })?;
            if plugins.iter().any(|p| p.descriptor.name == descriptor.name) {
                let why = format!("it holds two plugins named `{}`", descriptor.name);
                return Err(LoadError::Refused {
                    file: file.to_owned(),
                    why,
                });
            }
            plugins.push(Box::leak(Box::new(Plugin { descriptor, raw })));
        }
        if plugins.is_empty() {
            return Err(LoadError::Empty {
                file: file.to_owned(),
            });
        }
        Ok(Library {
            plugins,
            span,
            restored,
        })
    }
}

impl Plugin {
    /// Hands the host's table over; once a process. Err: why the plugin cannot be used here.
    pub fn init(&self) -> Result<Vec<i32>, String> {
        let Some(init) = self.raw.init else {
            return Ok(Vec::new());
        };
        let signals = SignalSnapshot::take();
        // SAFETY: the table is static and complete; `init` is called once, before any other call.
        let ret = unsafe { guarded::call(init as *const _, [pointer(host::table()), 0, 0, 0, 0]) };
        let restored = signals.restore(&[]);
        match ret {
            healthd_abi::OK => Ok(restored),
            healthd_abi::E_UNSUPPORTED => Err(format!(
                "init: this healthd (plugin ABI 1.{}) lacks something that it needs",
                healthd_abi::ABI_MINOR
            )),
            ret => Err(format!("init failed with code {ret}")),
        }
    }
}

/// The linker's words without the name of our copy, which means nothing to anyone.
fn linker_message(error: &libloading::Error, path: &str) -> String {
    let text =
        std::error::Error::source(error).map_or_else(|| error.to_string(), |e| e.to_string());
    let text = text.replace(&format!("{path}: "), "");
    match text.as_str() {
        t if t.contains("cannot open shared object file") => format!(
            "{t} ($ORIGIN finds nothing, as a copy of the plugin is loaded: install that library where ldconfig(8) looks, or link it statically)"
        ),
        t if t.contains("static TLS block") => format!(
            "{t} (it was built for a program's start: build the plugin, and what it links, with -ftls-model=global-dynamic)"
        ),
        t if t.contains("invalid ELF header") || t.contains("file too short") => {
            format!("not a shared library: {t}")
        }
        t if t.contains("wrong ELF class") => format!("built for another word size: {t}"),
        _ => text,
    }
}

/// The memory range of the library that holds `code`, from /proc/self/maps and dladdr(3).
fn span_of(code: *const ()) -> (u64, u64) {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: dladdr only looks an address up and fills `info` when it returns non-zero.
    if unsafe { libc::dladdr(code.cast(), info.as_mut_ptr()) } == 0 {
        return (0, 0);
    }
    // SAFETY: filled, as the call said.
    let info = unsafe { info.assume_init() };
    let base = info.dli_fbase as u64;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    // The mappings of one object follow each other and share its inode.
    let rows: Vec<(u64, u64, &str)> = maps
        .lines()
        .filter_map(|l| {
            let mut fields = l.split_ascii_whitespace();
            let (from, to) = fields.next()?.split_once('-')?;
            let inode = fields.nth(3)?;
            Some((
                u64::from_str_radix(from, 16).ok()?,
                u64::from_str_radix(to, 16).ok()?,
                inode,
            ))
        })
        .collect();
    let Some(first) = rows.iter().position(|r| r.0 == base) else {
        return (base, 0);
    };
    let end = rows[first..]
        .iter()
        .take_while(|r| r.2 == rows[first].2)
        .last()
        .map_or(base, |r| r.1);
    (base, end - base)
}
