//! `MockHost`: runs a plugin's check in a unit test, without a daemon, against real servers.
//!
//! It goes through the exported descriptor and the C entries as the daemon does, on a real edge-triggered epoll loop
//! with the deadline enforced: what passes here met the same contract. Turn the feature `mock` on in
//! `[dev-dependencies]`.
//!
//! ```
//! # use healthd_plugin::{Check, Cx, Status, mock::MockHost, plugins};
//! # use std::time::Duration;
//! # struct Hello;
//! # impl Check for Hello {
//! #     type Options = ();
//! #     fn create(_: (), _: Cx<'_>) -> Result<Self, String> { Ok(Hello) }
//! #     async fn check(&self, cx: Cx<'_>) -> Status { cx.ok("hello") }
//! # }
//! # plugins! { step Hello { name: "hello", summary: "always fine" } }
//! let plugin = MockHost::new(hd_plugin_v1).plugin("hello");
//! let check = plugin.create("{}").unwrap();
//! let outcome = check.run(Duration::from_secs(10));
//! assert_eq!((outcome.status, &*outcome.message), (Status::Ok, "hello"));
//! ```

mod counters;
mod exec;
mod fanout;
mod grace;
mod notice;
mod reactor;
mod shared;

use crate::status::Status;
use exec::{LiveChild, host_spawn};
use healthd_abi::{self as abi, HdCtx, HdEvent, HdHost, HdMetric, HdPlugin, HdStr, HdWaker};
pub use notice::MockNotice;
use reactor::{Delivery, Reactor};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A host for one library of plugins.
pub struct MockHost {
    entry: extern "C" fn(u32) -> *const HdPlugin,
}

impl MockHost {
    /// `entry` is the `hd_plugin_v1` that [`plugins!`](crate::plugins!) made in the crate under test.
    pub fn new(entry: extern "C" fn(u32) -> *const HdPlugin) -> Self {
        MockHost { entry }
    }

    /// The descriptors, as the loader sees them.
    pub fn descriptors(&self) -> Vec<&'static HdPlugin> {
        // SAFETY: by contract NULL or a static descriptor.
        (0..)
            .map_while(|i| unsafe { (self.entry)(i).as_ref() })
            .collect()
    }

    /// The plugin of that name, after its `init`.
    ///
    /// # Panics
    /// If there is none, or it breaks a rule of the descriptor.
    pub fn plugin(&self, name: &str) -> MockPlugin {
        let plugin = self
            .descriptors()
            .into_iter()
            .find(|p| text(p.name) == name);
        let raw = plugin.unwrap_or_else(|| panic!("no plugin {name:?} in this library"));
        assert_eq!(raw.magic, abi::MAGIC);
        assert!(raw.struct_size as usize >= size_of::<HdPlugin>());
        assert_eq!(raw.flags & abi::F_MUST_UNDERSTAND & !abi::F_NOTIFY, 0);
        let lane = match raw.workload {
            abi::WL_IO | abi::WL_EXEC => {
                raw.start.is_some() && raw.step.is_some() && raw.drop.is_some()
            }
            abi::WL_BLOCK | abi::WL_CPU => raw.run.is_some(),
            _ => false,
        };
        assert!(
            lane,
            "{name}: the lane of workload {} is not filled",
            raw.workload
        );
        if let Some(init) = raw.init {
            // SAFETY: the table is static and complete.
            let r = unsafe { init(&TABLE) };
            assert_eq!(r, abi::OK, "{name}: init");
        }
        MockPlugin { raw }
    }
}

/// A plugin whose `init` has run.
#[derive(Clone, Copy)]
pub struct MockPlugin {
    raw: &'static HdPlugin,
}

impl MockPlugin {
    /// The JSON Schema in the descriptor.
    pub fn schema(&self) -> serde_json::Value {
        serde_json::from_str(text(self.raw.config_schema)).expect("the schema is JSON")
    }

