//! The atomics and locks of this crate: std's, or loom's where loom tries every order of steps.

#[cfg(loom)]
pub use loom::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub use std::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};
