//! The service manager's end of NOTIFY_SOCKET.

use super::record::Record;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

pub struct Notify {
    pub path: PathBuf,
    pub record: Record,
    ours: UnixDatagram,
}

impl Notify {
    pub fn listen(dir: &Path) -> Notify {
        let path = dir.join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a new socket");
        let ours = UnixDatagram::unbound().expect("a socket");
        ours.connect(&path).expect("our own socket");
        // The daemon may have dropped its rights by the time it writes here.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&path, mode).expect("our own socket");
        let record = Record::default();
        let reader = record.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = socket.recv(&mut buffer) {
                if n == 0 {
                    break; // our own word that the test is over
                }
                // One message is one entry: READY=1 and its STATUS belong together.
                reader.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
            }
            reader.end();
        });
        Notify { path, record, ours }
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        let _ = self.ours.send(&[]);
    }
}
