//! Real mail for `storm`: Exim, and before it a gate that refuses, hangs, or cuts the line when Exim has taken a mail.

use healthd_test_support::receiver::{Got, Manner, unpaired};
use healthd_testing::Exim;
use serde_json::json;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub struct Post {
    exim: Exim,
    port: u16,
    gate: Arc<Mutex<Gate>>,
}

struct Gate {
    manner: Manner,
    hanging: Vec<TcpStream>,
    /// Message-IDs of what was handed on without a word back, each as often as that happened.
    hidden: Vec<String>,
}

/// What has arrived, by Message-ID.
pub struct Arrived {
    pub mails: usize,
    /// It had them, and had hidden that it has: whoever cannot know sends again.
    pub hidden: usize,
    /// It had said that it has them.
    pub again: usize,
    pub problems: usize,
    pub recoveries: usize,
}

impl Post {
    /// None: Exim cannot run here.
    pub fn start() -> Option<Post> {
        let exim = Exim::start()?;
        let listener = TcpListener::bind("127.0.0.1:0").ok()?;
        let (port, behind) = (listener.local_addr().ok()?.port(), exim.port());
        let gate = Arc::new(Mutex::new(Gate {
            manner: Manner::Accept,
            hanging: Vec::new(),
            hidden: Vec::new(),
        }));
        let state = gate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut gate = locked(&state);
                let manner = gate.manner;
                match manner {
                    Manner::Hang => gate.hanging.push(client),
                    Manner::Answer(..) => drop((&client).write_all(b"421 busy\r\n")),
                    Manner::Accept | Manner::Swallow => {
                        let hides = (manner == Manner::Swallow).then(|| state.clone());
                        std::thread::spawn(move || hand_on(client, behind, hides));
                    }
                }
            }
        });
        Some(Post { exim, port, gate })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn be(&self, manner: Manner) {
        let mut gate = locked(&self.gate);
        gate.manner = manner;
        gate.hanging.clear();
    }

    /// In the order in which Exim took them. Err: some problem has not one end, or some end no problem.
    pub fn arrived(&self) -> Result<Arrived, String> {
        let (log, inbox) = (self.exim.log(), self.exim.inbox());
        let known: HashMap<&str, Headers<'_>> = (inbox.split("\nFrom "))
            .filter_map(|mail| Some((header(mail, "Message-ID")?, Headers::of(mail))))
            .collect();
        let ids = log.lines().filter(|l| l.contains(" <= "));
        let ids = ids.filter_map(|l| l.split(" id=").nth(1)?.split(' ').next());
        let mut all = Vec::new();
        for id in ids {
            let angled = format!("<{id}>");
            let mail = known.get(angled.as_str());
            let mail = mail.ok_or_else(|| format!("{id} was taken, and is in no mailbox"))?;
            let notice = mail.root.unwrap_or(&angled).to_owned();
            all.push(Got {
                head: String::new(),
                // What is not known to be told says so in words.
                body: json!({"id": angled, "notice": notice, "kind": mail.kind, "unsure": true}),
                accepted: true,
                is_there: true,
            });
        }
        let apart = unpaired(&all)?;
        let hidden = locked(&self.gate).hidden.clone();
        let of_id = |id: &str| all.iter().filter(|mail| mail.text("id") == id).count();
        let said = known.keys().map(|id| {
            let hidden = hidden.iter().filter(|hidden| hidden == id).count();
            of_id(id).saturating_sub(hidden + 1)
        });
        let (all_again, again) = (all.len() - apart, said.sum::<usize>());
        let of = |kind: &str| known.values().filter(|m| m.kind == kind).count();
        Ok(Arrived {
            mails: all.len(),
            hidden: all_again.saturating_sub(again),
            again,
            problems: of("problem"),
            recoveries: of("recovery"),
        })
    }
}

struct Headers<'m> {
    kind: &'m str,
    /// The mail that began its thread.
    root: Option<&'m str>,
}

impl<'m> Headers<'m> {
    fn of(mail: &'m str) -> Headers<'m> {
        Headers {
            kind: header(mail, "X-Healthd-Kind").unwrap_or_default(),
            root: header(mail, "In-Reply-To"),
        }
    }
}

fn header<'m>(mail: &'m str, name: &str) -> Option<&'m str> {
    let lines = mail.lines().take_while(|l| !l.is_empty());
    let mut values = lines.filter_map(|l| l.split_once(": "));
    let value = values.find(|(key, _)| key.eq_ignore_ascii_case(name));
    value.map(|(_, value)| value.trim())
}

fn locked(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(|e| e.into_inner())
}

/// `hides`: what Exim says of the mail itself is not handed back, and the line is cut; there its id is written down.
fn hand_on(mut client: TcpStream, behind: u16, hides: Option<Arc<Mutex<Gate>>>) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", behind)).ok()?;
    let is_mute = Arc::new(AtomicBool::new(false));
    let (mut back, mut from, mute) = (
        client.try_clone().ok()?,
        server.try_clone().ok()?,
        is_mute.clone(),
    );
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            if mute.load(Ordering::SeqCst) || back.write_all(&piece[..n]).is_err() {
                break;
            }
        }
        let _ = (back.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
    let (mut piece, mut said) = ([0; 4096], Vec::new());
    while let Ok(n @ 1..) = client.read(&mut piece) {
        said.extend_from_slice(&piece[..n]);
        if let Some(gate) = &hides
            && said.ends_with(b"\r\n.\r\n")
        {
            is_mute.store(true, Ordering::SeqCst);
            let said = String::from_utf8_lossy(&said);
            let ids = said.lines().filter_map(|l| l.strip_prefix("Message-ID: "));
            locked(gate)
                .hidden
                .extend(ids.map(|id| id.trim().to_owned()));
        }
        server.write_all(&piece[..n]).ok()?;
    }
    server.shutdown(Shutdown::Write).ok()
}
