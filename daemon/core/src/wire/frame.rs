//! Records in a message: a tag, a length, a body. Every read is checked, none allocates before it knows
//! that the bytes are there.

/// The largest message on a worker's link, and how much of it batches fill. A definition may be larger
/// than a batch, so it travels alone.
pub const MAX_MESSAGE: usize = 192 * 1024;
pub const MAX_BATCH: usize = 60 * 1024;
pub const MAX_BATCH_RECORDS: usize = 64;

/// The bytes are not what the protocol says: the sender is broken, and so is all else that it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    Short { what: &'static str },
    UnknownTag { tag: u8 },
    BadValue { what: &'static str },
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WireError::Short { what } => write!(f, "message ends inside {what}"),
            WireError::UnknownTag { tag } => write!(f, "unknown message tag {tag}"),
            WireError::BadValue { what } => write!(f, "bad value for {what}"),
        }
    }
}

impl std::error::Error for WireError {}

/// Appends one record to a message, or a part of one to what is to stand in it.
pub struct Put<'a> {
    out: &'a mut Vec<u8>,
    /// Where the record's head is, and `NO_RECORD` for a part.
    start: usize,
}

const NO_RECORD: usize = usize::MAX;

impl<'a> Put<'a> {
    pub fn record(out: &'a mut Vec<u8>, tag: u8) -> Put<'a> {
        let start = out.len();
        out.push(tag);
        out.extend([0; 4]);
        Put { out, start }
    }
    pub fn part(out: &'a mut Vec<u8>) -> Put<'a> {
        Put {
            out,
            start: NO_RECORD,
        }
    }
    /// What `part` has written.
    pub fn parts(&mut self, v: &[u8]) -> &mut Self {
        self.out.extend(v);
        self
    }
    pub fn u8(&mut self, v: u8) -> &mut Self {
        self.out.push(v);
        self
    }
    pub fn u16(&mut self, v: u16) -> &mut Self {
        self.out.extend(v.to_le_bytes());
        self
    }
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.out.extend(v.to_le_bytes());
        self
    }
    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.out.extend(v.to_le_bytes());
        self
    }
    pub fn f64(&mut self, v: f64) -> &mut Self {
        self.u64(v.to_bits())
    }
    pub fn text(&mut self, v: &str) -> &mut Self {
        self.bytes(v.as_bytes())
    }
    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.u32(u32::try_from(v.len()).expect("texts are capped far below 4 GiB"));
        self.out.extend(v);
        self
    }
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        let start = self.start;
        if start == NO_RECORD {
            return;
        }
        let len =
            u32::try_from(self.out.len() - start - 5).expect("records are capped far below 4 GiB");
        self.out[start + 1..start + 5].copy_from_slice(&len.to_le_bytes());
    }
}

/// Reads the body of one record.
pub struct Get<'a>(&'a [u8]);

impl<'a> Get<'a> {
    /// A part of a body, as `part` gave it, or `Put::part` has written it.
    pub fn of(part: &'a [u8]) -> Get<'a> {
        Get(part)
    }

    /// The bytes that `read` reads.
    pub fn part(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), WireError>,
    ) -> Result<&'a [u8], WireError> {
        let from = self.0;
        read(self)?;
        Ok(&from[..from.len() - self.0.len()])
    }

    /// Splits the first record off `message`; None at its end.
    pub fn record(message: &mut &'a [u8]) -> Result<Option<(u8, Get<'a>)>, WireError> {
        let Some((&tag, rest)) = message.split_first() else {
            return Ok(None);
        };
        let mut head = Get(rest);
        let len = head.u32()? as usize;
        let body = head.take(len, "a record")?;
        *message = head.0;
        Ok(Some((tag, Get(body))))
    }

    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        if self.0.len() < n {
            return Err(WireError::Short { what });
        }
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N, "a number")
            .map(|b| b.try_into().expect("take gives N bytes"))
    }
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }
    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    pub fn f64(&mut self) -> Result<f64, WireError> {
        Ok(f64::from_bits(self.u64()?))
    }
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::BadValue { what: "a text" })
    }
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.u32()? as usize;
        self.take(len, "a text")
    }
    /// How many items follow, each of at least `min` bytes: a count that cannot be true is refused here.
    pub fn count(&mut self, min: usize) -> Result<usize, WireError> {
        let n = self.u16()? as usize;
        if n * min > self.0.len() {
            return Err(WireError::Short { what: "a list" });
        }
        Ok(n)
    }
}
