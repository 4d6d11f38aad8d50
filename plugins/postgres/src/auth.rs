//! How the server may ask who we are (`require_auth`), so that no password goes out in clear unasked.

use std::io;

/// One or more of them, as libpq names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Password,
    Md5,
    Gss,
    Sspi,
    Scram,
    /// The server lets us in without a question.
    None,
}

const NAMES: [(&str, Method); 6] = [
    ("password", Method::Password),
    ("md5", Method::Md5),
    ("gss", Method::Gss),
    ("sspi", Method::Sspi),
    ("scram-sha-256", Method::Scram),
    ("none", Method::None),
];

#[derive(Clone, Debug, Default)]
pub struct AuthRule {
    /// None: nothing was said.
    allowed: Option<Vec<Method>>,
}

impl AuthRule {
    /// `scram-sha-256,md5`, or `!password`: all others.
    pub fn parse(text: &str) -> Result<AuthRule, String> {
        let words: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .collect();
        let negated = words.iter().filter(|w| w.starts_with('!')).count();
        if negated != 0 && negated != words.len() {
            return Err("require_auth: either all of its methods have a ! or none".into());
        }
        let mut named = Vec::new();
        for word in &words {
            let name = word.trim_start_matches('!');
            let method = NAMES.iter().find(|(n, _)| *n == name).ok_or(format!(
                "require_auth: {name:?} is none of password, md5, gss, sspi, scram-sha-256, none"
            ))?;
            named.push(method.1);
        }
        let allowed = NAMES
            .iter()
            .map(|(_, m)| *m)
            .filter(|m| named.contains(m) == (negated == 0))
            .collect();
        Ok(AuthRule {
            allowed: (!words.is_empty()).then_some(allowed),
        })
    }

    /// `private`: nobody on the way can read what is sent. What the operator demands of a server and is not so is the
    /// server's fault (PermissionDenied); that we give no password away unasked says nothing of it (Unsupported).
    pub fn judge(&self, method: Method, private: bool) -> io::Result<()> {
        let refused = |kind, why: String| Err(io::Error::new(kind, why));
        match &self.allowed {
            Some(allowed) if allowed.contains(&method) => Ok(()),
            Some(_) => refused(
                io::ErrorKind::PermissionDenied,
                format!(
                    "the server {}, which require_auth does not allow; nothing was sent",
                    match method {
                        Method::None => "lets everybody in".into(),
                        other => format!("asks for the method {}", name(other)),
                    }
                ),
            ),
            None if method == Method::Password && !private => refused(
                io::ErrorKind::Unsupported,
                "the server asks for the password in clear over a connection without TLS; nothing was sent (sslmode=require, or require_auth=password allows it)".into(),
            ),
            None if matches!(method, Method::Gss | Method::Sspi) => refused(
                io::ErrorKind::Unsupported,
                format!("the server asks for the method {}, which cannot be done here", name(method)),
            ),
            None => Ok(()),
        }
    }
}

fn name(method: Method) -> &'static str {
    NAMES
        .iter()
        .find(|(_, m)| *m == method)
        .map_or("none", |(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let ok = |rule: &str, method, private| {
            AuthRule::parse(rule)
                .unwrap()
                .judge(method, private)
                .is_ok()
        };
        assert!(ok("", Method::Md5, false) && ok("", Method::Password, true));
        assert!(!ok("", Method::Password, false) && ok("password", Method::Password, false));
        assert!(ok("scram-sha-256,md5", Method::Md5, false));
        assert!(!ok("scram-sha-256", Method::None, true));
        assert!(ok("!password,!md5", Method::Scram, false));
        assert!(!ok("!password,!md5", Method::Md5, true));
        for wrong in ["!md5,password", "kerberos"] {
            assert!(AuthRule::parse(wrong).is_err());
        }
    }
}
