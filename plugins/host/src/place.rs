//! Where a run stopped, for the next one: kept by the manager, so that every worker goes on there.

use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::{Changed, Cx, Kept};
use std::io;

/// One check's place in what it reads.
pub struct Place {
    kind: &'static str,
    /// The version that was read; and without a daemon (`healthctl try`) the place itself.
    here: Kept<Here>,
}

#[derive(Default)]
struct Here {
    version: u64,
    alone: Option<Value>,
    is_alone: bool,
}

/// A map has room for so much: checks are spread over several, by their names, which stay over reloads.
const MAPS: u64 = 32;

impl Place {
    pub fn new(kind: &'static str) -> Place {
        Place {
            kind,
            here: Kept::default(),
        }
    }

    fn map(&self, cx: Cx<'_>) -> String {
        let hash = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        let hash = cx.check_name().bytes().fold(0xcbf2_9ce4_8422_2325, hash);
        format!("{}-place-{}", self.kind, hash % MAPS)
    }

    /// None: there was no run before.
    pub fn read(&self, cx: Cx<'_>) -> io::Result<Option<Value>> {
        let answer = cx.shared_map(&self.map(cx)).get(cx.check_name()).block();
        self.take(answer)
    }

    /// As [`read`](Self::read), in the step lane.
    pub async fn read_waiting(&self, cx: Cx<'_>) -> io::Result<Option<Value>> {
        let map = self.map(cx);
        let answer = cx.shared_map(&map).get(cx.check_name()).wait().await;
        self.take(answer)
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
        let map = self.map(cx);
        let set = cx.shared_map(&map).set(cx.check_name(), &bytes);
        Ok(matches!(set.only_if(version).block()?, Changed::Done(_)))
    }

    /// As [`write`](Self::write), in the step lane.
    pub async fn write_waiting(&self, cx: Cx<'_>, place: &Value) -> io::Result<bool> {
        let Some((version, bytes)) = self.to_write(place) else {
            return Ok(true);
        };
        let map = self.map(cx);
        let set = cx.shared_map(&map).set(cx.check_name(), &bytes);
        Ok(matches!(
            set.only_if(version).wait().await?,
            Changed::Done(_)
        ))
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
