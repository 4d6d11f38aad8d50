//! RESP, the protocol of Redis (version 2), read with caps: a server cannot make us keep more than it should.

use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use std::fmt;
use std::io;

/// The longest text that is taken: more than INFO has.
const TEXT_MAX: usize = 1 << 20;
/// All texts of one answer.
const TEXTS_MAX: usize = 2 << 20;
/// So many values in one answer, and so deep inside of each other.
const VALUES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Error(String),
    Number(i64),
    Nothing,
    List(Vec<Value>),
}

/// The bytes of a command.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    out
}

/// One answer.
pub async fn answer(lines: &mut Lines<Wire<'_>>) -> io::Result<Value> {
    // Lists that are not full yet, the innermost last.
    let mut open: Vec<(usize, Vec<Value>)> = Vec::new();
    let (mut seen, mut size) = (0, 0);
    loop {
        seen += 1;
        if seen > VALUES_MAX {
            return Err(invalid(format!(
                "an answer of more than {VALUES_MAX} values"
            )));
        }
        let mut value = match one(lines, size).await? {
            One::Value(value) => value,
            One::List(0) => Value::List(Vec::new()),
            One::List(n) => {
                if open.len() == DEPTH_MAX || n > VALUES_MAX {
                    return Err(invalid(format!(
                        "a list of {n} values, {} deep",
                        open.len() + 1
                    )));
                }
                open.push((n, Vec::new()));
                continue;
            }
        };
        if let Value::Text(text) | Value::Error(text) = &value {
            size += text.len();
        }
        if size > TEXTS_MAX {
            return Err(invalid(format!(
                "an answer of more than {} MiB",
                TEXTS_MAX >> 20
            )));
        }
        loop {
            let Some((n, mut list)) = open.pop() else {
                return Ok(value);
            };
            list.push(value);
            if list.len() < n {
                open.push((n, list));
                break;
            }
            value = Value::List(list);
        }
    }
}

/// Before an answer takes so many bytes.
async fn keep(lines: &mut Lines<Wire<'_>>, bytes: usize) -> io::Result<()> {
    lines.get_mut().room(bytes, TEXTS_MAX + 2 * TEXT_MAX).await
}

enum One {
    Value(Value),
    List(usize),
}

/// `size`: of the texts before it.
async fn one(lines: &mut Lines<Wire<'_>>, size: usize) -> io::Result<One> {
    keep(lines, size).await?;
    let line = lines.text().await?;
    let rest = line.get(1..).unwrap_or_default();
    let bad = || invalid(format!("{:?} is nothing that Redis says", shown(&line)));
    Ok(One::Value(match line.as_bytes().first() {
        Some(b'+') => Value::Text(rest.into()),
        Some(b'-') => Value::Error(rest.into()),
        Some(b':') => Value::Number(rest.parse().map_err(|_| bad())?),
        Some(b'$') => match rest.parse::<i64>().map_err(|_| bad())? {
            -1 => Value::Nothing,
            n => {
                let length = usize::try_from(n).ok().filter(|n| *n <= TEXT_MAX);
                let length = length.ok_or_else(|| invalid(format!("an answer of {n} bytes")))?;
                // As it was read, and by itself.
                keep(lines, size + 2 * length).await?;
                let text = lines.bytes(length + 2).await?;
                Value::Text(String::from_utf8_lossy(&text[..length]).into_owned())
            }
        },
        Some(b'*') => match rest.parse::<i64>().map_err(|_| bad())? {
            -1 => Value::Nothing,
            n => return Ok(One::List(usize::try_from(n).map_err(|_| bad())?)),
        },
        _ => return Err(bad()),
    }))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) | Value::Error(text) => f.write_str(text),
            Value::Number(n) => write!(f, "{n}"),
            Value::Nothing => f.write_str("nothing"),
            Value::List(all) => {
                let all: Vec<String> = all.iter().map(Value::to_string).collect();
                write!(f, "{}", all.join(" "))
            }
        }
    }
}

pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
