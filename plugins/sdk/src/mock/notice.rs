//! `hd.notice/1` of the mock host.

use super::run_of;
use healthd_abi::{HdCtx, HdMessage, HdNotice, HdStr};

/// A message to be delivered, as [`Notice`](crate::Notice) has it.
#[derive(Clone, Debug, Default)]
pub struct MockNotice {
    pub id: String,
    pub notice: String,
    pub kind: String,
    pub json: String,
}

pub(super) static TABLE: HdNotice = HdNotice {
    struct_size: size_of::<HdNotice>() as u32,
    version: 1,
    get: Some(get),
};

unsafe extern "C" fn get(ctx: *const HdCtx, out: *mut HdMessage) -> i32 {
    // SAFETY: a plugin passes a live ctx.
    let run = unsafe { run_of(ctx) };
    let notice = run.notice.borrow();
    let Some(notice) = notice.as_ref() else {
        return -libc::ENOENT;
    };
    let message = HdMessage {
        struct_size: size_of::<HdMessage>() as u32,
        reserved: 0,
        id: HdStr::new(&notice.id),
        notice: HdStr::new(&notice.notice),
        kind: HdStr::new(&notice.kind),
        json: HdStr::new(&notice.json),
    };
    // SAFETY: a plugin passes room for a message, and there is only one size of it.
    unsafe { out.write(message) };
    0
}
