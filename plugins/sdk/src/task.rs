//! A future as a task of the step lane: one allocation, polled on each step.
//!
//! Leaf futures need no registration: a step polls the whole future, and whoever waits retries its system call. Two
//! things make that right for every future, not only for ours. A wake-up during a poll (a channel between two halves
//! of the same task) polls again before the task goes to sleep. And a leaf that is polled through somebody else's
//! waker (`FuturesUnordered` polls only what was woken) parks that waker here, and the next step wakes it.

use crate::barrier::{catch, guard, guard_silent};
use crate::cx::Cx;
use crate::exec::ExecOutput;
use crate::host::host;
use crate::net::Dribs;
use crate::resolve::Answer;
use crate::shared;
use crate::status::Status;
use healthd_abi::{self as abi, HdCtx, HdEvent, HdRet, HdWaker};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::pin::Pin;
use std::ptr::{NonNull, addr_of_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};

/// So many reads and writes in one step at most: a peer that never pauses is one of many. With 16 KiB each that is 256 KiB.
const TRANSFERS_A_STEP: u32 = 16;
/// So many are made without a look at the clock, and the rest only within so much time: what is read may take long to parse.
const FREE_TRANSFERS: u32 = 1;
const STEP_NS: u64 = 1_000_000;
/// So many polls in one step at most; a task that still wakes itself goes on in its next step, after the others.
const POLLS_A_STEP: u32 = 64;
const TOKEN_KIND_AT: u32 = 28;
const TOKEN_NUMBER: u32 = (1 << TOKEN_KIND_AT) - 1;

/// What the task and its leaf futures share. Only the task's own thread comes here, but for `wake`.
pub(crate) struct Head {
    ctx: *const HdCtx,
    poll: unsafe fn(NonNull<Head>, &mut Context<'_>) -> Poll<Status>,
    drop: unsafe fn(NonNull<Head>),
    wake: WakeSlot,
    /// The earliest time a leaf asked for in this poll; 0: none did.
    wanted: Cell<u64>,
    /// What the host's timer stands at; 0: off.
    armed: Cell<u64>,
    parked: RefCell<Vec<Waker>>,
    mail: RefCell<Vec<(u32, Mail)>>,
    last_token: Cell<u32>,
    /// Reads and writes that are left in this step.
    transfers: Cell<u32>,
    /// When the first look at the clock was, in this step; 0: there was none.
    step_begun: Cell<u64>,
    /// Reads that brought little.
    dribs: Cell<Dribs>,
    /// Where the deadline was moved to; 0: it was not.
    pub(crate) moved_to: Cell<u64>,
    /// When the time limit is up in which the future is polled now; 0: it has none.
    pub(crate) limited_to: Cell<u64>,
    /// Look-ups under way that the host tells by a time: token and time.
    pub(crate) told_by: RefCell<Vec<(u32, u64)>>,
}

/// Answers that came with a step, kept until their future is polled: the host's data dies with the step.
pub(crate) enum Mail {
    Addresses(Answer),
    Exec(ExecOutput),
    Map(shared::Answer),
    Lock(i32),
}

#[repr(C)]
struct Task<F> {
    head: Head,
    future: F,
}

impl Head {
    /// Called by a leaf that returns Pending.
    pub(crate) fn park(&self, cx: &Context<'_>) {
        if !self.wake.is_base(cx.waker()) {
            self.parked.borrow_mut().push(cx.waker().clone());
        }
    }

    /// Called by a leaf that waits for a time. The earliest of one poll wins: the host has one timer a task.
    pub(crate) fn want_timer(&self, at_ns: u64) {
        let at = at_ns.max(1);
        if self.wanted.get() == 0 || at < self.wanted.get() {
            self.wanted.set(at);
        }
    }

    /// Called by a leaf before it reads or writes. False: the others have their turn first, and it goes on in the next step.
    pub(crate) fn may_transfer(&self, cx: &Context<'_>) -> bool {
        let left = self.transfers.get();
        if left > TRANSFERS_A_STEP - FREE_TRANSFERS {
            return true;
        }
        let now = host().now_ns();
        if self.step_begun.get() == 0 {
            self.step_begun.set(now);
        }
        if left > 0 && now - self.step_begun.get() < STEP_NS {
            return true;
        }
        self.want_timer(1);
        self.park(cx);
        false
    }

    pub(crate) fn transferred(&self) {
        self.transfers.set(self.transfers.get().saturating_sub(1));
    }

