//! The worker's end of `objects.map`.

use healthd_core::wire::objects_map::{Extent, scoped};
use healthd_scoreboard::objects_map::{ClaimError, ObjectsMap};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

static MAP: OnceLock<ObjectsMap> = OnceLock::new();

/// The first call wins.
pub fn set(map: ObjectsMap) {
    let _ = MAP.set(map);
}

/// A handle, or -errno.
pub fn open(plugin: &str, name: &str, cells: u32, shared: bool) -> Result<u64, i32> {
    let whole = scoped(plugin, name, shared).ok_or(-libc::EINVAL)?;
    let map = MAP.get().ok_or(-libc::EIO)?;
    match map.claim(&whole, cells) {
        Ok(extent) => Ok(extent.to_word()),
        Err(e) => {
            // A mistake of the plugin is its own to tell; a map that is full or broken is for the operator.
            let level = match e {
                ClaimError::BadName | ClaimError::OtherSize { .. } => log::Level::Debug,
                _ => log::Level::Warn,
            };
            log::log!(
                level,
                "no counter for plugin  plugin={plugin} name={name} cells={cells} why=\"{e}\""
            );
            Err(match e {
                ClaimError::BadName => -libc::EINVAL,
                ClaimError::OtherSize { .. } => -libc::EEXIST,
                ClaimError::NoRoomForCells if Extent::new(0, cells).is_none() => -libc::EINVAL,
                ClaimError::NoRoomForNames | ClaimError::NoRoomForCells => -libc::ENOSPC,
                ClaimError::Broken => -libc::EIO,
            })
        }
    }
}

pub fn cell(handle: u64, cell: u32) -> Option<&'static AtomicU64> {
    MAP.get()?.cell(Extent::from_word(handle)?, cell)
}
