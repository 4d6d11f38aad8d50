//! One exchange of HTTP/1 over any stream: the bytes of a request go out, and the answer is read piece by piece.
//!
//! Who connects, by which way and with which TLS, is the caller's business; so is what an answer means.

pub mod head;
mod receive;
pub mod response;
#[cfg(feature = "url")]
pub mod url;

pub use receive::{Fault, exchange, receive};
pub use response::{Response, Wanted};
