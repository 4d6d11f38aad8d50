//! What a check remembers from run to run.

use std::sync::Mutex;

/// State of one check that its runs share: the last counters, the samples of a [`Forecast`](crate::Forecast).
///
/// It lives as long as the check's instance in this worker: a reload that changes the check, a replaced worker or a run
/// that did not come back begin anew. What must not be forgotten belongs into a [shared map](crate::Cx::shared_map).
#[derive(Debug, Default)]
pub struct Kept<T>(Mutex<T>);

impl<T> Kept<T> {
    pub const fn new(value: T) -> Self {
        Kept(Mutex::new(value))
    }

    /// Alone with the state. Do not wait inside: runs of one check may overlap.
    pub fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        // A run that panicked may have left it half changed; a check that says so for ever would be worse.
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        look(&mut state)
    }
}
