//! What plugins share that ask a server: whom ([`host`]), over what ([`wire`]), how both begin ([`server`]), one exchange
//! of HTTP ([`http`]), and what long answers may take ([`held`]).
//!
//! Runs in: the step lane of a plugin. Nothing here judges: an error names its phase, and the kind says what it means.

#![forbid(unsafe_code)]

mod failure;
pub mod held;
pub mod host;
pub mod http;
#[cfg(feature = "tls")]
pub mod server;
#[cfg(feature = "tls")]
pub mod wire;

pub use failure::Failure;
