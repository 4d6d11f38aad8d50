//! The program `healthd` has its own `pthread_create`, for itself and for the libraries that it loads: see
//! daemon/sys/src/signal_stacks.rs.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Only tried with glibc; and a sanitizer has its own already.
    if var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") && var("CARGO_CFG_SANITIZE").is_err() {
        for arg in [
            "--defsym=pthread_create=healthd_pthread_create",
            "--export-dynamic-symbol=pthread_create",
        ] {
            println!("cargo::rustc-link-arg-bin=healthd=-Wl,{arg}");
        }
    }
}
