//! The calls into a plugin. The types here keep the order that the header promises: an instance outlives
//! its runs, a task is dropped exactly once, and no call is made on what is gone.

use crate::context::Context;
use crate::descriptor::Descriptor;
use crate::guarded::{self, pointer};
use crate::host::{Event, exec_done, services};
use crate::shared::{lock_done, with_map_reply};
use healthd_abi::{self as abi, HdAddrs, HdEvent, HdPlugin, HdRet, HdStr};
use std::ffi::c_void;
use std::net::IpAddr;
use std::sync::Arc;

/// One plugin of a loaded library; lives as long as the process.
pub struct Plugin {
    pub descriptor: Descriptor,
    pub(crate) raw: HdPlugin,
}

/// A configured check as the plugin knows it. Runs and tasks hold it too; the last to let go may be the event loop, so
/// what is left goes to `Services::ended`, which has `destroy` called elsewhere.
pub struct Instance {
    ptr: *mut c_void,
    plugin: &'static Plugin,
    owner: Owner,
}

/// Whose an instance is, in the worker's numbers.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub plugin: u16,
    pub check: u32,
}

/// An instance that nobody holds any more. Its plugin's `destroy` is owed, and may block.
pub struct Ended {
    ptr: *mut c_void,
    plugin: &'static Plugin,
    pub owner: Owner,
}

// SAFETY: by contract create, run and destroy may come from different threads; that one instance is in one
// call at a time (unless it allows more) is the worker's business, and a data race in a plugin that was
// promised less is the plugin's own.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}
// SAFETY: as above; nobody else has the pointer any more.
unsafe impl Send for Ended {}

impl Plugin {
    pub fn create(
        &'static self,
        cx: &Context,
        config: &str,
        owner: Owner,
    ) -> Result<Arc<Instance>, HdRet> {
        let create = self
            .raw
            .create
            .expect("checked when the descriptor was read");
        let mut ptr: *mut c_void = std::ptr::null_mut();
        // SAFETY: context and config live through the call; `ptr` is written before it returns OK.
        let config = HdStr::new(config);
        let words = [
            pointer(cx.entered()),
            pointer(config.ptr),
            config.len,
            pointer(&raw mut ptr),
            0,
        ];
        // SAFETY: as above.
        let ret = unsafe { guarded::call(create as *const _, words) };
        cx.left();
        match ret {
            abi::OK => Ok(Arc::new(Instance {
                ptr,
                plugin: self,
                owner,
            })),
            ret => Err(ret),
        }
    }

    /// May several runs of one instance be in flight at once?
    pub fn instance_mt(&self) -> bool {
        self.descriptor.flags & abi::F_INSTANCE_MT != 0
    }
}

impl Instance {
    /// Blocks until the plugin returns.
    pub fn run(&self, cx: &Context) -> HdRet {
        let run = self.plugin.raw.run.expect("only run-lane plugins are run");
        // SAFETY: the instance is alive (self), the context is ours for the length of the call.
        let ret = unsafe {
            guarded::call(
                run as *const _,
                [pointer(self.ptr), pointer(cx.entered()), 0, 0, 0],
            )
        };
        cx.left();
        ret
    }

    /// Begins a step-lane run: a final status, or the task that goes on.
    pub fn start(self: Arc<Self>, cx: Box<Context>) -> Started {
        let start = self
            .plugin
            .raw
            .start
            .expect("only step-lane plugins are started");
        let mut task: *mut c_void = std::ptr::null_mut();
        // SAFETY: instance and context are alive, and both go into the Task that keeps them so.
        let words = [
            pointer(self.ptr),
            pointer(cx.entered()),
            pointer(&raw mut task),
            0,
            0,
        ];
        // SAFETY: as above.
        let ret = unsafe { guarded::call(start as *const _, words) };
        cx.left();
        match (ret, task.is_null()) {
            (abi::PENDING, true) => Started::Done(abi::E_INTERNAL, cx),
            (abi::PENDING, false) => Started::Task(Task {
                ptr: task,
                instance: self,
                cx: Some(cx),
            }),
            // With a final status no task exists, whatever was written there.
            (ret, true) | (ret @ 0.., false) => Started::Done(ret, cx),
            (ret, false) => {
                // A task beside an error code: by contract it exists, and drop is called.
                let task = Task {
                    ptr: task,
                    instance: self,
                    cx: Some(cx),
                };
                Started::Done(ret, task.finish())
            }
        }
    }

    pub fn plugin(&self) -> &'static Plugin {
        self.plugin
    }

    pub(crate) fn ptr(&self) -> *mut c_void {
        self.ptr
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let ended = Ended {
            ptr: self.ptr,
            plugin: self.plugin,
            owner: self.owner,
        };
        match services() {
            Some(services) => services.ended(ended),
            // Nobody has given plugins a host: then there is no event loop either.
            None => ended.destroy(),
        }
    }
}

impl Ended {
    pub fn plugin(&self) -> &'static Plugin {
        self.plugin
    }

    /// Blocks until the plugin returns.
    pub fn destroy(self) {
        let destroy = self
            .plugin
            .raw
            .destroy
            .expect("checked when the descriptor was read");
        // SAFETY: made by this plugin's create, and `self` is gone after this: no run or task holds it any more.
        unsafe { guarded::call(destroy as *const _, [pointer(self.ptr), 0, 0, 0, 0]) };
    }
}

