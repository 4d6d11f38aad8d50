//! Verdicts: what a result means, what it costs, and what of it is told.

mod charge;
pub mod cost;
pub mod judge;