    /// Called by a leaf before it reads from a stream. False: little has come again and again, and it waits for more.
    pub(crate) fn may_read(&self, cx: &Context<'_>) -> bool {
        let Some(at) = self.dribs.get().wait(|| host().now_ns()) else {
            return true;
        };
        self.want_timer(at);
        self.park(cx);
        false
    }

    /// So many bytes have come from a stream, and there was room for so many.
    pub(crate) fn has_read(&self, n: usize, room: usize) {
        let dribs = self.dribs.get();
        self.dribs.set(dribs.read(n, room, || host().now_ns()));
    }

    pub(crate) fn new_token(&self) -> u32 {
        self.new_token_of(0)
    }

    /// A token that says what kind of answer it brings back: the host's data has no kind of its own.
    pub(crate) fn new_token_of(&self, kind: u32) -> u32 {
        let number = self.last_token.get().wrapping_add(1) & TOKEN_NUMBER;
        self.last_token.set(number);
        kind << TOKEN_KIND_AT | number
    }

    pub(crate) fn take_mail(&self, token: u32) -> Option<Mail> {
        let mut mail = self.mail.borrow_mut();
        let at = mail.iter().position(|(t, _)| *t == token)?;
        Some(mail.swap_remove(at).1)
    }

    fn poll(this: NonNull<Head>) -> HdRet {
        // SAFETY: `this` heads a live task (its callers own one); shared access only, here and in the leaves.
        let head = unsafe { this.as_ref() };
        let raw = RawWaker::new((&raw const head.wake).cast(), &BASE);
        // SAFETY: the slot outlives this waker, which ends with this function; clones do not point at it. Not
        // dropped, because it owns nothing.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw) });
        let mut cx = Context::from_waker(&waker);
        head.wake.begin_poll();
        head.transfers.set(TRANSFERS_A_STEP);
        head.step_begun.set(0);
        for _ in 0..POLLS_A_STEP {
            for waker in head.parked.take() {
                waker.wake();
            }
            // What woke us until here is served by the poll that follows.
            head.wake.forget();
            head.wanted.set(0);
            // SAFETY: `poll` was made for this task's future by `start`; nobody else polls it, a task has one thread.
            let done = unsafe { (head.poll)(this, &mut cx) };
            if let Poll::Ready(status) = done {
                return status.to_abi();
            }
            if !head.wake.end_poll(head.ctx) {
                let wanted = head.wanted.get();
                if wanted != head.armed.get() {
                    host().timer(head.ctx, wanted);
                    head.armed.set(wanted);
                }
                return abi::PENDING;
            }
        }
        // The timer brings the next step at once, so a wake-up until then needs no call of its own.
        host().timer(head.ctx, 1);
        head.armed.set(1);
        abi::PENDING
    }

