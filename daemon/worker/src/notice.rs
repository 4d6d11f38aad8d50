//! Messages that runs deliver: each comes ahead of its run, in a memfd, as it may be larger than what a link takes.

use healthd_core::wire::worker::Notice;
use healthd_loader::Message;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Until its run has come.
pub type Waiting = (u64, Arc<Message>);

pub fn read(notice: Notice, copy: Option<OwnedFd>) -> Waiting {
    let bytes = copy.map(|fd| healthd_sys::memfd::read_all(&fd));
    let json = match bytes {
        Some(Ok(bytes)) => String::from_utf8(bytes).unwrap_or_default(),
        Some(Err(e)) => {
            log::error!("a message cannot be read: {e}");
            String::new()
        }
        None => String::new(),
    };
    let message = Message {
        id: notice.id,
        notice: notice.notice,
        kind: notice.kind,
        json,
    };
    (notice.run_id, Arc::new(message))
}
