//! The check-plugin ABI, major 1, as Rust types.
//!
//! The truth is `include/healthd_plugin.h`: what each field means, who owns it and when a function may be called is
//! written there and only there. This mirror has the same names in Rust's spelling, and `tests/layout.rs` compiles C
//! to hold every size, offset and constant against it. Used by the loader and the worker on one side, by the SDK on
//! the other.
#![no_std]

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicU32, AtomicU64};

pub const MAGIC: u64 = 0x4845_414C_5448_4431;
pub const ABI_MINOR: u16 = 2;
/// The entry symbol, with the NUL that `dlsym` wants.
pub const ENTRY: &core::ffi::CStr = c"hd_plugin_v1";

pub type HdRet = i32;
pub const OK: HdRet = 0;
pub const WARN: HdRet = 1;
pub const CRIT: HdRet = 2;
pub const UNKNOWN: HdRet = 3;
pub const PENDING: HdRet = 100;
pub const E_CONFIG: HdRet = -1;
pub const E_PANIC: HdRet = -2;
pub const E_CANCELLED: HdRet = -3;
pub const E_INTERNAL: HdRet = -4;
pub const E_UNSUPPORTED: HdRet = -5;
pub const E_RESOURCES: HdRet = -6;
pub const E_LOST: HdRet = -7;

pub const LANE_CREATE: u32 = 0;
pub const LANE_RUN: u32 = 1;
pub const LANE_STEP: u32 = 2;
pub const LANE_CHUNK: u32 = 3;

pub const GAUGE: u32 = 0;
pub const COUNTER: u32 = 1;

pub const LOG_ERROR: u32 = 1;
pub const LOG_WARN: u32 = 2;
pub const LOG_INFO: u32 = 3;
pub const LOG_DEBUG: u32 = 4;
pub const LOG_TRACE: u32 = 5;

pub const IO_READ: u32 = 1;
pub const IO_WRITE: u32 = 2;

pub const EV_IO: u32 = 1;
pub const EV_TIMER: u32 = 2;
pub const EV_WAKE: u32 = 3;
pub const EV_RESOLVED: u32 = 4;
pub const EV_EXT: u32 = 5;

pub const WL_IO: u32 = 1;
pub const WL_BLOCK: u32 = 2;
pub const WL_CPU: u32 = 3;
pub const WL_EXEC: u32 = 4;

pub const F_INSTANCE_MT: u64 = 1 << 0;
pub const F_PLUGIN_SERIAL: u64 = 1 << 1;
pub const F_NEEDS_NETRAW: u64 = 1 << 2;
pub const F_NEEDS_EXEC: u64 = 1 << 3;
/// Since 1.2: the sandbox of its workload takes nothing from it, but for what the flags F_NEEDS_ name.
pub const F_SANDBOX: u64 = 1 << 4;
/// It reads of other processes what a sandbox hides.
pub const F_NEEDS_PROC: u64 = 1 << 5;
/// No check: a run delivers a message.
pub const F_NOTIFY: u64 = 1 << 32;
/// The flags of this minor; a plugin with another bit in 32..63 is refused.
pub const F_KNOWN: u64 = F_INSTANCE_MT
    | F_PLUGIN_SERIAL
    | F_NEEDS_NETRAW
    | F_NEEDS_EXEC
    | F_SANDBOX
    | F_NEEDS_PROC
    | F_NOTIFY;
/// The bits a host must understand to load a plugin.
pub const F_MUST_UNDERSTAND: u64 = 0xFFFF_FFFF_0000_0000;

pub const EXT_EXEC: &str = "hd.exec/1";
pub const EXEC_LEAVE_CHILDREN: u32 = 1;
pub const EXEC_TELL_DEADLINE: u32 = 2;
pub const EXEC_ENDED: u32 = 0;
pub const EXEC_DEADLINE: u32 = 1;
pub const EXEC_LIVES_ON: u32 = 2;
pub const EXEC_TRUNC_OUT: i32 = 1;
pub const EXEC_TRUNC_ERR: i32 = 2;

pub const EXT_FANOUT: &str = "hd.fanout/1";
pub const FANOUT_ORDERED: u32 = 1;
pub const FANOUT_MAX_CHUNKS: u32 = 4096;
pub const FANOUT_MAX_OPENS: u32 = 64;
pub const FANOUT_MAX_OUTPUT: u64 = 1 << 28;

pub const EXT_COUNTER: &str = "hd.counter/1";
pub const SHARED: u32 = 1;

