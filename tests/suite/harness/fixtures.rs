//! The plugins of `tests/plugins`, compiled by the tests that need them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
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

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Each test process compiles into its own file and renames it, so that several may do so at once.
fn compile(source: &str, name: &str, defines: &[String]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    std::fs::create_dir_all(&dir).expect("cargo's folder for tests");
    let source = tree().join("tests/plugins").join(format!("{source}.c"));
    let output = dir.join(format!("libfixture_{name}.so"));
    let stamp = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let sources = [
        source.clone(),
        tree().join("tests/plugins/fixture.h"),
        tree().join("plugins/abi/include/healthd_plugin.h"),
        tree().join("tests/suite/harness/plugins.rs"),
    ];
    if defines.is_empty()
        && stamp(&output).is_some_and(|done| sources.iter().all(|s| stamp(s) < Some(done)))
    {
        return output;
    }
    let thread = format!("{:?}", std::thread::current().id());
    let own = dir.join(format!("{name}.{}.{thread}", std::process::id()));
    let done = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-fPIC", "-shared"])
        .args(["-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"])
        .arg("-I")
        .arg(tree().join("plugins/abi/include"))
        .args(defines)
        .arg("-o")
        .args([&own, &source])
        .output()
        .expect("a C compiler is needed for these tests");
    let wrong = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{wrong}");
    std::fs::rename(&own, &output).expect("our own files");
    output
}
