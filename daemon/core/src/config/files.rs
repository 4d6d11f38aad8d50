//! The only way from the config to the outside. The real one lives in `healthd-catalog`; tests
//! bring a map.

use std::io;
use std::path::{Path, PathBuf};

pub trait Files {
    /// The whole file. The implementation sets the cap and refuses what is no plain file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The same for a secret, which is small.
    fn read_secret(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path)
    }
    /// The `*.toml` files of a directory, sorted; a directory that does not exist has none.
    fn list_toml(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// What else lies there as if it were meant to be read, sorted.
    fn passed_over(&self, _dir: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
    fn env(&self, name: &str) -> Option<String>;
    /// `$CREDENTIALS_DIRECTORY`, where systemd puts what `LoadCredential=` names.
    fn credentials_dir(&self) -> Option<PathBuf>;
    /// How many processors this process may use: what `auto` goes by in `[pool.io]` and `[pool.cpu]`.
    fn cores(&self) -> u16;
}
