//! Events from `events.map`, when the daemon does not answer.

use crate::maps::{MapError, directory, only_names, read_sized, real};
use healthd_core::wire::control::Events;
use healthd_core::wire::events::{
    EVENTS_FILE, EVENTS_HEAD, EventRow, events_size, gap, read_events,
};
use healthd_core::wire::glob;
use jiff::Timestamp;
use std::path::Path;

pub fn events(socket: &Path, asked: &Events) -> Result<Vec<EventRow>, MapError> {
    only_names(&asked.names, |_| false)?;
    let file = directory(socket).join(EVENTS_FILE);
    let read = || read_sized(&file, EVENTS_HEAD, events_size);
    let (first, second) = (read()?, read()?);
    let (ring, events) =
        read_events(&first, &second).map_err(|reason| MapError::Layout { file, reason })?;
    let since = asked.since.as_deref().and_then(|t| t.parse().ok());
    let since = since.map_or(0, |t: Timestamp| t.as_nanosecond().max(0) as u64);
    let after = asked.after.unwrap_or(0);
    let exact =
        asked.after.is_some() || events.first().is_some_and(|e| since > 0 && e.time > since);
    let missed = ring.begin(after).1;
    let gap = events
        .first()
        .filter(|_| exact && missed > 0)
        .map(|next| gap(missed, next.number, next.time));
    let wanted = events
        .iter()
        .filter(|e| e.number > after && e.time >= since);
    let is_of = |row: &EventRow| match &row.check {
        Some(check) => asked.names.iter().any(|n| glob::matches(n, check)),
        None => row.missed.is_some(),
    };
    let rows = gap.iter().chain(wanted).map(|e| e.row(real));
    Ok(rows
        .filter(|row| asked.names.is_empty() || is_of(row))
        .collect())
}
