//! `Cx`: one run, as its check sees it.

use crate::host::host;
use crate::metric::Metric;
use crate::status::Status;
use crate::task::Head;
use crate::text::{IoText, is_resource_error, with_text};
use healthd_abi::HdCtx;
use std::cell::Cell;
use std::fmt::Display;
use std::io;
use std::marker::PhantomData;
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

thread_local! {
    /// The cancel flag of the run that this thread is in; NULL outside of one.
    static CANCELLED: Cell<*const AtomicU32> = const { Cell::new(null()) };
}

/// [`Cx::is_cancelled`] for callbacks that cannot hold a [`Cx`], because a library wants them `'static`: asks about the
/// run-lane run that this thread is in. False outside of one.
pub fn run_is_cancelled() -> bool {
    let flag = CANCELLED.get();
    // SAFETY: NULL, or set by `RunScope` to the flag of a run whose ctx lives as long as the scope, on this thread.
    unsafe { flag.as_ref() }.is_some_and(|f| f.load(Relaxed) != 0)
}

/// While it lives, [`run_is_cancelled`] on this thread speaks of its run.
pub(crate) struct RunScope(*const AtomicU32);

impl RunScope {
    /// # Safety
    /// `ctx` is the host's, live until the scope has been dropped.
    pub(crate) unsafe fn enter(ctx: *const HdCtx) -> RunScope {
        // SAFETY: the caller's promise.
        let cancelled = unsafe { (*ctx).cancelled };
        // A chunk of a run may run inside of that run.
        RunScope(CANCELLED.replace(cancelled))
    }
}

impl Drop for RunScope {
    fn drop(&mut self) {
        CANCELLED.set(self.0);
    }
}

fn status_of(error: &io::Error) -> Status {
    if is_resource_error(error) {
        Status::Resources
    } else if error.kind() == io::ErrorKind::Unsupported {
        // Of the target nothing is known.
        Status::Unknown
    } else {
        Status::Critical
    }
}

/// What [`Cx::fail`] says and returns, for one that does not end its check with it.
pub fn failure(phase: &str, error: &io::Error) -> (Status, String) {
    (status_of(error), format!("{phase}: {}", IoText(error)))
}

/// The current run (or the current `create`): where results go and where the lane's services come from.
///
/// It is `!Send`, because the host takes results only on the thread that runs the check, and it borrows, so that it
/// cannot outlive the run.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    raw: *const HdCtx,
    /// The step lane's task; NULL in create and in the run lane.
    head: *const Head,
    _borrows: PhantomData<(&'a (), *mut ())>,
}

impl<'a> Cx<'a> {
    /// # Safety
    /// `raw` is a ctx the host handed to an entry function, valid for `'a`, on this thread. `head` is NULL or the head
    /// of the task this ctx belongs to, valid for `'a` too.
    pub(crate) unsafe fn new(raw: *const HdCtx, head: *const Head) -> Self {
        Cx {
            raw,
            head,
            _borrows: PhantomData,
        }
    }

    pub(crate) fn raw(self) -> *const HdCtx {
        self.raw
    }

    fn ctx(&self) -> &'a HdCtx {
        // SAFETY: `new`'s caller vouched for raw over 'a; the host changes no field of a live ctx.
        unsafe { &*self.raw }
    }

    /// The task behind this run; an error in create and in the run lane, where nobody steps a future.
    pub(crate) fn head(&self) -> io::Result<&'a Head> {
        self.task().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "async I/O is for the step lane only",
            )
        })
    }

    fn task(&self) -> Option<&'a Head> {
        // SAFETY: `new`'s caller vouched for head over 'a; it is NULL or valid, and shared access is all there is.
        unsafe { self.head.as_ref() }
    }

    // ---- results ----

    /// The one line people see first. The last call counts.
    pub fn message(&self, line: impl Display) {
        with_text(line, |t| host().message(self.raw, t));
    }

    /// More text below the message, appended; the host caps it.
    pub fn detail(&self, text: impl Display) {
        with_text(text, |t| host().detail(self.raw, t));
    }

    pub fn metric(&self, metric: Metric<'_>) {
        host().metric(self.raw, &metric.to_abi());
    }

    pub fn label(&self, key: &str, value: &str) {
        host().label(self.raw, key, value);
    }

    /// What is being done now: "dns", "connect", "tls", "ttfb". A timeout names the last one.
    pub fn phase(&self, name: &str) {
        host().phase(self.raw, name);
    }

    /// Sets the message and is [`Status::Ok`], so that a check can end with it.
    pub fn ok(&self, line: impl Display) -> Status {
        self.message(line);
        Status::Ok
    }

    /// As [`ok`](Self::ok), for [`Status::Warn`].
    pub fn warn(&self, line: impl Display) -> Status {
        self.message(line);
        Status::Warn
    }

    /// As [`ok`](Self::ok), for [`Status::Critical`].
    pub fn critical(&self, line: impl Display) -> Status {
        self.message(line);
        Status::Critical
    }

    /// As [`ok`](Self::ok), for [`Status::Unknown`]: the target could not be judged.
    pub fn unknown(&self, line: impl Display) -> Status {
        self.message(line);
        Status::Unknown
    }

    /// An I/O error of the check's own: `connect: connection refused`, critical. If the error means that this machine
    /// lacks descriptors, memory, ports or permission, it is [`Status::Resources`] instead, so that our own lack never
    /// becomes the target's alarm.
    pub fn fail(&self, phase: &str, error: &io::Error) -> Status {
        self.message(format_args!("{phase}: {}", IoText(error)));
        status_of(error)
    }

    // ---- the run ----

    /// The check's name in the config.
    pub fn check_name(&self) -> &'a str {
        // SAFETY: the host keeps the name's bytes for as long as the ctx.
        let bytes = unsafe { self.ctx().check_name.as_bytes() };
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// 1 for the first try of a run; 0 in create.
    pub fn attempt(&self) -> u32 {
        self.ctx().attempt
    }

    pub fn check_id(&self) -> u64 {
        self.ctx().check_id
    }

    /// One number a run. It grows over the runs of all checks, also across restarts, and not by one for each of this check.
    pub fn run_id(&self) -> u64 {
        self.ctx().run_id
    }

    /// The host's CLOCK_MONOTONIC, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        host().now_ns()
    }

    /// When this run must be over, on the same clock.
    pub fn deadline_ns(&self) -> u64 {
        let moved_to = self.task().map_or(0, |head| head.moved_to.get());
        match moved_to {
            0 => self.ctx().deadline_ns,
            moved_to => moved_to,
        }
    }

    /// Time left until the deadline; zero once it has passed.
    pub fn remaining(&self) -> Duration {
        Duration::from_nanos(self.deadline_ns().saturating_sub(self.now_ns()))
    }

    /// Run lane: true once the run should give up. Cheap enough for a tight loop.
    pub fn is_cancelled(&self) -> bool {
        // SAFETY: never NULL by contract, and lives as long as the ctx.
        unsafe { &*self.ctx().cancelled }.load(Relaxed) != 0
    }

    /// Run lane: a descriptor that becomes readable once the run should give up, to poll beside your own.
    pub fn cancel_fd(&self) -> Option<i32> {
        let fd = self.ctx().cancel_fd;
        (fd >= 0).then_some(fd)
    }
}
