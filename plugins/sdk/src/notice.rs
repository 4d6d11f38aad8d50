//! `hd.notice/1`: the message that a run of a notifier delivers.

use crate::cx::Cx;
use crate::host::host;
use healthd_abi::{EXT_NOTICE, HdMessage, HdNotice, HdStr};
use std::io;

/// What a plugin with [`F_NOTIFY`](healthd_abi::F_NOTIFY) has to deliver in this run. It ends as
/// [`Status::Ok`](crate::Status::Ok) if the receiver has accepted it, with the receipt as its message; as
/// [`Status::Critical`](crate::Status::Critical) if the receiver does not have it, for certain; as
/// [`Status::Unknown`](crate::Status::Unknown) if nobody knows.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The same for each try of one message: make it the receiver's key.
    pub id: &'a str,
    /// The same for a problem, what is said of it later, and its recovery.
    pub notice: &'a str,
    /// `problem`, `worse`, `update`, `repeat`, `recovery`, `test`, `alive`.
    pub kind: &'a str,
    /// All of it, as an object.
    pub json: &'a str,
}

impl<'a> Cx<'a> {
    /// The message of this run. An error: there is none, or this host delivers nothing.
    pub fn notice(self) -> io::Result<Notice<'a>> {
        // SAFETY: what the host returns for this id is NULL or a static hd_notice.
        let table = unsafe { host().extension(EXT_NOTICE).cast::<HdNotice>().as_ref() };
        let Some(get) = table.and_then(|t| t.get) else {
            let why = "this host delivers no messages";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        };
        let mut out = HdMessage {
            struct_size: size_of::<HdMessage>() as u32,
            reserved: 0,
            id: HdStr::EMPTY,
            notice: HdStr::EMPTY,
            kind: HdStr::EMPTY,
            json: HdStr::EMPTY,
        };
        // SAFETY: a live ctx on its own thread; the host fills no more than the size says.
        let error = unsafe { get(self.raw(), &mut out) };
        if error < 0 {
            return Err(io::Error::from_raw_os_error(-error));
        }
        Ok(Notice {
            // SAFETY: the host keeps the string until the run ends, and 'a is no longer than that.
            id: text(unsafe { out.id.as_bytes() })?,
            // SAFETY: as above.
            notice: text(unsafe { out.notice.as_bytes() })?,
            // SAFETY: as above.
            kind: text(unsafe { out.kind.as_bytes() })?,
            // SAFETY: as above.
            json: text(unsafe { out.json.as_bytes() })?,
        })
    }
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
