//! Opening and reading a database file without ever changing it, nor the folder it is in.

use crate::file::{InUse, Stamp, beside, no_descriptors};
use healthd_plugin::run_is_cancelled;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, Authorization};
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, OpenFlags};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The file cannot be had: missing, or not for us.
    File(io::Error),
    Folder,
    Empty,
    NotADatabase,
    Corrupt(String),
    /// A lock was held until the time was up.
    Locked,
    /// It was not closed cleanly, and putting that right means to write.
    NeedsRecovery(&'static str),
    /// Writers came in between each time.
    Disturbed,
    /// The time was up, or the run was cancelled.
    Interrupted,
    /// The configured query is none that only reads.
    NotAQuery(&'static str),
    Sql(String),
}

/// The answer to a query.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// The first cell as text. None: there was no row. Some(None): NULL.
    pub cell: Option<Option<String>>,
    pub rows: u64,
}

pub struct Database {
    connection: Connection,
    /// Opened as immutable by our own decision, because nobody else had the file open; and what it was like then.
    alone: Option<(PathBuf, Option<Stamp>)>,
    /// Last, so that it goes after the connection.
    _file: InUse,
}

/// A cell longer than this is cut.
const MAX_CELL: usize = 1 << 20;
/// Between two tries for a lock.
const RETRY: Duration = Duration::from_millis(5);
/// Virtual machine steps between two looks at clock and cancel flag: some microseconds.
const STEPS: i32 = 1000;

thread_local! {
    /// SQLite's busy handler is a plain function: it finds its deadline here.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn give_up() -> bool {
    run_is_cancelled() || DEADLINE.get().is_some_and(|at| Instant::now() >= at)
}

fn wait_for_lock(_tries: i32) -> bool {
    if give_up() {
        return false;
    }
    std::thread::sleep(RETRY);
    true
}

impl Database {
    pub fn open(path: &Path, immutable: bool, deadline: Instant) -> Result<Database, Failure> {
        DEADLINE.set(Some(deadline));
        let file = InUse::new(path)?;
        // In write-ahead mode SQLite makes a -wal and a -shm file, although it only reads, unless somebody who has the
        // file open made them. If nobody has, all there is to read is in the file itself.
        let alone = !immutable
            && file.write_ahead
            && match (beside(path, "-wal").exists(), beside(path, "-shm").exists()) {
                (true, false) => return Err(Failure::NeedsRecovery("-wal")),
                (wal, _) => !wal,
            };
        let stamp = Stamp::of(path);
        let uri = uri(path, immutable || alone);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri, flags)?;
        connection.busy_handler(Some(wait_for_lock))?;
        connection.progress_handler(STEPS, Some(give_up))?;
        connection.pragma_update(None, "query_only", true)?;
        // Another file could be in write-ahead mode, and reading it then makes files beside it.
        connection.authorizer(Some(|c: rusqlite::hooks::AuthContext<'_>| match c.action {
            AuthAction::Attach { .. } => Authorization::Deny,
            _ => Authorization::Allow,
        }))?;
        Ok(Database {
            connection,
            alone: alone.then(|| (path.to_owned(), stamp)),
            _file: file,
        })
    }

    /// True if a writer came while we read as if there could be none: then what was read may be wrong. One that has
    /// gone again leaves no log behind, but has written into the file.
    pub fn was_disturbed(&self) -> bool {
        self.alone.as_ref().is_some_and(|(path, before)| {
            beside(path, "-wal").exists() || Stamp::of(path) != *before
        })
    }

    pub fn query(&self, sql: &str) -> Result<Answer, Failure> {
        let mut statements = Batch::new(&self.connection, sql);
        let Some(mut statement) = statements.next()? else {
            return Err(Failure::NotAQuery("it is empty"));
        };
        if !statement.readonly() {
            return Err(Failure::NotAQuery("it would change the database"));
        }
        if statements.next()?.is_some() {
            return Err(Failure::NotAQuery("it has more than one statement"));
        }
        if statement.parameter_count() > 0 {
            return Err(Failure::NotAQuery("nothing fills in its parameters"));
        }
        let mut answer = Answer::default();
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if answer.rows == 0 && columns > 0 {
                answer.cell = Some(text(row.get_ref(0)?));
            }
            answer.rows += 1;
        }
        Ok(answer)
    }

    /// Reads the whole file. The problems found, the first hundred of them.
    pub fn quick_check(&self) -> Result<Vec<String>, Failure> {
        let mut statement = self.connection.prepare("PRAGMA quick_check(100)")?;
        let mut rows = statement.query([])?;
        let mut problems = Vec::new();
        while let Some(row) = rows.next()? {
            match row.get_ref(0)? {
                ValueRef::Text(b"ok") => {}
                other => problems.extend(text(other)),
            }
        }
        Ok(problems)
    }
}

