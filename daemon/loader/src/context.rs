//! One execution as a plugin sees it (`hd_ctx`), and what it says during it.

use crate::notice::Message;
use crate::secrets;
use healthd_abi::{self as abi, HdCtx, HdStr};
use healthd_core::check::outcome::{Metric, Phase};
use healthd_core::scrub::{Scrubber, mask_userinfo};
use healthd_core::text::cut;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// All that a run may say beside its message, together: so that a result always fits what carries it.
const BUDGET: usize = 80 << 10;
const MAX_MESSAGE: usize = 32 << 10;
const MAX_METRICS: usize = 1000;
const MAX_ITEMS: usize = 256;
const MAX_LABEL: usize = 1024;
const MAX_NAME: usize = 256;

/// How the host tells a run-lane call to give up. Shared between the thread in the call and the reactor.
pub struct Cancel {
    flag: AtomicU32,
    event: Option<EventFd>,
}

impl Cancel {
    pub fn new() -> Arc<Cancel> {
        // Without an fd the flag still works; a process that is out of fds has other worries.
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok();
        Arc::new(Cancel {
            flag: AtomicU32::new(0),
            event,
        })
    }

    /// For the step lane, where a cancelled task is simply dropped.
    pub fn flag_only() -> Arc<Cancel> {
        Arc::new(Cancel {
            flag: AtomicU32::new(0),
            event: None,
        })
    }

    pub fn cancel(&self) {
        self.flag.store(1, Ordering::Relaxed);
        if let Some(event) = &self.event {
            let _ = event.write(1);
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed) != 0
    }

    /// Readable once cancelled; None: there was no fd left for it.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.event.as_ref().map(AsFd::as_fd)
    }
}

/// What the plugin said; capped while it is said.
#[derive(Debug, Default)]
pub struct Results {
    pub message: String,
    pub detail: String,
    pub metrics: Vec<Metric>,
    pub labels: Vec<(String, String)>,
    pub phases: Vec<Phase>,
    used: usize,
    /// What was said and not kept.
    cut: bool,
    lost_metrics: usize,
    lost_labels: usize,
}

impl Results {
    pub fn with_message(text: &str) -> Results {
        let mut results = Results::default();
        results.message(text);
        results
    }

    fn take(&mut self, bytes: usize) -> bool {
        if self.used + bytes > BUDGET {
            return false;
        }
        self.used += bytes;
        true
    }

    pub fn message(&mut self, text: &str) {
        let line = text.trim_start().lines().next().unwrap_or_default();
        self.message.clear();
        self.message.push_str(cut(line, MAX_MESSAGE));
        if line.len() > MAX_MESSAGE {
            let mark = format!("… (cut, of {} bytes)", line.len());
            let end = cut(line, MAX_MESSAGE - mark.len()).len();
            self.message.truncate(end);
            self.message.push_str(&mark);
        }
    }

    pub fn detail(&mut self, text: &str) {
        let room = BUDGET.saturating_sub(self.used);
        let kept = cut(text, room);
        self.cut |= kept.len() < text.len();
        self.used += kept.len();
        self.detail.push_str(kept);
    }

    /// As it crossed the border: NaN and the infinities become "absent".
    pub fn metric(&mut self, name: &str, unit: &str, m: &abi::HdMetric) {
        let (name, unit) = (cut(name, MAX_NAME), cut(unit, MAX_NAME));
        let finite = |v: f64| v.is_finite().then_some(v);
        if self.metrics.len() < MAX_METRICS && self.take(name.len() + unit.len() + 52) {
            self.metrics.push(Metric {
                name: name.to_owned(),
                unit: unit.to_owned(),
                value: finite(m.value),
                warn: finite(m.warn),
                crit: finite(m.crit),
                min: finite(m.min),
                max: finite(m.max),
                counter: m.kind == abi::COUNTER,
            });
        } else {
            self.lost_metrics += 1;
        }
    }

