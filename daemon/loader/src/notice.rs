//! `hd.notice/1` as plugins see it: the message that a run of a notifier delivers.

use crate::context::Context;
use healthd_abi::{HdCtx, HdMessage, HdNotice, HdStr};

/// What a run delivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub notice: String,
    pub kind: String,
    pub json: String,
}

pub(crate) static TABLE: HdNotice = HdNotice {
    struct_size: size_of::<HdNotice>() as u32,
    version: 1,
    get: Some(get),
};

unsafe extern "C" fn get(c: *const HdCtx, out: *mut HdMessage) -> i32 {
    // SAFETY: by contract a live context.
    let Some(context) = (unsafe { Context::of(c) }) else {
        return -libc::EPERM;
    };
    let Some(message) = context.notice() else {
        return -libc::ENOENT;
    };
    if out.is_null() || !out.is_aligned() {
        return -libc::EINVAL;
    }
    // SAFETY: not null and aligned (checked); its first field is the size that the writer knew.
    let size = unsafe { out.cast::<u32>().read() };
    if (size as usize) < size_of::<HdMessage>() {
        return -libc::EINVAL;
    }
    let told = HdMessage {
        struct_size: size,
        reserved: 0,
        id: HdStr::new(&message.id),
        notice: HdStr::new(&message.notice),
        kind: HdStr::new(&message.kind),
        json: HdStr::new(&message.json),
    };
    // SAFETY: as long as ours (checked), and by contract writable.
    unsafe { out.write(told) };
    0
}