    /// Holds a plugin's page of options against its schema.
    ///
    /// # Panics
    /// If an option has no description, or the page no line that begins with ``| `option` |``; if of a pair of limits
    /// (`x_warn`, `x_crit`) nobody says on which side a value is bad, so that the daemon cannot tell of a wrong order.
    pub fn assert_documented(&self, page: &str) {
        let schema = self.schema();
        let options = schema["properties"]
            .as_object()
            .expect("a table of options");
        for (name, option) in options {
            assert!(
                option["description"].is_string(),
                "{name} has no description"
            );
            let line = format!("| `{name}` |");
            assert!(
                page.lines().any(|l| l.starts_with(&line)),
                "no line for {name} in the page"
            );
            let crit = name.replace("warn", "crit");
            let is_pair = crit != *name && options.contains_key(&crit);
            assert!(
                !is_pair
                    || option["x-bad"].is_string()
                    || option.to_string().contains(r#""format":"range""#),
                "{name} is no range, and does not say `{{ bad: Above }}` or `{{ bad: Below }}`"
            );
        }
    }

    /// Makes an instance from a JSON config; the error is the plugin's message.
    pub fn create(&self, config_json: impl AsRef<str>) -> Result<MockCheck, String> {
        let run = Run::new(self.raw, abi::LANE_CREATE, Duration::from_secs(60));
        let mut instance = null_mut();
        let create = self.raw.create.expect("create");
        // SAFETY: a live ctx on its thread, a live string, a writable out.
        let r = unsafe { create(run.ctx(), HdStr::new(config_json.as_ref()), &mut instance) };
        let outcome = run.outcome(r);
        if r == abi::OK {
            Ok(MockCheck {
                raw: self.raw,
                instance,
                config: config_json.as_ref().to_owned(),
            })
        } else {
            Err(outcome.message)
        }
    }
}

/// An instance, destroyed when dropped.
pub struct MockCheck {
    raw: &'static HdPlugin,
    instance: *mut c_void,
    /// What it was made from: a fan-out makes another one, as another worker would.
    config: String,
}

// SAFETY: a plugin must take create, runs and destroy on different threads; a test may not run one instance in two
// threads at once unless it is F_INSTANCE_MT, which `MockCheck` being `!Sync` ensures.
unsafe impl Send for MockCheck {}

impl Drop for MockCheck {
    fn drop(&mut self) {
        if let Some(destroy) = self.raw.destroy {
            // SAFETY: made by this plugin's create; nothing runs on it any more.
            unsafe { destroy(self.instance) }
        }
    }
}

/// What one run told the host.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// A timeout is [`Status::Critical`] with the message the daemon would give; a panic and an internal error are
    /// [`Status::Unknown`].
    pub status: Status,
    /// What the plugin returned; `abi::PENDING` if the deadline came first.
    pub code: abi::HdRet,
    pub message: String,
    pub detail: String,
    pub metrics: Vec<OwnedMetric>,
    pub labels: BTreeMap<String, String>,
    pub phases: Vec<String>,
    pub log: Vec<String>,
    /// Calls of `start` and `step`.
    pub steps: u32,
    /// Calls of `io_watch`.
    pub watches: u32,
}

impl Outcome {
    /// The value of a metric.
    ///
    /// # Panics
    /// If there is no such metric.
    pub fn metric(&self, name: &str) -> &OwnedMetric {
        self.metrics
            .iter()
            .find(|m| m.name == name)
            .unwrap_or_else(|| panic!("no metric {name:?} in {self:?}"))
    }
}

/// A metric, copied. NaN is absent.
#[derive(Clone, Debug)]
pub struct OwnedMetric {
    pub name: String,
    pub unit: String,
    pub kind: u32,
    pub value: f64,
    pub warn: f64,
    pub crit: f64,
    pub min: f64,
    pub max: f64,
}

impl MockCheck {
    /// One run, with `timeout` as its deadline.
    pub fn run(&self, timeout: Duration) -> Outcome {
        match self.raw.run {
            Some(run) if matches!(self.raw.workload, abi::WL_BLOCK | abi::WL_CPU) => {
                let r = Run::new(self.raw, abi::LANE_RUN, timeout);
                *r.fans.borrow_mut() = Some(fanout::Fans::new(self));
                // SAFETY: a live instance and ctx, on this thread.
                let code = unsafe { run(self.instance, r.ctx()) };
                r.outcome(code)
            }
            _ => run_tasks(&[self], None, timeout).remove(0),
        }
    }

