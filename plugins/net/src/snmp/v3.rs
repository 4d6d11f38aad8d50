//! Messages of SNMP's version 3 (RFC 3412, 3414): a question in its envelope, and the answer out of its own.

use super::ber::Response;
use super::options::{AuthProtocol, PrivProtocol};
use super::usm::AgentTime;
use crate::ber::{OCTETS, Reader, SEQUENCE, integer, tagged};
use std::hash::{BuildHasher, RandomState};

const VERSION: i32 = 3;
/// Datagrams up to this come in.
const SIZE_MAX: i32 = 65_507;
const USER_BASED: i32 = 3;
const SIGNED: u8 = 1;
const ENCRYPTED: u8 = 2;
/// The agent may say what is wrong with the message.
const REPORTABLE: u8 = 4;

/// What agents report of a message (usmStats, snmpMPDStats).
pub const WRONG_TIME: &str = "1.3.6.1.6.3.15.1.1.2.0";
pub const UNKNOWN_ENGINE: &str = "1.3.6.1.6.3.15.1.1.4.0";

/// Who asks.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub context: String,
    pub auth: Option<(AuthProtocol, String)>,
    pub privacy: Option<(PrivProtocol, String)>,
}

/// An agent as it has made itself known, and the user's keys at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    pub id: Vec<u8>,
    pub time: AgentTime,
    /// When that was its time.
    pub seen_ns: u64,
    auth_key: Vec<u8>,
    priv_key: Vec<u8>,
}

/// A message of an agent.
#[derive(Debug)]
pub struct Heard {
    pub engine: Vec<u8>,
    pub time: AgentTime,
    /// Its signature is right.
    pub is_signed: bool,
    pub response: Response,
}

impl Engine {
    pub fn new(id: Vec<u8>, user: &User) -> Engine {
        let auth = user.auth.as_ref();
        let key = auth.map(|(auth, password)| auth.key(password.as_bytes(), &id));
        let both = auth.zip(user.privacy.as_ref());
        let cipher = both.map(|((auth, _), (privacy, password))| {
            auth.cipher_key(password.as_bytes(), &id, *privacy)
        });
        Engine {
            auth_key: key.unwrap_or_default(),
            priv_key: cipher.unwrap_or_default(),
            time: AgentTime::default(),
            seen_ns: 0,
            id,
        }
    }

    /// Its clock goes on.
    pub fn time_at(&self, now_ns: u64) -> AgentTime {
        let since = now_ns.saturating_sub(self.seen_ns) / 1_000_000_000;
        let since = i32::try_from(since).unwrap_or(i32::MAX);
        AgentTime {
            seconds: self.time.seconds.saturating_add(since),
            ..self.time
        }
    }
}

impl User {
    fn flags(&self) -> u8 {
        u8::from(self.auth.is_some()) * SIGNED + u8::from(self.privacy.is_some()) * ENCRYPTED
    }

    /// Asks an agent who it is, which has to be known to sign for it.
    pub fn introduction(&self, id: i32) -> Vec<u8> {
        let nobody = ([].as_slice(), AgentTime::default());
        let question = scoped(&[], "", &super::ber::get(id, &[]));
        envelope(id, REPORTABLE, nobody, "", &[], &[], &question)
    }

    pub fn question(&self, id: i32, engine: &Engine, now_ns: u64, question: &[u8]) -> Vec<u8> {
        let time = engine.time_at(now_ns);
        let flags = REPORTABLE | self.flags();
        let mut content = scoped(&engine.id, &self.context, question);
        let mut salt = Vec::new();
        if let Some((privacy, _)) = &self.privacy {
            // Another one for each message.
            let random = RandomState::new().hash_one(id).to_be_bytes();
            let secret = privacy.encrypt(&engine.priv_key, time, random, &content);
            content = tagged(OCTETS, &secret);
            salt = random.to_vec();
        }
        let whole = |signature: &[u8]| {
            let of = (engine.id.as_slice(), time);
            envelope(id, flags, of, &self.name, signature, &salt, &content)
        };
        match &self.auth {
            None => whole(&[]),
            Some((auth, _)) => {
                let unsigned = whole(&vec![0; auth.signature_bytes()]);
                whole(&auth.sign(&engine.auth_key, &unsigned))
            }
        }
    }

