//! What is asked of this crate and what comes back.

use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    pub fn allows(self, ip: &IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => ip.is_ipv4(),
            Family::V6 => ip.is_ipv6(),
        }
    }

    /// AF_INET, AF_INET6 or AF_UNSPEC.
    pub fn from_code(code: u32) -> Option<Family> {
        match code as i32 {
            libc::AF_UNSPEC => Some(Family::Any),
            libc::AF_INET => Some(Family::V4),
            libc::AF_INET6 => Some(Family::V6),
            _ => None,
        }
    }

    pub fn code(self) -> i32 {
        match self {
            Family::Any => libc::AF_UNSPEC,
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        }
    }

    pub(crate) fn addresses(self) -> &'static str {
        match self {
            Family::Any => "no address",
            Family::V4 => "no IPv4 address",
            Family::V6 => "no IPv6 address",
        }
    }
}

/// Look-ups that are alike are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// As it was asked, in lower case.
    pub host: String,
    pub family: Family,
}

/// Who waits: a task and its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub task: u64,
    pub token: u32,
    /// CLOCK_MONOTONIC; shortly before it is told that there is no answer.
    pub deadline_ns: u64,
}

/// At least one address, or why there is none.
pub type Found = Result<Vec<IpAddr>, Failure>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// This machine could not ask: nothing is known of the target.
    pub own: bool,
    /// getaddrinfo's code for it.
    pub code: i32,
    pub text: String,
}

impl Failure {
    /// The name or its zone is at fault.
    pub fn target(text: impl Into<String>) -> Failure {
        Failure {
            own: false,
            code: libc::EAI_NONAME,
            text: text.into(),
        }
    }

    /// Its zone is, at least now.
    pub fn again(text: impl Into<String>) -> Failure {
        Failure {
            code: libc::EAI_AGAIN,
            ..Failure::target(text)
        }
    }

    /// EAI_MEMORY, which plugins built before there was `own` take for a lack of this machine, too.
    pub fn own(text: impl Into<String>) -> Failure {
        Failure {
            own: true,
            code: libc::EAI_MEMORY,
            text: text.into(),
        }
    }
}

/// How far the look-ups of a task are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// It waits for none.
    #[default]
    No,
    /// For its turn.
    Queued,
    /// For an answer, or for word that there is none.
    Asked,
}

/// An answer for one who waits.
#[derive(Clone, Debug)]
pub struct Told {
    pub waiter: Waiter,
    pub found: Arc<Found>,
    /// So much of the time it waited for its turn, and was not given back yet.
    pub queued_ns: u64,
}