    /// One run of a notifier, which delivers this message (step lane).
    pub fn deliver(&self, notice: &MockNotice, timeout: Duration) -> Outcome {
        run_tasks(&[self], Some(notice), timeout).remove(0)
    }

    /// Several runs of this instance at once on one reactor (step lane).
    pub fn run_many(&self, n: usize, timeout: Duration) -> Vec<Outcome> {
        run_tasks(&vec![self; n], None, timeout)
    }

    /// A step-lane run that is dropped after its first poll, as on cancel. Returns what it had said until then.
    pub fn start_and_drop(&self) -> Outcome {
        run_tasks(&[self], None, Duration::ZERO).remove(0)
    }

    /// A run-lane run that is cancelled after `delay`. Returns the outcome and how long the run went on.
    pub fn run_cancelled(&self, timeout: Duration, delay: Duration) -> (Outcome, Duration) {
        let run = Run::new(self.raw, abi::LANE_RUN, timeout);
        *run.fans.borrow_mut() = Some(fanout::Fans::new(self));
        let entry = self.raw.run.expect("the run lane");
        let flag: &AtomicU32 = &run.cancelled;
        std::thread::scope(|scope| {
            let (done, wait) = channel::<()>();
            scope.spawn(move || {
                let _ = wait.recv_timeout(delay);
                flag.store(1, Relaxed);
            });
            let begun = Instant::now();
            // SAFETY: a live instance and ctx, on this thread.
            let code = unsafe { entry(self.instance, run.ctx()) };
            drop(done);
            (run.outcome(code), begun.elapsed())
        })
    }
}

struct Slot<'c> {
    check: &'c MockCheck,
    run: Box<Run>,
    task: *mut c_void,
    done: Option<Outcome>,
}

/// The reactor: starts a task per check, and steps them until all are done or their time is up.
fn run_tasks(
    checks: &[&MockCheck],
    notice: Option<&MockNotice>,
    timeout: Duration,
) -> Vec<Outcome> {
    let reactor = Arc::new(Reactor::new());
    let mut slots: Vec<Slot<'_>> = Vec::new();
    for (i, check) in checks.iter().enumerate() {
        let run = Run::new(check.raw, abi::LANE_STEP, timeout);
        *run.reactor.borrow_mut() = Some((reactor.clone(), i));
        *run.notice.borrow_mut() = notice.cloned();
        let mut task = null_mut();
        run.steps.set(1);
        let start = check.raw.start.expect("start");
        // SAFETY: a live instance and ctx, on this thread, a writable out.
        let code = unsafe { start(check.instance, run.ctx(), &mut task) };
        let mut slot = Slot {
            check,
            run,
            task,
            done: None,
        };
        if code != abi::PENDING {
            assert!(
                code < 0 || task.is_null(),
                "a final status from start leaves no task"
            );
            slot.finish(code);
        }
        slots.push(slot);
    }
    loop {
        let now = now();
        for slot in slots
            .iter_mut()
            .filter(|s| s.done.is_none() && s.run.deadline_ns() <= now)
        {
            let phases = slot.run.said.borrow().phases.last().cloned();
            let phase = phases.map(|p| format!(" in phase {p}")).unwrap_or_default();
            let mut said = slot.run.said.borrow_mut();
            let words = match said.message.is_empty() {
                true => String::new(),
                false => format!(": {}", said.message),
            };
            said.message = format!("timeout after {timeout:?}{phase}{words}");
            drop(said);
            slot.finish(abi::PENDING);
        }
        let waits = |s: &Slot<'_>| {
            let timer = Some(s.run.timer.get())
                .filter(|t| *t != 0)
                .unwrap_or(u64::MAX);
            timer.min(s.run.deadline_ns())
        };
        let Some(next) = slots.iter().filter(|s| s.done.is_none()).map(waits).min() else {
            return slots
                .into_iter()
                .map(|s| s.done.expect("all are done"))
                .collect();
        };
        reactor.wait(next.saturating_sub(now), |i, events| {
            if let Some(slot) = slots.get_mut(i) {
                slot.step(events);
            }
        });
        let now = self::now();
        for slot in &mut slots {
            let timer = slot.run.timer.get();
            if slot.done.is_none() && timer != 0 && timer <= now {
                slot.run.timer.set(0);
                slot.step(&[HdEvent {
                    kind: abi::EV_TIMER,
                    ready: 0,
                    fd: -1,
                    token: 0,
                    data: null(),
                }]);
            }
        }
    }
}

