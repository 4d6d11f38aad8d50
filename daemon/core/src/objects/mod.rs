//! What the manager keeps for plugins.

pub mod maps;
