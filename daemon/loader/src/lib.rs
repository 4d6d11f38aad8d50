//! dlopen, the ABI gate, and every call that crosses into a plugin. What comes out of this crate is safe:
//! descriptors that were checked, results that were capped, and handles whose use cannot break the contract
//! of the header.
//!
//! Runs in: workers, `healthd --probe` and `healthd --try`. Nothing is ever dlclosed: a library's code, its
//! thread-locals and its threads may be in use as long as the process lives.

mod cache;
pub mod call;
pub mod context;
mod counter;
pub mod descriptor;
pub mod fanout;
mod go_runtime;
mod grace;
mod guarded;
pub mod host;
pub mod last_words;
pub mod library;
mod notice;
pub mod secrets;
mod shared;

pub use call::{Ended, Instance, Owner, Plugin, Started, Task};
pub use context::{Cancel, Context, ContextSpec, Results, Spare};
pub use descriptor::{Descriptor, Workload};
pub use host::{Event, ExecDone, ExecSpec, NoAddress, Services};
pub use library::{Library, LoadError};
pub use notice::Message;
pub use shared::Asker;
