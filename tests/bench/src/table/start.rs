//! From start to READY, and `healthctl status` of the most checks that there may be.

use super::Size;
use super::row::{Limit::*, Row};
use super::turns::{figure, medians};
use crate::figures::median;
use crate::peers::nginx;
use crate::ready::{MOST, blocks, ms, one_block, start as start_of, status};

pub fn start(size: Size) -> Result<Vec<Row>, String> {
    let nginx = nginx()?;
    let (many, most) = (blocks(10_000, nginx.port), one_block(MOST, nginx.port));
    let [of_many, of_most] = medians(
        size,
        [
            &mut || Ok(Some(vec![ms(start_of(&many)?.ready_after)])),
            &mut || {
                let daemon = start_of(&most)?;
                let (runs, stopped) = status(&daemon)?;
                let ready = ms(daemon.ready_after);
                Ok(Some(vec![ready, median(&runs), median(&stopped)]))
            },
        ],
    )?;
    let row = |what: &str, figures, n, most| {
        Row::new(what, figure(figures, n).unwrap_or(f64::NAN), "ms").wants(Most(most))
    };
    Ok(vec![
        row("start to READY, 10,000 checks", &of_many, 0, 300.0),
        row("start to READY, 100,000 checks", &of_most, 0, 2_000.0),
        row(
            "`healthctl status` of 100,000, daemon runs",
            &of_most,
            1,
            300.0,
        ),
        row(
            "`healthctl status` of 100,000, daemon stopped",
            &of_most,
            2,
            300.0,
        ),
    ])
}