    /// Takes in what the host reports. The leaves look for themselves which of them can go on.
    ///
    /// # Safety
    /// `events` are the host's, with data valid for their kind.
    unsafe fn deliver(&self, events: &[HdEvent]) {
        for event in events {
            match event.kind {
                abi::EV_TIMER => self.armed.set(0),
                abi::EV_RESOLVED => {
                    // SAFETY: the data of EV_RESOLVED is an hd_addrs, valid during this step.
                    let answer = unsafe { Answer::from_abi(event.data.cast()) };
                    self.mail
                        .borrow_mut()
                        .push((event.token, Mail::Addresses(answer)));
                }
                abi::EV_EXT => {
                    let mail = match event.token >> TOKEN_KIND_AT {
                        shared::MAP_TOKEN => {
                            // SAFETY: such a token was given to hd.map, whose data is an hd_map_reply, valid during
                            // this step.
                            Mail::Map(unsafe { shared::Answer::from_abi(event.data.cast()) })
                        }
                        shared::LOCK_TOKEN => {
                            // SAFETY: as above, hd.lock and hd_lock_done.
                            Mail::Lock(unsafe { shared::lock_error(event.data.cast()) })
                        }
                        // SAFETY: the other tokens are hd.exec's, whose data is an hd_exec_done, valid during this
                        // step.
                        _ => Mail::Exec(unsafe { ExecOutput::from_abi(event.data.cast()) }),
                    };
                    self.mail.borrow_mut().push((event.token, mail));
                }
                _ => {}
            }
        }
    }
}

// ---- entries ----

/// Makes a task of `make`'s future and polls it for the first time.
///
/// # Safety
/// `ctx` is the host's, valid until the task is dropped; so is whatever `make` puts into the future. `out` is writable.
pub(crate) unsafe fn start<F>(
    ctx: *const HdCtx,
    out: *mut *mut c_void,
    make: impl FnOnce(Cx<'static>) -> F,
) -> HdRet
where
    F: Future<Output = Status>,
{
    guard(ctx, || {
        let task: *mut MaybeUninit<Task<F>> = Box::into_raw(Box::new_uninit());
        let memory = Uninit(task);
        let task: *mut Task<F> = task.cast();
        // SAFETY: freshly allocated, so in bounds.
        let head = unsafe { addr_of_mut!((*task).head) };
        let value = Head {
            ctx,
            poll: poll_future::<F>,
            drop: drop_task::<F>,
            wake: WakeSlot::default(),
            wanted: Cell::new(0),
            armed: Cell::new(0),
            parked: RefCell::default(),
            mail: RefCell::default(),
            last_token: Cell::new(0),
            transfers: Cell::new(0),
            step_begun: Cell::new(0),
            dribs: Cell::default(),
            moved_to: Cell::new(0),
            limited_to: Cell::new(0),
            told_by: RefCell::default(),
        };
        // SAFETY: freshly allocated and aligned for it.
        unsafe { head.write(value) };
        // SAFETY: the caller vouches for ctx; the head stays where it is until drop_task, which drops the future, the
        // only holder of this Cx, before it.
        let cx = unsafe { Cx::new(ctx, head) };
        let future = make(cx);
        // SAFETY: in bounds as above.
        let place = unsafe { addr_of_mut!((*task).future) };
        // SAFETY: freshly allocated and aligned for it.
        unsafe { place.write(future) };
        std::mem::forget(memory);
        // Now whole; from here its drop frees everything, also when the first poll panics.
        let task = Owned(NonNull::new(head).expect("a box is not null"));
        let r = Head::poll(task.0);
        if r == abi::PENDING {
            // SAFETY: the caller says it may be written.
            unsafe { *out = task.0.as_ptr().cast() };
            std::mem::forget(task);
        }
        r
    })
}

/// # Safety
/// `task` came out of `start` and was not dropped; `events` point at `n` events of the host.
pub(crate) unsafe fn step(
    task: *mut c_void,
    ctx: *const HdCtx,
    events: *const HdEvent,
    n: usize,
) -> HdRet {
    guard(ctx, || {
        let Some(this) = NonNull::new(task.cast::<Head>()) else {
            return abi::E_INTERNAL;
        };
        let events = if n == 0 || events.is_null() {
            &[]
        } else {
            // SAFETY: the caller's promise.
            unsafe { std::slice::from_raw_parts(events, n) }
        };
        // SAFETY: a live task, shared access.
        let head = unsafe { this.as_ref() };
        // SAFETY: the host's events, or none.
        unsafe { head.deliver(events) };
        Head::poll(this)
    })
}

/// # Safety
/// `task` came out of `start` and is not used again.
pub(crate) unsafe fn drop(task: *mut c_void) {
    if let Some(this) = NonNull::new(task.cast::<Head>()) {
        std::mem::drop(Owned(this));
    }
}

/// Owns a whole task.
struct Owned(NonNull<Head>);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: an Owned is made only of a whole task.
        let free = unsafe { self.0.as_ref() }.drop;
        // SAFETY: `drop` was made for this task's future, and this is its end.
        guard_silent(|| unsafe { free(self.0) });
    }
}

/// Owns the memory of a task that is not whole yet: frees it should making the future panic.
struct Uninit<F>(*mut MaybeUninit<Task<F>>);

impl<F> Drop for Uninit<F> {
    fn drop(&mut self) {
        // SAFETY: from Box::into_raw, and freed only here. A head that was written owns nothing yet.
        std::mem::drop(unsafe { Box::from_raw(self.0) });
    }
}

/// # Safety
/// `this` heads a live `Task<F>`, polled by nobody else now.
unsafe fn poll_future<F: Future<Output = Status>>(
    this: NonNull<Head>,
    cx: &mut Context<'_>,
) -> Poll<Status> {
    let task = this.as_ptr().cast::<Task<F>>();
    // SAFETY: a live Task<F>, so in bounds.
    let future = unsafe { addr_of_mut!((*task).future) };
    // SAFETY: nobody else uses the future; the head, which the leaves look at meanwhile, is another field.
    let future = unsafe { &mut *future };
    // SAFETY: a task never moves: it stays in its box until it is dropped there.
    unsafe { Pin::new_unchecked(future) }.poll(cx)
}

