//! What the settings mean: the servers to try, and how to log in there.

use crate::auth::AuthRule;
use crate::settings::{PassFile, Settings};
use healthd_plugin::tls::Version;
use healthd_plugin::{Family, host_name};
use std::borrow::Cow;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::Config;

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
        /// For names and messages.
        host: String,
        /// `hostaddr`: where it is, instead of asking for the name.
        address: Option<IpAddr>,
        port: u16,
    },
    /// The path of the socket.
    Unix(PathBuf),
}

impl Place {
    /// The name a certificate must be for.
    pub fn host(&self) -> Option<&str> {
        match self {
            Place::Tcp { host, .. } => Some(host),
            Place::Unix(_) => None,
        }
    }

    /// Host and port as a password file has them: a socket in the usual folder is `localhost`, as for libpq.
    fn in_pass_file(&self) -> (String, String) {
        match self {
            Place::Tcp { host, port, .. } => (host.clone(), port.to_string()),
            Place::Unix(path) => {
                let folder = path.parent().map(|f| f.display().to_string());
                let host = folder.filter(|f| f != USUAL_FOLDER);
                let port = path.extension().map(|p| p.to_string_lossy().into_owned());
                (
                    host.unwrap_or_else(|| "localhost".into()),
                    port.unwrap_or_default(),
                )
            }
        }
    }
}

