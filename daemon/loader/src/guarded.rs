//! Calls that no C++ exception leaves. In a caller written in Rust it would end as "Rust cannot catch foreign exceptions",
//! which tells nobody anything; here the unwinder finds no way out, and the exception's own runtime calls
//! std::terminate, while it still knows what was thrown. `last_words` keeps what it says.
//!
//! The frame of such a call is a few instructions of ours whose personality answers that the search has failed. On
//! other processors the call is a plain one.

use healthd_abi::HdRet;
use std::ffi::c_void;

/// The words of up to five arguments; what a function does not take is not looked at.
pub type Words = [usize; 5];

pub fn pointer<T: ?Sized>(to: *const T) -> usize {
    to.cast::<c_void>() as usize
}

/// What a function that returns nothing "returns" means nothing.
///
/// # Safety
/// `function` takes these arguments, each a word (an `hd_str` is two), and all that its own contract asks for holds.
pub unsafe fn call(function: *const c_void, [a, b, c, d, e]: Words) -> HdRet {
    // SAFETY: as this function's caller has promised.
    unsafe { frame::healthd_guarded_call(a, b, c, d, e, function) }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod frame {
    use healthd_abi::HdRet;
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        pub fn healthd_guarded_call(
            a: usize,
            b: usize,
            c: usize,
            d: usize,
            e: usize,
            function: *const c_void,
        ) -> HdRet;
    }

    #[cfg(target_arch = "x86_64")]
    std::arch::global_asm!(
        ".text",
        ".p2align 4",
        ".globl healthd_guarded_call",
        ".hidden healthd_guarded_call",
        ".type healthd_guarded_call,@function",
        "healthd_guarded_call:",
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "call r9",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        ".size healthd_guarded_call, . - healthd_guarded_call",
        personality = sym no_way_out,
    );

    #[cfg(target_arch = "aarch64")]
    std::arch::global_asm!(
        ".text",
        ".p2align 4",
        ".globl healthd_guarded_call",
        ".hidden healthd_guarded_call",
        ".type healthd_guarded_call,@function",
        "healthd_guarded_call:",
        ".cfi_startproc",
        ".cfi_personality 0x1b, {personality}",
        "stp x29, x30, [sp, -16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset 29, -16",
        ".cfi_offset 30, -8",
        "mov x29, sp",
        "blr x5",
        "ldp x29, x30, [sp], 16",
        ".cfi_def_cfa_offset 0",
        ".cfi_restore 29",
        ".cfi_restore 30",
        "ret",
        ".cfi_endproc",
        ".size healthd_guarded_call, . - healthd_guarded_call",
        personality = sym no_way_out,
    );

    const SEARCH_PHASE: c_int = 1;
    const FORCED: c_int = 8;
    const FATAL_PHASE1_ERROR: c_int = 3;
    const CONTINUE_UNWIND: c_int = 8;

    /// The Itanium C++ ABI's personality routine: an exception ends its search here; pthread_exit(3), which asks for
    /// nobody's consent, goes on.
    extern "C" fn no_way_out(
        _version: c_int,
        actions: c_int,
        _class: u64,
        _exception: *mut c_void,
        _context: *mut c_void,
    ) -> c_int {
        match actions & SEARCH_PHASE != 0 && actions & FORCED == 0 {
            true => FATAL_PHASE1_ERROR,
            false => CONTINUE_UNWIND,
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod frame {
    use healthd_abi::HdRet;
    use std::ffi::c_void;

    type Function = unsafe extern "C" fn(usize, usize, usize, usize, usize) -> HdRet;

    pub unsafe fn healthd_guarded_call(
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
        function: *const c_void,
    ) -> HdRet {
        // SAFETY: a function pointer by the caller's promise; its arguments are words.
        let function: Function = unsafe { std::mem::transmute(function) };
        // SAFETY: as the caller has promised.
        unsafe { function(a, b, c, d, e) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn sum(a: usize, b: usize, c: usize, d: usize, e: usize) -> HdRet {
        (a + 2 * b + 3 * c + 4 * d + 5 * e) as HdRet
    }

    #[test]
    fn arguments_and_result_pass_through() {
        let function = sum as extern "C" fn(usize, usize, usize, usize, usize) -> HdRet;
        // SAFETY: it takes five words.
        let sum = unsafe { call(function as *const c_void, [1, 10, 100, 1_000, 10_000]) };
        assert_eq!(sum, 54_321);
    }
}
