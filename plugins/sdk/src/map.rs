//! Memory files that nobody can change any more, as slices. A mapping outlives the descriptor that it was made from.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// The bytes of a sealed memory file, without a copy.
#[derive(Debug)]
pub struct Mapped {
    /// Dangling when there are none.
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: memory that nobody can write, read through shared references only.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    pub(crate) fn empty() -> Mapped {
        Mapped {
            at: NonNull::dangling(),
            len: 0,
        }
    }

    /// Refuses what somebody could still write or cut: a slice of it would not be one.
    pub(crate) fn sealed(fd: BorrowedFd<'_>) -> io::Result<Mapped> {
        const NEEDED: i32 = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK;
        // SAFETY: only asks about the fd.
        let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & NEEDED != NEEDED {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a sealed memory file: read it by its fd",
            ));
        }
        // SAFETY: plain data, for which zeroes are valid.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` is writable.
        if unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let len = usize::try_from(stat.st_size).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(Mapped::empty());
        }
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapped { at, len })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped until drop, `len` bytes long; the seals promise that nobody writes or cuts it.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: our own mapping, not used again.
            unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
        }
    }
}
