//! The role `web`: answers HTTP from what the manager writes into its maps. It may be dead for an hour, and no check
//! notices. What the maps do not hold, and what changes something, it asks over the control socket like any client.
//!
//! One thread. `server` takes connections and their limits and ends them in order, `routes` says who answers what and
//! who may ask, `facts` and `picture` read the maps, `control` asks the manager. `metrics`, `ready`, `api` and `pages`
//! make answers of them. `push` sends metrics to those who cannot ask. `manners` is how much of the machine it takes.
#![forbid(unsafe_code)]

mod api;
mod body;
mod control;
mod ending;
mod facts;
pub mod fuzzing;
mod history;
mod listen;
mod manners;
mod metrics;
mod pages;
mod picture;
mod places;
mod probe;
mod problem;
#[cfg(feature = "push")]
mod push;
mod query;
mod ready;
mod routes;
mod server;
mod times;

use healthd_core::config::WebSettings;
use healthd_core::wire::roles::ReaderArgs;
use healthd_sys::{memfd, process, signals, spawn};
use std::io;
use std::rc::Rc;

/// Until the supervisor says that it ends. Another exit code than 0: it could not go on.
pub fn main(args: &ReaderArgs) -> i32 {
    process::set_name(c"healthd-web");
    match start(args) {
        Ok(()) => 0,
        Err(e) => {
            log::error!("web cannot go on: {e}");
            1
        }
    }
}

fn start(args: &ReaderArgs) -> io::Result<()> {
    let settings = spawn::adopt_fd(args.settings)?;
    // SIGTERM is read, and nothing else ends us. Before there is a second thread.
    let signals = signals::Signals::take()?;
    process::die_with_parent(args.parent)?;
    let settings: WebSettings =
        serde_json::from_slice(&memfd::read_all(&settings)?).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(manners::thread_starts)
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    let site = Rc::new(routes::Site::new(args, settings));
    site.manners.begin();
    let served = runtime.block_on(tasks.run_until(async {
        #[cfg(feature = "push")]
        if let Some(push) = site.settings.push.clone() {
            push::begin(&site, push);
        }
        let served = server::serve(site.clone(), signals).await;
        #[cfg(feature = "push")]
        site.pushed.ends();
        served
    }));
    // What a thread still reads of history, nobody waits for any more.
    runtime.shutdown_background();
    served
}