    /// `Ok(None)`: a message that is not for us, or that somebody else may have sent. The error: it is broken.
    pub fn hear(
        &self,
        datagram: &[u8],
        id: i32,
        engine: Option<&Engine>,
    ) -> Result<Option<Heard>, String> {
        let mut message = Reader(Reader(datagram).want(SEQUENCE)?);
        let version = message.integer()?;
        if version != i64::from(VERSION) {
            return Err(format!("it is not of version 3 ({version})"));
        }
        let mut head = Reader(message.want(SEQUENCE)?);
        let same = head.integer()? == i64::from(id);
        head.integer()?;
        let flags = head.want(OCTETS)?.first().copied().unwrap_or(0);
        let mut security = Reader(Reader(message.want(OCTETS)?).want(SEQUENCE)?);
        let engine_id = security.want(OCTETS)?;
        let number = |n: i64| i32::try_from(n).ok().filter(|n| *n >= 0);
        let boots = number(security.integer()?).ok_or("it has a bad number of boots")?;
        let seconds = number(security.integer()?).ok_or("it has a bad time")?;
        let time = AgentTime { boots, seconds };
        security.want(OCTETS)?;
        let signature = security.want(OCTETS)?;
        let salt = security.want(OCTETS)?;
        if !same {
            return Ok(None);
        }
        let is_signed = match (&self.auth, engine) {
            (Some((auth, _)), Some(engine)) if flags & SIGNED != 0 => {
                let at = signature.as_ptr() as usize - datagram.as_ptr() as usize;
                let mut unsigned = datagram.to_vec();
                unsigned[at..at + signature.len()].fill(0);
                if engine.id != engine_id || auth.sign(&engine.auth_key, &unsigned) != signature {
                    return Ok(None);
                }
                true
            }
            _ => false,
        };
        let plain = match (&self.privacy, engine) {
            (Some((privacy, _)), Some(engine)) if flags & ENCRYPTED != 0 => {
                let secret = message.want(OCTETS)?;
                let plain = privacy.decrypt(&engine.priv_key, time, salt, secret);
                plain.ok_or("it is encrypted in another way")?
            }
            _ => message.0.to_vec(),
        };
        let mut scoped = Reader(Reader(&plain).want(SEQUENCE)?);
        scoped.want(OCTETS)?;
        scoped.want(OCTETS)?;
        let response = Response::read(&mut scoped)?;
        // An answer comes as the question went; a report may come in plain.
        let wanted = self.flags();
        if !response.is_report && (flags & wanted != wanted || self.auth.is_some() && !is_signed) {
            return Ok(None);
        }
        Ok(Some(Heard {
            engine: engine_id.to_vec(),
            time,
            is_signed,
            response,
        }))
    }
}

fn scoped(engine: &[u8], context: &str, pdu: &[u8]) -> Vec<u8> {
    let head = [tagged(OCTETS, engine), tagged(OCTETS, context.as_bytes())];
    tagged(SEQUENCE, &[&head.concat(), pdu].concat())
}

fn envelope(
    id: i32,
    flags: u8,
    (engine, time): (&[u8], AgentTime),
    user: &str,
    signature: &[u8],
    salt: &[u8],
    content: &[u8],
) -> Vec<u8> {
    let head = [
        integer(id),
        integer(SIZE_MAX),
        tagged(OCTETS, &[flags]),
        integer(USER_BASED),
    ];
    let security = [
        tagged(OCTETS, engine),
        integer(time.boots),
        integer(time.seconds),
        tagged(OCTETS, user.as_bytes()),
        tagged(OCTETS, signature),
        tagged(OCTETS, salt),
    ];
    let security = tagged(SEQUENCE, &security.concat());
    let whole = [
        integer(VERSION),
        tagged(SEQUENCE, &head.concat()),
        tagged(OCTETS, &security),
    ];
    tagged(SEQUENCE, &[&whole.concat(), content].concat())
}

