//! The host's function table as safe calls.
//!
//! `init` checks the table once and copies its function pointers; after that no pointer can be missing.

use healthd_abi::{self as abi, EXT_RESOLVE, HdCtx, HdHost, HdMetric, HdResolve, HdStr, HdWaker};
use std::ffi::c_void;
use std::io;
use std::sync::OnceLock;

static HOST: OnceLock<Host> = OnceLock::new();

/// The host that called `init`. Every entry of a plugin comes after it.
pub(crate) fn host() -> &'static Host {
    HOST.get()
        .expect("the host calls init before anything else")
}

pub(crate) fn host_if_any() -> Option<&'static Host> {
    HOST.get()
}

macro_rules! table {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)+) => {
        pub(crate) struct Host {
            $( $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?, )+
        }
        impl Host {
            fn from_table(t: &HdHost) -> Option<Host> {
                Some(Host { $( $name: t.$name?, )+ })
            }
        }
    };
}

table! {
    log: fn(*const HdCtx, u32, HdStr, HdStr);
    log_enabled: fn(u32, HdStr) -> i32;
    now_ns: fn() -> u64;
    extension: fn(HdStr) -> *const c_void;
    message: fn(*const HdCtx, HdStr);
    detail: fn(*const HdCtx, HdStr);
    metric: fn(*const HdCtx, *const HdMetric);
    label: fn(*const HdCtx, HdStr, HdStr);
    phase: fn(*const HdCtx, HdStr);
    io_watch: fn(*const HdCtx, i32, u32) -> i32;
    io_unwatch: fn(*const HdCtx, i32);
    timer: fn(*const HdCtx, u64);
    resolve: fn(*const HdCtx, HdStr, u32, u32) -> i32;
    waker: fn(*const HdCtx) -> *mut HdWaker;
    wake: fn(*mut HdWaker);
    waker_free: fn(*mut HdWaker);
}

/// Takes the table over.
///
/// # Safety
/// `table` is what the host passed to `init`: NULL, or the start of an `hd_host` of the size it names, which lives
/// for ever.
pub(crate) unsafe fn install(table: *const HdHost) -> abi::HdRet {
    if table.is_null() {
        return abi::E_UNSUPPORTED;
    }
    // SAFETY: not null; magic and struct_size are in every version of the table.
    let magic = unsafe { (*table).magic };
    // SAFETY: as above.
    let size = unsafe { (*table).struct_size } as usize;
    if magic != abi::MAGIC || size < size_of::<HdHost>() {
        return abi::E_UNSUPPORTED;
    }
    // SAFETY: the size covers our whole view of the table, which the host never changes again.
    let table = unsafe { &*table };
    match Host::from_table(table) {
        Some(host) => {
            // A second init in one process (tests) finds the first table, which lives for ever too.
            let _ = HOST.set(host);
            abi::OK
        }
        None => abi::E_UNSUPPORTED,
    }
}

fn errno(r: i32) -> io::Result<()> {
    if r < 0 {
        Err(io::Error::from_raw_os_error(-r))
    } else {
        Ok(())
    }
}

/// The calls. Each `ctx` here comes out of a `Cx`, a `Task` or an entry function, which hold it only while the host
/// keeps it valid and only on the thread the host chose; that is what the SAFETY notes rest on.
impl Host {
    pub(crate) fn log(&self, level: u32, target: &str, text: &str) {
        // SAFETY: log may be called on any thread; NULL is allowed for ctx.
        unsafe {
            (self.log)(
                std::ptr::null(),
                level,
                HdStr::new(target),
                HdStr::new(text),
            )
        }
    }

    pub(crate) fn log_enabled(&self, level: u32, target: &str) -> bool {
        // SAFETY: may be called on any thread.
        unsafe { (self.log_enabled)(level, HdStr::new(target)) != 0 }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        // SAFETY: may be called on any thread.
        unsafe { (self.now_ns)() }
    }

