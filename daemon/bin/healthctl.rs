//! healthctl: arguments in, one call, exit code out.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(healthd_ctl::main(
        std::env::args_os(),
        healthd_ctl::Outputs::of_process(),
    ))
}
