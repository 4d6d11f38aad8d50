//! One exchange of HTTP/1 over any stream: the bytes of a request go out, and the answer is read piece by piece.
//!
//! Who connects, by which way and with which TLS, is the caller's business; so is what an answer means.

#[cfg(all(feature = "tls", feature = "url"))]
mod get;
pub mod head;
mod receive;
pub mod response;
#[cfg(feature = "url")]
pub mod url;

#[cfg(all(feature = "tls", feature = "url"))]
pub use get::{Get, get};
pub use receive::{Fault, exchange, receive};
pub use response::{Onlooker, Response, Wanted};
