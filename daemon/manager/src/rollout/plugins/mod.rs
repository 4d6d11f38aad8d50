//! Plugins while they are replaced: who tells of a change, what served before, and how new bytes prove
//! themselves before and after they take over.

mod canary;
mod commands;
mod drop_in;
mod trial;
mod versions;

pub use canary::{Canary, Objection};
pub use drop_in::DropIn;
pub use trial::{Tally, Told, Trial};
pub use versions::{KeptVersions, Rejected, Versions, version_text};
