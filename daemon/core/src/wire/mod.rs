//! What crosses a socket.

pub mod control;
