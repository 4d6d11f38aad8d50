//! The two traits, one of which a plugin implements.

use crate::{Cx, Options, Status};

/// A check that waits: `check` is polled on the worker's reactor thread and must never block.
///
/// One value is made per configured check and used for every run of it, possibly by several runs at once.
pub trait Check: Sized + Send + Sync + 'static {
    /// Made by [`options!`](crate::options!), or `()` for a check without options.
    type Options: Options;

    /// Called once per configured check, on a thread where blocking is allowed: compile the regex, read the CA file.
    /// The error is shown to whoever wrote the config.
    fn create(options: Self::Options, cx: Cx<'_>) -> Result<Self, String>;

    /// One run. Write it as `async fn check(&self, cx: Cx<'_>) -> Status`. At the deadline the future is dropped and
    /// the host reports a timeout that names the last [`Cx::phase`]: nothing to do here.
    fn check(&self, cx: Cx<'_>) -> impl Future<Output = Status>;
}

/// A check that blocks or computes: `run` has a thread of its own until it returns.
pub trait BlockingCheck: Sized + Send + Sync + 'static {
    /// Made by [`options!`](crate::options!), or `()` for a check without options.
    type Options: Options;

    /// As [`Check::create`].
    fn create(options: Self::Options, cx: Cx<'_>) -> Result<Self, String>;

    /// One run. Nobody can stop a thread: give your library a timeout of [`Cx::remaining`], and in long loops look at
    /// [`Cx::is_cancelled`]. A run that is not back at its deadline is reported as an overrun.
    fn run(&self, cx: Cx<'_>) -> Status;
}
