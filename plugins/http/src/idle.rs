//! `keep_alive`: the connection that a run leaves to the next run of its check.

use healthd_plugin::{Cx, Kept, net, tls};
use std::time::Duration;

/// No connection is used for longer: by then a new certificate, or a new address of the name, is seen.
const LONGEST: Duration = Duration::from_secs(3600);

/// A connection on which all is answered.
#[derive(Debug)]
pub struct Idle {
    /// When it was made, on the host's clock.
    pub made: u64,
    pub layer: Layer,
}

#[derive(Debug)]
pub enum Layer {
    Plain(net::Idle),
    Tls(tls::Idle),
}

impl Idle {
    pub fn new(made: u64, layer: Layer) -> Box<Idle> {
        Box::new(Idle { made, layer })
    }
}

/// Room for one. Of runs that overlap one has it, the others make connections of their own, and the last one to end leaves
/// its own.
#[derive(Debug, Default)]
pub struct Place(Kept<Option<Box<Idle>>>);

impl Place {
    pub fn take(&self, cx: Cx<'_>) -> Option<Box<Idle>> {
        let idle = self.0.with(Option::take)?;
        is_young(idle.made, cx.now_ns()).then_some(idle)
    }

    pub fn put(&self, idle: Box<Idle>) {
        let before = self.0.with(|place| place.replace(idle));
        // Closed when nobody waits for the place.
        drop(before);
    }
}

fn is_young(made: u64, now: u64) -> bool {
    Duration::from_nanos(now.saturating_sub(made)) < LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_is_used_for_longer_than_an_hour() {
        let hour = 3_600_000_000_000;
        assert!(is_young(5, 5) && is_young(5, hour + 4));
        assert!(!is_young(5, hour + 5) && !is_young(0, u64::MAX));
    }
}
