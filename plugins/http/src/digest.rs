//! Digest authentication (RFC 7616): the answer to a server's challenge. No secret leaves here but as a hash.

use healthd_plugin::cut;
use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};
use std::hash::{BuildHasher, Hasher, RandomState};

/// User and password.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// What a request is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    pub method: &'r str,
    /// Path and query as they are sent.
    pub uri: &'r str,
}

impl Credentials {
    /// The Authorization header for the first challenge that can be answered; None: there is none.
    pub fn answer<'c>(
        &self,
        challenges: impl Iterator<Item = &'c str>,
        asked: Asked<'_>,
    ) -> Option<String> {
        let known = challenges
            .flat_map(digests)
            .filter_map(|text| Challenge::parse(&text));
        // The best hash there is.
        let best = known.max_by_key(|c| c.hash)?;
        let seed = RandomState::new().build_hasher().finish();
        Some(best.answer(self, asked, &format!("{seed:016x}")))
    }
}

/// Challenges of Digest of which none can be answered, in the server's words. None: there are none.
pub fn unknown<'c>(challenges: impl Iterator<Item = &'c str>) -> Option<String> {
    let all: Vec<String> = challenges.flat_map(digests).collect();
    let is_unknown = |text: &String| Challenge::parse(text).is_none();
    let told = |text: &String| -> Vec<String> {
        let parts = split_outside_quotes(text).into_iter();
        let says_how = |part: &String| {
            let key = part.split('=').next().unwrap_or_default().trim();
            key.eq_ignore_ascii_case("algorithm") || key.eq_ignore_ascii_case("qop")
        };
        parts.filter(says_how).collect()
    };
    let first = all.first().filter(|_| all.iter().all(is_unknown))?;
    Some(cut(&told(first).join(", "), 100).to_owned())
}

/// The parameters of each Digest challenge of a header, which may hold challenges of other kinds too.
fn digests(header: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in split_outside_quotes(header) {
        let (first, rest) = part.split_once(' ').unwrap_or((&part, ""));
        if first.eq_ignore_ascii_case("digest") {
            found.push(rest.trim().to_owned());
        } else if !first.contains('=') && !first.is_empty() {
            // Another scheme begins: what follows is not ours.
            found.push(String::new());
        } else if let Some(last) = found.last_mut()
            && !last.is_empty()
        {
            *last += ",";
            *last += &part;
        }
    }
    found.retain(|c| !c.is_empty());
    found
}