    pub fn label(&mut self, key: &str, value: &str) {
        let (key, value) = (cut(key, MAX_NAME), cut(value, MAX_LABEL));
        if self.labels.len() < MAX_ITEMS && self.take(key.len() + value.len() + 8) {
            self.labels.push((key.to_owned(), value.to_owned()));
        } else {
            self.lost_labels += 1;
        }
    }

    fn phase(&mut self, name: &str, at_ns: u64) {
        let name = cut(name, 64);
        if self.phases.len() < MAX_ITEMS && self.take(name.len() + 12) {
            self.phases.push(Phase {
                name: name.to_owned(),
                at_ns,
            });
        }
    }

    /// Once more when all was said: a detail comes in pieces.
    fn scrub(&mut self, secrets: &Scrubber) {
        for text in [&mut self.message, &mut self.detail] {
            secrets.scrub_string(text);
        }
        for metric in &mut self.metrics {
            secrets.scrub_string(&mut metric.name);
            secrets.scrub_string(&mut metric.unit);
        }
        for (key, value) in &mut self.labels {
            secrets.scrub_string(key);
            secrets.scrub_string(value);
        }
    }

    pub fn last_phase(&self) -> Option<&str> {
        self.phases.last().map(|p| p.name.as_str())
    }

    /// Says so where the plugin said more than a result may hold.
    pub fn note_cut(&mut self) {
        let mut left_out = Vec::new();
        for (n, what) in [(self.lost_metrics, "metrics"), (self.lost_labels, "labels")] {
            if n > 0 {
                left_out.push(format!("{n} {what}"));
            }
        }
        if self.cut {
            left_out.push("the rest of the detail".into());
        }
        if !left_out.is_empty() {
            let text = format!(
                "\n(left out: {}; a result holds {MAX_METRICS} metrics, {MAX_ITEMS} labels and {} KiB)",
                left_out.join(", "),
                BUDGET >> 10
            );
            self.detail.push_str(&text);
        }
    }
}

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// The calling thread's id, asked of the kernel once a thread.
fn this_thread() -> u32 {
    match THREAD.get() {
        0 => {
            let tid = healthd_sys::process::gettid();
            THREAD.set(tid);
            tid
        }
        tid => tid,
    }
}

/// What a task has asked for that will step it again.
#[derive(Default)]
struct Waits {
    fds: RefCell<Vec<i32>>,
    timer: Cell<bool>,
    /// Look-ups, children, maps and locks whose answer is to come.
    answers: Cell<u32>,
    /// Somebody may wake it, from wherever.
    waker: Cell<bool>,
}

/// Of one run or one create. It has a stable address for as long as the plugin may hold a pointer to it:
/// until `run` or `create` returned, or until the task is dropped.
pub struct Context {
    raw: HdCtx,
    name: Arc<str>,
    /// Whose names it opens.
    plugin: &'static str,
    cancel: Arc<Cancel>,
    /// The step-lane task it belongs to, as the worker knows it; `u64::MAX`: none.
    task: Cell<u64>,
    /// The thread that runs it now: only there may results be given. 0: nobody.
    owner: AtomicU32,
    started_ns: u64,
    /// What its deadline was moved by, at its own request.
    given_ns: Cell<u64>,
    results: RefCell<Results>,
    /// Of its check; None: it has none.
    secrets: Option<Arc<Scrubber>>,
    waits: Waits,
    /// What it delivers.
    notice: Option<Arc<Message>>,
    /// Told of each phase, for the thread's line in the worker's map.
    on_phase: Cell<Option<fn(&str)>>,
}

// SAFETY: its pointers are to parts of itself (the box and the Arc it owns), and its cells are only touched by
// who holds the box or, during a call, by the thread that runs it.
unsafe impl Send for Context {}

pub struct ContextSpec {
    pub lane: u32,
    pub attempt: u32,
    pub check_id: u64,
    pub run_id: u64,
    pub deadline_ns: u64,
    pub name: Arc<str>,
    pub plugin: &'static str,
    pub cancel: Arc<Cancel>,
    pub task: u64,
    /// Of a run that delivers.
    pub notice: Option<Arc<Message>>,
    pub on_phase: Option<fn(&str)>,
}

