//! The URL: `postgres://user:password@host:port/database?sslmode=require`, as libpq reads it.
//!
//! No error here repeats what stands before the `@`, nor anything that could be a piece of a password.

use healthd_plugin::Family;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

/// When to use TLS and what to check, as in libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// TLS if the server has it, whoever it is.
    Prefer,
    /// TLS, whoever the server is.
    Require,
    /// TLS, and the certificate must be signed by a CA we trust.
    VerifyCa,
    /// And be for this host.
    VerifyFull,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    /// The path of the socket.
    Unix(PathBuf),
}

#[derive(Debug)]
pub struct Target {
    pub place: Place,
    pub ssl_mode: SslMode,
    /// `sslrootcert`.
    pub ca_file: Option<PathBuf>,
    /// User, password, database and the like.
    pub config: Config,
    pub family: Family,
}

const PARAMETERS: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "application_name",
    "options",
    "host",
    "port",
    "user",
    "dbname",
    "password",
    "channel_binding",
];

impl Target {
    pub fn parse(url: &str, password: Option<&str>) -> Result<Target, String> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or("url: must begin with postgres:// or postgresql://")?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, _) = address.split_once('/').unwrap_or((address, ""));
        // A password with one of these in it would be cut there, and its end shown as a host or a database.
        if address.matches('@').count() > 1 || (address.contains('@') && !authority.contains('@')) {
            return Err(
                "url: user or password hold an @ or a /; write %40 or %2F, or use the option password".into(),
            );
        }
        let mut ssl_mode = SslMode::Prefer;
        let mut ca_file = None;
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "sslmode" => ssl_mode = parse_mode(value)?,
                "sslrootcert" => ca_file = Some(PathBuf::from(decoded(value))),
                "channel_binding" if value == "require" => {
                    return Err("url: channel_binding=require is not supported".into());
                }
                key if PARAMETERS.contains(&key) => kept.push(pair),
                key => {
                    return Err(format!(
                        "url: parameter {key} is not supported; there are {}",
                        PARAMETERS.join(", ")
                    ));
                }
            }
        }
        let plain = format!("postgres://{address}?{}", kept.join("&"));
        let mut config = Config::from_str(&plain).map_err(|e| {
            let cause = std::error::Error::source(&e).map(|c| format!(": {c}"));
            format!("url: cannot be read{}", cause.unwrap_or_default())
        })?;
        if let Some(password) = password {
            if config.get_password().is_some() {
                return Err("password: also stands in url; give it once".into());
            }
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("healthd");
        }
        // TLS is done before tokio-postgres gets the stream.
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        config.target_session_attrs(TargetSessionAttrs::Any);
        let place = place(&config)?;
        if ca_file.is_some() && ssl_mode == SslMode::Require {
            // As libpq does it.
            ssl_mode = SslMode::VerifyCa;
        }
        Ok(Target {
            place,
            ssl_mode,
            ca_file,
            config,
            family: Family::Any,
        })
    }

    /// The name a certificate must be for.
    pub fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Tcp { host, .. } => Some(host),
            Place::Unix(_) => None,
        }
    }
}

fn parse_mode(text: &str) -> Result<SslMode, String> {
    Ok(match text {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            return Err(format!(
                "url: sslmode {text:?} is none of disable, prefer, require, verify-ca, verify-full"
            ));
        }
    })
}

fn place(config: &Config) -> Result<Place, String> {
    let port = match config.get_ports() {
        [] => 5432,
        [port] => *port,
        _ => return Err("url: one host and port a check".into()),
    };
    let unix = |folder: &Path| Place::Unix(folder.join(format!(".s.PGSQL.{port}")));
    match config.get_hosts() {
        [] => Ok(unix(Path::new("/var/run/postgresql"))),
        [Host::Unix(folder)] => Ok(unix(folder)),
        [Host::Tcp(host)] if host.is_empty() => Err("url: the host is empty".into()),
        [Host::Tcp(host)] => Ok(Place::Tcp {
            host: host.clone(),
            port,
        }),
        _ => Err("url: one host a check; write a check for each".into()),
    }
}

/// Percent-decoding of a path; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).filter(|_| *first == b'%');
        let hex = escape.and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(url, None)
    }

    #[test]
    fn places() {
        let tcp = |host: &str, port| Place::Tcp {
            host: host.into(),
            port,
        };
        for (url, place) in [
            ("postgres://db.example.org", tcp("db.example.org", 5432)),
            ("postgresql://u:p@db:5433/x", tcp("db", 5433)),
            ("postgres://u@[::1]:1/x", tcp("::1", 1)),
            (
                "postgres://u@%2Frun%2Fpg/x",
                Place::Unix("/run/pg/.s.PGSQL.5432".into()),
            ),
            (
                "postgres://u@/x?host=/run/pg&port=7",
                Place::Unix("/run/pg/.s.PGSQL.7".into()),
            ),
            (
                "postgres:///x",
                Place::Unix("/var/run/postgresql/.s.PGSQL.5432".into()),
            ),
        ] {
            assert_eq!(parse(url).unwrap().place, place, "{url}");
        }
    }

    #[test]
    fn parameters() {
        let t = parse("postgres://u:p%40ss@h/db?sslmode=verify-full&sslrootcert=%2Fetc/ca.pem&application_name=a").unwrap();
        assert_eq!(t.ssl_mode, SslMode::VerifyFull);
        assert_eq!(t.ca_file, Some("/etc/ca.pem".into()));
        assert_eq!(t.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(t.config.get_application_name(), Some("a"));
        assert_eq!(parse("postgres://h").unwrap().ssl_mode, SslMode::Prefer);
        let t = parse("postgres://h?sslmode=require&sslrootcert=/ca").unwrap();
        assert_eq!(t.ssl_mode, SslMode::VerifyCa);
        let t = Target::parse("postgres://u@h", Some("secret")).unwrap();
        assert_eq!(t.config.get_password(), Some(&b"secret"[..]));
        assert_eq!(decoded("a%2fb%zz%"), "a/b%zz%");
    }

    #[test]
    fn mistakes_never_show_a_password() {
        for url in [
            "mysql://u:hunter2@h/x",
            "postgres://u:hunter2@h:x/x",
            "postgres://u:hunter2@h:99999/x",
            "postgres://u:hun@ter2@h/x",
            "postgres://u:hun/ter2@h/x",
            "postgres://u:hunter2@h,i/x",
            "postgres://u:hunter2@h/x?sslmode=allow",
            "postgres://u:hunter2@h/x?sslcert=y",
            "postgres://u:hunter2@h/x?channel_binding=require",
            "postgres://u:hunter2@[::1/x",
        ] {
            let e = parse(url).unwrap_err();
            assert!(e.starts_with("url: "), "{url}: {e}");
            assert!(!e.contains("ter2") && !e.contains("hun"), "{url}: {e}");
        }
        let e = Target::parse("postgres://u:a@h", Some("b")).unwrap_err();
        assert_eq!(e, "password: also stands in url; give it once");
    }
}
