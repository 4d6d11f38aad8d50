//! Whose threads live. While a thread works for an owner, each thread that it makes is that owner's until it ends, and so
//! are those which that one makes. Counted where all threads of the process are made: `signal_stacks`.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A number from 1 on; 0 and what is beyond the table is nobody.
pub type Owner = u16;

const OWNERS: usize = 4096;
static LIVE: [AtomicU32; OWNERS] = [const { AtomicU32::new(0) }; OWNERS];

thread_local! {
    static OWNER: Cell<Owner> = const { Cell::new(0) };
    /// By this thread, for whomever.
    static MADE: Cell<u32> = const { Cell::new(0) };
}

/// The calling thread works for an owner as long as this lives.
pub struct WorksFor {
    before: Owner,
    made: u32,
}

impl WorksFor {
    pub fn owner(owner: Owner) -> WorksFor {
        WorksFor {
            before: OWNER.replace(owner),
            made: MADE.get(),
        }
    }

    pub fn nobody() -> WorksFor {
        WorksFor::owner(0)
    }

    /// How many threads this thread has made since.
    pub fn made(&self) -> u32 {
        MADE.get().wrapping_sub(self.made)
    }
}

impl Drop for WorksFor {
    fn drop(&mut self) {
        OWNER.set(self.before);
    }
}

/// How many threads of this owner there are.
pub fn live(owner: Owner) -> u32 {
    LIVE.get(usize::from(owner))
        .map_or(0, |live| live.load(Relaxed))
}

/// The calling thread makes one, which is theirs.
pub(crate) fn born() -> Owner {
    let owner = OWNER.get();
    if owner == 0 {
        return 0;
    }
    MADE.set(MADE.get().wrapping_add(1));
    if let Some(live) = LIVE.get(usize::from(owner)) {
        live.fetch_add(1, Relaxed);
    }
    owner
}

/// It begins, and works for whom it was made.
pub(crate) fn begins(owner: Owner) {
    OWNER.set(owner);
}

/// It ends, or did not come to be.
pub(crate) fn died(owner: Owner) {
    if let Some(live) = LIVE.get(usize::from(owner)).filter(|_| owner != 0) {
        live.fetch_sub(1, Relaxed);
    }
}