impl Context {
    pub fn new(spec: ContextSpec) -> Box<Context> {
        let cancel_fd = spec
            .cancel
            .event
            .as_ref()
            .map_or(-1, |e| e.as_fd().as_raw_fd());
        let secrets = secrets::of(&spec.name);
        let mut context = Box::new(Context {
            secrets,
            waits: Waits::default(),
            raw: HdCtx {
                struct_size: size_of::<HdCtx>() as u32,
                attempt: spec.attempt,
                check_id: spec.check_id,
                run_id: spec.run_id,
                deadline_ns: spec.deadline_ns,
                cancelled: &spec.cancel.flag,
                cancel_fd,
                lane: spec.lane,
                check_name: HdStr::EMPTY,
                host: std::ptr::null_mut(),
            },
            name: spec.name,
            plugin: spec.plugin,
            cancel: spec.cancel,
            task: Cell::new(spec.task),
            owner: AtomicU32::new(0),
            started_ns: healthd_sys::clock::monotonic_ns(),
            given_ns: Cell::new(0),
            results: RefCell::default(),
            notice: spec.notice,
            on_phase: Cell::new(spec.on_phase),
        });
        context.raw.check_name = HdStr::new(&context.name);
        let this: *const Context = &*context;
        context.raw.host = this.cast_mut().cast();
        context
    }

    /// What a plugin function is called with; the owner is the calling thread until `left`.
    pub(crate) fn entered(&self) -> *const HdCtx {
        self.owner.store(this_thread(), Ordering::Relaxed);
        &self.raw
    }

    pub(crate) fn left(&self) {
        self.owner.store(0, Ordering::Relaxed);
    }

    pub fn deadline(&self) -> u64 {
        self.raw.deadline_ns
    }

    pub fn set_deadline(&mut self, deadline_ns: u64) {
        self.raw.deadline_ns = deadline_ns;
    }

    /// Moves the deadline of a task. None: all together it would be more than its timeout.
    pub fn give_back(&self, ns: u64) -> Option<u64> {
        let timeout = self.raw.deadline_ns.saturating_sub(self.started_ns);
        let given = self.given_ns.get().checked_add(ns);
        let given = given.filter(|given| *given <= timeout)?;
        self.given_ns.set(given);
        Some(self.raw.deadline_ns.saturating_add(given))
    }

    /// When the run must be over, with what was given back.
    pub fn moved_deadline(&self) -> u64 {
        self.raw.deadline_ns.saturating_add(self.given_ns.get())
    }

    pub fn given_ns(&self) -> u64 {
        self.given_ns.get()
    }

    pub fn cancel(&self) -> &Arc<Cancel> {
        &self.cancel
    }

    /// What was said, without the check's secrets.
    pub fn take_results(&self) -> Results {
        let mut results = self.results.take();
        results.scrub(self.secrets.as_deref().unwrap_or(&Scrubber::default()));
        results
    }

    pub fn with_results<R>(&self, f: impl FnOnce(&mut Results) -> R) -> R {
        f(&mut self.results.borrow_mut())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn run_id(&self) -> u64 {
        self.raw.run_id
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        self.raw.deadline_ns
    }

    pub(crate) fn lane(&self) -> u32 {
        self.raw.lane
    }

    pub(crate) fn check(&self) -> &str {
        &self.name
    }

    pub(crate) fn plugin(&self) -> &'static str {
        self.plugin
    }

    /// The host's until the run ends, as the context is.
    pub(crate) fn notice(&self) -> Option<&Message> {
        self.notice.as_deref()
    }

    pub(crate) fn task(&self) -> u64 {
        self.task.get()
    }

    /// Nothing that it has asked for will ever step it.
    pub fn waits_for_nothing(&self) -> bool {
        let waits = &self.waits;
        !waits.timer.get()
            && waits.answers.get() == 0
            && !waits.waker.get()
            && waits.fds.borrow().is_empty()
    }

    pub(crate) fn watches(&self, fd: i32, on: bool) {
        let mut fds = self.waits.fds.borrow_mut();
        fds.retain(|other| *other != fd);
        if on {
            fds.push(fd);
        }
    }

