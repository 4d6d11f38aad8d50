//! A filter of system calls by itself. What usually puts one on also sets no_new_privs, which takes sudo away.

use std::io;

/// For this thread and all that it starts, for good. Needs CAP_SYS_ADMIN or no_new_privs; else it fails with EACCES.
pub fn put_on(program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = program.as_mut_ptr();
    let program = libc::sock_fprog { len, filter };
    // SAFETY: the kernel copies `len` instructions from `filter`, which are borrowed until the call returns, and changes none.
    let r = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    match r {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
