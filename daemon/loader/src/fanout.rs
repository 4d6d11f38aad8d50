//! `hd.fanout/1`: from the plugin's calls to the worker's services, and the host's call of a chunk.

use crate::call::Instance;
use crate::context::Context;
use crate::guarded::{self, pointer};
use healthd_abi::{
    self as abi, HdChunk, HdCtx, HdFanout, HdFanoutDone, HdFanoutSpec, HdRet, HdStr,
};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// What the worker does for a run that fans out. Called on the run's own thread, during `run`.
pub trait Fanout: Sync {
    fn open(&self, plan: Plan) -> Result<(), i32>;
    /// Waits for a chunk, and works on chunks meanwhile. None: all have been told.
    fn next(&self) -> Result<Option<Arc<Done>>, i32>;
    fn close(&self);
    fn workers(&self) -> u32;
}

/// What a run wants done, checked and cut into chunks.
#[derive(Debug)]
pub struct Plan {
    pub items: u64,
    /// Items in a chunk, or 0: the worker's choice.
    pub chunk: u64,
    pub ordered: bool,
    pub kind: u32,
    pub input: Option<OwnedFd>,
}

/// A chunk that has ended.
#[derive(Debug)]
pub struct Done {
    pub index: u32,
    pub code: HdRet,
    pub output: Option<OwnedFd>,
    pub size: u64,
    pub cpu_ns: u64,
    pub message: String,
}

/// One chunk, as `chunk` is called with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub kind: u32,
    pub index: u32,
    pub count: u32,
    pub from: u64,
    pub to: u64,
}

static FANOUT: OnceLock<&'static dyn Fanout> = OnceLock::new();
static TABLE: HdFanout = HdFanout {
    struct_size: size_of::<HdFanout>() as u32,
    version: 1,
    open: Some(open),
    next: Some(next),
    close: Some(close),
    workers: Some(workers),
};

/// Before the first plugin is initialised. The first call wins.
pub fn set_fanout(fanout: &'static dyn Fanout) {
    let _ = FANOUT.set(fanout);
}

pub(crate) fn table() -> *const std::ffi::c_void {
    (&raw const TABLE).cast()
}

thread_local! {
    /// What the plugin was told last: its strings and its fd hold until its next call.
    static TOLD: std::cell::RefCell<Option<Arc<Done>>> = const { std::cell::RefCell::new(None) };
}

impl Instance {
    pub fn has_chunks(&self) -> bool {
        self.plugin().raw.chunk.is_some()
    }

    /// Blocks until the plugin returns. It may be in `run` of this instance, further up on this very thread.
    pub fn chunk(
        &self,
        cx: &Context,
        chunk: Chunk,
        input: Option<BorrowedFd<'_>>,
        output: BorrowedFd<'_>,
    ) -> HdRet {
        let call = self
            .plugin()
            .raw
            .chunk
            .expect("only plugins with chunks fan out");
        let raw = HdChunk {
            struct_size: size_of::<HdChunk>() as u32,
            kind: chunk.kind,
            index: chunk.index,
            count: chunk.count,
            from: chunk.from,
            to: chunk.to,
            input: input.map_or(-1, |fd| fd.as_raw_fd()),
            output: output.as_raw_fd(),
        };
        // SAFETY: the instance is alive (self), the context and the chunk are ours for the length of the call.
        let words = [
            pointer(self.ptr()),
            pointer(cx.entered()),
            pointer(&raw const raw),
            0,
            0,
        ];
        // SAFETY: as above.
        let ret = unsafe { guarded::call(call as *const _, words) };
        cx.left();
        ret
    }
}

const EPERM: i32 = -libc::EPERM;

/// The service, for the thread that is in the run of this context.
///
/// # Safety
/// As `Context::of`.
unsafe fn in_run(c: *const HdCtx) -> Option<&'static dyn Fanout> {
    // SAFETY: the caller's promise.
    let context = unsafe { Context::of(c) }?;
    (context.lane() == abi::LANE_RUN).then_some(())?;
    FANOUT.get().copied()
}

unsafe extern "C" fn open(c: *const HdCtx, spec: *const HdFanoutSpec) -> i32 {
    // SAFETY: by contract a live context.
    let Some(fanout) = (unsafe { in_run(c) }) else {
        return EPERM;
    };
    if spec.is_null() || !spec.is_aligned() {
        return -libc::EINVAL;
    }
    // SAFETY: not null and aligned (checked); its first field is the size that the writer knew.
    let size = unsafe { spec.cast::<u32>().read() };
    if (size as usize) < size_of::<HdFanoutSpec>() {
        return -libc::EINVAL;
    }
    // SAFETY: as long as ours, as the size says.
    let spec = unsafe { spec.read() };
    if spec.flags & !abi::FANOUT_ORDERED != 0 {
        return -libc::EINVAL;
    }
    let input = match spec.input {
        -1 => None,
        fd => match healthd_sys::memfd::shared_input(fd) {
            Ok(copy) => Some(copy),
            Err(e) => return -e.raw_os_error().unwrap_or(libc::EIO),
        },
    };
    let plan = Plan {
        items: spec.items,
        chunk: spec.chunk,
        ordered: spec.flags & abi::FANOUT_ORDERED != 0,
        kind: spec.kind,
        input,
    };
    match fanout.open(plan) {
        Ok(()) => 0,
        Err(errno) => -errno,
    }
}

unsafe extern "C" fn next(c: *const HdCtx, done: *mut HdFanoutDone) -> i32 {
    // SAFETY: by contract a live context.
    let Some(fanout) = (unsafe { in_run(c) }) else {
        return EPERM;
    };
    if done.is_null() || !done.is_aligned() {
        return -libc::EINVAL;
    }
    // SAFETY: not null and aligned (checked); its first field is the size that the caller knows.
    let size = unsafe { done.cast::<u32>().read() };
    if (size as usize) < size_of::<HdFanoutDone>() {
        return -libc::EINVAL;
    }
    TOLD.set(None);
    match fanout.next() {
        Ok(None) => 0,
        Err(errno) => -errno,
        Ok(Some(told)) => {
            let raw = HdFanoutDone {
                struct_size: size,
                index: told.index,
                code: told.code,
                output: told.output.as_ref().map_or(-1, AsRawFd::as_raw_fd),
                size: told.size,
                cpu_ns: told.cpu_ns,
                message: HdStr::new(&told.message),
            };
            // SAFETY: the caller's, writable for as much as it says, which is ours at least.
            unsafe { done.write(raw) };
            TOLD.set(Some(told));
            1
        }
    }
}

unsafe extern "C" fn close(c: *const HdCtx) {
    // SAFETY: by contract a live context.
    if let Some(fanout) = unsafe { in_run(c) } {
        TOLD.set(None);
        fanout.close();
    }
}

/// What the plugin was told last is no longer needed: its run has ended.
pub fn forget_told() {
    TOLD.set(None);
}

unsafe extern "C" fn workers(c: *const HdCtx) -> u32 {
    // SAFETY: by contract a live context.
    unsafe { in_run(c) }.map_or(1, |fanout| fanout.workers().max(1))
}
