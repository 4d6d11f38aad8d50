//! Where a run stopped, for the next one: kept by the daemon on disk, so that every worker goes on there, and the daemon after
//! a restart.

use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::{Changed, Cx, Kept};
use std::io;

/// One check's place in what it reads.
#[derive(Default)]
pub struct Place {
    /// The version that was read; and without a daemon (`healthctl try`) the place itself.
    here: Kept<Here>,
}

#[derive(Default)]
struct Here {
    version: u64,
    alone: Option<Value>,
    is_alone: bool,
}

impl Place {
    /// None: there was no run before.
    pub fn read(&self, cx: Cx<'_>) -> io::Result<Option<Value>> {
        self.take(cx.state().get().block())
    }

    /// As [`read`](Self::read), in the step lane.
    pub async fn read_waiting(&self, cx: Cx<'_>) -> io::Result<Option<Value>> {
        self.take(cx.state().get().wait().await)
    }

    fn take(&self, answer: io::Result<Option<healthd_plugin::Entry>>) -> io::Result<Option<Value>> {
        let entry = match answer {
            Ok(entry) => entry,
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                return Ok(self.here.with(|h| {
                    h.is_alone = true;
                    h.alone.clone()
                }));
            }
            Err(e) => return Err(e),
        };
        let version = entry.as_ref().map_or(0, |e| e.version);
        self.here.with(|h| h.version = version);
        Ok(entry.and_then(|e| serde_json::from_slice(&e.value).ok()))
    }

    /// False: another run of this check has written since it was read.
    pub fn write(&self, cx: Cx<'_>, place: &Value) -> io::Result<bool> {
        let Some((version, bytes)) = self.to_write(place) else {
            return Ok(true);
        };
        let set = cx.state().set(&bytes).only_if(version);
        Ok(matches!(set.block()?, Changed::Done(_)))
    }

    /// As [`write`](Self::write), in the step lane.
    pub async fn write_waiting(&self, cx: Cx<'_>, place: &Value) -> io::Result<bool> {
        let Some((version, bytes)) = self.to_write(place) else {
            return Ok(true);
        };
        let set = cx.state().set(&bytes).only_if(version);
        Ok(matches!(set.wait().await?, Changed::Done(_)))
    }

    fn to_write(&self, place: &Value) -> Option<(u64, Vec<u8>)> {
        self.here.with(|h| match h.is_alone {
            true => {
                h.alone = Some(place.clone());
                None
            }
            false => Some((h.version, place.to_string().into_bytes())),
        })
    }
}