    pub(crate) fn extension(&self, id: &str) -> *const c_void {
        // SAFETY: may be called on any thread.
        unsafe { (self.extension)(HdStr::new(id)) }
    }

    pub(crate) fn message(&self, ctx: *const HdCtx, text: &str) {
        // SAFETY: ctx is live and this is its thread, see above.
        unsafe { (self.message)(ctx, HdStr::new(text)) }
    }

    pub(crate) fn detail(&self, ctx: *const HdCtx, text: &str) {
        // SAFETY: ctx is live and this is its thread, see above.
        unsafe { (self.detail)(ctx, HdStr::new(text)) }
    }

    pub(crate) fn metric(&self, ctx: *const HdCtx, metric: &HdMetric) {
        // SAFETY: ctx is live and this is its thread, see above.
        unsafe { (self.metric)(ctx, metric) }
    }

    pub(crate) fn label(&self, ctx: *const HdCtx, key: &str, value: &str) {
        // SAFETY: ctx is live and this is its thread, see above.
        unsafe { (self.label)(ctx, HdStr::new(key), HdStr::new(value)) }
    }

    pub(crate) fn phase(&self, ctx: *const HdCtx, name: &str) {
        // SAFETY: ctx is live and this is its thread, see above.
        unsafe { (self.phase)(ctx, HdStr::new(name)) }
    }

    pub(crate) fn io_watch(&self, ctx: *const HdCtx, fd: i32, mask: u32) -> io::Result<()> {
        // SAFETY: ctx is live and this is its thread, see above.
        errno(unsafe { (self.io_watch)(ctx, fd, mask) })
    }

    pub(crate) fn io_unwatch(&self, ctx: *const HdCtx, fd: i32) {
        // SAFETY: ctx is live and this is its thread, see above; the fd is still open.
        unsafe { (self.io_unwatch)(ctx, fd) }
    }

    pub(crate) fn timer(&self, ctx: *const HdCtx, when_ns: u64) {
        // SAFETY: ctx is live and this is its thread, see above.
        unsafe { (self.timer)(ctx, when_ns) }
    }

    /// False, as the answer comes by the run's deadline.
    pub(crate) fn resolve(
        &self,
        ctx: *const HdCtx,
        name: &str,
        family: u32,
        token: u32,
    ) -> io::Result<bool> {
        // SAFETY: ctx is live and this is its thread, see above.
        errno(unsafe { (self.resolve)(ctx, HdStr::new(name), family, token) })?;
        Ok(false)
    }

    /// As `resolve`. True: the answer comes by that time; a host of before cannot do that.
    pub(crate) fn resolve_by(
        &self,
        ctx: *const HdCtx,
        name: &str,
        family: u32,
        token: u32,
        by_ns: u64,
    ) -> io::Result<bool> {
        // SAFETY: what the host returns for this id is NULL or a static hd_resolve.
        let table = unsafe { self.extension(EXT_RESOLVE).cast::<HdResolve>().as_ref() };
        match table.and_then(|t| t.resolve_by) {
            Some(by) => {
                // SAFETY: ctx is live and this is its thread, see above.
                errno(unsafe { by(ctx, HdStr::new(name), family, token, by_ns) })?;
                Ok(true)
            }
            None => self.resolve(ctx, name, family, token),
        }
    }

    pub(crate) fn waker(&self, ctx: *const HdCtx) -> *mut HdWaker {
        // SAFETY: ctx is live and this is its thread, see above.
        unsafe { (self.waker)(ctx) }
    }

    /// # Safety
    /// `waker` comes from `waker()` and was not freed.
    pub(crate) unsafe fn wake(&self, waker: *mut HdWaker) {
        // SAFETY: the caller's promise; any thread.
        unsafe { (self.wake)(waker) }
    }

    /// # Safety
    /// `waker` comes from `waker()`, was not freed, and is not used again.
    pub(crate) unsafe fn waker_free(&self, waker: *mut HdWaker) {
        // SAFETY: the caller's promise; any thread.
        unsafe { (self.waker_free)(waker) }
    }
}
