//! The host's function table (`hd_host`): what a plugin may call. Each function checks its arguments, and
//! that it is called on the thread that runs the context, and hands on to the worker's services.

use crate::cache;
use crate::call::Ended;
use crate::context::Context;
use crate::counter;
use crate::grace;
use crate::notice;
use crate::shared::{self, Asker};
use healthd_abi::{
    self as abi, HdCacheStats, HdCtx, HdExec, HdExecDone, HdExecSpec, HdHost, HdMetric, HdResolve,
    HdStr, HdWaker,
};
use healthd_core::wire::asks::{LockAsk, MapAsk, MapReply};
use std::borrow::Cow;
use std::ffi::c_void;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// What the worker does for its plugins. Step-lane calls come from the task's own reactor thread.
pub trait Services: Sync {
    fn log(&self, check: Option<&str>, level: log::Level, target: &str, text: &str);
    /// 0 or -errno.
    fn io_watch(&self, task: u64, fd: i32, mask: u32) -> i32;
    fn io_unwatch(&self, task: u64, fd: i32);
    fn timer(&self, task: u64, when_ns: u64);
    /// `deadline_ns`: shortly before that the task is told, whatever is known then.
    fn resolve(&self, task: u64, host: &str, family: u32, token: u32, deadline_ns: u64) -> i32;
    /// From any thread; the task may be gone.
    fn wake(&self, task: u64);
    fn exec(&self, task: u64, spec: ExecSpec) -> i32;
    /// The handle of a counter or an array, or -errno. Any lane, and create.
    fn counter_open(&self, plugin: &str, name: &str, cells: u32, shared: bool) -> Result<u64, i32>;
    /// 0 or -errno; the answer goes to `reply` if the calling thread waits for it.
    fn map_ask(&self, ask: MapAsk, asker: Asker<'_>, reply: &mut dyn FnMut(&MapReply)) -> i32;
    fn lock_ask(&self, ask: LockAsk, asker: Asker<'_>) -> i32;
    /// What this run holds, or waits for.
    fn unlock(&self, run_id: u64);
    /// Nobody holds this instance any more: its `destroy` is called where it may block. Any thread.
    fn ended(&self, instance: Ended);
    /// A plugin's cache, whose numbers may be read from now on.
    fn cache_show(&self, plugin: &'static str, name: &str, stats: &'static HdCacheStats) -> i32;
    /// The cell behind a handle, which may be anything. Any thread.
    fn counter_cell(&self, handle: u64, cell: u32) -> Option<&AtomicU64>;
}

/// A child to start, as `hd_exec_spec` says it.
#[derive(Debug)]
pub struct ExecSpec {
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    pub cwd: Vec<u8>,
    pub input: Vec<u8>,
    pub token: u32,
    pub max_output: usize,
    pub limits: healthd_sys::limits::ChildLimits,
    /// Between SIGTERM and SIGKILL; 0: SIGKILL at once.
    pub kill_grace_ns: u64,
    pub leave_children: bool,
    /// At the deadline it is ended, and the plugin is told, instead of the task being dropped.
    pub tells: bool,
}

#[derive(Debug, Default)]
pub struct ExecDone {
    pub token: u32,
    /// -1: a signal ended it.
    pub exit_code: i32,
    pub term_signal: i32,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub out_cut: bool,
    pub err_cut: bool,
    pub dropped: u64,
    pub cpu_ns: u64,
    /// `EXEC_ENDED`, `EXEC_DEADLINE` or `EXEC_LIVES_ON`.
    pub ended: u32,
    /// The last signal that the host sent; 0: none.
    pub signal_sent: i32,
    pub ran_ns: u64,
    pub pid: u32,
    /// Something still holds its output.
    pub open: bool,
    /// What it left behind in sessions of their own; or why it does not end.
    pub left: String,
}

/// Why a task is stepped.
#[derive(Debug)]
pub enum Event {
    Io {
        fd: i32,
        ready: u32,
    },
    Timer,
    Wake,
    Resolved {
        token: u32,
        /// The addresses, at least one.
        found: Result<Vec<IpAddr>, NoAddress>,
    },
    Exec(Box<ExecDone>),
    Map {
        token: u32,
        reply: Box<MapReply>,
    },
    Lock {
        token: u32,
        error: i32,
    },
}

/// Why a name has no address.
#[derive(Clone, Debug)]
pub struct NoAddress {
    /// getaddrinfo's EAI_ code.
    pub error: i32,
    pub reason: String,
    /// This machine could not ask.
    pub own: bool,
}

static SERVICES: OnceLock<&'static dyn Services> = OnceLock::new();
static TABLE: OnceLock<HdHost> = OnceLock::new();
static EXEC: HdExec = HdExec {
    struct_size: size_of::<HdExec>() as u32,
    version: 1,
    spawn: Some(exec_spawn),
};

static RESOLVE: HdResolve = HdResolve {
    struct_size: size_of::<HdResolve>() as u32,
    version: 1,
    resolve_by: Some(resolve_by),
};

/// Before the first plugin is initialised. The first call wins.
pub fn set_services(services: &'static dyn Services) {
    let _ = SERVICES.set(services);
}

pub(crate) fn services() -> Option<&'static dyn Services> {
    SERVICES.get().copied()
}

pub(crate) fn table() -> &'static HdHost {
    TABLE.get_or_init(|| HdHost {
        magic: abi::MAGIC,
        struct_size: size_of::<HdHost>() as u32,
        abi_minor: u32::from(abi::ABI_MINOR),
        version: HdStr::new(env!("CARGO_PKG_VERSION")),
        log: Some(log_line),
        log_enabled: Some(log_enabled),
        now_ns: Some(now_ns),
        extension: Some(extension),
        message: Some(message),
        detail: Some(detail),
        metric: Some(metric),
        label: Some(label),
        phase: Some(phase),
        io_watch: Some(io_watch),
        io_unwatch: Some(io_unwatch),
        timer: Some(timer),
        resolve: Some(resolve),
        waker: Some(waker),
        wake: Some(wake),
        waker_free: Some(waker_free),
    })
}