pub const EXT_MAP: &str = "hd.map/1";
pub const MAP_GET: u32 = 0;
pub const MAP_SET: u32 = 1;
pub const MAP_APPEND: u32 = 2;
pub const MAP_SNAPSHOT: u32 = 3;
pub const MAP_DELETE: u32 = 4;
pub const MAP_EXPECT: u32 = 2;

pub const EXT_STATE: &str = "hd.state/1";
pub const STATE_GET: u32 = 5;
pub const STATE_SET: u32 = 6;
pub const STATE_DELETE: u32 = 7;

pub const EXT_LOCK: &str = "hd.lock/1";

pub const EXT_CACHE: &str = "hd.cache/1";

pub const EXT_GRACE: &str = "hd.grace/1";
pub const EXT_RESOLVE: &str = "hd.resolve/1";

pub const EXT_NOTICE: &str = "hd.notice/1";

/// A borrowed string of the other side, or of ours for the other side to read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdStr {
    pub ptr: *const c_char,
    pub len: usize,
}

impl HdStr {
    pub const EMPTY: HdStr = HdStr {
        ptr: core::ptr::null(),
        len: 0,
    };

    /// Points at `s`; whoever gets it must be done with it before `s` ends.
    pub const fn new(s: &str) -> HdStr {
        HdStr {
            ptr: s.as_ptr().cast(),
            len: s.len(),
        }
    }

    pub const fn from_bytes(b: &[u8]) -> HdStr {
        HdStr {
            ptr: b.as_ptr().cast(),
            len: b.len(),
        }
    }

    /// The bytes it points at. NULL is an empty slice whatever the length says, so that a careless writer's
    /// zeroed struct is harmless.
    ///
    /// # Safety
    /// The writer's promise must hold: `len` bytes at `ptr` are readable and unchanged for `'a`.
    pub const unsafe fn as_bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: not null (checked), and the caller vouches for length and lifetime.
        unsafe { core::slice::from_raw_parts(self.ptr.cast(), self.len) }
    }
}

