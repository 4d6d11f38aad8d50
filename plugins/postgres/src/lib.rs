//! `postgres`: logs in to a PostgreSQL server, asks a query and judges the first cell of the answer. Options, metrics
//! and verdicts are described in README.md beside this crate.
//!
//! Runs in: the step lane of an io worker.

#![forbid(unsafe_code)]

mod auth;
mod exchange;
mod guard;
mod scram;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use exchange::{Answer, Failed, Times, log_in};
use healthd_plugin::fresh::{Fresh, read_whole};
use healthd_plugin::options::Bad::{Above, Below};
use healthd_plugin::options::{FirstCell, Scalar, Thresholds};
use healthd_plugin::thresholds::{Lower, Upper, validity};
use healthd_plugin::tls::{self, Connector, Roots};
use healthd_plugin::{Check, Cx, Metric, Range, Status, options, plugins};
use settings::{Files, PassFile};
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use target::{Place, SslMode, Target};

options! {
    /// Logs in to a PostgreSQL server and checks the first cell of a query's answer.
    #[derive(Clone)]
    pub struct Options {
        /// postgres://user@host:port/database?sslmode=verify-full, with libpq's parameters. A host that begins with %2F is
        /// the folder of a unix socket; several hosts have commas between them.
        url: String { pattern: "^postgres(ql)?://" },
        /// Password; better here, as a secret, than in the URL.
        password: Option<String>,
        /// What to ask.
        query: String { min_length: 1 } = "SELECT 1".into(),
        /// What the first cell must be: a text, a number or a boolean. Anything else is critical.
        expect: Option<Scalar>,
        /// Warning if the first cell, a number, is outside of this range.
        warn: Option<Range>,
        /// Critical if the first cell, a number, is outside of this range.
        crit: Option<Range>,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// PEM file of the CA certificates to trust, instead of the machine's.
        ca_file: Option<String> { min_length: 1 },
        /// Client certificate, a PEM file with its chain; instead of sslcert in the URL.
        cert_file: Option<String> { min_length: 1 },
        /// Its key, a PEM file without a passphrase; instead of sslkey in the URL.
        key_file: Option<String> { min_length: 1 },
        /// File of services for `service=` in the URL, instead of ~/.pg_service.conf and the machine's.
        service_file: Option<String> { min_length: 1 },
        /// Warn when the server's certificate is valid for fewer days than this.
        certificate_warn_days: Option<f64> { min: 0, bad: Below },
        /// Critical when the server's certificate is valid for fewer days than this.
        certificate_crit_days: Option<f64> { min: 0 },
        /// Warn when the whole check takes longer.
        latency_warn: Option<Duration> { bad: Above },
        /// Critical when the whole check takes longer.
        latency_crit: Option<Duration>,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Family { Any = "any", Ipv4 = "ipv4", Ipv6 = "ipv6" }
}

impl From<Family> for healthd_plugin::Family {
    fn from(f: Family) -> Self {
        match f {
            Family::Any => Self::Any,
            Family::Ipv4 => Self::Ipv4,
            Family::Ipv6 => Self::Ipv6,
        }
    }
}

/// A query that is cut off leaves this much of the timeout to tell the server so: an eighth, within these bounds.
const CANCEL_TIME: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(500)];

struct Postgres {
    options: Options,
    /// Made anew when a service file or a password file changes.
    login: Fresh<Login>,
}

/// Whom to ask and how, out of the options and the files that they name.
struct Login {
    target: Target,
    /// For each place; made where files may be read. None: no TLS.
    trust: Vec<Option<Connector>>,
    /// Why the user's own password file cannot be read.
    unread: Option<String>,
}

impl Login {
    fn new(o: &Options, files: &Files<'_>) -> Result<Login, String> {
        let mut settings = settings::of_url(&o.url, files)?;
        let in_url = settings::of_url(&o.url, &Files::none()).unwrap_or_default();
        for (key, option, value) in [
            ("password", "password", &o.password),
            ("sslrootcert", "ca_file", &o.ca_file),
            ("sslcert", "cert_file", &o.cert_file),
            ("sslkey", "key_file", &o.key_file),
        ] {
            let Some(value) = value else { continue };
            if settings.contains_key(key) && key != "password" {
                return Err(format!("{option}: {key} stands in url; give it once"));
            }
            if key == "password" && in_url.contains_key("password") {
                return Err("password: also stands in url; give it once".into());
            }
            settings.insert(key.into(), value.clone());
        }
        let passwords = PassFile::of(&settings, files)?;
        let mut target = Target::of(&settings, &passwords)?;
        target.settle();
        target.family = o.family.into();
        let trust = trust(&target)?;
        Ok(Login {
            target,
            trust,
            unread: passwords.unread,
        })
    }

    /// None of the passwords, whoever repeats it.
    fn masked(&self, text: &str) -> String {
        let given = self.target.config.get_password();
        let given = given.and_then(|p| std::str::from_utf8(p).ok());
        let found = self.target.passwords.iter().flatten();
        let all = given.into_iter().chain(found.map(String::as_str));
        // A very short one would take letters out of every word.
        all.filter(|password| password.len() >= 4)
            .fold(text.to_owned(), |text, password| {
                text.replace(password, "***")
            })
    }
}