/// Longest string taken from a plugin in one call.
const MAX_STR: usize = 64 * 1024;
const MAX_ARGS: u32 = 4096;
/// Most that is kept of a child's output; a result holds far less.
const MAX_OUTPUT: usize = 16 << 20;

/// # Safety
/// The header's promise: `s` is readable for the length of the call.
pub(crate) unsafe fn bytes<'a>(s: HdStr) -> &'a [u8] {
    let s = HdStr {
        ptr: s.ptr,
        len: s.len.min(MAX_STR),
    };
    // SAFETY: the caller's promise; shorter is as readable.
    unsafe { s.as_bytes() }
}

/// # Safety
/// As `bytes`. What is not UTF-8 is shown with replacement characters.
pub(crate) unsafe fn text<'a>(s: HdStr) -> Cow<'a, str> {
    // SAFETY: the caller's promise.
    String::from_utf8_lossy(unsafe { bytes(s) })
}

fn level(level: u32) -> log::Level {
    match level {
        abi::LOG_ERROR => log::Level::Error,
        abi::LOG_WARN => log::Level::Warn,
        abi::LOG_INFO => log::Level::Info,
        abi::LOG_DEBUG => log::Level::Debug,
        _ => log::Level::Trace,
    }
}

unsafe extern "C" fn log_line(c: *const HdCtx, at: u32, target: HdStr, msg: HdStr) {
    // SAFETY: by contract NULL or a live context; a thread that does not own it is just not named.
    let context = unsafe { Context::of(c) };
    // SAFETY: by contract readable for this call.
    let target = unsafe { text(target) };
    // SAFETY: as above.
    let msg = unsafe { text(msg) };
    if let Some(services) = services() {
        services.log(context.map(Context::name), level(at), &target, &msg);
    }
}

unsafe extern "C" fn log_enabled(at: u32, _target: HdStr) -> i32 {
    i32::from(level(at) <= log::max_level())
}

unsafe extern "C" fn now_ns() -> u64 {
    healthd_sys::clock::monotonic_ns()
}

unsafe extern "C" fn extension(id: HdStr) -> *const c_void {
    // SAFETY: by contract readable for this call.
    match unsafe { bytes(id) } {
        id if id == abi::EXT_EXEC.as_bytes() => (&raw const EXEC).cast(),
        id if id == abi::EXT_MAP.as_bytes() => (&raw const shared::MAP).cast(),
        id if id == abi::EXT_STATE.as_bytes() => (&raw const shared::MAP).cast(),
        id if id == abi::EXT_LOCK.as_bytes() => (&raw const shared::LOCK).cast(),
        id if id == abi::EXT_FANOUT.as_bytes() => crate::fanout::table(),
        id if id == abi::EXT_CACHE.as_bytes() => (&raw const cache::TABLE).cast(),
        id if id == abi::EXT_COUNTER.as_bytes() => (&raw const counter::TABLE).cast(),
        id if id == abi::EXT_GRACE.as_bytes() => (&raw const grace::TABLE).cast(),
        id if id == abi::EXT_NOTICE.as_bytes() => (&raw const notice::TABLE).cast(),
        id if id == abi::EXT_RESOLVE.as_bytes() => (&raw const RESOLVE).cast(),
        _ => std::ptr::null(),
    }
}

