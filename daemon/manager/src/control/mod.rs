//! The control socket: clients, their requests, and answers that never hold the loop.
//!
//! A client may be hostile or slow: its line is capped, its answer is made as it takes it, and there are
//! only so many of them.

mod client;
mod requests;
mod rows;

pub use client::Clients;
