//! Where in which library a worker crashed, for people.

use crate::symbols::Code;
use healthd_scoreboard::worker_map::WorkerView;

pub enum Place {
    At {
        file: String,
        offset: u64,
        symbol: Option<String>,
    },
    CalledFrom {
        file: String,
        offset: u64,
        symbol: Option<String>,
    },
    Unknown,
}

impl Place {
    /// At the pc if that lies in a library, else at the innermost return address that does. `is_its`: whether a library
    /// counts, as a stack may hold leftovers of calls into others. `code`: what stands at an offset of it.
    pub fn of(
        view: &WorkerView,
        (pc, trace): (u64, &[u64]),
        is_its: impl Fn(&str) -> bool,
        code: impl Fn(&str, u64) -> Code,
    ) -> Place {
        if let Some((file, offset)) = view.place(pc) {
            let symbol = match code(&file, offset) {
                Code::Named(name) => Some(name),
                Code::Nameless | Code::None => None,
            };
            return Place::At {
                file,
                offset,
                symbol,
            };
        }
        for address in trace {
            // It is where the call returns to, which may be the first byte of another function.
            let Some((file, offset)) = view.place(address.wrapping_sub(1)) else {
                continue;
            };
            if !is_its(&file) {
                continue;
            }
            let symbol = match code(&file, offset) {
                Code::Named(name) if is_cpp_runtime(&name) => continue,
                Code::Named(name) => Some(name),
                Code::Nameless => None,
                Code::None => continue,
            };
            return Place::CalledFrom {
                file,
                offset,
                symbol,
            };
        }
        Place::Unknown
    }

    pub fn file(&self) -> Option<&str> {
        match self {
            Place::At { file, .. } | Place::CalledFrom { file, .. } => Some(file),
            Place::Unknown => None,
        }
    }

    /// "`at` libx.so+0x12 foo"
    pub fn text(&self, at: &str, called_from: &str) -> String {
        let (before, file, offset, symbol) = match self {
            Place::At {
                file,
                offset,
                symbol,
            } => (at, file, offset, symbol),
            Place::CalledFrom {
                file,
                offset,
                symbol,
            } => (called_from, file, offset, symbol),
            Place::Unknown => return String::new(),
        };
        let symbol = symbol.as_ref().map_or(String::new(), |s| format!(" {s}"));
        format!("{before}{file}+{offset:#x}{symbol}")
    }
}

/// What a plugin that links the C++ runtime into itself has on its stack between a `throw` and the end.
fn is_cpp_runtime(name: &str) -> bool {
    const STARTS: [&str; 5] = [
        "__gnu_cxx::__verbose_terminate_handler",
        "__cxxabiv1::",
        "__cxa_",
        "std::terminate",
        "_Unwind_",
    ];
    STARTS.iter().any(|start| name.starts_with(start))
}