unsafe extern "C" fn message(c: *const HdCtx, s: HdStr) {
    // SAFETY: by contract a live context, and a string readable for this call.
    if let Some(context) = unsafe { Context::of(c) } {
        // SAFETY: as above.
        let s = unsafe { text(s) };
        let s = context.clean(&s);
        context.say(|r| r.message(&s));
    }
}

unsafe extern "C" fn detail(c: *const HdCtx, s: HdStr) {
    // SAFETY: by contract a live context, and a string readable for this call.
    if let Some(context) = unsafe { Context::of(c) } {
        // SAFETY: as above.
        let s = unsafe { text(s) };
        // Cleaned when it is whole: half a secret may stand at the end of a piece.
        context.say(|r| r.detail(&s));
    }
}

unsafe extern "C" fn metric(c: *const HdCtx, m: *const HdMetric) {
    // SAFETY: by contract a live context.
    let Some(context) = (unsafe { Context::of(c) }) else {
        return;
    };
    if m.is_null() || !m.is_aligned() {
        return;
    }
    // SAFETY: not null and aligned (checked); its first field is the size that the writer knew.
    let size = unsafe { m.cast::<u32>().read() };
    if (size as usize) < size_of::<HdMetric>() {
        return;
    }
    // SAFETY: as long as ours, as the size says.
    let m = unsafe { m.read() };
    // SAFETY: by contract readable for this call.
    let name = unsafe { text(m.name) };
    // SAFETY: as above.
    let unit = unsafe { text(m.unit) };
    let (name, unit) = (context.clean(&name), context.clean(&unit));
    context.say(|r| r.metric(&name, &unit, &m));
}

unsafe extern "C" fn label(c: *const HdCtx, key: HdStr, value: HdStr) {
    // SAFETY: by contract a live context, and strings readable for this call.
    if let Some(context) = unsafe { Context::of(c) } {
        // SAFETY: as above.
        let key = unsafe { text(key) };
        // SAFETY: as above.
        let value = unsafe { text(value) };
        let (key, value) = (context.clean(&key), context.clean(&value));
        context.say(|r| r.label(&key, &value));
    }
}

unsafe extern "C" fn phase(c: *const HdCtx, name: HdStr) {
    // SAFETY: by contract a live context, and a string readable for this call.
    if let Some(context) = unsafe { Context::of(c) } {
        // SAFETY: as above.
        context.phase(&unsafe { text(name) });
    }
}

const EPERM: i32 = -libc::EPERM;

/// The services and the task of a step-lane context on its own thread.
///
/// # Safety
/// As `Context::of`.
unsafe fn step_lane<'a>(c: *const HdCtx) -> Option<(&'static dyn Services, u64, &'a Context)> {
    // SAFETY: the caller's promise.
    let context = unsafe { Context::of(c) }?;
    (context.task() != u64::MAX).then_some(())?;
    Some((services()?, context.task(), context))
}

unsafe extern "C" fn io_watch(c: *const HdCtx, fd: i32, mask: u32) -> i32 {
    // SAFETY: by contract a live context.
    match unsafe { step_lane(c) } {
        Some((services, task, context)) => {
            let watched = services.io_watch(task, fd, mask);
            context.watches(fd, watched == 0);
            watched
        }
        None => EPERM,
    }
}

unsafe extern "C" fn io_unwatch(c: *const HdCtx, fd: i32) {
    // SAFETY: by contract a live context.
    if let Some((services, task, context)) = unsafe { step_lane(c) } {
        context.watches(fd, false);
        services.io_unwatch(task, fd);
    }
}

unsafe extern "C" fn timer(c: *const HdCtx, when_ns: u64) {
    // SAFETY: by contract a live context.
    if let Some((services, task, context)) = unsafe { step_lane(c) } {
        context.has_timer(when_ns != 0);
        services.timer(task, when_ns);
    }
}

unsafe extern "C" fn resolve(c: *const HdCtx, host: HdStr, family: u32, token: u32) -> i32 {
    // SAFETY: the caller's contract is the same.
    unsafe { resolve_by(c, host, family, token, u64::MAX) }
}

unsafe extern "C" fn resolve_by(
    c: *const HdCtx,
    host: HdStr,
    family: u32,
    token: u32,
    by_ns: u64,
) -> i32 {
    // SAFETY: by contract a live context.
    match unsafe { step_lane(c) } {
        Some((services, task, context)) => {
            let deadline = context.moved_deadline().min(by_ns);
            // SAFETY: by contract readable for this call.
            let asked = services.resolve(task, &unsafe { text(host) }, family, token, deadline);
            context.awaits(asked);
            asked
        }
        None => EPERM,
    }
}

