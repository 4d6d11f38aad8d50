//! The worker's end of `objects.map`: mapped when the first plugin asks for a counter, or before the sandbox.

use healthd_core::wire::objects_map::{Extent, scoped};
use healthd_scoreboard::objects_map::{ClaimError, ObjectsMap};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

static DIR: OnceLock<PathBuf> = OnceLock::new();
static MAP: OnceLock<Option<ObjectsMap>> = OnceLock::new();

/// Where the map is. The first call wins.
pub fn set_dir(dir: PathBuf) {
    let _ = DIR.set(dir);
}

/// Before the worker gives up the way to it.
pub fn open_map() {
    let _ = map();
}

fn map() -> Option<&'static ObjectsMap> {
    MAP.get_or_init(|| {
        let opened = ObjectsMap::open(DIR.get()?);
        if let Err(e) = &opened {
            log::error!("no counters for plugins: {e}");
        }
        opened.ok()
    })
    .as_ref()
}

/// A handle, or -errno.
pub fn open(plugin: &str, name: &str, cells: u32, shared: bool) -> Result<u64, i32> {
    let whole = scoped(plugin, name, shared).ok_or(-libc::EINVAL)?;
    let map = map().ok_or(-libc::EIO)?;
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
    map()?.cell(Extent::from_word(handle)?, cell)
}
