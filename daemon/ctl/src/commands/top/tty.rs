//! The terminal while it is ours: no echo, no lines, keys and clicks as they come. Given back as it was, however we end.

use super::keys::{Key, read_keys};
use crate::error::CtlError;
use crate::interrupt::Interrupt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::SIGWINCH;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The alternate screen, no cursor, no wrapping; clicks and the wheel, in the form that has no limit. And back.
pub const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?1000h\x1b[?1006h";
pub const CLOSE: &str = "\x1b[?1006l\x1b[?1000l\x1b[?7h\x1b[?25h\x1b[?1049l";

pub struct Tty {
    before: Termios,
    resized: UnixStream,
    /// The begin of a key whose end has not come.
    rest: Vec<u8>,
}

impl Tty {
    pub fn open() -> Result<Tty, CtlError> {
        let failed = |e: Errno| CtlError::Interrupt(e.into());
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).map_err(|_| CtlError::Unsupported {
            what: "top",
            why: "standard input is no terminal; `healthctl status` prints the same",
        })?;
        let mut raw = before.clone();
        raw.make_raw();
        let (resized, end) = UnixStream::pair().map_err(CtlError::Interrupt)?;
        resized.set_nonblocking(true).map_err(CtlError::Interrupt)?;
        signal_hook::low_level::pipe::register(SIGWINCH, end).map_err(CtlError::Interrupt)?;
        tcsetattr(stdin, OptionalActions::Flush, &raw).map_err(failed)?;
        Ok(Tty {
            before,
            resized,
            rest: Vec::new(),
        })
    }

    /// Keys, or none when the time is over or the window has another size. None: it ends.
    pub fn wait(
        &mut self,
        time: Duration,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<Key>>, CtlError> {
        let stdin = rustix::stdio::stdin();
        // What follows an escape comes at once, or it was the key.
        let time = match self.rest.is_empty() {
            true => time,
            false => time.min(Duration::from_millis(50)),
        };
        let mut fds = [
            PollFd::from_borrowed_fd(stdin, PollFlags::IN),
            PollFd::new(&interrupt.readable, PollFlags::IN),
            PollFd::new(&self.resized, PollFlags::IN),
        ];
        let timeout = Timespec::try_from(time).expect("a second fits");
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(CtlError::Interrupt(e.into())),
        }
        let [keyed, stopped, resized] = fds.map(|fd| !fd.revents().is_empty());
        if stopped {
            return Ok(None);
        }
        if resized {
            let _ = std::io::Read::read(&mut (&self.resized), &mut [0; 64]);
        }
        if !keyed {
            return Ok(Some(match std::mem::take(&mut self.rest).is_empty() {
                true => Vec::new(),
                false => vec![Key::Escape],
            }));
        }
        let mut bytes = [0; 1024];
        match rustix::io::read(stdin, &mut bytes) {
            Ok(0) => return Ok(None),
            Ok(n) => self.rest.extend_from_slice(&bytes[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return Ok(None),
        }
        Ok(Some(read_keys(&mut self.rest)))
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let stdin = rustix::stdio::stdin();
        let _ = tcsetattr(stdin, OptionalActions::Flush, &self.before);
    }
}
