//! libpq's settings: out of a URL and a service file, and passwords out of a password file, as libpq reads them.
//!
//! No error here repeats a value, nor what stands before the `@`, nor anything that could be a piece of a password.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// By libpq's names. What the URL says wins over what a service says.
pub type Settings = BTreeMap<String, String>;

/// What libpq 17 knows. With `None` it is used, or has no meaning for a check; with a text it is refused, with that.
const KNOWN: [(&str, Option<&str>); 51] = [
    ("application_name", None),
    ("channel_binding", None),
    ("client_encoding", None),
    ("connect_timeout", None),
    ("dbname", None),
    ("fallback_application_name", None),
    ("gssdelegation", None),
    ("gssencmode", None),
    ("gsslib", None),
    ("host", None),
    ("hostaddr", None),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("krbsrvname", None),
    ("load_balance_hosts", None),
    ("max_protocol_version", None),
    ("min_protocol_version", None),
    ("oauth_client_id", Some("OAuth is not supported")),
    ("oauth_client_secret", Some("OAuth is not supported")),
    ("oauth_issuer", Some("OAuth is not supported")),
    ("oauth_scope", Some("OAuth is not supported")),
    ("options", None),
    ("passfile", None),
    ("password", None),
    ("port", None),
    (
        "replication",
        Some("a check makes no replication connection"),
    ),
    ("require_auth", None),
    (
        "requirepeer",
        Some("the owner of a socket is not looked at"),
    ),
    ("requiressl", Some("write sslmode=require")),
    ("scram_client_key", Some("write the password, as a secret")),
    ("scram_server_key", Some("write the password, as a secret")),
    ("service", None),
    ("servicefile", None),
    ("ssl_max_protocol_version", None),
    ("ssl_min_protocol_version", None),
    ("sslcert", None),
    ("sslcertmode", None),
    ("sslcompression", None),
    ("sslcrl", Some("revocation lists are not looked at")),
    ("sslcrldir", Some("revocation lists are not looked at")),
    ("sslkey", None),
    ("sslkeylogfile", Some("session keys are not written")),
    ("sslmode", None),
    ("sslnegotiation", None),
    (
        "sslpassword",
        Some("write the key without a passphrase, readable by healthd alone"),
    ),
    ("sslrootcert", None),
    ("sslsni", None),
    ("target_session_attrs", None),
    ("user", None),
];
/// Older or rarer ones.
const NO_MEANING: [&str; 2] = ["tcp_user_timeout", "authtype"];

/// Where files are looked for, and how they are read. In `create`, where that may block.
pub struct Files<'f> {
    pub home: Option<PathBuf>,
    pub service_file: Option<PathBuf>,
    pub read: &'f dyn Fn(&Path) -> std::io::Result<String>,
}

impl Files<'_> {
    /// None of them is there.
    pub fn none() -> Files<'static> {
        Files {
            home: None,
            service_file: None,
            read: &|_| Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

pub fn of_url(url: &str, files: &Files<'_>) -> Result<Settings, String> {
    let rest = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))
        .ok_or("url: must begin with postgres:// or postgresql://")?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = address.split_once('/').unwrap_or((address, ""));
    // A password with one of these in it would be cut there, and its end shown as a host, a database or a parameter.
    if address.matches('@').count() > 1 || (address.contains('@') && !authority.contains('@')) {
        return Err(
            "url: user or password hold an @ or a /; write %40 or %2F, or use the option password"
                .into(),
        );
    }
    if !address.contains(['/', '@']) && query.contains('@') {
        return Err("url: user or password hold a ?; write %3F, or use the option password".into());
    }
    let mut settings = of_authority(authority)?;
    if !database.is_empty() {
        settings.insert("dbname".into(), decoded(database)?);
    }
    for (n, pair) in query.split('&').filter(|p| !p.is_empty()).enumerate() {
        let (key, value) = pair
            .split_once('=')
            .ok_or(format!("url: parameter {} has no =", n + 1))?;
        let key = known(key).map_err(|why| match why {
            Some(why) => format!("url: {key}: {why}"),
            None => {
                let n = n + 1;
                let near =
                    near(key).map_or(String::new(), |name| format!("; did you mean {name}?"));
                format!("url: the name of parameter {n} is none that libpq has{near}")
            }
        })?;
        settings.insert(key.into(), decoded(value)?);
    }
    if let Some(service) = settings.get("service").cloned() {
        let named = settings.get("servicefile").map(PathBuf::from);
        let of_service = of_service(&service, named.as_deref(), files)?;
        for (key, value) in of_service {
            settings.entry(key).or_insert(value);
        }
    }
    Ok(settings)
}

