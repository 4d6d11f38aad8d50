//! One daemon a runtime folder: the lock that says so, and the control socket that only its holder makes.

use crate::refusal::{Refusal, exit};
use crate::start::plain;
use healthd_core::config::{SOCKET_NAME, SOCKET_PATH_MAX};
use healthd_sys::{files, unix_socket};
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::unistd::{Gid, fchownat};
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Held as long as the daemon lives; the kernel gives it back however we end.
pub struct Instance {
    lock: Flock<File>,
    dir: PathBuf,
    /// The socket that we have made.
    socket: Option<Place>,
}

/// Device and number: what a name leads to.
type Place = (u64, u64);

fn place(path: &Path) -> Option<Place> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

const LOCK_FILE: &str = "healthd.pid";
const LOCK_MODE: u32 = 0o600;
const SOCKET_MODE: u32 = 0o660;

impl Instance {
    pub fn claim(dir: &Path) -> Result<Instance, Refusal> {
        let path = dir.join(LOCK_FILE);
        remove_what_is_no_file(&path);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        // Who may open it may lock it, and so keep us from starting.
        options.mode(LOCK_MODE);
        let file = files::open_as(&path, &mut options).map_err(|e| {
            let owner = fs::symlink_metadata(&path).map(|m| m.uid());
            let help = match owner {
                Ok(uid) => format!("it belongs to uid {uid}: remove it if no healthd runs"),
                Err(_) => "the folder has to be writable for healthd's user".into(),
            };
            let message = format!("cannot open {}: {}", path.display(), plain(&e));
            Refusal::new(exit::CANNOT_CREATE, message).help(help)
        })?;
        let mut lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(file, _)| {
                let who = match pid_in(file) {
                    Some(pid) => format!("as pid {pid}"),
                    None => "as a process that could not leave its number".into(),
                };
                let message = format!("healthd runs already in {} {who}", dir.display());
                let help = match dir.ends_with(Path::new(crate::here::FOLDER).join("run")) {
                    true => {
                        "`healthctl --here stop` ends it; a second one is started in another folder"
                    }
                    false => {
                        "`healthctl stop` ends it; a second daemon needs a `runtime_dir` of its own"
                    }
                };
                Refusal::new(exit::ALREADY_RUNNING, message).help(help)
            })?;
        let written = lock
            .set_permissions(Permissions::from_mode(LOCK_MODE))
            .and_then(|()| lock.set_len(0))
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        if let Err(e) = written {
            // The lock is what counts; the number only helps whoever comes second.
            log::warn!(
                "pid not written  file={} why=\"{}\"",
                path.display(),
                plain(&e)
            );
        }
        remove_old_maps(dir);
        let dir = dir.to_owned();
        let socket = None;
        Ok(Instance { lock, dir, socket })
    }

    /// Does the lock's name still lead to what we hold?
    pub fn is_locked(&self) -> bool {
        let held = self.lock.metadata().map(|m| (m.dev(), m.ino())).ok();
        held.is_some() && held == place(&self.dir.join(LOCK_FILE))
    }

    /// Does a client that comes now come to us?
    pub fn is_reached(&self) -> bool {
        self.socket.is_some() && self.socket == place(&self.socket())
    }

    fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET_NAME)
    }

    /// Replaces the socket of a daemon that is no more: we hold the lock, so nobody listens there.
    pub fn listen(&mut self, group: Option<Gid>) -> Result<UnixListener, Refusal> {
        let path = self.socket();
        let refuse = |what: String| Refusal::new(exit::CANNOT_CREATE, what);
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            // A relative runtime_dir grew by the folder that we were started in.
            let message = format!(
                "the socket's path is too long: {} has {length} bytes, the system takes {SOCKET_PATH_MAX}",
                path.display()
            );
            let most = SOCKET_PATH_MAX - SOCKET_NAME.len() - 1;
            return Err(Refusal::new(exit::BAD_CONFIG, message)
                .help(format!("choose a `runtime_dir` of at most {most} bytes")));
        }
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.file_type().is_socket() => {
                fs::remove_file(&path).map_err(|e| {
                    refuse(format!("cannot replace {}: {}", path.display(), plain(&e)))
                })?;
            }
            Ok(_) => {
                let message = format!("{} is there and is no socket", path.display());
                return Err(refuse(message).help("move it away"));
            }
            Err(_) => {}
        }
        let listener = unix_socket::listen(&path, SOCKET_MODE).map_err(|e| {
            refuse(format!(
                "cannot listen on {}: {}",
                path.display(),
                plain(&e)
            ))
        })?;
        if let Some(group) = group {
            // A socket that only root and the daemon's user reach is no reason to watch nothing.
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            if let Err(e) = fchownat(AT_FDCWD, &path, None, Some(group), flags) {
                log::error!(
                    "the control socket cannot be given to its group, whose members do not reach it  path={} why=\"{e}\" help=\"the unit needs SystemCallFilter=@chown, see healthd.service.d/control-group.conf\"",
                    path.display()
                );
            }
        }
        self.socket = place(&path);
        Ok(listener)
    }

    /// At the end of a daemon's life. The lock file stays: whoever removed it could remove another's.
    pub fn leave(mut self) {
        let _ = fs::remove_file(self.socket());
        remove_old_maps(&self.dir);
        let _ = self.lock.set_len(0);
        let _ = self.lock.flush();
    }
}

