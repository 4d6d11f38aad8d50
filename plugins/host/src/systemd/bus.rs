//! A connection to systemd: over the system's bus, or over its own socket.

use super::wire::{self, Body, Call, HEAD, Message, Value};
use healthd_plugin::net::UnixStream;
use healthd_plugin::{Cx, failure};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Why systemd could not be asked.
pub struct Trouble(pub String);

/// A unit's properties.
#[derive(Default)]
pub struct Unit(BTreeMap<String, Value>);

pub struct Bus<'a> {
    stream: UnixStream<'a>,
    serial: u32,
    unread: Vec<u8>,
}

const BUS: &str = "/run/dbus/system_bus_socket";
/// For root alone.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";

impl<'a> Bus<'a> {
    pub async fn connect(cx: Cx<'a>, socket: Option<&str>) -> Result<Bus<'a>, Trouble> {
        let is_root = nix::unistd::geteuid().is_root();
        match socket {
            Some(path) => Bus::open(cx, path, path != PRIVATE).await,
            None => match Bus::open(cx, BUS, true).await {
                Err(Trouble(why)) if is_root => {
                    let own = Bus::open(cx, PRIVATE, false).await;
                    own.map_err(|Trouble(more)| Trouble(format!("{why}; {more}")))
                }
                other => other,
            },
        }
    }

    async fn open(cx: Cx<'a>, path: &str, is_bus: bool) -> Result<Bus<'a>, Trouble> {
        let failed = |e: io::Error| Trouble(failure(path, &e).1);
        let stream = UnixStream::connect(cx, Path::new(path))
            .await
            .map_err(failed)?;
        let uid = nix::unistd::geteuid().to_string();
        let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        // In one piece: a first message that reaches systemd together with BEGIN is not looked at.
        let hello = format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n");
        stream.write_all(hello.as_bytes()).await.map_err(failed)?;
        let mut bus = Bus {
            stream,
            serial: 0,
            unread: Vec::new(),
        };
        let answer = bus.line().await.map_err(failed)?;
        if !answer.starts_with("OK ") {
            return Err(Trouble(format!("{path} refuses us: {answer}")));
        }
        if is_bus {
            let hello = Call {
                destination: Some("org.freedesktop.DBus"),
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
                body: Body::default(),
            };
            bus.call(hello).await?;
        }
        Ok(bus)
    }

    /// The names of the loaded units in one of these states (none: any) that match one of these patterns (none: all).
    pub async fn list(
        &mut self,
        states: &[&str],
        patterns: &[&str],
    ) -> Result<Vec<String>, Trouble> {
        let body = Body::default().texts(states).texts(patterns);
        let call = to_systemd(
            MANAGER,
            "org.freedesktop.systemd1.Manager",
            "ListUnitsByPatterns",
            body,
        );
        let answer = self.call(call).await?;
        let units = answer
            .body
            .first()
            .and_then(Value::list)
            .unwrap_or_default();
        let name = |unit: &Value| Some(unit.list()?.first()?.text()?.to_owned());
        Ok(units.iter().filter_map(name).collect())
    }

    /// All properties of a unit, as of one moment. systemd loads it for this if it can.
    pub async fn unit(&mut self, name: &str) -> Result<Unit, Trouble> {
        let path = format!("{MANAGER}/unit/{}", escaped(name));
        // No interface: the properties of all of them.
        let body = Body::default().text("");
        let call = to_systemd(&path, "org.freedesktop.DBus.Properties", "GetAll", body);
        let answer = self.call(call).await?;
        let all = answer.body.into_iter().next();
        let Some(Value::List(pairs)) = all else {
            return Err(Trouble(format!("its answer about {name} makes no sense")));
        };
        let pair = |pair: Value| match pair {
            Value::List(pair) => {
                let [key, value] = <[Value; 2]>::try_from(pair).ok()?;
                Some((key.text()?.to_owned(), value))
            }
            _ => None,
        };
        Ok(Unit(pairs.into_iter().filter_map(pair).collect()))
    }

    async fn call(&mut self, call: Call<'_>) -> Result<Message, Trouble> {
        let failed = |e: io::Error| Trouble(failure(call.member, &e).1);
        self.serial += 1;
        let message = call.message(self.serial);
        self.stream.write_all(&message).await.map_err(failed)?;
        loop {
            let answer = self.message().await.map_err(failed)?;
            // Signals come in between.
            if answer.reply_to != self.serial {
                continue;
            }
            return match answer.kind {
                wire::RETURN => Ok(answer),
                _ => {
                    let text = answer
                        .body
                        .first()
                        .and_then(Value::text)
                        .unwrap_or_default();
                    let name = answer.error.unwrap_or_default();
                    Err(Trouble(format!("{}: {text} ({name})", call.member)))
                }
            };
        }
    }

    async fn message(&mut self) -> io::Result<Message> {
        let bad = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        self.fill(HEAD).await?;
        let mut head = [0; HEAD];
        head.copy_from_slice(&self.unread[..HEAD]);
        let size = wire::size(&head).map_err(bad)?;
        self.fill(size).await?;
        let message = wire::read(&self.unread[..size]);
        self.unread.drain(..size);
        message.ok_or_else(|| bad("a message makes no sense"))
    }

    /// A line of the greeting, without its end.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.unread[..at]).into_owned();
                self.unread.drain(..at + 2);
                return Ok(line);
            }
            if self.unread.len() > 4096 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "its greeting has no end",
                ));
            }
            self.fill(self.unread.len() + 1).await?;
        }
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, size: usize) -> io::Result<()> {
        while self.unread.len() < size {
            let mut some = [0; 16 << 10];
            match self.stream.read(&mut some).await? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")),
                n => self.unread.extend(&some[..n]),
            }
        }
        Ok(())
    }
}

/// On systemd's own socket there is nobody else, and yet it wants to be named.
fn to_systemd<'c>(path: &'c str, interface: &'c str, member: &'c str, body: Body) -> Call<'c> {
    Call {
        destination: Some(SYSTEMD),
        path,
        interface,
        member,
        body,
    }
}

impl Unit {
    /// Empty: it has no such property.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::text).unwrap_or_default()
    }

    /// None: it has no such property, or systemd does not know it (the largest number).
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name)? {
            Value::Number(n) if *n != u64::MAX => Some(*n),
            _ => None,
        }
    }

    /// None: it has no such property. What systemd does not know is 0.
    pub fn number_or_zero(&self, name: &str) -> Option<u64> {
        self.0.get(name)?;
        Some(self.number(name).unwrap_or(0))
    }

    #[cfg(test)]
    pub fn of(properties: Vec<(&str, Value)>) -> Unit {
        Unit(
            properties
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
        )
    }
}

/// A unit's name as part of an object's path: all but letters and digits in hex, and a digit at its beginning.
pub fn escaped(name: &str) -> String {
    let mut text = String::new();
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'0'..=b'9' if i == 0 => text += &format!("_{byte:02x}"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(byte as char),
            _ => text += &format!("_{byte:02x}"),
        }
    }
    text
}