impl Slot<'_> {
    fn step(&mut self, events: &[HdEvent]) {
        if self.done.is_some() {
            return;
        }
        self.run.steps.set(self.run.steps.get() + 1);
        let step = self.check.raw.step.expect("step");
        // SAFETY: a live task and ctx on their thread; the events live for the call.
        let code = unsafe { step(self.task, self.run.ctx(), events.as_ptr(), events.len()) };
        if code != abi::PENDING {
            self.finish(code);
        }
    }

    fn finish(&mut self, code: abi::HdRet) {
        if !self.task.is_null() {
            let drop = self.check.raw.drop.expect("drop");
            // SAFETY: a live task on its thread; this is its end.
            unsafe { drop(self.task) };
            self.task = null_mut();
        }
        if let Some(child) = self.run.child.take() {
            child.kill();
        }
        self.done = Some(self.run.outcome(code));
        assert!(
            self.run.fds.borrow().is_empty(),
            "io_unwatch is missing for {:?}",
            self.run.fds.borrow()
        );
    }
}

// ---- one execution ----

struct Run {
    ctx: HdCtx,
    plugin: HdStr,
    timeout_ns: u64,
    /// What the deadline was moved by.
    given_ns: Cell<u64>,
    cancelled: AtomicU32,
    said: RefCell<Said>,
    steps: Cell<u32>,
    watches: Cell<u32>,
    timer: Cell<u64>,
    fds: RefCell<Vec<i32>>,
    reactor: RefCell<Option<(Arc<Reactor>, usize)>>,
    child: RefCell<Option<Arc<LiveChild>>>,
    fans: RefCell<Option<fanout::Fans>>,
    notice: RefCell<Option<MockNotice>>,
}

#[derive(Default)]
struct Said {
    message: String,
    detail: String,
    metrics: Vec<OwnedMetric>,
    labels: BTreeMap<String, String>,
    phases: Vec<String>,
    log: Vec<String>,
}

impl Run {
    fn new(plugin: &'static HdPlugin, lane: u32, timeout: Duration) -> Box<Run> {
        const NAME: &str = "mock";
        let timeout_ns = timeout.as_nanos().try_into().unwrap_or(u64::MAX);
        let mut run = Box::new(Run {
            ctx: HdCtx {
                struct_size: size_of::<HdCtx>() as u32,
                attempt: u32::from(lane != abi::LANE_CREATE),
                check_id: 1,
                run_id: 1,
                deadline_ns: now().saturating_add(timeout_ns),
                cancelled: null(),
                cancel_fd: -1,
                lane,
                check_name: HdStr::new(NAME),
                host: null_mut(),
            },
            plugin: plugin.name,
            timeout_ns,
            given_ns: Cell::new(0),
            cancelled: AtomicU32::new(0),
            said: RefCell::default(),
            steps: Cell::new(0),
            watches: Cell::new(0),
            timer: Cell::new(0),
            fds: RefCell::default(),
            reactor: RefCell::new(None),
            child: RefCell::new(None),
            fans: RefCell::new(None),
            notice: RefCell::new(None),
        });
        run.ctx.cancelled = &raw const run.cancelled;
        run.ctx.host = (&raw mut *run).cast();
        run
    }

    fn ctx(&self) -> *const HdCtx {
        &raw const self.ctx
    }

    fn deadline_ns(&self) -> u64 {
        self.ctx.deadline_ns.saturating_add(self.given_ns.get())
    }

    fn outcome(&self, code: abi::HdRet) -> Outcome {
        let said = self.said.take();
        Outcome {
            status: match code {
                abi::OK => Status::Ok,
                abi::WARN => Status::Warn,
                abi::CRIT | abi::PENDING => Status::Critical,
                abi::E_RESOURCES => Status::Resources,
                abi::E_CANCELLED => Status::Cancelled,
                _ => Status::Unknown,
            },
            code,
            message: said.message,
            detail: said.detail,
            metrics: said.metrics,
            labels: said.labels,
            phases: said.phases,
            log: said.log,
            steps: self.steps.get(),
            watches: self.watches.get(),
        }
    }
}