/// Of sockets, where no host is given.
const USUAL_FOLDER: &str = "/var/run/postgresql";

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Which of several servers will do (`target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

#[derive(Debug)]
pub struct Target {
    /// At least one.
    pub places: Vec<Place>,
    /// In another order each time.
    pub shuffle: bool,
    pub wanted: Wanted,
    pub ssl_mode: SslMode,
    /// `sslrootcert`; `system` is None.
    pub ca_file: Option<PathBuf>,
    /// `sslcert` and `sslkey`.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// TLS from the first byte on (`sslnegotiation=direct`).
    pub direct: bool,
    /// Of TLS: the oldest and the newest.
    pub versions: [Option<Version>; 2],
    pub auth: AuthRule,
    /// `connect_timeout`: of each server.
    pub patience: Option<Duration>,
    /// User, database and the like, and the password if it is the same everywhere.
    pub config: Config,
    /// For each place, out of a password file.
    pub passwords: Vec<Option<String>>,
    pub family: Family,
}

impl Target {
    pub fn of(settings: &Settings, known: &PassFile) -> Result<Target, String> {
        let get = |key: &str| {
            settings
                .get(key)
                .map(String::as_str)
                .filter(|v| !v.is_empty())
        };
        let one_of = |key: &str, allowed: &[&str], why: &str| match get(key) {
            Some(value) if !allowed.contains(&value) => Err(format!("url: {key}: {why}")),
            _ => Ok(()),
        };
        one_of(
            "channel_binding",
            &["disable", "prefer"],
            "require is not supported",
        )?;
        one_of(
            "gssencmode",
            &["disable", "prefer"],
            "Kerberos is not supported",
        )?;
        one_of(
            "client_encoding",
            &["auto", "UTF8", "UTF-8", "utf8", "utf-8"],
            "only UTF8",
        )?;
        one_of("sslcompression", &["0"], "TLS has no compression any more")?;
        one_of(
            "sslsni",
            &["1"],
            "the server is told its name; 0 is not supported",
        )?;
        let mut config = Config::new();
        if let Some(user) = get("user") {
            config.user(user);
        }
        if let Some(password) = get("password") {
            config.password(password);
        }
        if let Some(dbname) = get("dbname") {
            config.dbname(dbname);
        }
        if let Some(options) = get("options") {
            config.options(options);
        }
        let application = get("application_name").or(get("fallback_application_name"));
        config.application_name(application.unwrap_or("healthd"));
        let places = places(get("host"), get("hostaddr"), get("port"))?;
        let user = get("user").unwrap_or_default();
        let database = get("dbname").unwrap_or(user);
        let password_at = |place: &Place| known.find(&place.in_pass_file(), database, user);
        // TLS is done before tokio-postgres gets the stream.
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        Ok(Target {
            passwords: places.iter().map(password_at).collect(),
            places,
            shuffle: match get("load_balance_hosts") {
                None | Some("disable") => false,
                Some("random") => true,
                Some(_) => return Err("url: load_balance_hosts is disable or random".into()),
            },
            wanted: wanted(get("target_session_attrs").unwrap_or("any"))?,
            ssl_mode: ssl_mode(get("sslmode").unwrap_or("prefer"))?,
            ca_file: get("sslrootcert")
                .filter(|f| *f != "system")
                .map(PathBuf::from),
            identity: identity(get("sslcert"), get("sslkey"), get("sslcertmode"))?,
            direct: match get("sslnegotiation") {
                None | Some("postgres") => false,
                Some("direct") => true,
                Some(_) => return Err("url: sslnegotiation is postgres or direct".into()),
            },
            versions: [
                version("ssl_min_protocol_version", get("ssl_min_protocol_version"))?,
                version("ssl_max_protocol_version", get("ssl_max_protocol_version"))?,
            ],
            auth: AuthRule::parse(get("require_auth").unwrap_or_default())
                .map_err(|e| format!("url: {e}"))?,
            patience: match get("connect_timeout").map(str::parse::<u64>) {
                None | Some(Ok(0)) => None,
                Some(Ok(s)) => Some(Duration::from_secs(s)),
                Some(Err(_)) => return Err("url: connect_timeout is a number of seconds".into()),
            },
            config,
            family: Family::Any,
        })
    }

    /// What to log in with at the place of this number.
    pub fn config_for(&self, place: usize) -> Cow<'_, Config> {
        match self.passwords.get(place) {
            Some(Some(password)) => Cow::Owned(self.config.clone().password(password).clone()),
            _ => Cow::Borrowed(&self.config),
        }
    }

    /// As libpq does it: with a root given, `require` looks at the certificate.
    pub fn settle(&mut self) {
        if self.ca_file.is_some() && self.ssl_mode == SslMode::Require {
            self.ssl_mode = SslMode::VerifyCa;
        }
    }
}

fn places(
    hosts: Option<&str>,
    addresses: Option<&str>,
    ports: Option<&str>,
) -> Result<Vec<Place>, String> {
    let list = |text: Option<&str>| -> Vec<String> {
        text.map_or(Vec::new(), |t| {
            t.split(',').map(|s| s.trim().to_owned()).collect()
        })
    };
    let (hosts, addresses, ports) = (list(hosts), list(addresses), list(ports));
    let count = hosts.len().max(addresses.len()).max(1);
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err("url: as many hostaddr as hosts".into());
    }
    if ports.len() > 1 && ports.len() != count {
        return Err("url: one port, or as many as hosts".into());
    }
    (0..count)
        .map(|n| {
            let port = match ports.get(n).or(ports.first()).map_or("", |p| p) {
                "" => 5432,
                text => text
                    .parse::<u16>()
                    .ok()
                    .filter(|p| *p != 0)
                    .ok_or("url: a port is a number from 1 to 65535")?,
            };
            let address = match addresses.get(n).filter(|a| !a.is_empty()) {
                None => None,
                Some(text) => Some(
                    text.parse::<IpAddr>()
                        .map_err(|_| "url: hostaddr is an IP address")?,
                ),
            };
            let host = hosts.get(n).map_or("", |h| h);
            let folder = match (host, address) {
                ("", None) => Some(USUAL_FOLDER),
                (host, _) => Some(host).filter(|h| h.starts_with('/')),
            };
            if let Some(folder) = folder {
                let socket = Path::new(folder).join(format!(".s.PGSQL.{port}"));
                return Ok(Place::Unix(socket));
            }
            let host = match (host, address) {
                ("", Some(address)) => address.to_string(),
                (host, _) => host_name(host)
                    .map_err(|why| format!("url: {why}"))?
                    .into_owned(),
            };
            Ok(Place::Tcp {
                host,
                address,
                port,
            })
        })
        .collect()
}

fn ssl_mode(text: &str) -> Result<SslMode, String> {
    Ok(match text {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        "allow" => {
            return Err("url: sslmode=allow is not supported; prefer tries TLS first".into());
        }
        _ => {
            return Err(
                "url: sslmode is none of disable, prefer, require, verify-ca, verify-full".into(),
            );
        }
    })
}

/// None: whatever we speak. Older ones we do not speak, and as the oldest they allow ours.
fn version(key: &str, text: Option<&str>) -> Result<Option<Version>, String> {
    match text {
        None => Ok(None),
        Some("TLSv1" | "TLSv1.1") if key.contains("min") => Ok(None),
        Some("TLSv1.2") => Ok(Some(Version::Tls12)),
        Some("TLSv1.3") => Ok(Some(Version::Tls13)),
        Some(_) => Err(format!("url: {key}: TLSv1.2 and TLSv1.3 are spoken")),
    }
}

fn wanted(text: &str) -> Result<Wanted, String> {
    Ok(match text {
        "any" => Wanted::Any,
        "read-write" => Wanted::ReadWrite,
        "read-only" => Wanted::ReadOnly,
        "primary" => Wanted::Primary,
        "standby" => Wanted::Standby,
        "prefer-standby" => Wanted::PreferStandby,
        _ => return Err(
            "url: target_session_attrs is none of any, read-write, read-only, primary, standby, prefer-standby"
                .into(),
        ),
    })
}

fn identity(
    certificate: Option<&str>,
    key: Option<&str>,
    mode: Option<&str>,
) -> Result<Option<(PathBuf, PathBuf)>, String> {
    match (certificate, key, mode) {
        (_, _, Some("disable")) => Ok(None),
        (Some(certificate), Some(key), None | Some("allow" | "require")) => {
            Ok(Some((certificate.into(), key.into())))
        }
        (None, None, None | Some("allow")) => Ok(None),
        (None, None, Some("require")) => {
            Err("url: sslcertmode=require needs sslcert and sslkey".into())
        }
        (_, _, None | Some("allow" | "require")) => {
            Err("url: sslcert and sslkey belong together".into())
        }
        _ => Err("url: sslcertmode is disable, allow or require".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Files, of_url};

    fn parse(url: &str) -> Result<Target, String> {
        let files = Files {
            home: None,
            service_file: None,
            read: &|_| Err(std::io::ErrorKind::NotFound.into()),
        };
        Target::of(&of_url(url, &files)?, &PassFile::default())
    }

    #[test]
    fn places() {
        let tcp = |host: &str, port| Place::Tcp {
            host: host.into(),
            address: None,
            port,
        };
        for (url, places) in [
            (
                "postgres://db.example.org",
                vec![tcp("db.example.org", 5432)],
            ),
            ("postgresql://u:p@db:5433/x", vec![tcp("db", 5433)]),
            ("postgres://u@[::1]:1/x", vec![tcp("::1", 1)]),
            (
                "postgres://a:1,b,c:3/x",
                vec![tcp("a", 1), tcp("b", 5432), tcp("c", 3)],
            ),
            ("postgres://a,b/x?port=7", vec![tcp("a", 7), tcp("b", 7)]),
            (
                "postgres://u@%2Frun%2Fpg/x",
                vec![Place::Unix("/run/pg/.s.PGSQL.5432".into())],
            ),
            (
                "postgres:///x",
                vec![Place::Unix("/var/run/postgresql/.s.PGSQL.5432".into())],
            ),
            (
                "postgres://db?hostaddr=10.0.0.1",
                vec![Place::Tcp {
                    host: "db".into(),
                    address: "10.0.0.1".parse().ok(),
                    port: 5432,
                }],
            ),
        ] {
            assert_eq!(parse(url).unwrap().places, places, "{url}");
        }
    }

    #[test]
    fn parameters() {
        let t = parse("postgres://u:p%40ss@h/db?sslmode=verify-full&sslrootcert=%2Fetc/ca.pem&application_name=a&target_session_attrs=standby&connect_timeout=3").unwrap();
        assert_eq!(t.ssl_mode, SslMode::VerifyFull);
        assert_eq!(t.ca_file, Some("/etc/ca.pem".into()));
        assert_eq!(t.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(t.config.get_application_name(), Some("a"));
        assert_eq!(t.wanted, Wanted::Standby);
        assert_eq!(t.patience, Some(Duration::from_secs(3)));
        assert_eq!(parse("postgres://h").unwrap().ssl_mode, SslMode::Prefer);
        let mut t = parse("postgres://h?sslmode=require&sslrootcert=/ca").unwrap();
        t.settle();
        assert_eq!(t.ssl_mode, SslMode::VerifyCa);
    }

    #[test]
    fn mistakes_are_named_without_their_values() {
        for (url, why) in [
            ("postgres://u:hunter2@h:x/x", "a port is a number"),
            ("postgres://u:hunter2@h:99999/x", "a port is a number"),
            ("postgres://u:hunter2@h/x?port=1,2", "one port, or as many"),
            ("postgres://u:hunter2@h/x?sslmode=allow", "sslmode=allow"),
            (
                "postgres://u:hunter2@h/x?sslmode=hunter2",
                "sslmode is none of",
            ),
            ("postgres://u:hunter2@h/x?sslcert=y", "belong together"),
            (
                "postgres://u:hunter2@h/x?channel_binding=require",
                "channel_binding",
            ),
            (
                "postgres://u:hunter2@h/x?require_auth=md5,!gss",
                "require_auth",
            ),
            (
                "postgres://u:hunter2@h/x?target_session_attrs=x",
                "target_session_attrs",
            ),
        ] {
            let e = parse(url).unwrap_err();
            assert!(e.starts_with("url: ") && e.contains(why), "{url}: {e}");
            assert!(!e.contains("ter2"), "{url}: {e}");
        }
    }
}
