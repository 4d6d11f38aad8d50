//! The export macro and what it expands to: descriptors and the entry functions behind them.

use crate::barrier::{catch, guard, guard_silent, install_hooks};
use crate::check::{BlockingCheck, Check};
use crate::cx::{Cx, RunScope};
use crate::fanout::{Chunk, Fanout};
use crate::host;
use crate::options::Options;
use crate::task;
use healthd_abi::{self as abi, HdChunk, HdCtx, HdEvent, HdHost, HdPlugin, HdRet, HdStr};
use std::ffi::c_void;
use std::ptr::null;
use std::sync::OnceLock;

/// What [`plugins!`](crate::plugins!) takes between its braces: `name` and `summary` are required, the rest has
/// defaults.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// As in `plugin = "..."` of the config: lower-case letters, digits, `_` and `-`.
    pub name: &'static str,
    /// One line for `healthctl plugins`.
    pub summary: &'static str,
    /// The timeout of a check that configures none; 10 s by default.
    pub default_timeout_ms: u32,
    /// `abi::F_...`. By default runs of one instance may overlap (`F_INSTANCE_MT`), which `Sync` makes safe.
    pub flags: u64,
    /// Run lane: the stack `run` needs, in KiB; 0: the host's choice.
    pub stack_kib: u32,
    /// So many runs at once in a worker; 0: the host's choice.
    pub max_inflight: u32,
    pub version: &'static str,
    pub vendor: &'static str,
    pub license: &'static str,
}

impl Descriptor {
    pub const DEFAULT: Descriptor = Descriptor {
        name: "",
        summary: "",
        default_timeout_ms: 10_000,
        flags: abi::F_INSTANCE_MT,
        stack_kib: 0,
        max_inflight: 0,
        version: "",
        vendor: "",
        license: "",
    };
}

/// The base for `cpu` plugins: computing takes longer than waiting.
pub const CPU_DEFAULT: Descriptor = Descriptor {
    default_timeout_ms: 60_000,
    ..Descriptor::DEFAULT
};

