//! `hd.fanout/1` of the mock: every second chunk runs on an instance of its own, as in another worker, and without an
//! order the chunks are told of from the last to the first.

use super::{MockCheck, Run, run_of};
use healthd_abi::{
    self as abi, HdChunk, HdCtx, HdFanout, HdFanoutDone, HdFanoutSpec, HdPlugin, HdStr,
};
use std::ffi::c_void;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// As many workers as the mock pretends to have.
const WORKERS: u32 = 2;

/// What a run may fan out with.
pub(super) struct Fans {
    raw: &'static HdPlugin,
    instance: *mut c_void,
    config: String,
    open: Option<Fan>,
}

struct Fan {
    spec: HdFanoutSpec,
    input: Option<OwnedFd>,
    count: u32,
    chunk: u64,
    told: u32,
    /// Of the chunk told last.
    output: Option<OwnedFd>,
    message: String,
    other: *mut c_void,
    destroy: Option<abi::DestroyFn>,
}

impl Fans {
    pub(super) fn new(check: &MockCheck) -> Fans {
        Fans {
            raw: check.raw,
            instance: check.instance,
            config: check.config.clone(),
            open: None,
        }
    }
}

impl Drop for Fan {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: made by this plugin's create; nothing runs on it any more.
            unsafe { destroy(self.other) }
        }
    }
}

pub(super) fn table() -> *const c_void {
    static FANOUT: HdFanout = HdFanout {
        struct_size: size_of::<HdFanout>() as u32,
        version: 1,
        open: Some(open),
        next: Some(next),
        close: Some(close),
        workers: Some(workers),
    };
    (&raw const FANOUT).cast()
}

fn seal(fd: i32) {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: only changes the fd's file; what is no memfd is left as it is.
    unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) };
}

unsafe extern "C" fn open(ctx: *const HdCtx, spec: *const HdFanoutSpec) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    // SAFETY: a plugin passes a live spec.
    let spec = unsafe { *spec };
    let mut fans = run.fans.borrow_mut();
    let Some(fans) = fans.as_mut() else {
        return -libc::EPERM;
    };
    if fans.raw.chunk.is_none() {
        return -libc::ENOTSUP;
    }
    if fans.open.is_some() {
        return -libc::EBUSY;
    }
    let chunk = match spec.chunk {
        0 => spec.items.div_ceil(16 * u64::from(WORKERS)).max(1),
        n => n,
    };
    let count = spec.items.div_ceil(chunk);
    if count > u64::from(abi::FANOUT_MAX_CHUNKS) {
        return -libc::E2BIG;
    }
    let input = (spec.input >= 0).then(|| {
        // SAFETY: the plugin's fd, open during this call.
        let fd = unsafe { BorrowedFd::borrow_raw(spec.input) };
        fd.try_clone_to_owned().expect("a free fd")
    });
    if let Some(input) = &input {
        seal(input.as_raw_fd());
    }
    let created = Run::new(fans.raw, abi::LANE_CREATE, Duration::from_secs(60));
    let mut other = null_mut();
    let create = fans.raw.create.expect("create");
    // SAFETY: a live ctx on its thread, a live string, a writable out.
    let made = unsafe { create(created.ctx(), HdStr::new(&fans.config), &mut other) };
    assert_eq!(made, abi::OK, "a second instance of the same config");
    fans.open = Some(Fan {
        spec,
        input,
        count: count as u32,
        chunk,
        told: 0,
        output: None,
        message: String::new(),
        other,
        destroy: fans.raw.destroy,
    });
    0
}

unsafe extern "C" fn next(ctx: *const HdCtx, done: *mut HdFanoutDone) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    if run.cancelled.load(Relaxed) != 0 || super::now() >= run.ctx.deadline_ns {
        return -libc::ECANCELED;
    }
    let (raw, call, instance, chunk, output) = {
        let mut fans = run.fans.borrow_mut();
        let Some(fans) = fans.as_mut() else {
            return -libc::EPERM;
        };
        let (raw, own) = (fans.raw, fans.instance);
        let Some(fan) = &mut fans.open else {
            return -libc::EBADF;
        };
        if fan.told == fan.count {
            return 0;
        }
        let index = match fan.spec.flags & abi::FANOUT_ORDERED {
            0 => fan.count - 1 - fan.told,
            _ => fan.told,
        };
        fan.told += 1;
        // SAFETY: the name is a C string; the flags are valid.
        let fd = unsafe { libc::memfd_create(c"output".as_ptr(), libc::MFD_ALLOW_SEALING) };
        assert!(fd >= 0, "a memfd");
        // SAFETY: just made, and nobody else knows it.
        let output = unsafe { OwnedFd::from_raw_fd(fd) };
        let from = u64::from(index) * fan.chunk;
        let chunk = HdChunk {
            struct_size: size_of::<HdChunk>() as u32,
            kind: fan.spec.kind,
            index,
            count: fan.count,
            from,
            to: (from + fan.chunk).min(fan.spec.items),
            input: fan.input.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            output: fd,
        };
        let instance = if index % 2 == 0 { own } else { fan.other };
        (
            raw,
            raw.chunk.expect("asked in open"),
            instance,
            chunk,
            output,
        )
    };
    let mut inner = Run::new(raw, abi::LANE_CHUNK, Duration::ZERO);
    inner.ctx.deadline_ns = run.ctx.deadline_ns;
    inner.ctx.cancelled = &raw const run.cancelled;
    // SAFETY: a live instance, ctx and chunk, on this thread.
    let code = unsafe { call(instance, inner.ctx(), &chunk) };
    seal(output.as_raw_fd());
    let mut file = File::from(output);
    let size = file.seek(SeekFrom::End(0)).expect("a file");
    let mut fans = run.fans.borrow_mut();
    let fan = fans.as_mut().and_then(|f| f.open.as_mut());
    let fan = fan.expect("a chunk does not close its fan-out");
    fan.message = inner.said.borrow().message.clone();
    fan.output = (size > 0 && code == abi::OK).then(|| file.into());
    let told = HdFanoutDone {
        struct_size: size_of::<HdFanoutDone>() as u32,
        index: chunk.index,
        code,
        output: fan.output.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        size,
        cpu_ns: 0,
        message: HdStr::new(&fan.message),
    };
    // SAFETY: writable, by contract.
    unsafe { done.write(told) };
    1
}

unsafe extern "C" fn close(ctx: *const HdCtx) {
    // SAFETY: a plugin passes a live ctx.
    if let Some(fans) = unsafe { run_of(ctx) }.fans.borrow_mut().as_mut() {
        fans.open = None;
    }
}

unsafe extern "C" fn workers(_: *const HdCtx) -> u32 {
    WORKERS
}
