//! One execution as a plugin sees it (`hd_ctx`), and what it says during it.

use crate::notice::Message;
use crate::secrets;
use healthd_abi::{self as abi, HdCtx, HdStr};
use healthd_core::scrub::{Scrubber, mask_userinfo};
use healthd_core::text::cut;
use healthd_core::wire::worker::Lists;
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
/// So much room of each of its texts and lists a run leaves to the next, and so many runs do: enough for what most say.
const KEPT: usize = 2048;
const MOST_SPARE: usize = 256;

/// How the host tells a run-lane call to give up. Shared between the thread in the call and the reactor.
pub struct Cancel {
    flag: AtomicU32,
    event: Option<EventFd>,
}

impl Cancel {
    pub fn new() -> Arc<Cancel> {
        Arc::new(Cancel::fresh())
    }

    fn fresh() -> Cancel {
        // Without an fd the flag still works; a process that is out of fds has other worries.
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok();
        Cancel {
            flag: AtomicU32::new(0),
            event,
        }
    }

    /// Its call is over: its descriptor is closed. Some: nobody else has it, and it may serve another.
    pub fn over(this: &mut Arc<Cancel>) -> Option<()> {
        Arc::get_mut(this)?.event = None;
        Some(())
    }

    /// As a new one, in the place of one that is `over`.
    pub fn again(this: &mut Arc<Cancel>) -> Option<()> {
        *Arc::get_mut(this)? = Cancel::fresh();
        Some(())
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
    pub items: Lists,
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
        let finite = |v: f64| if v.is_finite() { v } else { f64::NAN };
        if self.items.metrics() < MAX_METRICS && self.take(name.len() + unit.len() + 52) {
            let values = [m.value, m.warn, m.crit, m.min, m.max].map(finite);
            self.items
                .metric(name, unit, m.kind == abi::COUNTER, values);
        } else {
            self.lost_metrics += 1;
        }
    }

    pub fn label(&mut self, key: &str, value: &str) {
        let (key, value) = (cut(key, MAX_NAME), cut(value, MAX_LABEL));
        if self.items.labels() < MAX_ITEMS && self.take(key.len() + value.len() + 8) {
            self.items.label(key, value);
        } else {
            self.lost_labels += 1;
        }
    }

    fn phase(&mut self, name: &str, at_ns: u64) {
        let name = cut(name, 64);
        if self.items.phases() < MAX_ITEMS && self.take(name.len() + 12) {
            self.items.phase(name, at_ns);
        }
    }

    /// Once more when all was said: a detail comes in pieces, and a message is one line of a text.
    fn scrub(&mut self, secrets: &Scrubber) {
        for text in [&mut self.message, &mut self.detail] {
            secrets.scrub_string(text);
        }
    }

    pub fn last_phase(&self) -> Option<&str> {
        self.items.last_phase()
    }

    /// For the next run, which says other things.
    fn clear(&mut self) {
        for text in [&mut self.message, &mut self.detail] {
            text.clear();
            text.shrink_to(KEPT);
        }
        self.items.clear(KEPT);
        (self.used, self.cut) = (0, false);
        (self.lost_metrics, self.lost_labels) = (0, 0);
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
    /// Phases and moved deadlines count from here.
    pub started_ns: u64,
    pub deadline_ns: u64,
    pub name: Arc<str>,
    pub plugin: &'static str,
    pub cancel: Arc<Cancel>,
    pub task: u64,
    /// Of a run that delivers.
    pub notice: Option<Arc<Message>>,
    pub on_phase: Option<fn(&str)>,
}

/// What runs that are over leave to those to come: a steady worker takes nothing from the heap for a run.
pub struct Spare {
    #[expect(clippy::vec_box, reason = "the place on the heap is what is kept")]
    contexts: Vec<Box<Context>>,
    results: Vec<Results>,
    /// Never cancelled.
    never: Arc<Cancel>,
}

impl Default for Spare {
    fn default() -> Spare {
        Spare {
            contexts: Vec::new(),
            results: Vec::new(),
            never: Cancel::flag_only(),
        }
    }
}

impl Spare {
    /// For runs that nobody asks to give up: a step-lane task is dropped instead.
    pub fn never(&self) -> Arc<Cancel> {
        self.never.clone()
    }

    pub fn context(&mut self, spec: ContextSpec) -> Box<Context> {
        let mut fresh = Context::of_spec(spec);
        fresh.results = RefCell::new(self.results.pop().unwrap_or_default());
        match self.contexts.pop() {
            Some(mut old) => {
                fresh.waits.fds = std::mem::take(&mut old.waits.fds);
                *old = fresh;
                old.settled()
            }
            None => Box::new(fresh).settled(),
        }
    }

