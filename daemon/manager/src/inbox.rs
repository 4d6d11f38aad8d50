//! What other threads have for the loop.

use crate::alerts::Written;
use crate::rollout::work::LoadResult;
use crate::services::states::{Answered, Fed};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::sync::Mutex;

/// What another thread has for the loop.
pub enum Message {
    Loaded(Box<LoadResult>),
    /// The plugin directory is not what it was.
    Dropped,
    /// A file of a secret has changed.
    SecretsChanged,
    /// What the disk said to a batch of who was told of what.
    AlertsWritten(Written),
    /// Of what checks keep.
    States(Vec<Answered>),
    /// What was said to checks is kept.
    Fed(Vec<Fed>),
}

pub struct Inbox {
    messages: Mutex<Vec<Message>>,
    pub wake: EventFd,
}

impl Inbox {
    pub fn new() -> io::Result<Inbox> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Inbox {
            messages: Mutex::default(),
            wake,
        })
    }

    pub fn post(&self, message: Message) {
        self.messages
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(message);
        let _ = self.wake.write(1);
    }

    pub fn take(&self) -> Vec<Message> {
        let _ = self.wake.read();
        std::mem::take(&mut self.messages.lock().unwrap_or_else(|e| e.into_inner()))
    }
}