/// In our own folder nobody but a process of ours can have left a fifo, a link or a socket of this name, and it would
/// keep every later daemon from starting.
fn remove_what_is_no_file(path: &Path) {
    let kind = fs::symlink_metadata(path).map(|m| m.file_type());
    if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_dir()) {
        log::warn!("removed, as it is no file  path={}", path.display());
        let _ = fs::remove_file(path);
    }
}

fn pid_in(mut file: File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The maps of workers that are no more; the state map is the manager's, and outlives us.
pub fn remove_old_maps(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A process that was killed while it made a map leaves `NAME.newPID`.
        let half = name
            .rsplit_once(".new")
            .is_some_and(|(_, pid)| pid.bytes().all(|b| b.is_ascii_digit()));
        if half || (name.starts_with("worker.") && name.ends_with(".map")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let dir = std::env::temp_dir().join(format!("hd-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).expect("temp dir");
            Dir(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refused<T>(result: Result<T, Refusal>) -> Refusal {
        result.err().expect("it is refused")
    }

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = Dir::new("lock");
        let first = Instance::claim(&dir.0).expect("the first");
        let second = refused(Instance::claim(&dir.0));
        assert_eq!(second.code, exit::ALREADY_RUNNING);
        let pid = std::process::id();
        let told = format!("healthd runs already in {} as pid {pid}", dir.0.display());
        assert_eq!(second.message, told);
        first.leave();
        Instance::claim(&dir.0).expect("the lock is free again");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_anything_else_is_not() {
        let dir = Dir::new("socket");
        let mut instance = Instance::claim(&dir.0).expect("the lock");
        let path = dir.0.join(SOCKET_NAME);
        drop(unix_socket::listen(&path, 0o600).expect("the one before us"));
        assert!(UnixStream::connect(&path).is_err(), "nobody listens");

        let listener = instance.listen(None).expect("replaced");
        UnixStream::connect(&path).expect("somebody listens");
        let mode = fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(listener);

        fs::remove_file(&path).expect("the socket");
        fs::write(&path, "precious").expect("a file");
        let refusal = refused(instance.listen(None));
        assert_eq!(refusal.code, exit::CANNOT_CREATE);
        assert!(refusal.message.ends_with("is there and is no socket"));
        assert_eq!(fs::read(&path).expect("it is left alone"), b"precious");
    }

    #[test]
    fn the_lock_is_not_taken_through_a_link_nor_on_a_fifo() {
        let dir = Dir::new("link");
        let target = dir.0.join("target");
        fs::write(&target, "precious").expect("a file");
        std::os::unix::fs::symlink(&target, dir.0.join(LOCK_FILE)).expect("a link");
        let lock = dir.0.join(LOCK_FILE);
        drop(Instance::claim(&dir.0).expect("the link is gone"));
        assert_eq!(fs::read(&target).expect("it is left alone"), b"precious");

        fs::remove_file(&lock).expect("our own");
        nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        drop(Instance::claim(&dir.0).expect("the fifo is gone"));
        let meta = fs::symlink_metadata(&lock).expect("it is there");
        assert!(meta.is_file());
        assert_eq!(meta.permissions().mode() & 0o777, LOCK_MODE);

        fs::remove_file(&lock).expect("our own");
        fs::create_dir(&lock).expect("a folder");
        assert_eq!(refused(Instance::claim(&dir.0)).code, exit::CANNOT_CREATE);
    }

    #[test]
    fn maps_of_dead_workers_go_and_the_state_stays() {
        let dir = Dir::new("maps");
        for name in [
            "worker.3.77.map",
            "worker.3.78.new78",
            "state.new5",
            "state.map",
        ] {
            fs::write(dir.0.join(name), "").expect("a file");
        }
        let _instance = Instance::claim(&dir.0).expect("the lock");
        for gone in ["worker.3.77.map", "worker.3.78.new78", "state.new5"] {
            assert!(!dir.0.join(gone).exists(), "{gone}");
        }
        assert!(dir.0.join("state.map").exists());
    }
}