#[repr(C)]
#[derive(Debug)]
pub struct HdCtx {
    pub struct_size: u32,
    pub attempt: u32,
    pub check_id: u64,
    pub run_id: u64,
    pub deadline_ns: u64,
    pub cancelled: *const AtomicU32,
    pub cancel_fd: i32,
    pub lane: u32,
    pub check_name: HdStr,
    pub host: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdMetric {
    pub struct_size: u32,
    pub kind: u32,
    pub name: HdStr,
    pub unit: HdStr,
    pub value: f64,
    pub warn: f64,
    pub crit: f64,
    pub min: f64,
    pub max: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdEvent {
    pub kind: u32,
    pub ready: u32,
    pub fd: i32,
    pub token: u32,
    pub data: *const c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdAddrs {
    pub struct_size: u32,
    pub error: i32,
    pub n: u32,
    pub stride: u32,
    pub sockaddrs: *const c_void,
    pub deadline_ns: u64,
    pub reason: HdStr,
    pub own: u32,
    pub reserved: u32,
}

/// Opaque: only the host looks inside.
#[repr(C)]
pub struct HdWaker {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<*mut u8>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdHost {
    pub magic: u64,
    pub struct_size: u32,
    pub abi_minor: u32,
    pub version: HdStr,
    pub log: Option<unsafe extern "C" fn(*const HdCtx, u32, HdStr, HdStr)>,
    pub log_enabled: Option<unsafe extern "C" fn(u32, HdStr) -> i32>,
    pub now_ns: Option<unsafe extern "C" fn() -> u64>,
    pub extension: Option<unsafe extern "C" fn(HdStr) -> *const c_void>,
    pub message: Option<unsafe extern "C" fn(*const HdCtx, HdStr)>,
    pub detail: Option<unsafe extern "C" fn(*const HdCtx, HdStr)>,
    pub metric: Option<unsafe extern "C" fn(*const HdCtx, *const HdMetric)>,
    pub label: Option<unsafe extern "C" fn(*const HdCtx, HdStr, HdStr)>,
    pub phase: Option<unsafe extern "C" fn(*const HdCtx, HdStr)>,
    pub io_watch: Option<unsafe extern "C" fn(*const HdCtx, i32, u32) -> i32>,
    pub io_unwatch: Option<unsafe extern "C" fn(*const HdCtx, i32)>,
    pub timer: Option<unsafe extern "C" fn(*const HdCtx, u64)>,
    pub resolve: Option<unsafe extern "C" fn(*const HdCtx, HdStr, u32, u32) -> i32>,
    pub waker: Option<unsafe extern "C" fn(*const HdCtx) -> *mut HdWaker>,
    pub wake: Option<unsafe extern "C" fn(*mut HdWaker)>,
    pub waker_free: Option<unsafe extern "C" fn(*mut HdWaker)>,
}

// SAFETY: a host table is written once, before its first reader, and never changed; its pointers are to code and to
// a version string that lives as long as the process.
unsafe impl Sync for HdHost {}
// SAFETY: as above.
unsafe impl Send for HdHost {}

pub type InitFn = unsafe extern "C" fn(*const HdHost) -> HdRet;
pub type CreateFn = unsafe extern "C" fn(*const HdCtx, HdStr, *mut *mut c_void) -> HdRet;
pub type DestroyFn = unsafe extern "C" fn(*mut c_void);
pub type RunFn = unsafe extern "C" fn(*mut c_void, *const HdCtx) -> HdRet;
pub type StartFn = unsafe extern "C" fn(*mut c_void, *const HdCtx, *mut *mut c_void) -> HdRet;
pub type StepFn = unsafe extern "C" fn(*mut c_void, *const HdCtx, *const HdEvent, usize) -> HdRet;
pub type DropFn = unsafe extern "C" fn(*mut c_void);
pub type ChunkFn = unsafe extern "C" fn(*mut c_void, *const HdCtx, *const HdChunk) -> HdRet;
/// `hd_plugin_v1`.
pub type EntryFn = unsafe extern "C" fn(u32) -> *const HdPlugin;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdPlugin {
    pub magic: u64,
    pub struct_size: u32,
    pub abi_minor: u16,
    pub abi_min_minor: u16,
    pub flags: u64,
    pub workload: u32,
    pub default_timeout_ms: u32,
    pub max_inflight: u32,
    pub stack_kib: u32,
    pub name: HdStr,
    pub version: HdStr,
    pub summary: HdStr,
    pub vendor: HdStr,
    pub license: HdStr,
    pub build: HdStr,
    pub config_schema: HdStr,
    pub init: Option<InitFn>,
    pub create: Option<CreateFn>,
    pub destroy: Option<DestroyFn>,
    pub run: Option<RunFn>,
    pub start: Option<StartFn>,
    pub step: Option<StepFn>,
    pub drop: Option<DropFn>,
    pub chunk: Option<ChunkFn>,
}

/// What every descriptor of major 1 has: the size that 1.0 had. What lies behind it may be missing.
pub const PLUGIN_SIZE_1_0: usize = core::mem::offset_of!(HdPlugin, chunk);

// SAFETY: a descriptor is static data that nobody changes (the contract of `hd_plugin_v1`); its pointers are to code
// and to strings of the same kind.
unsafe impl Sync for HdPlugin {}
// SAFETY: as above.
unsafe impl Send for HdPlugin {}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdExecSpec {
    pub struct_size: u32,
    pub argc: u32,
    pub argv: *const HdStr,
    pub envc: u32,
    pub token: u32,
    pub env: *const HdStr,
    pub cwd: HdStr,
    pub input: HdStr,
    pub max_output: u32,
    pub reserved: u32,
    pub max_memory: u64,
    pub max_cpu_s: u64,
    pub max_files: u64,
    pub max_processes: u64,
    /// Added later, from here on.
    pub kill_grace_ms: u32,
    pub flags: u32,
}

/// What an `HdExecSpec` of a plugin of the first header has.
pub const EXEC_SPEC_SIZE_1_0: usize = core::mem::offset_of!(HdExecSpec, kill_grace_ms);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdExecDone {
    pub struct_size: u32,
    pub exit_code: i32,
    pub term_signal: i32,
    pub truncated: i32,
    pub dropped: u64,
    pub cpu_ns: u64,
    pub out: HdStr,
    pub err: HdStr,
    /// Added later, from here on.
    pub ended: u32,
    pub signal_sent: i32,
    pub ran_ns: u64,
    pub pid: u32,
    pub open: u32,
    pub left: HdStr,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdExec {
    pub struct_size: u32,
    pub version: u32,
    pub spawn: Option<unsafe extern "C" fn(*const HdCtx, *const HdExecSpec) -> i32>,
}

pub type CounterOpenFn = unsafe extern "C" fn(*const HdCtx, HdStr, u32, u32, *mut u64) -> i32;
pub type CounterChangeFn = unsafe extern "C" fn(u64, u32, u64, *mut u64) -> i32;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdCounter {
    pub struct_size: u32,
    pub version: u32,
    pub open: Option<CounterOpenFn>,
    pub get: Option<unsafe extern "C" fn(u64, u32, *mut u64) -> i32>,
    pub set: Option<unsafe extern "C" fn(u64, u32, u64) -> i32>,
    pub add: Option<CounterChangeFn>,
    pub max: Option<CounterChangeFn>,
    pub compare_exchange: Option<unsafe extern "C" fn(u64, u32, *mut u64, u64) -> i32>,
}

#[repr(C)]
#[derive(Debug)]
pub struct HdCacheStats {
    pub struct_size: u32,
    pub reserved: u32,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub evictions: AtomicU64,
    pub entries: AtomicU64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdCache {
    pub struct_size: u32,
    pub version: u32,
    pub show: Option<unsafe extern "C" fn(*const HdCtx, HdStr, *const HdCacheStats) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdMapAsk {
    pub struct_size: u32,
    pub op: u32,
    pub flags: u32,
    pub token: u32,
    pub map: HdStr,
    pub key: HdStr,
    pub value: HdStr,
    pub expected: u64,
    pub ttl_ns: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdMapItem {
    pub key: HdStr,
    pub value: HdStr,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdMapReply {
    pub struct_size: u32,
    pub error: i32,
    pub version: u64,
    pub items: *const HdMapItem,
    pub n: u64,
}

pub type MapReplyFn = unsafe extern "C" fn(*mut c_void, *const HdMapReply);
pub type MapWaitFn =
    unsafe extern "C" fn(*const HdCtx, *const HdMapAsk, Option<MapReplyFn>, *mut c_void) -> i32;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdMap {
    pub struct_size: u32,
    pub version: u32,
    pub ask: Option<unsafe extern "C" fn(*const HdCtx, *const HdMapAsk) -> i32>,
    pub ask_and_wait: Option<MapWaitFn>,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdLockAsk {
    pub struct_size: u32,
    pub n: u32,
    pub names: *const HdStr,
    pub flags: u32,
    pub token: u32,
    pub timeout_ns: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdLockDone {
    pub struct_size: u32,
    pub error: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdLock {
    pub struct_size: u32,
    pub version: u32,
    pub ask: Option<unsafe extern "C" fn(*const HdCtx, *const HdLockAsk) -> i32>,
    pub ask_and_wait: Option<unsafe extern "C" fn(*const HdCtx, *const HdLockAsk) -> i32>,
    pub unlock: Option<unsafe extern "C" fn(*const HdCtx)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdGrace {
    pub struct_size: u32,
    pub version: u32,
    pub give_back: Option<unsafe extern "C" fn(*const HdCtx, u64, *mut u64) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdResolve {
    pub struct_size: u32,
    pub version: u32,
    pub resolve_by: Option<unsafe extern "C" fn(*const HdCtx, HdStr, u32, u32, u64) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdMessage {
    pub struct_size: u32,
    pub reserved: u32,
    pub id: HdStr,
    pub notice: HdStr,
    pub kind: HdStr,
    pub json: HdStr,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdNotice {
    pub struct_size: u32,
    pub version: u32,
    pub get: Option<unsafe extern "C" fn(*const HdCtx, *mut HdMessage) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdChunk {
    pub struct_size: u32,
    pub kind: u32,
    pub index: u32,
    pub count: u32,
    pub from: u64,
    pub to: u64,
    pub input: i32,
    pub output: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdFanoutSpec {
    pub struct_size: u32,
    pub flags: u32,
    pub items: u64,
    pub chunk: u64,
    pub input: i32,
    pub kind: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HdFanoutDone {
    pub struct_size: u32,
    pub index: u32,
    pub code: HdRet,
    pub output: i32,
    pub size: u64,
    pub cpu_ns: u64,
    pub message: HdStr,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HdFanout {
    pub struct_size: u32,
    pub version: u32,
    pub open: Option<unsafe extern "C" fn(*const HdCtx, *const HdFanoutSpec) -> i32>,
    pub next: Option<unsafe extern "C" fn(*const HdCtx, *mut HdFanoutDone) -> i32>,
    pub close: Option<unsafe extern "C" fn(*const HdCtx)>,
    pub workers: Option<unsafe extern "C" fn(*const HdCtx) -> u32>,
}
