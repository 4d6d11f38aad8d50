//! What the daemon reads at start and at reload, from the real file system.
#![forbid(unsafe_code)]

mod files;

pub use files::RealFiles;
