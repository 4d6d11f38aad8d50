//! The panic barrier: no panic leaves a plugin, whatever the entry.
//!
//! Also home of what `init` puts into this library's own copy of std: the panic hook and the log bridge.

use crate::host::{host, host_if_any};
use crate::text::with_text;
use healthd_abi::{self as abi, HdCtx, HdRet};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic inside a barrier happened: the hook knows, the catcher does not.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `f`; a panic becomes `E_PANIC` with the panic's text as message.
pub(crate) fn guard(ctx: *const HdCtx, f: impl FnOnce() -> HdRet) -> HdRet {
    match catch(f) {
        Ok(r) => r,
        Err(payload) => {
            let text = panic_text(payload);
            if !ctx.is_null() {
                // The host's message must not panic either; if it does, the result is all that is left.
                let _ = catch(|| host().message(ctx, &text));
            }
            abi::E_PANIC
        }
    }
}

/// For entries without a result: destroy and drop. The text goes to the log.
pub(crate) fn guard_silent(f: impl FnOnce()) {
    if let Err(payload) = catch(f)
        && let Some(host) = host_if_any()
    {
        host.log(abi::LOG_ERROR, "plugin", &panic_text(payload));
    }
}

pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    DEPTH.set(DEPTH.get() + 1);
    // Unwind safety: what the closure touched belongs to the instance or task, and the host throws both away.
    let r = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    r
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let what = match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&str>() {
            Ok(text) => text.to_string(),
            Err(payload) => {
                // Leaked, not dropped: the Drop of an unknown type may panic again.
                std::mem::forget(payload);
                "(no text)".into()
            }
        },
    };
    let place = PLACE.take();
    if place.is_empty() {
        format!("panic: {what}")
    } else {
        format!("panic at {place}: {what}")
    }
}

/// Called from `init`. Idempotent, because several plugins of one library share these statics.
pub(crate) fn install_hooks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Outside a barrier (a unit test, a plugin's own thread) nobody else tells: keep the old behaviour.
            if DEPTH.get() == 0 {
                return before(info);
            }
            // Inside, only note the place: the message carries it, and a backtrace would cost 36 MB of symbols.
            PLACE.with_borrow_mut(|p| {
                p.clear();
                if let Some(at) = info.location() {
                    let _ = write!(p, "{}:{}", at.file(), at.line());
                }
            });
        }));
        // Fails only if a logger is set already, as in unit tests: then that one stays.
        if log::set_logger(&Bridge).is_ok() {
            // The host filters by its own level, which may change while we run.
            log::set_max_level(log::LevelFilter::Trace);
        }
    });
}

/// `log` records of this library go to the daemon's log.
struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, m: &log::Metadata<'_>) -> bool {
        host_if_any().is_some_and(|h| h.log_enabled(m.level() as u32, m.target()))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata())
            && let Some(host) = host_if_any()
        {
            with_text(record.args(), |t| {
                host.log(record.level() as u32, record.target(), t)
            });
        }
    }

    fn flush(&self) {}
}