unsafe extern "C" fn waker(c: *const HdCtx) -> *mut HdWaker {
    // SAFETY: by contract a live context.
    match unsafe { step_lane(c) } {
        Some((_, task, context)) => {
            context.has_waker();
            Box::into_raw(Box::new(task)).cast()
        }
        None => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn wake(w: *mut HdWaker) {
    // SAFETY: by contract NULL or a handle that `waker` gave out and `waker_free` has not taken.
    if let (Some(task), Some(services)) = (unsafe { w.cast::<u64>().as_ref() }, services()) {
        services.wake(*task);
    }
}

unsafe extern "C" fn waker_free(w: *mut HdWaker) {
    if !w.is_null() {
        // SAFETY: by contract a handle that `waker` gave out, freed once.
        drop(unsafe { Box::from_raw(w.cast::<u64>()) });
    }
}

unsafe extern "C" fn exec_spawn(c: *const HdCtx, spec: *const HdExecSpec) -> i32 {
    // SAFETY: by contract a live context.
    let Some((services, task, context)) = (unsafe { step_lane(c) }) else {
        return EPERM;
    };
    if spec.is_null() || !spec.is_aligned() {
        return -libc::EINVAL;
    }
    // SAFETY: not null and aligned (checked); its first field is the size that the writer knew.
    let size = unsafe { spec.cast::<u32>().read() } as usize;
    if size < abi::EXEC_SPEC_SIZE_1_0 {
        return -libc::EINVAL;
    }
    // What a writer of an older header has not is zero: as it was.
    let mut known = std::mem::MaybeUninit::<HdExecSpec>::zeroed();
    let size = size.min(size_of::<HdExecSpec>());
    // SAFETY: so much is readable, as the size says, and so much is writable.
    unsafe { std::ptr::copy_nonoverlapping(spec.cast::<u8>(), known.as_mut_ptr().cast(), size) };
    // SAFETY: all zeroes, and what of it was copied is plain data too.
    let spec = unsafe { known.assume_init() };
    if spec.argc == 0 || spec.argc > MAX_ARGS || spec.envc > MAX_ARGS {
        return -libc::E2BIG;
    }
    // SAFETY: by contract `argc` strings lie there.
    let argv = unsafe { list(spec.argv, spec.argc) };
    // SAFETY: as above, `envc`.
    let env = unsafe { list(spec.env, spec.envc) };
    let (Some(argv), Some(env)) = (argv, env) else {
        return -libc::EINVAL;
    };
    let started = services.exec(
        task,
        ExecSpec {
            argv,
            env,
            // SAFETY: by contract readable for this call.
            cwd: unsafe { bytes(spec.cwd) }.to_vec(),
            // SAFETY: as above.
            input: unsafe { bytes(spec.input) }.to_vec(),
            token: spec.token,
            max_output: if spec.max_output == 0 {
                64 << 10
            } else {
                (spec.max_output as usize).min(MAX_OUTPUT)
            },
            limits: healthd_sys::limits::ChildLimits {
                memory: spec.max_memory,
                cpu_s: spec.max_cpu_s,
                files: spec.max_files,
                processes: spec.max_processes,
            },
            kill_grace_ns: u64::from(spec.kill_grace_ms) * 1_000_000,
            leave_children: spec.flags & abi::EXEC_LEAVE_CHILDREN != 0,
            tells: spec.flags & abi::EXEC_TELL_DEADLINE != 0,
        },
    );
    context.awaits(started);
    started
}

/// # Safety
/// NULL, or `n` strings at `ptr`, all readable for this call.
pub(crate) unsafe fn list(ptr: *const HdStr, n: u32) -> Option<Vec<Vec<u8>>> {
    if n == 0 {
        return Some(Vec::new());
    }
    if ptr.is_null() || !ptr.is_aligned() {
        return None;
    }
    // SAFETY: the caller's promise, for a pointer that is not null and aligned.
    let strings = unsafe { std::slice::from_raw_parts(ptr, n as usize) };
    // SAFETY: the caller's promise.
    Some(
        strings
            .iter()
            .map(|s| unsafe { bytes(*s) }.to_vec())
            .collect(),
    )
}

/// An `hd_exec_done` that points into `done`.
pub(crate) fn exec_done(done: &ExecDone) -> HdExecDone {
    HdExecDone {
        struct_size: size_of::<HdExecDone>() as u32,
        exit_code: done.exit_code,
        term_signal: done.term_signal,
        truncated: i32::from(done.out_cut) * abi::EXEC_TRUNC_OUT
            + i32::from(done.err_cut) * abi::EXEC_TRUNC_ERR,
        dropped: done.dropped,
        cpu_ns: done.cpu_ns,
        out: HdStr::from_bytes(&done.out),
        err: HdStr::from_bytes(&done.err),
        ended: done.ended,
        signal_sent: done.signal_sent,
        ran_ns: done.ran_ns,
        pid: done.pid,
        open: u32::from(done.open),
        left: HdStr::new(&done.left),
    }
}