/// The name as we keep it. Err(None): nobody knows it; Err(Some): it is refused, and why.
fn known(key: &str) -> Result<&str, Option<&'static str>> {
    if NO_MEANING.contains(&key) {
        return Ok(key);
    }
    match KNOWN.iter().find(|(name, _)| *name == key) {
        Some((name, None)) => Ok(name),
        Some((_, Some(why))) => Err(Some(why)),
        None => Err(None),
    }
}

/// A name of libpq's that may be meant: what was written itself could be a piece of a password.
fn near(key: &str) -> Option<&'static str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let key = plain(key);
    let is_near = |name: &str| {
        let name = plain(name);
        name == key || (key.len() >= 4 && name.starts_with(&key))
    };
    let mut names = KNOWN.iter().map(|(name, _)| *name);
    names.find(|name| is_near(name))
}

/// `user:password@host:port,host:port`.
fn of_authority(authority: &str) -> Result<Settings, String> {
    let mut settings = Settings::new();
    let hosts = match authority.rsplit_once('@') {
        None => authority,
        Some((login, hosts)) => {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            if !user.is_empty() {
                settings.insert("user".into(), decoded(user)?);
            }
            if let Some(password) = password {
                settings.insert("password".into(), decoded(password)?);
            }
            hosts
        }
    };
    if hosts.is_empty() {
        return Ok(settings);
    }
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(v6) => {
                let (name, rest) = v6.split_once(']').ok_or("url: a [ without a ]")?;
                let port = rest.strip_prefix(':');
                if port.is_none() && !rest.is_empty() {
                    return Err("url: after ] only a :port may follow".into());
                }
                (name, port)
            }
            None => match host.rsplit_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            },
        };
        names.push(decoded(name)?);
        ports.push(port.unwrap_or_default());
    }
    settings.insert("host".into(), names.join(","));
    if ports.iter().any(|p| !p.is_empty()) {
        settings.insert("port".into(), ports.join(","));
    }
    Ok(settings)
}

/// Percent-decoding, as libpq does it: a `+` stays one, and half an escape is an error.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        let byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
        bytes.push(byte.filter(|b| *b != 0).ok_or(
            "url: a % is followed by no two hexadecimal digits; a % itself is written %25",
        )?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| "url: what its escapes stand for is no UTF-8".into())
}

