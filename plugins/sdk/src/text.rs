//! Short texts without an allocation, and io errors in our words.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::io;

thread_local! {
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// Formats into this thread's buffer and shows the text to `f`. A message costs no allocation once the buffer grew.
pub(crate) fn with_text<R>(args: impl fmt::Display, f: impl FnOnce(&str) -> R) -> R {
    // Taken, not borrowed: a Display that itself ends up here gets a fresh buffer instead of a panic.
    let mut buffer = BUFFER.take();
    buffer.clear();
    let text = match write!(buffer, "{args}") {
        Ok(()) => buffer.as_str(),
        Err(fmt::Error) => "(a message that could not be formatted)",
    };
    let r = f(text);
    if buffer.capacity() <= 4096 {
        BUFFER.set(buffer);
    }
    r
}

/// No more than `most` bytes of it, up to the border of a character.
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Is this our machine's lack rather than the target's fault?
pub(crate) fn is_resource_error(e: &io::Error) -> bool {
    const OURS: [i32; 6] = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOBUFS,
        libc::EADDRNOTAVAIL,
        libc::EPERM,
    ];
    e.raw_os_error().is_some_and(|n| OURS.contains(&n)) || is_own_fault(e)
}

/// An error that is this machine's fault and not the target's: [`Cx::fail`](crate::Cx::fail) makes
/// [`Status::Resources`](crate::Status::Resources) of it.
pub fn own_fault(why: impl Into<String>) -> io::Error {
    io::Error::other(OwnFault(why.into()))
}

/// Whether an error was made by [`own_fault`].
pub fn is_own_fault(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<OwnFault>())
}

#[derive(Debug)]
struct OwnFault(String);

impl fmt::Display for OwnFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OwnFault {}

/// `connection refused` instead of `Connection refused (os error 111)`.
pub(crate) struct IoText<'a>(pub &'a io::Error);

impl fmt::Display for IoText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error ").next().unwrap_or(&text);
        let mut rest = text.chars();
        match (rest.next(), rest.clone().next()) {
            // "No route to host" yes, "TLS alert" no.
            (Some(a), Some(b)) if a.is_uppercase() && b.is_lowercase() => {
                write!(f, "{}{}", a.to_lowercase(), rest.as_str())
            }
            _ => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_read_like_a_sentence_part() {
        let text = |n| IoText(&io::Error::from_raw_os_error(n)).to_string();
        assert_eq!(text(libc::ECONNREFUSED), "connection refused");
        assert_eq!(text(libc::EHOSTUNREACH), "no route to host");
        let own = own_fault("no CA certificates");
        assert_eq!(IoText(&own).to_string(), "no CA certificates");
        assert!(is_resource_error(&own) && !is_resource_error(&io::Error::other("x")));
        assert_eq!(
            IoText(&io::Error::other("TLS alert")).to_string(),
            "TLS alert"
        );
    }

    #[test]
    fn nested_formatting_is_harmless() {
        struct Nested;
        impl fmt::Display for Nested {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                with_text("inner", |t| f.write_str(t))
            }
        }
        with_text(format_args!("outer {Nested}"), |t| {
            assert_eq!(t, "outer inner")
        });
    }
}
