//! Alerts as a state: for each route and notice, what the receiver has been told, and what it should know. The
//! difference is sent. There is no queue of events that could grow, be lost, or be told again by a reload.
//!
//! Pure: no I/O, no clock, no threads; time is an argument. The manager feeds an [`Engine`] with verdicts and the
//! outcomes of deliveries, keeps the records that it hands out, and starts the deliveries that it asks for.
#![forbid(unsafe_code)]

mod check;
pub mod config;
mod delivery;
mod engine;
mod flap;
mod holds;
mod ids;
mod lane;
mod message;
mod notice;
mod rate;
mod record;
mod replay;
mod report;
mod route;
mod steady;
mod time;
mod wakes;
mod week;
mod when;
mod who;

#[cfg(test)]
mod histories;

pub use check::{Labels, Standing};
pub use delivery::{Delivery, Kind, Line, Outcome, Sure, Word};
pub use engine::{Engine, Orphan, Output};
pub use healthd_core::matching::{Match, WrongMatch};
pub use holds::{Hold, Scope, Until};
pub use lane::Ends;
pub use message::Home;
pub use rate::{Rate, Times};
pub use record::Record;
pub use replay::{Flip, Sent, replay};
pub use report::{NoticeRow, Report, RouteRow, SilenceRow};
pub use route::{By, Config, Maintenance, On, Route};
pub use steady::invert;
pub use time::Now;
pub use week::OverBudget;
pub use when::{When, WrongWhen, Zones, zones};
pub use who::{Answer, Because, who};