    pub(crate) fn has_timer(&self, on: bool) {
        self.waits.timer.set(on);
    }

    pub(crate) fn has_waker(&self) {
        self.waits.waker.set(true);
    }

    /// `result`: what the host's function returned; 0: an answer will come.
    pub(crate) fn awaits(&self, result: i32) {
        if result == 0 {
            self.waits
                .answers
                .set(self.waits.answers.get().saturating_add(1));
        }
    }

    pub(crate) fn answered(&self) {
        self.waits
            .answers
            .set(self.waits.answers.get().saturating_sub(1));
    }

    /// The context behind a pointer that a plugin gave us, if this thread may speak for it.
    ///
    /// # Safety
    /// `raw` is NULL or a context that the host gave out and that is still alive (the header's contract).
    pub(crate) unsafe fn of<'a>(raw: *const HdCtx) -> Option<&'a Context> {
        // SAFETY: the caller's promise.
        let raw = unsafe { raw.as_ref() }?;
        // SAFETY: `host` was set by `new` to the box that holds `raw` itself.
        let context = unsafe { raw.host.cast::<Context>().as_ref() }?;
        (context.owner.load(Ordering::Relaxed) == this_thread()).then_some(context)
    }

    /// A text without the check's secrets: before it is cut, as half a secret is found no more.
    pub(crate) fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.secrets {
            Some(secrets) => secrets.scrub(text),
            None => mask_userinfo(text),
        }
    }

    /// The same of what may be no text: unchanged, if there is none of them in it.
    pub(crate) fn clean_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let Some(secrets) = &self.secrets else {
            return bytes.into();
        };
        match secrets.scrub(&String::from_utf8_lossy(bytes)) {
            Cow::Owned(clean) => clean.into_bytes().into(),
            Cow::Borrowed(_) => bytes.into(),
        }
    }

    pub(crate) fn say(&self, f: impl FnOnce(&mut Results)) {
        // A plugin's message cannot re-enter this, as nothing in here calls out.
        f(&mut self.results.borrow_mut());
    }

    pub(crate) fn phase(&self, name: &str) {
        let name = &*self.clean(name);
        let at = healthd_sys::clock::monotonic_ns().saturating_sub(self.started_ns);
        self.say(|r| r.phase(name, at));
        if let Some(tell) = self.on_phase.get() {
            tell(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_moves_by_no_more_than_the_timeout() {
        const S: u64 = 1_000_000_000;
        let deadline_ns = healthd_sys::clock::monotonic_ns() + 3600 * S;
        let context = Context::new(ContextSpec {
            lane: abi::LANE_STEP,
            attempt: 1,
            check_id: 1,
            run_id: 1,
            deadline_ns,
            name: "c".into(),
            plugin: "p",
            cancel: Cancel::flag_only(),
            task: 0,
            notice: None,
            on_phase: None,
        });
        assert_eq!(context.give_back(3000 * S), Some(deadline_ns + 3000 * S));
        for too_much in [601 * S, u64::MAX] {
            assert_eq!(context.give_back(too_much), None);
        }
        assert_eq!(context.give_back(500 * S), Some(deadline_ns + 3500 * S));
        assert_eq!(context.given_ns(), 3500 * S);
    }

    #[test]
    fn a_talkative_plugin_is_cut() {
        let mut r = Results::default();
        r.message(&format!("{}\nsecond", "é".repeat(50_000)));
        assert!(r.message.len() <= MAX_MESSAGE && r.message.len() > MAX_MESSAGE - 4);
        assert!(r.message.ends_with("é… (cut, of 100000 bytes)"));
        for i in 0..100_000 {
            r.detail("line\n");
            r.label(&format!("k{i}"), "v");
        }
        assert!(r.cut && r.lost_labels > 0);
        let size = r.detail.len()
            + r.labels
                .iter()
                .map(|(k, v)| k.len() + v.len())
                .sum::<usize>();
        assert!(size <= BUDGET);
    }
}