/// `[name]`, then `key=value` a line. The file that was named, or the user's own, or the machine's.
fn of_service(service: &str, named: Option<&Path>, files: &Files<'_>) -> Result<Settings, String> {
    let explicit = named.or(files.service_file.as_deref());
    let candidates: Vec<PathBuf> = match explicit {
        Some(file) => vec![file.into()],
        None => files
            .home
            .iter()
            .map(|home| home.join(".pg_service.conf"))
            .chain(["/etc/postgresql-common/pg_service.conf".into()])
            .collect(),
    };
    for file in &candidates {
        let text = match (files.read)(file) {
            Ok(text) => text,
            Err(e) if explicit.is_some() => return Err(format!("{}: {e}", file.display())),
            Err(_) => continue,
        };
        let mut found = false;
        let mut settings = Settings::new();
        for (n, line) in text.lines().map(str::trim).enumerate() {
            if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                if found {
                    break;
                }
                found = section == service;
            } else if found && !line.is_empty() && !line.starts_with('#') {
                let wrong = |why: &str| format!("{}:{}: {why}", file.display(), n + 1);
                let (key, value) = line.split_once('=').ok_or(wrong("no ="))?;
                let key = known(key.trim())
                    .map_err(|why| wrong(why.unwrap_or("libpq has no setting of this name")))?;
                if key == "service" {
                    return Err(wrong("a service cannot name another"));
                }
                settings.insert(key.into(), value.trim().into());
            }
        }
        if found {
            return Ok(settings);
        }
    }
    let places: Vec<_> = candidates.iter().map(|f| f.display().to_string()).collect();
    Err(format!(
        "url: no service `{service}` in {}",
        places.join(" or ")
    ))
}

/// `host:port:database:user:password` a line.
#[derive(Debug, Default)]
pub struct PassFile {
    lines: Vec<Vec<String>>,
    /// The user's own is there, and why it cannot be read.
    pub unread: Option<String>,
}

impl PassFile {
    /// Empty if there is a password. Only if the file was named must it be there.
    pub fn of(settings: &Settings, files: &Files<'_>) -> Result<PassFile, String> {
        if settings.contains_key("password") {
            return Ok(PassFile::default());
        }
        let named = settings.get("passfile").map(PathBuf::from);
        let own = files.home.as_ref().map(|home| home.join(".pgpass"));
        let Some(file) = named.clone().or(own) else {
            return Ok(PassFile::default());
        };
        match (files.read)(&file) {
            Ok(text) => {
                let lines = text.lines().filter(|l| !l.starts_with('#'));
                Ok(PassFile {
                    lines: lines.map(fields).collect(),
                    unread: None,
                })
            }
            Err(e) if named.is_some() => Err(format!("passfile {}: {e}", file.display())),
            Err(e) => Ok(PassFile {
                lines: Vec::new(),
                unread: (e.kind() != std::io::ErrorKind::NotFound)
                    .then(|| format!("{}: {e}", file.display())),
            }),
        }
    }

    /// Of the first line that fits.
    pub fn find(
        &self,
        (host, port): &(String, String),
        database: &str,
        user: &str,
    ) -> Option<String> {
        let wanted = [host, port, database, user];
        self.lines.iter().find_map(|fields| {
            let [_, _, _, _, password] = &fields[..] else {
                return None;
            };
            let fits = wanted.iter().zip(fields).all(|(w, f)| f == "*" || f == w);
            fits.then(|| password.clone())
        })
    }
}

