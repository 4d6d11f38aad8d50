//! This machine's clock, as the kernel keeps it.

use std::io;

/// How well somebody keeps the time of day right here (chrony, ntpd, systemd-timesyncd). Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    pub is_synchronised: bool,
    /// What is still to be corrected, above 0 if the clock is late.
    pub offset: f64,
    /// How far off it may be at the worst, and how far it probably is.
    pub maximum_error: f64,
    pub estimated_error: f64,
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
        let unit = match timex.status & libc::STA_NANO {
            0 => 1e6,
            _ => 1e9,
        };
        Ok(Clock {
            is_synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
            offset: timex.offset as f64 / unit,
            maximum_error: timex.maxerror as f64 / 1e6,
            estimated_error: timex.esterror as f64 / 1e6,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn the_kernel_tells() {
        // Whatever it says here, it says the same twice.
        let twice = [Clock::ask(), Clock::ask()].map(|c| c.map(|c| c.is_synchronised).ok());
        assert_eq!(twice[0], twice[1]);
    }
}
