//! `hd.fanout/1`: one run's work on all workers of the cpu class.
//!
//! `book` keeps a fan-out's chunks, `parent` is what a run's thread does with them, `desk` what the reactor says
//! of them to the manager, and `helper` runs the chunks of others.

mod book;
mod desk;
mod helper;
mod parent;

pub use desk::{Desk, News};
pub use helper::ChunkJob;
pub use parent::{InRun, WorkerFanout, in_run};

use healthd_abi as abi;
use healthd_loader::fanout::Done;
use healthd_sys::memfd;
use std::os::fd::OwnedFd;

/// What one call of `chunk` left behind: its output is sealed, and counts only if it said that it is well.
pub struct Worked {
    pub code: i32,
    pub output: Option<OwnedFd>,
    pub size: u64,
    pub cpu_ns: u64,
    pub message: String,
}

impl Worked {
    pub fn failed(code: i32, message: String) -> Worked {
        Worked {
            code,
            output: None,
            size: 0,
            cpu_ns: 0,
            message,
        }
    }

    pub fn no_memfd(e: &std::io::Error) -> Worked {
        Worked::failed(
            abi::E_RESOURCES,
            format!("no memory file for the output of a chunk: {e}"),
        )
    }

    pub fn of(plugin: &str, ret: i32, message: String, output: OwnedFd, cpu_ns: u64) -> Worked {
        let bad = |text: String| Worked {
            cpu_ns,
            ..Worked::failed(abi::E_INTERNAL, format!("plugin `{plugin}`: {text}"))
        };
        match ret {
            abi::OK => {}
            abi::WARN | abi::CRIT | abi::UNKNOWN | abi::E_RESOURCES..=abi::E_CONFIG => {
                return Worked {
                    cpu_ns,
                    ..Worked::failed(ret, message)
                };
            }
            other => {
                return bad(format!(
                    "chunk returned {other}, which the ABI does not define"
                ));
            }
        }
        let size = match memfd::size(&output) {
            Ok(size) if size > abi::FANOUT_MAX_OUTPUT => {
                let most = abi::FANOUT_MAX_OUTPUT >> 20;
                return bad(format!(
                    "a chunk wrote {} MiB, and may write {most} MiB: cut the work smaller",
                    size >> 20
                ));
            }
            Ok(size) => size,
            Err(e) => return bad(format!("the output of a chunk: {e}")),
        };
        if size > 0
            && let Err(e) = memfd::seal(&output)
        {
            return bad(format!(
                "the output of a chunk cannot be sealed: {e}: is it still mapped?"
            ));
        }
        Worked {
            code: abi::OK,
            output: (size > 0).then_some(output),
            size,
            cpu_ns,
            message: String::new(),
        }
    }

    pub fn done(self, index: u32) -> Done {
        Done {
            index,
            code: self.code,
            output: self.output,
            size: self.size,
            cpu_ns: self.cpu_ns,
            message: self.message,
        }
    }
}