/// Five, with `\:` and `\\` for what they stand for.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let last = fields.len() - 1;
        match c {
            '\\' => fields[last].extend(chars.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(
        url: &str,
        read: &dyn Fn(&Path) -> std::io::Result<String>,
    ) -> Result<Settings, String> {
        let files = Files {
            home: Some("/home/h".into()),
            service_file: None,
            read,
        };
        of_url(url, &files)
    }

    fn parse(url: &str) -> Result<Settings, String> {
        with(url, &|_| Err(std::io::ErrorKind::NotFound.into()))
    }

    fn shown(settings: &Settings) -> String {
        let all: Vec<_> = settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        all.join(" ")
    }

    #[test]
    fn urls_as_libpq_reads_them() {
        for (url, wanted) in [
            ("postgres://db", "host=db"),
            (
                "postgresql://u:p%40ss@db:5433/x",
                "dbname=x host=db password=p@ss port=5433 user=u",
            ),
            ("postgres://a:1,b,[::1]:3/", "host=a,b,::1 port=1,,3"),
            ("postgres://%2Frun%2Fpg/x", "dbname=x host=/run/pg"),
            (
                "postgres:///x?host=/run/pg&port=7",
                "dbname=x host=/run/pg port=7",
            ),
            (
                "postgres://h?keepalives=0&sslsni=1&options=-c%20a=b",
                "host=h keepalives=0 options=-c a=b sslsni=1",
            ),
        ] {
            assert_eq!(shown(&parse(url).unwrap()), wanted, "{url}");
        }
    }

    #[test]
    fn every_setting_of_libpq_is_used_or_named() {
        for (key, why) in KNOWN {
            let told = parse(&format!("postgres://h?{key}=x"));
            match why {
                Some(why) => assert_eq!(told.unwrap_err(), format!("url: {key}: {why}")),
                None if key == "service" => assert!(told.unwrap_err().contains("no service `x`")),
                None if key == "passfile" => {
                    let e = PassFile::of(&told.unwrap(), &Files::none()).unwrap_err();
                    assert!(e.starts_with("passfile x: "), "{e}");
                }
                None => assert_eq!(told.unwrap()[key], "x"),
            }
        }
    }

    #[test]
    fn mistakes_never_show_a_password() {
        for url in [
            "mysql://u:hunter2@h/x",
            "postgres://u:hun@ter2@h/x",
            "postgres://u:hun/ter2@h/x",
            "postgres://u:?hunter2-Geheim@127.0.0.1:1/app",
            "postgres://u:hunter2?ter2@h/x",
            "postgres://u:hunter2%zz@h/x",
            "postgres://u:hunter2@[::1/x",
            "postgres://h/x?hunter2=1",
            "postgres://h/x?hunter2",
        ] {
            let e = parse(url).unwrap_err();
            assert!(e.starts_with("url: "), "{url}: {e}");
            assert!(!e.contains("ter2") && !e.contains("hun"), "{url}: {e}");
        }
    }

    #[test]
    fn a_name_that_is_nearly_right_is_told() {
        for (url, end) in [
            ("postgres://h/x?a=1", "is none that libpq has"),
            (
                "postgres://h/x?user=u&sslmod=require",
                "did you mean sslmode?",
            ),
            ("postgres://h/x?ssl_mode=require", "did you mean sslmode?"),
            (
                "postgres://h/x?Connect-Timeout=1",
                "did you mean connect_timeout?",
            ),
        ] {
            let e = parse(url).unwrap_err();
            assert!(e.ends_with(end), "{url}: {e}");
        }
    }

    #[test]
    fn services_and_password_files() {
        let read = |path: &Path| {
            match path.to_str() {
            Some("/home/h/.pg_service.conf") => Ok("# mine\n[a]\nhost=x\n[b]\nhost = db\nport=6\nuser=s\nsslmode=require\n[c]\nhost=y\n".into()),
            Some("/home/h/.pgpass") => Ok("# mine\nother:*:*:*:wrong\ndb:6:s:s:a\\:b\\\\c\n*:*:*:*:any\n".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
        };
        let files = Files {
            home: Some("/home/h".into()),
            service_file: None,
            read: &read,
        };
        let b = with("postgres://u2@/?service=b", &read).unwrap();
        assert_eq!(
            shown(&b),
            "host=db port=6 service=b sslmode=require user=u2"
        );
        let found = |host: &str, port: &str, user: &str| {
            let file = PassFile::of(&b, &files).unwrap();
            file.find(&(host.into(), port.into()), user, user)
        };
        assert_eq!(found("db", "6", "u2").as_deref(), Some("any"));
        assert_eq!(found("db", "6", "s").as_deref(), Some("a:b\\c"));
        assert_eq!(found("other", "7", "s").as_deref(), Some("wrong"));
        let given = with("postgres://u2:p@/?service=b", &read).unwrap();
        assert!(PassFile::of(&given, &files).unwrap().lines.is_empty());
        let e = with("postgres:///?service=d", &read).unwrap_err();
        assert!(
            e.starts_with("url: no service `d` in /home/h/.pg_service.conf or "),
            "{e}"
        );
    }
}
