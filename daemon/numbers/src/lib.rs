//! What many numbers come to, part by part: the plugin `stats` reads them from files on several workers, the API is sent
//! them. Both get the same bits for the same numbers.
#![forbid(unsafe_code)]

pub mod moments;
pub mod runs;
