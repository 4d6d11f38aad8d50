//! The manager role: the state owner. Timer wheel, dispatch, verdicts, control socket, state on disk.
//!
//! One event loop, one store thread; loads no plugin. When it dies the supervisor starts another, which goes
//! on from `state.map`; so nothing here may be the only copy of what matters.
#![forbid(unsafe_code)]

mod alerts;
mod books;
mod check;
mod checks;
mod control;
mod director;
mod event_loop;
mod fleet;
mod inbox;
mod journal;
mod role;
mod rollout;
mod schedule;
mod services;
mod shutdown;
mod story;
mod time;
mod verdict;

pub use role::main;
