//! This machine's clock, as the kernel keeps it.

use std::io;

/// Whether somebody keeps the time of day right here (chrony, ntpd, systemd-timesyncd).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub is_synchronised: bool,
}

impl Clock {
    /// What the kernel knows; changes nothing. An error if this process may not ask (`SystemCallFilter=~@clock`).
    pub fn ask() -> io::Result<Clock> {
        // SAFETY: all zeroes is a valid timex; no mode is set, so it only asks.
        let mut timex: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: a live timex.
        let state = unsafe { libc::adjtimex(&raw mut timex) };
        if state < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Clock {
            is_synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn the_kernel_tells() {
        // Whatever it says here, it says the same twice.
        let twice = [Clock::ask().ok(), Clock::ask().ok()];
        assert_eq!(twice[0], twice[1]);
    }
}
