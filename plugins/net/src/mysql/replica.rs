//! Whether a replica follows its primary, and how far behind it is. MariaDB may have several primaries, MySQL channels.

use super::packet::Packets;
use super::query::Table;
use super::{Trouble, shown};
use crate::report::{Report, Unit, seconds_text};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Metric, Status};

const SYNTAX: u16 = 1064;

/// One row a primary.
pub async fn ask(packets: &mut Packets<'_>, version: &str) -> Result<Table, Trouble> {
    if version.contains("MariaDB") {
        return packets.ask("SHOW ALL SLAVES STATUS").await;
    }
    match packets.ask("SHOW REPLICA STATUS").await {
        // Before MySQL 8.0.22.
        Err(Trouble::Server { code: SYNTAX, .. }) => packets.ask("SHOW SLAVE STATUS").await,
        answer => answer,
    }
}

/// The words for people, if it is a replica and all is well; what is not well is in the report.
pub fn judge(report: &mut Report<'_>, table: &Table, lag: Upper, must: bool) -> Option<String> {
    if table.rows.is_empty() {
        if must {
            report.add(Status::Critical, "it is no replica");
        }
        return None;
    }
    let mut behind: Option<f64> = None;
    let mut well = true;
    for row in &table.rows {
        let cell = |names: &[&str]| table.cell(row, names).unwrap_or_default();
        let name = cell(&["Connection_name", "Channel_Name"]);
        let of = match name {
            "" => String::new(),
            name => format!(" of {:?}", shown(name)),
        };
        for (thread, running, error) in [
            (
                "I/O",
                ["Slave_IO_Running", "Replica_IO_Running"],
                "Last_IO_Error",
            ),
            (
                "SQL",
                ["Slave_SQL_Running", "Replica_SQL_Running"],
                "Last_SQL_Error",
            ),
        ] {
            let state = cell(&running);
            if state == "Yes" {
                continue;
            }
            well = false;
            let why = match cell(&[error]) {
                "" => String::new(),
                text => format!(": {}", shown(text)),
            };
            let text = match state {
                "Connecting" | "Preparing" => {
                    format!("its {thread} thread{of} does not reach the primary{why}")
                }
                _ => format!("its {thread} thread{of} does not run{why}"),
            };
            report.add(Status::Critical, text);
        }
        let seconds = cell(&["Seconds_Behind_Master", "Seconds_Behind_Source"]);
        match seconds.parse::<f64>().ok().filter(|n| *n >= 0.0) {
            Some(n) => behind = Some(behind.unwrap_or(0.0).max(n)),
            // NULL comes of a thread that does not run, which is said.
            None if well => {
                well = false;
                report.add(Status::Unknown, format!("it does not say its lag{of}"));
            }
            None => {}
        }
    }
    let seconds = behind?;
    let text = format!("{} behind its primary", seconds_text(seconds));
    let metric = Metric::new("lag", seconds).unit("s").min(0.0);
    report.upper(
        lag,
        metric,
        seconds,
        format_args!("is {text}"),
        Unit::Seconds,
    );
    well.then_some(text)
}
