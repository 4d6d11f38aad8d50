//! `bench`: measures a healthd of its own, and shows the figures.

use crate::args::BenchArgs;
use crate::error::CtlError;
use crate::session::Session;
use crate::{bench, exit};

pub fn run(session: &mut Session, args: &BenchArgs) -> Result<u8, CtlError> {
    let table = bench::run(&mut session.screen, args)?;
    match session.json {
        true => session.print_json(&table.json())?,
        false => {
            let look = session.screen.look();
            session.screen.print(&table.text(&look))?;
        }
    }
    Ok(exit::OK)
}