pub enum Started {
    Done(HdRet, Box<Context>),
    Task(Task),
}

/// A resumable run. Dropping it is the plugin's `drop`.
pub struct Task {
    ptr: *mut c_void,
    instance: Arc<Instance>,
    /// None only while `finish` takes it out.
    cx: Option<Box<Context>>,
}

impl Task {
    /// Why the task is resumed lives until the call returns; nothing of it may be kept.
    pub fn step(&mut self, event: &Event) -> HdRet {
        let mut raw = HdEvent {
            kind: 0,
            ready: 0,
            fd: -1,
            token: 0,
            data: std::ptr::null(),
        };
        match event {
            Event::Timer => self.context().has_timer(false),
            Event::Resolved { .. } | Event::Map { .. } | Event::Lock { .. } | Event::Exec(_) => {
                self.context().answered();
            }
            Event::Io { .. } | Event::Wake => {}
        }
        match event {
            Event::Io { fd, ready } => {
                raw.kind = abi::EV_IO;
                raw.fd = *fd;
                raw.ready = *ready;
                self.call(&raw)
            }
            Event::Timer => {
                raw.kind = abi::EV_TIMER;
                self.call(&raw)
            }
            Event::Wake => {
                raw.kind = abi::EV_WAKE;
                self.call(&raw)
            }
            Event::Resolved { token, found } => {
                let ips = found.as_deref().unwrap_or_default();
                let failed = found.as_ref().err();
                let slots: Vec<libc::sockaddr_in6> = ips.iter().map(sockaddr).collect();
                let header = HdAddrs {
                    struct_size: size_of::<HdAddrs>() as u32,
                    error: failed.map_or(0, |f| f.error),
                    n: slots.len() as u32,
                    stride: size_of::<libc::sockaddr_in6>() as u32,
                    sockaddrs: slots.as_ptr().cast(),
                    deadline_ns: self.context().moved_deadline(),
                    reason: failed.map_or(HdStr::EMPTY, |f| HdStr::new(&f.reason)),
                    own: failed.map_or(0, |f| u32::from(f.own)),
                    reserved: 0,
                };
                raw.kind = abi::EV_RESOLVED;
                raw.token = *token;
                raw.data = (&raw const header).cast();
                self.call(&raw)
            }
            Event::Map { token, reply } => with_map_reply(reply, |header| {
                raw.kind = abi::EV_EXT;
                raw.token = *token;
                raw.data = std::ptr::from_ref(header).cast();
                self.call(&raw)
            }),
            Event::Lock { token, error } => {
                let header = lock_done(*error);
                raw.kind = abi::EV_EXT;
                raw.token = *token;
                raw.data = (&raw const header).cast();
                self.call(&raw)
            }
            Event::Exec(done) => {
                // Before it is cut into lines and to length: half a secret is found no more.
                let cx = self.context();
                let (out, err) = (cx.clean_bytes(&done.out), cx.clean_bytes(&done.err));
                let header = abi::HdExecDone {
                    out: HdStr::from_bytes(&out),
                    err: HdStr::from_bytes(&err),
                    ..exec_done(done)
                };
                raw.kind = abi::EV_EXT;
                raw.token = done.token;
                raw.data = (&raw const header).cast();
                self.call(&raw)
            }
        }
    }

    fn call(&mut self, event: &HdEvent) -> HdRet {
        let step = self
            .instance
            .plugin
            .raw
            .step
            .expect("only step-lane plugins are started");
        let cx = self.cx.as_ref().expect("taken only by finish");
        // SAFETY: task, instance and context are alive (self); the event lives until the call returns.
        let words = [
            pointer(self.ptr),
            pointer(cx.entered()),
            pointer(event),
            1,
            0,
        ];
        // SAFETY: as above.
        let ret = unsafe { guarded::call(step as *const _, words) };
        cx.left();
        ret
    }

    pub fn context(&self) -> &Context {
        self.cx.as_ref().expect("taken only by finish")
    }

    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Drops the task and gives the context back: what was said in it is still to be read.
    pub fn finish(mut self) -> Box<Context> {
        self.drop_task();
        self.cx.take().expect("taken only here")
    }

    fn drop_task(&mut self) {
        let drop = self
            .instance
            .plugin
            .raw
            .drop
            .expect("only step-lane plugins are started");
        if let Some(cx) = &self.cx {
            // The plugin may still say things (io_unwatch) while its task is dropped.
            cx.entered();
            // SAFETY: made by this plugin's start, dropped once (`ptr` is not used again).
            unsafe { guarded::call(drop as *const _, [pointer(self.ptr), 0, 0, 0, 0]) };
            cx.left();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.drop_task();
    }
}

/// A slot that is wide enough for both families.
fn sockaddr(ip: &IpAddr) -> libc::sockaddr_in6 {
    match ip {
        IpAddr::V6(v6) => libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr {
                s6_addr: v6.octets(),
            },
            sin6_scope_id: 0,
        },
        // sockaddr_in has family, port and address in its first eight bytes; in sockaddr_in6 the flow label
        // stands where the IPv4 address does, so the layout of the one can be written through the other.
        IpAddr::V4(v4) => libc::sockaddr_in6 {
            sin6_family: libc::AF_INET as libc::sa_family_t,
            sin6_port: 0,
            sin6_flowinfo: u32::from_ne_bytes(v4.octets()),
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
    }
}
