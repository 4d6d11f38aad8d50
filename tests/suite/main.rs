//! The promises of healthd, one file each, tested on the real daemon.
//!
//! Each test has a daemon and a folder of its own and waits for events: messages to the service manager, gates that
//! plugins stand at, lines of `watch`. See `harness/`.

mod harness;

mod worker_crash;