/// Exports the plugins of this library. Once per crate.
///
/// The word before the type picks the lane: `step` (a [`Check`] that waits on the network), `exec` (a [`Check`] that
/// mostly waits for [`Cx::exec`]), `run` (a [`BlockingCheck`] that blocks), `cpu` (a [`BlockingCheck`] that computes), `fanout`
/// (one that spreads its work over all cores: a [`Fanout`](crate::Fanout)).
/// Between the braces stand fields of [`Descriptor`]. A plugin that can be left out has its `#[cfg(feature = "...")]` before
/// the word.
///
/// ```
/// # use healthd_plugin::{Check, Cx, Status, plugins};
/// struct Hello;
/// impl Check for Hello {
///     type Options = ();
///     fn create(_: (), _: Cx<'_>) -> Result<Self, String> { Ok(Hello) }
///     async fn check(&self, cx: Cx<'_>) -> Status { cx.ok("hello") }
/// }
/// plugins! {
///     step Hello { name: "hello", summary: "always fine", default_timeout_ms: 1_000 }
/// }
/// ```
#[macro_export]
macro_rules! plugins {
    ($( $(#[$meta:meta])* $lane:ident $check:ty { $($key:ident : $value:expr),+ $(,)? } )+) => {
        /// The one symbol the host looks up.
        #[unsafe(no_mangle)]
        pub extern "C" fn hd_plugin_v1(index: u32) -> *const $crate::abi::HdPlugin {
            static ALL: $crate::export::Descriptors = $crate::export::Descriptors::new();
            ALL.get(index, || {
                let mut all = ::std::vec::Vec::new();
                $(
                    $(#[$meta])*
                    all.push($crate::plugins!(@ $lane $check, $crate::Descriptor {
                        version: env!("CARGO_PKG_VERSION"),
                        license: env!("CARGO_PKG_LICENSE"),
                        $($key: $value,)+
                        ..$crate::plugins!(@base $lane)
                    }));
                )+
                all
            })
        }
    };
    (@base cpu) => { $crate::CPU_DEFAULT };
    (@base fanout) => { $crate::CPU_DEFAULT };
    (@base $lane:ident) => { $crate::Descriptor::DEFAULT };
    (@ step $check:ty, $d:expr) => { $crate::export::step_lane::<$check>($d, $crate::abi::WL_IO) };
    (@ exec $check:ty, $d:expr) => { $crate::export::step_lane::<$check>($d, $crate::abi::WL_EXEC) };
    (@ run $check:ty, $d:expr) => { $crate::export::run_lane::<$check>($d, $crate::abi::WL_BLOCK) };
    (@ cpu $check:ty, $d:expr) => { $crate::export::run_lane::<$check>($d, $crate::abi::WL_CPU) };
    (@ fanout $check:ty, $d:expr) => { $crate::export::fanout_lane::<$check>($d) };
}

/// A library's descriptors, made at the first call and kept for ever.
pub struct Descriptors(OnceLock<Vec<HdPlugin>>);

impl Descriptors {
    #[allow(
        clippy::new_without_default,
        reason = "only the macro makes one, in a static"
    )]
    pub const fn new() -> Self {
        Descriptors(OnceLock::new())
    }

    pub fn get(&self, index: u32, make: impl FnOnce() -> Vec<HdPlugin>) -> *const HdPlugin {
        catch(|| {
            self.0
                .get_or_init(make)
                .get(index as usize)
                .map_or(null(), |p| &raw const *p)
        })
        .unwrap_or(null())
    }
}

pub fn step_lane<C: Check>(d: Descriptor, workload: u32) -> HdPlugin {
    let flags = if workload == abi::WL_EXEC {
        d.flags | abi::F_NEEDS_EXEC
    } else {
        d.flags
    };
    HdPlugin {
        create: Some(create::<Step<C>>),
        destroy: Some(destroy::<C>),
        start: Some(start::<C>),
        step: Some(step),
        drop: Some(drop_task),
        ..base::<C::Options>(Descriptor { flags, ..d }, workload)
    }
}

pub fn run_lane<C: BlockingCheck>(d: Descriptor, workload: u32) -> HdPlugin {
    HdPlugin {
        create: Some(create::<Run<C>>),
        destroy: Some(destroy::<C>),
        run: Some(run::<C>),
        ..base::<C::Options>(d, workload)
    }
}

pub fn fanout_lane<C: Fanout>(d: Descriptor) -> HdPlugin {
    HdPlugin {
        // A host of 1.0 would never call `chunk`, and has no fan-out to offer.
        abi_min_minor: 1,
        chunk: Some(chunk::<C>),
        ..run_lane::<C>(d, abi::WL_CPU)
    }
}

fn base<O: Options>(d: Descriptor, workload: u32) -> HdPlugin {
    HdPlugin {
        magic: abi::MAGIC,
        struct_size: size_of::<HdPlugin>() as u32,
        abi_minor: abi::ABI_MINOR,
        abi_min_minor: 0,
        flags: d.flags,
        workload,
        default_timeout_ms: d.default_timeout_ms,
        max_inflight: d.max_inflight,
        stack_kib: d.stack_kib,
        name: HdStr::new(d.name),
        version: HdStr::new(d.version),
        summary: HdStr::new(d.summary),
        vendor: HdStr::new(d.vendor),
        license: HdStr::new(d.license),
        build: HdStr::new(concat!("healthd-plugin ", env!("CARGO_PKG_VERSION"))),
        // Leaked once per library: a descriptor is static data by contract.
        config_schema: HdStr::new(Box::leak(O::schema().into_boxed_str())),
        init: Some(init),
        create: None,
        destroy: None,
        run: None,
        start: None,
        step: None,
        drop: None,
        chunk: None,
    }
}

/// The two traits' `create` under one name.
trait Create {
    type Options: Options;
    type Instance;
    fn create(options: Self::Options, cx: Cx<'_>) -> Result<Self::Instance, String>;
}

struct Step<C>(C);
struct Run<C>(C);

impl<C: Check> Create for Step<C> {
    type Options = C::Options;
    type Instance = C;
    fn create(options: C::Options, cx: Cx<'_>) -> Result<C, String> {
        C::create(options, cx)
    }
}

impl<C: BlockingCheck> Create for Run<C> {
    type Options = C::Options;
    type Instance = C;
    fn create(options: C::Options, cx: Cx<'_>) -> Result<C, String> {
        C::create(options, cx)
    }
}

// ---- entries: called by the host alone, which keeps the promises of healthd_plugin.h ----

unsafe extern "C" fn init(table: *const HdHost) -> HdRet {
    guard(null(), || {
        // SAFETY: the host passes its table, which lives for ever.
        let r = unsafe { host::install(table) };
        if r == abi::OK {
            install_hooks();
        }
        r
    })
}

unsafe extern "C" fn create<C: Create>(
    ctx: *const HdCtx,
    config: HdStr,
    out: *mut *mut c_void,
) -> HdRet {
    guard(ctx, || {
        // SAFETY: the ctx of this call, on its thread; in create there is no task.
        let cx = unsafe { Cx::new(ctx, null()) };
        // SAFETY: the host's string, valid for this call.
        let json = unsafe { config.as_bytes() };
        match C::Options::parse(json).and_then(|options| C::create(options, cx)) {
            Ok(instance) => {
                // SAFETY: out is writable for the length of the call.
                unsafe { *out = Box::into_raw(Box::new(instance)).cast() };
                abi::OK
            }
            Err(why) => {
                cx.message(why);
                abi::E_CONFIG
            }
        }
    })
}

unsafe extern "C" fn destroy<C>(instance: *mut c_void) {
    if !instance.is_null() {
        // SAFETY: made by `create` for this C, and the host does not use it again.
        guard_silent(|| drop(unsafe { Box::from_raw(instance.cast::<C>()) }));
    }
}

unsafe extern "C" fn run<C: BlockingCheck>(instance: *mut c_void, ctx: *const HdCtx) -> HdRet {
    guard(ctx, || {
        // SAFETY: made by `create` for this C; the host destroys no instance that runs, and C is Sync.
        let check = unsafe { &*instance.cast::<C>() };
        // SAFETY: the ctx of this call, on its thread; the run lane has no task.
        let cx = unsafe { Cx::new(ctx, null()) };
        // SAFETY: the scope ends with this call, and so does the ctx at the earliest.
        let _scope = unsafe { RunScope::enter(ctx) };
        check.run(cx).to_abi()
    })
}

unsafe extern "C" fn chunk<C: Fanout>(
    instance: *mut c_void,
    ctx: *const HdCtx,
    chunk: *const HdChunk,
) -> HdRet {
    guard(ctx, || {
        // SAFETY: made by `create` for this C; the host destroys no instance that runs, and C is Sync.
        let check = unsafe { &*instance.cast::<C>() };
        // SAFETY: the ctx of this call, on its thread; the run lane has no task.
        let cx = unsafe { Cx::new(ctx, null()) };
        // SAFETY: the scope ends with this call, and so does the ctx at the earliest.
        let _scope = unsafe { RunScope::enter(ctx) };
        // SAFETY: the host's chunk, which it keeps for the length of this call.
        match unsafe { Chunk::new(chunk) } {
            Some(mut chunk) => check.chunk(cx, &mut chunk).to_abi(),
            None => abi::E_UNSUPPORTED,
        }
    })
}

unsafe extern "C" fn start<C: Check>(
    instance: *mut c_void,
    ctx: *const HdCtx,
    out: *mut *mut c_void,
) -> HdRet {
    // SAFETY: made by `create` for this C. 'static is honest only because the host keeps instance and ctx until
    // drop(task) has returned, and the future ends there.
    let check: &'static C = unsafe { &*instance.cast::<C>() };
    // SAFETY: the host's ctx and out; see above for their lives.
    unsafe { task::start(ctx, out, |cx| check.check(cx)) }
}

unsafe extern "C" fn step(
    task: *mut c_void,
    ctx: *const HdCtx,
    events: *const HdEvent,
    n: usize,
) -> HdRet {
    // SAFETY: the host passes the task that `start` made and its own events.
    unsafe { task::step(task, ctx, events, n) }
}

unsafe extern "C" fn drop_task(task: *mut c_void) {
    // SAFETY: the host passes the task that `start` made, once.
    unsafe { task::drop(task) }
}
