//! What a worker asks the manager for its plugins, and the answers: maps, lists and locks.

use super::frame::{Get, Put, WireError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum MapOp {
    #[default]
    Get = 0,
    Set = 1,
    Append = 2,
    Snapshot = 3,
    Delete = 4,
    /// What one check keeps over a restart: `map` is its plugin, `key` its name.
    StateGet = 5,
    StateSet = 6,
    StateDelete = 7,
}

impl MapOp {
    pub const ALL: [MapOp; 8] = [
        MapOp::Get,
        MapOp::Set,
        MapOp::Append,
        MapOp::Snapshot,
        MapOp::Delete,
        MapOp::StateGet,
        MapOp::StateSet,
        MapOp::StateDelete,
    ];

    pub fn is_state(self) -> bool {
        matches!(self, MapOp::StateGet | MapOp::StateSet | MapOp::StateDelete)
    }

    pub fn from_code(code: u32) -> Option<MapOp> {
        Self::ALL.get(code as usize).copied()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapAsk {
    /// Comes back with the answer.
    pub ask: u64,
    pub op: MapOp,
    /// With its scope before it.
    pub map: String,
    pub key: String,
    pub value: Vec<u8>,
    /// Only if this version is there; 0: only if nothing is.
    pub expected: Option<u64>,
    /// 0: for ever.
    pub ttl_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapReply {
    pub ask: u64,
    /// 0 or -errno.
    pub error: i32,
    pub version: u64,
    pub items: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockAsk {
    pub ask: u64,
    pub run_id: u64,
    pub timeout_ns: u64,
    pub names: Vec<String>,
}

impl MapAsk {
    pub(super) fn put(&self, mut p: Put<'_>) {
        p.u64(self.ask)
            .u8(self.op as u8)
            .text(&self.map)
            .text(&self.key)
            .bytes(&self.value)
            .u8(u8::from(self.expected.is_some()))
            .u64(self.expected.unwrap_or(0))
            .u64(self.ttl_ns);
    }

    pub(super) fn get(g: &mut Get<'_>) -> Result<MapAsk, WireError> {
        Ok(MapAsk {
            ask: g.u64()?,
            op: MapOp::from_code(u32::from(g.u8()?)).ok_or(WireError::BadValue {
                what: "an operation",
            })?,
            map: g.text()?.to_owned(),
            key: g.text()?.to_owned(),
            value: g.bytes()?.to_vec(),
            expected: match (g.u8()?, g.u64()?) {
                (0, _) => None,
                (_, version) => Some(version),
            },
            ttl_ns: g.u64()?,
        })
    }
}

impl MapReply {
    pub(super) fn put(&self, mut p: Put<'_>) {
        p.u64(self.ask)
            .u32(self.error.cast_unsigned())
            .u64(self.version)
            .u16(self.items.len() as u16);
        for (key, value) in &self.items {
            p.text(key).bytes(value);
        }
    }

    pub(super) fn get(g: &mut Get<'_>) -> Result<MapReply, WireError> {
        let mut reply = MapReply {
            ask: g.u64()?,
            error: g.u32()?.cast_signed(),
            version: g.u64()?,
            items: Vec::new(),
        };
        for _ in 0..g.count(8)? {
            reply
                .items
                .push((g.text()?.to_owned(), g.bytes()?.to_vec()));
        }
        Ok(reply)
    }
}

impl LockAsk {
    pub(super) fn put(&self, mut p: Put<'_>) {
        p.u64(self.ask)
            .u64(self.run_id)
            .u64(self.timeout_ns)
            .u16(self.names.len() as u16);
        for name in &self.names {
            p.text(name);
        }
    }

    pub(super) fn get(g: &mut Get<'_>) -> Result<LockAsk, WireError> {
        let mut ask = LockAsk {
            ask: g.u64()?,
            run_id: g.u64()?,
            timeout_ns: g.u64()?,
            names: Vec::new(),
        };
        for _ in 0..g.count(4)? {
            ask.names.push(g.text()?.to_owned());
        }
        Ok(ask)
    }
}
