//! D-Bus messages: what is sent, and what is read of hostile bytes. Little endian only; sizes are checked before memory.

/// A value of those types that systemd sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    /// Of an array, a struct or a dictionary's entry.
    List(Vec<Value>),
}

/// A method call without its serial number.
pub struct Call<'a> {
    pub destination: Option<&'a str>,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub body: Body,
}

/// Arguments, marshalled as they are added.
#[derive(Default)]
pub struct Body {
    signature: String,
    bytes: Vec<u8>,
}

/// A message that was read.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub kind: u8,
    pub reply_to: u32,
    pub error: Option<String>,
    pub body: Vec<Value>,
}

pub const RETURN: u8 = 2;
pub const ERROR: u8 = 3;
/// Before the header's fields: their length is the last of it.
pub const HEAD: usize = 16;
/// The bus allows 128 MiB; no answer about units is near that.
const MOST: usize = 16 << 20;
/// Arrays and variants in each other.
const DEPTH: u32 = 32;

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

impl Body {
    pub fn text(mut self, text: &str) -> Body {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    pub fn texts(mut self, texts: &[&str]) -> Body {
        self.signature += "as";
        pad(&mut self.bytes, 4);
        let at = self.bytes.len();
        self.bytes.extend([0; 4]);
        for text in texts {
            put_text(&mut self.bytes, text);
        }
        let size = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
        self
    }
}

impl Call<'_> {
    pub fn message(&self, serial: u32) -> Vec<u8> {
        let mut m = vec![b'l', 1, 0, 1];
        m.extend((self.body.bytes.len() as u32).to_le_bytes());
        m.extend(serial.to_le_bytes());
        m.extend([0; 4]);
        let fields = [
            (1, 'o', Some(self.path)),
            (2, 's', Some(self.interface)),
            (3, 's', Some(self.member)),
            (6, 's', self.destination),
            (
                8,
                'g',
                Some(self.body.signature.as_str()).filter(|s| !s.is_empty()),
            ),
        ];
        for (code, kind, text) in fields {
            let Some(text) = text else { continue };
            pad(&mut m, 8);
            m.extend([code, 1, kind as u8, 0]);
            match kind {
                'g' => {
                    m.push(text.len() as u8);
                    m.extend(text.as_bytes());
                    m.push(0);
                }
                _ => put_text(&mut m, text),
            }
        }
        let size = (m.len() - HEAD) as u32;
        m[12..16].copy_from_slice(&size.to_le_bytes());
        pad(&mut m, 8);
        m.extend(&self.body.bytes);
        m
    }
}

/// How long the whole message is, from its first 16 bytes.
pub fn size(head: &[u8; HEAD]) -> Result<usize, &'static str> {
    if head[0] != b'l' || head[3] != 1 {
        return Err("it does not speak D-Bus in little endian");
    }
    let number = |at: usize| {
        u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
    };
    let (body, fields) = (number(4), number(12));
    match fields <= MOST && body <= MOST {
        true => Ok((HEAD + fields).next_multiple_of(8) + body),
        false => Err("its answer is too large"),
    }
}

pub fn read(message: &[u8]) -> Option<Message> {
    let mut reader = Reader {
        bytes: message,
        at: 12,
    };
    let fields = reader.value(&mut "a(yv)".bytes().peekable(), DEPTH)?;
    reader.align(8)?;
    let mut read = Message {
        kind: message[1],
        reply_to: 0,
        error: None,
        body: Vec::new(),
    };
    let mut signature = String::new();
    for field in fields.list()? {
        match (field.list()?, read.kind) {
            ([Value::Number(5), Value::Number(serial)], _) => read.reply_to = *serial as u32,
            ([Value::Number(4), Value::Text(name)], ERROR) => read.error = Some(name.clone()),
            ([Value::Number(8), Value::Text(text)], _) => signature = text.clone(),
            _ => {}
        }
    }
    let mut types = signature.bytes().peekable();
    while types.peek().is_some() {
        read.body.push(reader.value(&mut types, DEPTH)?);
    }
    Some(read)
}

impl Value {
    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

type Types<'s> = std::iter::Peekable<std::str::Bytes<'s>>;

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.next_multiple_of(to);
        (self.at <= self.bytes.len()).then_some(())
    }

    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(taken)
    }

    fn number(&mut self, size: usize) -> Option<u64> {
        self.align(size)?;
        let mut all = [0; 8];
        all[..size].copy_from_slice(self.take(size)?);
        Some(u64::from_le_bytes(all))
    }

    fn text(&mut self, length_size: usize) -> Option<String> {
        let length = self.number(length_size)? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Some(text)
    }

    /// One value of the next type of the signature.
    fn value(&mut self, types: &mut Types<'_>, depth: u32) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        Some(match types.next()? {
            b'y' => Value::Number(self.number(1)?),
            b'q' => Value::Number(self.number(2)?),
            b'u' | b'b' | b'h' => Value::Number(self.number(4)?),
            b't' => Value::Number(self.number(8)?),
            b'n' => Value::Signed(i64::from(self.number(2)? as i16)),
            b'i' => Value::Signed(i64::from(self.number(4)? as i32)),
            b'x' => Value::Signed(self.number(8)? as i64),
            b'd' => Value::Float(f64::from_bits(self.number(8)?)),
            b's' | b'o' => Value::Text(self.text(4)?),
            b'g' => Value::Text(self.text(1)?),
            b'v' => {
                let signature = self.text(1)?;
                let mut inner = signature.bytes().peekable();
                self.value(&mut inner, depth)?
            }
            b'a' => {
                let size = self.number(4)? as usize;
                let element: Vec<u8> = one_type(types)?;
                let element = String::from_utf8(element).ok()?;
                // Padding before the first element does not count.
                self.align(alignment(element.as_bytes()[0]))?;
                let end = self
                    .at
                    .checked_add(size)
                    .filter(|end| *end <= self.bytes.len())?;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(&mut element.bytes().peekable(), depth)?);
                }
                Value::List(items)
            }
            open @ (b'(' | b'{') => {
                self.align(8)?;
                let close = if open == b'(' { b')' } else { b'}' };
                let mut items = Vec::new();
                while *types.peek()? != close {
                    items.push(self.value(types, depth)?);
                }
                types.next();
                Value::List(items)
            }
            _ => return None,
        })
    }
}

/// The letters of the next complete type.
fn one_type(types: &mut Types<'_>) -> Option<Vec<u8>> {
    let mut letters = Vec::new();
    let mut open = 0;
    loop {
        let letter = types.next()?;
        letters.push(letter);
        match letter {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open -= 1,
            _ => {}
        }
        if open == 0 && letter != b'a' {
            return Some(letters);
        }
    }
}

fn alignment(letter: u8) -> usize {
    match letter {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}