    /// A run is over, and nobody has its context any more.
    pub fn over(&mut self, mut context: Box<Context>) {
        if self.contexts.len() < MOST_SPARE {
            // Nothing of its run stays alive with it, and what a plugin has kept of it against the contract leads nowhere.
            context.notice = None;
            context.secrets = None;
            context.raw.cancelled = &raw const self.never.flag;
            context.raw.cancel_fd = -1;
            context.cancel = self.never.clone();
            context.results = RefCell::default();
            let fds = context.waits.fds.get_mut();
            fds.clear();
            fds.shrink_to(KEPT / size_of::<i32>());
            self.contexts.push(context);
        }
    }

    /// What a run has said is on its way.
    pub fn said(&mut self, mut results: Results) {
        if self.results.len() < MOST_SPARE {
            results.clear();
            self.results.push(results);
        }
    }
}

impl Context {
    pub fn new(spec: ContextSpec) -> Box<Context> {
        Box::new(Context::of_spec(spec)).settled()
    }

    fn of_spec(spec: ContextSpec) -> Context {
        let cancel_fd = spec
            .cancel
            .event
            .as_ref()
            .map_or(-1, |e| e.as_fd().as_raw_fd());
        Context {
            secrets: secrets::of(&spec.name),
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
                check_name: HdStr::new(&spec.name),
                host: std::ptr::null_mut(),
            },
            name: spec.name,
            plugin: spec.plugin,
            cancel: spec.cancel,
            task: Cell::new(spec.task),
            owner: AtomicU32::new(0),
            started_ns: spec.started_ns,
            given_ns: Cell::new(0),
            results: RefCell::default(),
            notice: spec.notice,
            on_phase: Cell::new(spec.on_phase),
        }
    }

    /// Where it is it stays until its run is over.
    fn settled(mut self: Box<Self>) -> Box<Self> {
        let this: *const Context = &*self;
        self.raw.host = this.cast_mut().cast();
        self
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
    use healthd_core::check::outcome::Status;
    use healthd_core::wire::worker::{Ending, Growth, RunEnd};

    #[test]
    fn a_deadline_moves_by_no_more_than_the_timeout() {
        const S: u64 = 1_000_000_000;
        let deadline_ns = 3600 * S;
        let context = Context::new(ContextSpec {
            deadline_ns,
            ..spec("c")
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
        let mut written = Vec::new();
        RunEnd {
            run_id: 1,
            check: 1,
            attempt: 1,
            status: Status::Ok,
            ending: Ending::Returned,
            started_ns: 0,
            finished_ns: 0,
            queue_ns: 0,
            cpu_ns: 0,
            steps: 0,
            stalls: 0,
            blocked: 0,
            grew: Growth::default(),
        }
        .encode(&r.message, &r.detail, &r.items, &mut written);
        assert!(
            written.len() <= MAX_MESSAGE + BUDGET + 128,
            "{}",
            written.len()
        );
    }

    fn spec(name: &str) -> ContextSpec {
        ContextSpec {
            lane: abi::LANE_STEP,
            attempt: 1,
            check_id: 1,
            run_id: 1,
            started_ns: 0,
            deadline_ns: 1,
            name: name.into(),
            plugin: "p",
            cancel: Cancel::new(),
            task: 0,
            notice: None,
            on_phase: None,
        }
    }

    #[test]
    fn a_run_leaves_its_room_and_nothing_else() {
        let mut spare = Spare::default();
        let first = spare.context(spec("first"));
        let (place, cancel) = (&raw const *first, Arc::downgrade(first.cancel()));
        first.watches(5, true);
        first.phase("connect");
        first.say(|r| {
            r.message("fine");
            r.detail(&"x".repeat(BUDGET));
            r.label("lost", "no room");
        });
        let mut said = first.take_results();
        said.note_cut();
        assert!(said.detail.ends_with("KiB)"), "{}", said.detail.len());
        spare.over(first);
        spare.said(said);
        assert!(cancel.upgrade().is_none(), "its descriptor is closed");

        let second = spare.context(spec("second"));
        assert_eq!(&raw const *second, place);
        assert!(second.waits_for_nothing() && second.name() == "second");
        let mut said = second.take_results();
        said.note_cut();
        assert_eq!((&*said.message, &*said.detail), ("", ""));
        assert_eq!((said.last_phase(), said.items.labels()), (None, 0));
        assert!(said.message.capacity() > 0, "the room of the first");
        assert!(said.detail.capacity() <= KEPT, "but not all of it");
    }
}