/// # Safety
/// `this` heads a live `Task<F>`, which ends here.
unsafe fn drop_task<F>(this: NonNull<Head>) {
    let task = this.as_ptr().cast::<Task<F>>();
    // SAFETY: a live Task<F>.
    let future = unsafe { addr_of_mut!((*task).future) };
    // The future first and by itself: it still uses the head, and a panic in it must not keep the rest.
    // SAFETY: dropped only here; the box below is taken as one of fields that need no drop by themselves.
    let panicked = catch(|| unsafe { future.drop_in_place() });
    // SAFETY: as for the future.
    let head = unsafe { addr_of_mut!((*task).head) };
    // SAFETY: dropped only here.
    unsafe { head.drop_in_place() };
    // SAFETY: came from Box::into_raw; MaybeUninit drops neither field again.
    std::mem::drop(unsafe { Box::from_raw(task.cast::<MaybeUninit<Task<F>>>()) });
    if let Err(payload) = panicked {
        std::panic::resume_unwind(payload);
    }
}

// ---- wakers ----

/// The waker of a task that nobody cloned is this slot, without an allocation. The first clone makes the shared half,
/// which outlives the task and may go to any thread.
#[derive(Default)]
struct WakeSlot {
    woken: AtomicBool,
    shared: OnceLock<Arc<SharedWake>>,
}

struct SharedWake {
    woken: AtomicBool,
    /// While this is set the task's own thread looks at `woken` before it sleeps, so the host need not be told.
    polling: AtomicBool,
    waker: AtomicPtr<HdWaker>,
}

impl WakeSlot {
    fn is_base(&self, waker: &Waker) -> bool {
        let ours = std::ptr::eq(waker.data(), (&raw const *self).cast());
        // A clone of our own waker needs no parking either: each step polls what it belongs to.
        ours || self
            .shared
            .get()
            .is_some_and(|s| std::ptr::eq(waker.data(), Arc::as_ptr(s).cast()))
    }

    fn begin_poll(&self) {
        if let Some(shared) = self.shared.get() {
            shared.polling.store(true, SeqCst);
        }
    }

    fn forget(&self) {
        self.woken.store(false, SeqCst);
        if let Some(shared) = self.shared.get() {
            shared.woken.store(false, SeqCst);
        }
    }

    /// True if something woke the task since the poll began: then it is still polling.
    fn end_poll(&self, ctx: *const HdCtx) -> bool {
        let mut woken = self.woken.swap(false, SeqCst);
        if let Some(shared) = self.shared.get() {
            if shared.waker.load(SeqCst).is_null() {
                shared.waker.store(host().waker(ctx), SeqCst);
            }
            if !woken {
                // First the flag down, then a look: a waker does it the other way round, so one of the two sees.
                shared.polling.store(false, SeqCst);
            }
            woken |= shared.woken.swap(false, SeqCst);
            if woken {
                shared.polling.store(true, SeqCst);
            }
        }
        woken
    }
}

impl Wake for SharedWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, SeqCst);
        let waker = self.waker.load(SeqCst);
        if !self.polling.load(SeqCst) && !waker.is_null() {
            // SAFETY: freed only in Drop, which needs the last Arc, and we hold one.
            unsafe { host().wake(waker) }
        }
    }
}

impl Drop for SharedWake {
    fn drop(&mut self) {
        let waker = *self.waker.get_mut();
        if !waker.is_null() {
            // SAFETY: the last Arc, so nobody wakes any more.
            unsafe { host().waker_free(waker) }
        }
    }
}

static BASE: RawWakerVTable = RawWakerVTable::new(base_clone, base_wake, base_wake, |_| {});

/// # Safety
/// `slot` is the `WakeSlot` of a task being polled (`BASE` is used for nothing else).
unsafe fn base_clone(slot: *const ()) -> RawWaker {
    // SAFETY: the caller's promise.
    let slot = unsafe { &*slot.cast::<WakeSlot>() };
    let shared = slot.shared.get_or_init(|| {
        // Made during a poll, so it is polling; the host's waker follows at the end of this poll.
        Arc::new(SharedWake {
            woken: false.into(),
            polling: true.into(),
            waker: AtomicPtr::default(),
        })
    });
    let waker = ManuallyDrop::new(Waker::from(shared.clone()));
    RawWaker::new(waker.data(), waker.vtable())
}

/// # Safety
/// As for `base_clone`.
unsafe fn base_wake(slot: *const ()) {
    // SAFETY: the caller's promise.
    unsafe { &*slot.cast::<WakeSlot>() }
        .woken
        .store(true, SeqCst);
}