fn now() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: t is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn text(s: HdStr) -> &'static str {
    // SAFETY: descriptors are static; strings of other calls are copied by their users before the call ends.
    std::str::from_utf8(unsafe { s.as_bytes() }).expect("a plugin passes UTF-8")
}

/// Of a counter, a map, a lock.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    (1..=60).contains(&name.len()) && name.bytes().all(plain)
}

/// # Safety
/// `ctx` was made by `Run::new` and is live.
unsafe fn run_of<'r>(ctx: *const HdCtx) -> &'r Run {
    // SAFETY: the caller's promise.
    let host = unsafe { (*ctx).host };
    // SAFETY: the Run that owns the ctx; its fields that change are cells, and this is its thread.
    unsafe { &*host.cast::<Run>() }
}

/// # Safety
/// `n` live strings at `at`.
unsafe fn strings<'s>(at: *const HdStr, n: u32) -> Vec<&'s str> {
    if n == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(at, n as usize) }
        .iter()
        .map(|s| text(*s))
        .collect()
}

// ---- the table ----

static TABLE: HdHost = HdHost {
    magic: abi::MAGIC,
    struct_size: size_of::<HdHost>() as u32,
    abi_minor: abi::ABI_MINOR as u32,
    version: HdStr::new("mock"),
    log: Some(host_log),
    log_enabled: Some(host_log_enabled),
    now_ns: Some(host_now),
    extension: Some(host_extension),
    message: Some(host_message),
    detail: Some(host_detail),
    metric: Some(host_metric),
    label: Some(host_label),
    phase: Some(host_phase),
    io_watch: Some(host_io_watch),
    io_unwatch: Some(host_io_unwatch),
    timer: Some(host_timer),
    resolve: Some(host_resolve),
    waker: Some(host_waker),
    wake: Some(host_wake),
    waker_free: Some(host_waker_free),
};

unsafe extern "C" fn host_log(ctx: *const HdCtx, level: u32, target: HdStr, msg: HdStr) {
    let line = format!("{level} {}: {}", text(target), text(msg));
    if ctx.is_null() {
        eprintln!("{line}");
    } else {
        // SAFETY: a plugin passes NULL or a live ctx.
        unsafe { run_of(ctx) }.said.borrow_mut().log.push(line);
    }
}

unsafe extern "C" fn host_log_enabled(_: u32, _: HdStr) -> i32 {
    1
}

unsafe extern "C" fn host_now() -> u64 {
    now()
}

unsafe extern "C" fn host_extension(id: HdStr) -> *const c_void {
    static EXEC: OnceLock<abi::HdExec> = OnceLock::new();
    match text(id) {
        abi::EXT_EXEC => {}
        abi::EXT_MAP => return (&raw const shared::MAP).cast(),
        abi::EXT_STATE => return (&raw const shared::MAP).cast(),
        abi::EXT_LOCK => return (&raw const shared::LOCK).cast(),
        abi::EXT_COUNTER => return (&raw const counters::TABLE).cast(),
        abi::EXT_GRACE => return (&raw const grace::TABLE).cast(),
        abi::EXT_NOTICE => return (&raw const notice::TABLE).cast(),
        abi::EXT_FANOUT => return fanout::table(),
        _ => return null(),
    }
    let size = size_of::<abi::HdExec>() as u32;
    let exec = EXEC.get_or_init(|| abi::HdExec {
        struct_size: size,
        version: 1,
        spawn: Some(host_spawn),
    });
    (&raw const *exec).cast()
}

unsafe extern "C" fn host_message(ctx: *const HdCtx, line: HdStr) {
    // SAFETY: a plugin passes a live ctx.
    unsafe { run_of(ctx) }.said.borrow_mut().message = text(line).into();
}

unsafe extern "C" fn host_detail(ctx: *const HdCtx, more: HdStr) {
    // SAFETY: a plugin passes a live ctx.
    unsafe { run_of(ctx) }.said.borrow_mut().detail += text(more);
}

