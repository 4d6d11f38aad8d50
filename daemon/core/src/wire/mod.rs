//! What crosses a socket.

pub mod alerts;
pub mod asks;
pub mod class;
pub mod control;
mod event_text;
pub mod events;
pub mod fanout;
pub mod frame;
pub mod glob;
pub mod history;
pub mod maps;
pub mod metrics;
pub mod names;
pub mod objects_map;
pub mod probe;
pub mod report;
pub mod roles;
mod rows;
pub mod samples;
pub mod sandbox;
pub mod supervisor;
pub mod told_secrets;
pub mod traces;
pub mod tryout;
pub mod worker;