fn split_outside_quotes(text: &str) -> Vec<String> {
    let (mut parts, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in text.chars() {
        match c {
            ',' if !quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().map(|p| p.trim().to_owned()).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

impl Hash {
    fn of(self, text: &str) -> String {
        match self {
            Hash::Md5 => hex(&Md5::digest(text)),
            Hash::Sha256 => hex(&Sha256::digest(text)),
            Hash::Sha512_256 => hex(&Sha512_256::digest(text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[derive(Debug, PartialEq)]
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// As it was written; it is sent back.
    algorithm: Option<String>,
    hash: Hash,
    is_session: bool,
    auth: bool,
    user_hash: bool,
}

impl Challenge {
    fn parse(text: &str) -> Option<Challenge> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for part in split_outside_quotes(text) {
            let Some((key, value)) = part.split_once('=') else {
                continue;
            };
            let value = value.trim();
            let value = match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
                Some(quoted) => unescaped(quoted),
                None => value.to_owned(),
            };
            fields.push((key.trim().to_ascii_lowercase(), value));
        }
        let field = |name: &str| {
            fields
                .iter()
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.clone())
        };
        let algorithm = field("algorithm");
        let name = algorithm.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (name, is_session) = match name.strip_suffix("-SESS") {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let hash = match name {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            "SHA-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        let qop = field("qop");
        let auth = match &qop {
            None => false,
            Some(list)
                if list
                    .split(',')
                    .any(|q| q.trim().eq_ignore_ascii_case("auth")) =>
            {
                true
            }
            // Only auth-int, which nobody has.
            Some(_) => return None,
        };
        Some(Challenge {
            realm: field("realm").unwrap_or_default(),
            nonce: field("nonce")?,
            opaque: field("opaque"),
            algorithm,
            hash,
            is_session,
            auth,
            user_hash: field("userhash").is_some_and(|v| v.eq_ignore_ascii_case("true")),
        })
    }

    fn answer(&self, who: &Credentials, asked: Asked<'_>, cnonce: &str) -> String {
        let Asked { method, uri } = asked;
        let Challenge { realm, nonce, .. } = self;
        let h = |text: &str| self.hash.of(text);
        let mut secret = h(&format!("{}:{realm}:{}", who.user, who.password));
        if self.is_session {
            secret = h(&format!("{secret}:{nonce}:{cnonce}"));
        }
        let what = h(&format!("{method}:{uri}"));
        let response = match self.auth {
            true => h(&format!("{secret}:{nonce}:00000001:{cnonce}:auth:{what}")),
            false => h(&format!("{secret}:{nonce}:{what}")),
        };
        let user = match self.user_hash {
            true => h(&format!("{}:{realm}", who.user)),
            false => who.user.clone(),
        };
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut out = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            quoted(&user),
            quoted(realm),
            quoted(nonce)
        );
        if let Some(algorithm) = &self.algorithm {
            out += &format!(", algorithm={algorithm}");
        }
        if let Some(opaque) = &self.opaque {
            out += &format!(", opaque=\"{}\"", quoted(opaque));
        }
        if self.auth {
            out += &format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\"");
        } else if self.is_session {
            out += &format!(", cnonce=\"{cnonce}\"");
        }
        if self.user_hash {
            out += ", userhash=true";
        }
        out
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mufasa() -> Credentials {
        Credentials {
            user: "Mufasa".into(),
            password: "Circle of Life".into(),
        }
    }

    const ASKED: Asked<'_> = Asked {
        method: "GET",
        uri: "/dir/index.html",
    };

    /// RFC 7616, 3.9.1, and RFC 2617, 3.5 (whose password is in other letters).
    #[test]
    fn the_examples_of_the_standard() {
        let header = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let found = digests(header);
        let challenge = Challenge::parse(&found[0]).expect("a challenge");
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let said = challenge.answer(&mufasa(), ASKED, cnonce);
        assert!(
            said.contains(
                "response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""
            ),
            "{said}"
        );
        let md5 = Challenge::parse(&digests(&header.replace("SHA-256", "MD5"))[0]);
        let said = md5.expect("a challenge").answer(&mufasa(), ASKED, cnonce);
        assert!(
            said.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""),
            "{said}"
        );
        let old = Challenge::parse(
            "realm=\"testrealm@host.com\", qop=\"auth,auth-int\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        );
        let capitals = Credentials {
            password: "Circle Of Life".into(),
            ..mufasa()
        };
        let said = old
            .expect("a challenge")
            .answer(&capitals, ASKED, "0a4f113b");
        assert!(
            said.contains("response=\"6629fae49393a05397450978507c4ef1\""),
            "{said}"
        );
        assert!(!said.contains("algorithm"), "{said}");
        // RFC 7616, 3.9.2, with its erratum 4897.
        let name = "J\u{e4}s\u{f8}n Doe:api@example.org";
        assert_eq!(
            Hash::Sha512_256.of(name),
            "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
        );
    }

    #[test]
    fn what_nobody_here_can_answer_is_told() {
        let told = |headers: &[&str]| unknown(headers.iter().copied());
        let odd = "Digest realm=\"x\", nonce=\"1\", algorithm=SHA-1, qop=\"auth-int\"";
        assert_eq!(
            told(&["Basic realm=\"x\"", odd]).as_deref(),
            Some("algorithm=SHA-1, qop=\"auth-int\"")
        );
        assert_eq!(told(&[odd, "Digest realm=\"x\", nonce=\"2\""]), None);
        assert_eq!(told(&["Basic realm=\"x\""]), None);
    }

    #[test]
    fn challenges_among_others() {
        let headers = [
            "Basic realm=\"a, Digest b\"",
            "Negotiate, Digest realm=\"x\", nonce=\"n\\\"1\", Basic realm=\"y\"",
            "Digest realm=\"x\", nonce=\"2\", algorithm=SHA-256-sess, qop=auth",
            "Digest realm=\"x\", nonce=\"3\", algorithm=SHA-1, qop=\"auth\"",
            "Digest realm=\"x\", qop=auth-int, nonce=\"4\"",
            "Digest realm=\"without a nonce\"",
        ];
        let parsed: Vec<Challenge> = headers
            .into_iter()
            .flat_map(digests)
            .filter_map(|c| Challenge::parse(&c))
            .collect();
        let nonces: Vec<&str> = parsed.iter().map(|c| c.nonce.as_str()).collect();
        assert_eq!(nonces, ["n\"1", "2"]);
        let said = mufasa()
            .answer(headers.into_iter(), ASKED)
            .expect("an answer");
        assert!(
            said.contains("nonce=\"2\"") && said.contains("algorithm=SHA-256-sess"),
            "{said}"
        );
        assert!(!said.contains("Circle"));
        assert_eq!(mufasa().answer(["Basic realm=x"].into_iter(), ASKED), None);
    }
}
