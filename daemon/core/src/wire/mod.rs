//! What crosses a socket.
