//! Thin, typed system calls: the doors to the kernel that nix and std do not have, or have only as unsafe
//! functions. Nothing here knows what a check is.

pub mod clock;
pub mod epoll;
pub mod files;
pub mod fork_guard;
pub mod leftovers;
pub mod limits;
pub mod logging;
pub mod memfd;
pub mod priority;
pub mod privileges;
pub mod process;
pub mod resolve;
pub mod seccomp;
pub mod signal_snapshot;
pub mod signal_stacks;
pub mod signals;
pub mod spawn;
pub mod threads;
pub mod unix_socket;
pub mod usage;
