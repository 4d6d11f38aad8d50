//! What a worker gives up before it loads a plugin: system calls (`calls`) and the file system (`files`), by the
//! profile of its class. From then on it holds for every thread that this one starts, and for their children.
//!
//! As far as the kernel can: what it could do is told, and a worker never fails to start for it.
//!
//! Runs in: worker, on the thread of the event loop, while it is the only one.
#![forbid(unsafe_code)]

pub mod alone;
mod calls;
mod files;
mod reach;

use healthd_core::wire::sandbox::{Layers, Profile, Sandbox};

/// Puts it on, for this thread and all that it starts.
pub fn put_on(sandbox: &Sandbox) -> Layers {
    let profile = sandbox.profile;
    let careful = profile == Profile::Programs && !sandbox.forced;
    // Both take setuid programs and sudo away from everything below: not from programs of checks that had them.
    if careful && !takes_no_privileges() {
        return Layers::default();
    }
    // Landlock hides other processes' insides, which root's programs could see.
    let hides = sandbox.looks_around || (careful && nix::unistd::geteuid().is_root());
    let mut layers = Layers::default();
    if !hides {
        layers = files::restrict(profile, &sandbox.paths).unwrap_or_else(|e| {
            log::warn!("no sandbox of files  why=\"{e}\"");
            Layers::default()
        });
    }
    match calls::restrict(profile) {
        Ok(()) => layers.calls = true,
        Err(e) => log::warn!("no sandbox of system calls  why=\"{e}\""),
    }
    layers
}

/// Whatever sandbox follows, and where none does: who starts the workers, or looks at a plugin, cannot be killed or stopped by
/// what it has started. This takes nothing else from anybody, sudo neither. It needs CAP_SYS_ADMIN or no_new_privs, as the unit
/// has it; without both it is not there, and nothing is said, as each program that is started would say it.
pub fn spare(parent: u32) {
    if let Err(e) = calls::spare(parent) {
        log::debug!("signals to healthd are not filtered  why=\"{e}\"");
    }
}

fn takes_no_privileges() -> bool {
    nix::sys::prctl::get_no_new_privs().unwrap_or(false)
}