/// What a report means, for people.
pub fn meaning(oid: &str) -> String {
    let text = match oid {
        "1.3.6.1.6.3.15.1.1.1.0" => {
            "it does not take questions of this security level (auth_password, priv_password)"
        }
        WRONG_TIME => "it is of another time than it said",
        "1.3.6.1.6.3.15.1.1.3.0" => "it does not know this user",
        UNKNOWN_ENGINE => "it is another one than it said",
        "1.3.6.1.6.3.15.1.1.5.0" => {
            "the signature is wrong: another auth_password or auth_protocol"
        }
        "1.3.6.1.6.3.15.1.1.6.0" => "it cannot decrypt: another priv_password or priv_protocol",
        other => return format!("it reports {other}"),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::super::ber::{Oid, get, report};
    use super::*;

    fn user(auth: AuthProtocol, privacy: Option<PrivProtocol>) -> User {
        User {
            name: "me".into(),
            context: String::new(),
            auth: Some((auth, "password".into())),
            privacy: privacy.map(|p| (p, "secret pass".into())),
        }
    }

    /// An answer in the envelope of a question: what an agent sends back.
    fn answer(user: &User, engine: &Engine, id: i32) -> Vec<u8> {
        user.question(id, engine, 0, &report(id, WRONG_TIME))
    }

    #[test]
    fn a_message_cut_anywhere_or_with_any_byte_changed_is_not_believed() {
        let both = user(AuthProtocol::Sha256, Some(PrivProtocol::Aes));
        let engine = Engine::new(b"engine".to_vec(), &both);
        let whole = answer(&both, &engine, 77);
        let heard = both.hear(&whole, 77, Some(&engine)).unwrap().unwrap();
        assert!(heard.is_signed && heard.response.is_report);
        assert_eq!(
            (heard.engine.as_slice(), heard.response.id),
            (&b"engine"[..], 77)
        );
        assert!(both.hear(&whole, 78, Some(&engine)).unwrap().is_none());
        for cut in 0..whole.len() {
            assert!(
                both.hear(&whole[..cut], 77, Some(&engine)).is_err(),
                "{cut}"
            );
        }
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut odd = whole.clone();
                odd[at] ^= flip;
                if let Ok(Some(heard)) = both.hear(&odd, 77, Some(&engine)) {
                    // A flag that was taken away: then it is not signed, and says so.
                    assert!(!heard.is_signed, "{at}");
                }
            }
        }
    }

    #[test]
    fn an_answer_in_plain_to_a_signed_question_is_none() {
        let signed = user(AuthProtocol::Sha, None);
        let nobody = User {
            auth: None,
            ..signed.clone()
        };
        let engine = Engine::new(b"engine".to_vec(), &signed);
        let oid = Oid::parse("1.3.6.1.2.1.1.5.0").unwrap();
        let mut plain = nobody.question(5, &engine, 0, &get(5, &[oid]));
        // The question as an answer.
        let at = plain.iter().rposition(|b| *b == 0xA0).unwrap();
        plain[at] = 0xA2;
        assert!(signed.hear(&plain, 5, Some(&engine)).unwrap().is_none());
        assert!(nobody.hear(&plain, 5, Some(&engine)).unwrap().is_some());
    }

    #[test]
    fn the_clock_of_an_agent_goes_on() {
        let mut engine = Engine::new(Vec::new(), &user(AuthProtocol::Md5, None));
        engine.time = AgentTime {
            boots: 2,
            seconds: 100,
        };
        engine.seen_ns = 5_000_000_000;
        assert_eq!(engine.time_at(9_500_000_000).seconds, 104);
        engine.time.seconds = i32::MAX;
        assert_eq!(engine.time_at(u64::MAX).seconds, i32::MAX);
    }
}