unsafe extern "C" fn host_metric(ctx: *const HdCtx, metric: *const HdMetric) {
    // SAFETY: a plugin passes a live metric.
    let m = unsafe { &*metric };
    let owned = OwnedMetric {
        name: text(m.name).into(),
        unit: text(m.unit).into(),
        kind: m.kind,
        value: m.value,
        warn: m.warn,
        crit: m.crit,
        min: m.min,
        max: m.max,
    };
    // SAFETY: a plugin passes a live ctx.
    unsafe { run_of(ctx) }.said.borrow_mut().metrics.push(owned);
}

unsafe extern "C" fn host_label(ctx: *const HdCtx, key: HdStr, value: HdStr) {
    // SAFETY: a plugin passes a live ctx.
    unsafe { run_of(ctx) }
        .said
        .borrow_mut()
        .labels
        .insert(text(key).into(), text(value).into());
}

unsafe extern "C" fn host_phase(ctx: *const HdCtx, name: HdStr) {
    // SAFETY: a plugin passes a live ctx.
    unsafe { run_of(ctx) }
        .said
        .borrow_mut()
        .phases
        .push(text(name).into());
}

unsafe extern "C" fn host_io_watch(ctx: *const HdCtx, fd: i32, mask: u32) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    let reactor = run.reactor.borrow();
    let Some((reactor, slot)) = &*reactor else {
        return -libc::EINVAL;
    };
    run.watches.set(run.watches.get() + 1);
    let mut bits = libc::EPOLLET;
    if mask & abi::IO_READ != 0 {
        bits |= libc::EPOLLIN | libc::EPOLLRDHUP;
    }
    if mask & abi::IO_WRITE != 0 {
        bits |= libc::EPOLLOUT;
    }
    let data = (*slot as u64) << 32 | fd as u64;
    let known = run.fds.borrow().contains(&fd);
    let op = if known {
        libc::EPOLL_CTL_MOD
    } else {
        libc::EPOLL_CTL_ADD
    };
    let r = reactor.ctl(op, fd, bits as u32, data);
    if r == 0 && !known {
        run.fds.borrow_mut().push(fd);
    }
    r
}

unsafe extern "C" fn host_io_unwatch(ctx: *const HdCtx, fd: i32) {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    if let Some((reactor, _)) = &*run.reactor.borrow() {
        assert_eq!(
            reactor.ctl(libc::EPOLL_CTL_DEL, fd, 0, 0),
            0,
            "io_unwatch({fd}) of an fd that is not watched"
        );
    }
    run.fds.borrow_mut().retain(|f| *f != fd);
}

unsafe extern "C" fn host_timer(ctx: *const HdCtx, when_ns: u64) {
    // SAFETY: a plugin passes a live ctx.
    unsafe { run_of(ctx) }.timer.set(when_ns);
}

unsafe extern "C" fn host_resolve(ctx: *const HdCtx, name: HdStr, family: u32, token: u32) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    let Some((reactor, slot)) = run.reactor.borrow().clone() else {
        return -libc::EINVAL;
    };
    let name = text(name).to_string();
    std::thread::spawn(move || {
        let family = family as i32;
        let wanted = |a: &SocketAddr| match family {
            libc::AF_INET => a.is_ipv4(),
            libc::AF_INET6 => a.is_ipv6(),
            _ => true,
        };
        let answer = match (name.as_str(), 0).to_socket_addrs() {
            Ok(found) => Ok(found.filter(wanted).collect()),
            Err(_) => Err(libc::EAI_NONAME),
        };
        reactor.send(slot, Delivery::Resolved { token, answer });
    });
    0
}

type WakerBox = (Arc<Reactor>, usize);

unsafe extern "C" fn host_waker(ctx: *const HdCtx) -> *mut HdWaker {
    // SAFETY: a plugin passes a live ctx.
    match unsafe { run_of(ctx) }.reactor.borrow().clone() {
        Some(w) => Box::into_raw(Box::<WakerBox>::new(w)).cast(),
        None => null_mut(),
    }
}

unsafe extern "C" fn host_wake(waker: *mut HdWaker) {
    // SAFETY: made by host_waker and not freed.
    let (reactor, slot) = unsafe { &*waker.cast::<WakerBox>() };
    reactor.send(*slot, Delivery::Wake);
}

unsafe extern "C" fn host_waker_free(waker: *mut HdWaker) {
    // SAFETY: made by host_waker, and freed once.
    drop(unsafe { Box::from_raw(waker.cast::<WakerBox>()) });
}
