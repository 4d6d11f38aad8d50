//! Write a healthd check plugin in safe Rust.
//!
//! A plugin is a `cdylib` with one trait impl and one macro line:
//!
//! ```
//! #![forbid(unsafe_code)]
//! use healthd_plugin::{BlockingCheck, Cx, Metric, Status, options, plugins};
//!
//! options! {
//!     /// The load average of this machine.
//!     pub struct Options {
//!         /// Critical above this.
//!         crit: f64 { min: 0.0 } = 4.0,
//!     }
//! }
//!
//! struct Load(Options);
//!
//! impl BlockingCheck for Load {
//!     type Options = Options;
//!
//!     fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
//!         Ok(Load(options))
//!     }
//!
//!     fn run(&self, cx: Cx<'_>) -> Status {
//!         let text = match std::fs::read_to_string("/proc/loadavg") {
//!             Ok(text) => text,
//!             Err(e) => return cx.fail("/proc/loadavg", &e),
//!         };
//!         let Some(load) = text.split(' ').next().and_then(|s| s.parse::<f64>().ok()) else {
//!             return cx.unknown("/proc/loadavg: no number");
//!         };
//!         cx.metric(Metric::new("load1", load).crit(self.0.crit).min(0.0));
//!         if load > self.0.crit { cx.critical(format_args!("load {load}")) } else { cx.ok(format_args!("load {load}")) }
//!     }
//! }
//!
//! plugins! {
//!     run Load { name: "load", summary: "load average of this machine" }
//! }
//! ```
//!
//! # Which trait
//! [`Check`] waits on the network: its `async fn check` runs on the worker's reactor beside thousands of others and
//! must never block. It needs no runtime: the I/O is in [`net`], time in [`Cx::sleep`] and [`Cx::timeout`], names in
//! [`Cx::resolve`], children in [`Cx::exec`]; anything written over tokio's `AsyncRead`/`AsyncWrite` runs on these
//! streams. [`BlockingCheck`] has a thread of its own until `run` returns: for libraries that only block (form `run`)
//! and for computing (form `cpu`). [`Fanout`] computes on all cores at once (form `fanout`).
//!
//! # What the SDK does for you
//! It catches panics at every entry, turns an exhausted machine into [`Status::Resources`] instead of a false alarm
//! ([`Cx::fail`]), passes `log` records to the daemon, and puts a JSON Schema of the options into the descriptor.

#[cfg(panic = "abort")]
compile_error!(
    "a plugin built with panic = \"abort\" would take its worker down with every panic; remove that setting"
);

pub use healthd_abi as abi;

mod apart;
mod barrier;
pub mod base64;
mod cache;
#[cfg(feature = "tls")]
mod certificate;
mod check;
mod clock;
mod counter;
mod cx;
mod date;
mod delta;
mod exec;
#[doc(hidden)]
pub mod export;
mod fanout;
mod forecast;
pub mod fresh;
mod host;
mod hostname;
mod kept;
mod map;
mod metric;
#[cfg(feature = "mock")]
pub mod mock;
pub mod net;
mod notice;
pub mod options;
#[cfg(feature = "pattern")]
pub mod pattern;
mod rate;
mod resolve;
pub mod secrets;
mod shared;
mod status;
mod task;
mod text;
pub mod thresholds;
mod time;
#[cfg(feature = "tls")]
pub mod tls;

pub use cache::{Cache, CacheError};
pub use check::{BlockingCheck, Check};
pub use clock::Clock;
pub use counter::{Counter, Counters};
pub use cx::{Cx, failure, run_is_cancelled};
pub use date::{days_since_1970, rfc3339_seconds};
pub use delta::{Delta, Growth, Width};
pub use exec::{ChildEnd, ExecOutput, ExecSpec};
pub use export::{CPU_DEFAULT, Descriptor};
pub use fanout::{Chunk, Done, FanOut, Fanout, FanoutError, Plan, memory_file};
pub use forecast::Forecast;
pub use hostname::host_name;
pub use kept::Kept;
pub use log;
pub use map::Mapped;
pub use metric::Metric;
pub use notice::Notice;
pub use options::{Options, Range};
pub use rate::{OverRate, Rate};
pub use resolve::Family;
pub use serde_json;
pub use shared::{Ask, Changed, Entry, SharedLock, SharedMap, State};
pub use status::Status;
pub use text::cut;
pub use text::{is_own_fault, own_fault};
pub use time::Elapsed;

/// Compiles the Rust walk-through in `plugins/README.md`.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
