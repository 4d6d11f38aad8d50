//! The plugins of `tests/plugins`, compiled by the tests that need them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Replaces a file in one step, as a package manager would.
pub fn replace(from: &Path, to: &Path) {
    let temp = to.with_extension("new");
    std::fs::copy(from, &temp).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    std::fs::set_permissions(&temp, PermissionsExt::from_mode(0o755)).expect("our own file");
    std::fs::rename(&temp, to).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
}

/// `tests/plugins/NAME.c`, compiled.
pub fn fixture(name: &str) -> PathBuf {
    compile(name, name, &[])
}

/// A variant of `wrong_abi.c`, in a file that is named like it.
pub fn variant(variant: &str) -> PathBuf {
    named_variant(&variant.to_lowercase(), variant, "wrong", "1.0")
}

/// The same with the plugin's name and version, and the file's name.
pub fn named_variant(file: &str, variant: &str, plugin: &str, version: &str) -> PathBuf {
    let defines = [
        format!("-DVARIANT={variant}"),
        format!("-DVARIANT_IS_{variant}=1"),
        format!("-DNAME=\"{plugin}\""),
        format!("-DVERSION=\"{version}\""),
    ];
    compile("wrong_abi", file, &defines)
}

/// A build of `version.c`: of this version, and behaving like this from its first run.
pub fn build(version: &str, variant: char) -> PathBuf {
    let defines = [
        format!("-DVERSION=\"{version}\""),
        format!("-DVARIANT='{variant}'"),
    ];
    compile("version", &format!("version_{version}_{variant}"), &defines)
}

/// The crate `tests/plugins/panics`.
pub fn panics() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| super::plugins::built("healthd-fixture-panics", "libfixture_panics.so"))
        .clone()
}

/// The crate `tests/plugins/shares`.
pub fn shares() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| super::plugins::built("healthd-fixture-shares", "libfixture_shares.so"))
        .clone()
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn compile(source: &str, name: &str, defines: &[String]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    let name = format!("libfixture_{name}.so");
    healthd_test_support::compile::plugin(tree(), source, &dir, &name, defines)
        .unwrap_or_else(|e| panic!("{e}"))
}