/// A URI, because `immutable` can be said in no other way.
fn uri(path: &Path, immutable: bool) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for &b in path.as_os_str().as_bytes() {
        match b {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(b.into())
            }
            _ => uri += &format!("%{b:02X}"),
        }
    }
    uri += "?mode=ro";
    if immutable {
        uri += "&immutable=1";
    }
    uri
}

/// None is NULL.
fn text(value: ValueRef<'_>) -> Option<String> {
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => n.to_string(),
        ValueRef::Text(t) => String::from_utf8_lossy(&t[..t.len().min(MAX_CELL)]).into_owned(),
        ValueRef::Blob(b) => format!("blob of {} bytes", b.len()),
    })
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        /// SQLITE_READONLY_ROLLBACK: a journal is left over from a crash.
        const READONLY_ROLLBACK: i32 = 776;
        /// SQLITE_IOERR_NOMEM.
        const IOERR_NOMEM: i32 = 3082;
        const ENOMEM: i32 = 12;
        let told = match &e {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
            other => other.to_string(),
        };
        let Some(code) = e.sqlite_error() else {
            return Failure::Sql(told);
        };
        match code.code {
            _ if code.extended_code == READONLY_ROLLBACK => Failure::NeedsRecovery("-journal"),
            // Our own lack says nothing about the database.
            _ if code.code == ErrorCode::OutOfMemory || code.extended_code == IOERR_NOMEM => {
                Failure::File(io::Error::from_raw_os_error(ENOMEM))
            }
            ErrorCode::NotADatabase => Failure::NotADatabase,
            ErrorCode::DatabaseCorrupt => Failure::Corrupt(told),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Failure::Locked,
            ErrorCode::OperationInterrupted => Failure::Interrupted,
            ErrorCode::AuthorizationForStatementDenied => {
                Failure::NotAQuery("ATTACH is not allowed")
            }
            ErrorCode::ReadOnly => Failure::NotAQuery("it would change the database"),
            // SQLite does not say why, and there may have been no descriptor for one of its files.
            ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => match no_descriptors() {
                Some(lack) => Failure::File(lack),
                None => Failure::Sql(told),
            },
            _ => Failure::Sql(told),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::File(e) => match e.kind() {
                io::ErrorKind::NotFound => f.write_str("no such file"),
                io::ErrorKind::PermissionDenied => f.write_str(
                    "permission denied: the daemon's user may not read it, or not enter its folder",
                ),
                _ => write!(f, "{e}"),
            },
            Failure::Folder => f.write_str("is a folder"),
            Failure::Empty => f.write_str("is empty: no database in it"),
            Failure::NotADatabase => f.write_str("is not a SQLite database, or an encrypted one"),
            Failure::Corrupt(what) => write!(f, "is corrupt: {what}"),
            Failure::Locked => f.write_str("is locked by another process"),
            Failure::NeedsRecovery(ending) => write!(
                f,
                "was not closed cleanly (its {ending} file is left over); it can be read once its own program has \
                 opened it again"
            ),
            Failure::Disturbed => f.write_str(
                "was written while it was read, each time; a shorter query, or a writer that keeps it open, helps",
            ),
            Failure::Interrupted => f.write_str("interrupted"),
            Failure::NotAQuery(why) => write!(f, "query refused: {why}"),
            Failure::Sql(what) => write!(f, "query: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_memory_is_our_own_lack() {
        const NOMEM: i32 = 7;
        for code in [NOMEM, 3082] {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let failure = Failure::from(error);
            assert!(
                matches!(&failure, Failure::File(e) if e.raw_os_error() == Some(12)),
                "{failure}"
            );
        }
    }

    #[test]
    fn uris() {
        let of = |p: &str| uri(Path::new(p), false);
        assert_eq!(of("/a/b.db"), "file:/a/b.db?mode=ro");
        assert_eq!(of("/a b?c#%é"), "file:/a%20b%3Fc%23%25%C3%A9?mode=ro");
        assert_eq!(uri(Path::new("/x"), true), "file:/x?mode=ro&immutable=1");
    }

    #[test]
    fn cells() {
        assert_eq!(text(ValueRef::Null), None);
        assert_eq!(text(ValueRef::Integer(-5)).as_deref(), Some("-5"));
        assert_eq!(text(ValueRef::Real(0.5)).as_deref(), Some("0.5"));
        assert_eq!(text(ValueRef::Text(b"a\xff")).as_deref(), Some("a\u{fffd}"));
        assert_eq!(
            text(ValueRef::Blob(b"abc")).as_deref(),
            Some("blob of 3 bytes")
        );
        assert_eq!(
            text(ValueRef::Text(&vec![b'x'; MAX_CELL + 5]))
                .unwrap()
                .len(),
            MAX_CELL
        );
    }
}
