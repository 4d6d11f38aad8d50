//! libFuzzer's loop around one target, named by the environment variable `FUZZ_TARGET`.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<healthd_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    healthd_fuzz::TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target"))
        .1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
