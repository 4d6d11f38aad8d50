//! The manager role: the state owner. Timer wheel, dispatch, verdicts, control socket, state on disk.
//!
//! One event loop, one store thread; loads no plugin. When it dies the supervisor starts another, which goes
//! on from `state.map`; so nothing here may be the only copy of what matters.
#![forbid(unsafe_code)]

mod attribution;
mod book;
mod check;
mod control;
mod cost;
mod deaths;
mod dependency;
mod descriptors;
mod disk;
mod dispatch;
mod event_loop;
mod fanout;
mod generation;
mod ghosts;
mod groups;
mod jail;
mod journal;
mod judge;
mod keep;
mod loading;
mod objects;
mod oom;
mod pause;
mod plugins;
mod pools;
mod quarantine;
mod rap;
mod record_log;
mod recycle;
mod reload;
mod replacement;
mod role;
mod samples;
mod saved;
mod secret_files;
mod shutdown;
mod slots;
mod state;
mod store;
mod supervisor_link;
mod symbols;
mod time;
mod wanted;
mod watch;

pub use role::main;
