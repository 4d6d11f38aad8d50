//! Files that others could have put there or changed: opened without waiting and without following a link, judged as
//! opened, and read only as far as their reader allows.
//!
//! Used by: every role and healthctl, for what lies in `runtime_dir` and `state_dir`.

use nix::libc;
use nix::unistd::geteuid;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// For reading: a regular file whose owner is root, this user, or the owner of its folder.
pub fn open(path: &Path) -> io::Result<File> {
    open_as(path, OpenOptions::new().read(true))
}

/// The same with the options for access; nothing is truncated before it is judged.
pub fn open_as(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) => refused("it is a symbolic link"),
            Some(libc::ENXIO) => refused("it is no regular file"),
            _ => e,
        })?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(refused("it is no regular file"));
    }
    let uid = meta.uid();
    if !is_trusted(uid, path.parent()) {
        return Err(refused(&format!(
            "it belongs to uid {uid}, who is neither root nor the owner of its folder"
        )));
    }
    Ok(file)
}

/// The whole file. One of more than `most` bytes is refused unread.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    if size > most {
        return Err(refused(&format!(
            "it has {size} bytes, and at most {most} are read"
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // It may grow while it is read.
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole file, which says at its beginning how long it is: `size_of` is given its first `head` bytes.
pub fn read_sized(
    path: &Path,
    head: u64,
    size_of: impl Fn(&[u8]) -> Result<u64, String>,
) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    (&mut file).take(head).read_to_end(&mut bytes)?;
    let said = size_of(&bytes).map_err(|why| refused(&why))?;
    let size = file.metadata()?.len();
    if size != said {
        return Err(refused(&format!(
            "it has {size} bytes where its header says {said}"
        )));
    }
    bytes.reserve_exact(usize::try_from(size.saturating_sub(head)).unwrap_or_default());
    file.take(size.saturating_sub(head))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Root, ourselves, and whoever owns the folder may put there what they like.
pub fn is_trusted(uid: u32, folder: Option<&Path>) -> bool {
    let folder = folder.filter(|f| !f.as_os_str().is_empty());
    let of_folder = || std::fs::metadata(folder.unwrap_or(Path::new("."))).map(|m| m.uid());
    uid == 0 || uid == geteuid().as_raw() || of_folder().is_ok_and(|owner| owner == uid)
}

/// Why a folder (or file) may not be relied on: others than `owners` could change it. None: they could not.
pub fn changed_by_others(meta: &Metadata, owners: &[u32]) -> Option<String> {
    if !owners.contains(&meta.uid()) {
        let allowed: Vec<String> = owners.iter().map(u32::to_string).collect();
        return Some(format!(
            "it belongs to uid {}, and only uid {} may own it",
            meta.uid(),
            allowed.join(" or "),
        ));
    }
    let who = match meta.mode() & 0o022 {
        0 => return None,
        bits if bits & 0o002 != 0 => "everybody",
        _ => "its group",
    };
    let mode = meta.mode() & 0o7777;
    Some(format!("mode {mode:04o} lets {who} change it"))
}

fn refused(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("hd-files-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir(&dir).expect("temp dir");
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn why<T>(result: io::Result<T>) -> String {
        result.err().expect("it is refused").to_string()
    }

    #[test]
    fn a_fifo_a_link_and_a_folder_are_refused_at_once() {
        let dir = Dir::new("kinds");
        let path = dir.0.join("x");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a fifo");
        assert_eq!(why(read(&path, 100)), "it is no regular file");
        let writing = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true);
            open_as(&path, &mut options)
        };
        assert_eq!(why(writing()), "it is no regular file");
        std::fs::remove_file(&path).expect("our own");
        symlink("/dev/zero", &path).expect("a link");
        assert_eq!(why(read(&path, 100)), "it is a symbolic link");
        std::fs::remove_file(&path).expect("our own");
        std::fs::create_dir(&path).expect("a folder");
        assert_eq!(why(read(&path, 100)), "it is no regular file");
    }

    #[test]
    fn a_file_without_end_is_not_read() {
        let dir = Dir::new("size");
        let path = dir.0.join("x");
        File::create(&path)
            .and_then(|f| f.set_len(1 << 40))
            .expect("a hole costs nothing");
        assert!(why(read(&path, 100)).starts_with("it has 1099511627776 bytes"));
        std::fs::write(&path, "short").expect("our own");
        assert_eq!(read(&path, 5).expect("it fits"), b"short");
    }

    #[test]
    fn a_file_has_the_size_that_it_claims() {
        let dir = Dir::new("sized");
        let path = dir.0.join("x");
        let read = || read_sized(&path, 1, |head| Ok(u64::from(head[0])));
        std::fs::write(&path, b"\x03ab").expect("our own");
        assert_eq!(read().expect("as it says"), b"\x03ab");
        std::fs::write(&path, b"\x03abc").expect("our own");
        assert_eq!(why(read()), "it has 4 bytes where its header says 3");
    }

    #[test]
    fn a_stranger_s_file_is_refused_except_in_a_folder_of_his_own() {
        if !geteuid().is_root() {
            return;
        }
        let dir = Dir::new("owner");
        let path = dir.0.join("x");
        std::fs::write(&path, "").expect("our own");
        chown(&path, Some(4242), None).expect("we are root");
        assert!(why(open(&path)).starts_with("it belongs to uid 4242"));
        chown(&dir.0, Some(4242), None).expect("we are root");
        assert!(open(&path).is_ok());
    }

    #[test]
    fn what_others_may_write_is_named() {
        let dir = Dir::new("mode");
        let own = [geteuid().as_raw()];
        let with = |mode: u32| {
            std::fs::set_permissions(&dir.0, PermissionsExt::from_mode(mode)).expect("our own");
            changed_by_others(&std::fs::metadata(&dir.0).expect("it is there"), &own)
        };
        assert_eq!(with(0o750), None);
        assert_eq!(
            with(0o770).as_deref(),
            Some("mode 0770 lets its group change it")
        );
        let all = with(0o1777);
        assert_eq!(all.as_deref(), Some("mode 1777 lets everybody change it"));
    }
}