impl Check for Postgres {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        if options.query.contains('\0') {
            return Err("query: must not contain a NUL character".into());
        }
        let login = login(&options)?;
        let days = options
            .certificate_warn_days
            .or(options.certificate_crit_days);
        if days.is_some() && login.get().trust.iter().all(Option::is_none) {
            return Err(
                "certificate_warn_days and certificate_crit_days: there is no TLS here".into(),
            );
        }
        Ok(Postgres { options, login })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let mut times = Times {
            begin: cx.now_ns(),
            ..Times::default()
        };
        let login = self.login.get();
        match self.exchange(cx, &login, &mut times).await {
            Ok(Some(answer)) => self.judge(cx, &login, &answer, &times),
            Ok(None) => {
                let waited = seconds(times.auth.max(times.begin), times.gave_up);
                self.phases(cx, &times);
                cx.critical(format_args!(
                    "timeout after {waited:.1}s in phase query; the server was told to cancel it"
                ))
            }
            Err(failed) => {
                self.phases(cx, &times);
                let mut text = login.masked(&failed.text);
                if let Some(why) = login.unread.as_ref().filter(|_| failed.no_password) {
                    text += &format!(" (not read: {why}; `passfile=` in url names another)");
                }
                cx.message(text);
                failed.status
            }
        }
    }
}

plugins! {
    step Postgres {
        name: "postgres",
        summary: "logs in to a PostgreSQL server and checks a query's answer",
    }
}

/// May block. Which files it looks for is known once it has.
fn login(options: &Options) -> Result<Fresh<Login>, String> {
    let options = options.clone();
    let looked_for = RefCell::new(Vec::new());
    let made = move |read: &dyn Fn(&Path) -> io::Result<String>| {
        Login::new(
            &options,
            &Files {
                home: std::env::var_os("HOME").map(PathBuf::from),
                service_file: options.service_file.as_ref().map(PathBuf::from),
                read,
            },
        )
    };
    made(&|path: &Path| {
        looked_for.borrow_mut().push(path.to_owned());
        read(path)
    })?;
    Fresh::new(looked_for.into_inner(), move |_| made(&read))
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = read_whole(path).map_err(|why| {
        // Whoever tells it says which file it is.
        let place = format!("{}: ", path.display());
        let kind = match path.exists() {
            true => io::ErrorKind::Other,
            false => io::ErrorKind::NotFound,
        };
        io::Error::new(kind, why.strip_prefix(&place).unwrap_or(&why).to_owned())
    })?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no UTF-8"))
}

fn trust(target: &Target) -> Result<Vec<Option<Connector>>, String> {
    let settings = tls::Settings {
        roots: match (target.ssl_mode, &target.ca_file) {
            (SslMode::VerifyCa | SslMode::VerifyFull, Some(file)) => Roots::File(file.clone()),
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => Roots::System,
            _ => Roots::Insecure,
        },
        any_name: target.ssl_mode == SslMode::VerifyCa,
        identity: target.identity.clone(),
        may_identify: true,
        oldest: target.versions[0],
        newest: target.versions[1],
        protocols: match target.direct {
            true => vec![b"postgresql".to_vec()],
            false => Vec::new(),
        },
        ..tls::Settings::default()
    };
    let one = |place: &Place| match place.host() {
        // Over a unix socket there is no TLS, whatever sslmode says, as in libpq.
        Some(host) if target.ssl_mode != SslMode::Disable => {
            Connector::with(&settings, host).map(Some)
        }
        _ => Ok(None),
    };
    let all: Result<_, String> = target.places.iter().map(one).collect();
    all.map_err(|why| format!("TLS: {why}"))
}

impl Postgres {
    async fn exchange(
        &self,
        cx: Cx<'_>,
        login: &Login,
        times: &mut Times,
    ) -> Result<Option<Answer>, Failed> {
        let all = cx.remaining();
        let mut session = log_in(cx, &login.target, &login.trust, times).await?;
        times.certificate = session.certificate.take();
        let reserve = (all / 8).clamp(CANCEL_TIME[0], CANCEL_TIME[1]).min(all / 2);
        let time = cx.remaining().saturating_sub(reserve);
        let answer = session.query(cx, &self.options.query, time).await?;
        match answer {
            Some(_) => times.query = cx.now_ns(),
            None => {
                times.gave_up = cx.now_ns();
                session.cancel(cx).await;
            }
        }
        session.end(cx).await;
        Ok(answer)
    }

    fn phases(&self, cx: Cx<'_>, t: &Times) {
        let mut before = t.begin;
        for (name, end) in [
            ("dns", t.dns),
            ("connect", t.connect),
            ("tls", t.tls),
            ("auth", t.auth),
            ("query", t.query),
        ] {
            if end != 0 {
                cx.metric(Metric::new(name, seconds(before, end)).unit("s").min(0.0));
                before = end;
            }
        }
    }

    fn judge(&self, cx: Cx<'_>, login: &Login, answer: &Answer, t: &Times) -> Status {
        let o = &self.options;
        let total = seconds(t.begin, t.query);
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        cx.metric(limits.on(Metric::new("total", total).unit("s").min(0.0)));
        self.phases(cx, t);
        let thresholds = Thresholds {
            warn: o.warn,
            crit: o.crit,
        };
        let cell = FirstCell::from(&answer.cell);
        let verdict = cell.report(cx, o.expect.as_ref(), &thresholds);
        let latency = limits.judge(total);
        let mut days = Status::Ok;
        let mut certificate = String::new();
        if let Some(shown) = &t.certificate {
            let left = shown.days_left();
            let limits = Lower {
                warn: o.certificate_warn_days,
                crit: o.certificate_crit_days,
            };
            cx.metric(limits.on(Metric::new("certificate", left).unit("d")));
            days = limits.judge(left);
            if days != Status::Ok {
                let limit = limits.passed_days(left);
                certificate = format!("; {} {}{limit}", shown.whose, validity(left));
            }
        }
        cx.message(format_args!(
            "query returned {} in {:.1} ms{}{certificate}",
            login.masked(&verdict.text),
            total * 1e3,
            limits.passed(total)
        ));
        verdict.status.worst(latency).worst(days)
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}
