//! The control socket: clients, their requests, and answers that never hold the loop.
//!
//! A client may be hostile or slow: its line is capped, its answer is made as it takes it, all of them
//! together get a bounded share of each turn, and there are only so many of them.

mod budget;
mod client;
mod clients;
mod events;
mod ids;
mod matcher;
mod objects;
mod probes;
mod requests;
mod rows;
mod selection;
mod serve;
mod why;

pub use client::error;
pub use clients::{Asker, Clients};
