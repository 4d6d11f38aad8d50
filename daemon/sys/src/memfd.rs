//! Sealed copies: bytes that nobody can change any more, not even who owns the file they came from.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Copies up to `cap` bytes of `from` into a sealed memfd.
pub fn sealed_copy(name: &str, from: &mut impl Read, cap: u64) -> io::Result<OwnedFd> {
    let name = std::ffi::CString::new(name.replace('\0', "")).expect("NULs were taken out");
    let fd = memfd_create(
        name.as_c_str(),
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?;
    let mut file = File::from(fd);
    let copied = io::copy(&mut from.take(cap + 1), &mut file)?;
    if copied > cap {
        return Err(io::Error::other(format!("larger than {} MiB", cap >> 20)));
    }
    file.rewind()?;
    let fd = OwnedFd::from(file);
    seal(&fd)?;
    Ok(fd)
}

/// One that may be written and grown.
pub fn empty(name: &str) -> io::Result<OwnedFd> {
    let name = std::ffi::CString::new(name.replace('\0', "")).expect("NULs were taken out");
    Ok(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?)
}

pub fn sealed_bytes(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    sealed_copy(name, &mut &bytes[..], bytes.len() as u64)
}

/// A copy of a plugin's fd, for chunks of its work to read: a regular file as it is, a memfd sealed.
pub fn shared_input(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: not -1 (checked), and the kernel says EBADF to a number that is no fd. It is borrowed for this
    // function only, during which the plugin that names it is in its call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = borrowed.try_clone_to_owned()?;
    if !File::from(copy.try_clone()?).metadata()?.is_file() {
        return Err(Errno::EINVAL.into());
    }
    match seal(&copy) {
        // Not a memfd, or one that its owner has sealed against seals: it stays as it is.
        Ok(()) | Err(Errno::EINVAL | Errno::EPERM) => Ok(copy),
        Err(e) => Err(e.into()),
    }
}

/// An empty memfd for what one chunk writes.
pub fn output() -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(memfd_create(c"chunk", flags)?)
}

/// From here on nobody can change it. EBUSY: it is still mapped writable.
pub fn seal(fd: &OwnedFd) -> nix::Result<()> {
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    patiently(|| fcntl(fd, FcntlArg::F_ADD_SEALS(seals)).map(drop))
}

/// The kernel says EBUSY also of a file that nobody maps, while it holds a page of it itself (to move it, to look how old
/// it is). It says so after a wait of some 0.1 s; of one that is mapped writable at once. So asking again costs nothing there.
fn patiently(mut seal: impl FnMut() -> nix::Result<()>) -> nix::Result<()> {
    for _ in 0..20 {
        match seal() {
            Err(Errno::EBUSY) => {}
            done => return done,
        }
    }
    seal()
}

pub fn size(fd: &OwnedFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(fd)?.st_size as u64)
}

/// The whole content, read without moving the offset that other holders of the fd share.
pub fn read_all(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let file = File::from(fd.try_clone()?);
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// FNV-1a with a 64-bit finish over the content: names bytes in tables and logs, guards nothing.
pub fn fingerprint(fd: &OwnedFd) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let file = File::from(fd.try_clone()?);
    // A part at a time: a plugin has megabytes, and what is allocated once stays in the heap for long.
    let mut buffer = [0; 16 << 10];
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325u64, 0);
    loop {
        let n = file.read_at(&mut buffer, at)?;
        if n == 0 {
            return Ok(hash);
        }
        for &b in &buffer[..n] {
            hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        at += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_page_that_the_kernel_holds_for_a_moment_is_no_error() {
        let mut busy = 3;
        let mut after = |last: nix::Result<()>| {
            busy -= 1;
            if busy > 0 { Err(Errno::EBUSY) } else { last }
        };
        assert_eq!(patiently(|| after(Ok(()))), Ok(()));
        assert_eq!(patiently(|| after(Err(Errno::EPERM))), Err(Errno::EPERM));
        assert_eq!(patiently(|| Err(Errno::EBUSY)), Err(Errno::EBUSY));
    }

    #[test]
    fn a_sealed_copy_cannot_be_written() {
        let fd = sealed_bytes("test", b"abc").expect("memfd");
        let mut file = File::from(fd.try_clone().expect("dup"));
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
        assert_eq!(read_all(&fd).expect("read"), b"abc");
    }

    #[test]
    fn too_large_is_said() {
        let e = sealed_copy("t", &mut io::repeat(7), 1 << 20).expect_err("capped");
        assert_eq!(e.to_string(), "larger than 1 MiB");
    }
}
