//! The plugins of `tests/plugins`, compiled by whoever needs them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `tests/plugins/SOURCE.c` of this tree as a plugin in the file `dir/name`. Each process compiles into its own file
/// and renames it, so that several may do so at once.
pub fn plugin(
    tree: &Path,
    source: &str,
    dir: &Path,
    name: &str,
    defines: &[String],
) -> Result<PathBuf, String> {
    let source = tree.join("tests/plugins").join(format!("{source}.c"));
    let output = dir.join(name);
    let sources = [
        source.clone(),
        tree.join("tests/plugins/fixture.h"),
        tree.join("plugins/abi/include/healthd_plugin.h"),
        tree.join("tests/support/src/compile.rs"),
    ];
    let stamp = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let fresh = |done| sources.iter().all(|s| stamp(s) < Some(done));
    if defines.is_empty() && stamp(&output).is_some_and(fresh) {
        return Ok(output);
    }
    let flags = [
        "-std=gnu11",
        "-O1",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
    ];
    let mut cc = Command::new("cc");
    cc.args(flags).args(["-Wall", "-Wextra", "-Werror"]);
    cc.arg("-I").arg(tree.join("plugins/abi/include"));
    cc.args(defines);
    run(cc, &source, dir, &output)
}

/// A shared object for LD_PRELOAD.
pub fn shim(tree: &Path, source: &str, dir: &Path, name: &str) -> Result<PathBuf, String> {
    let mut cc = Command::new("cc");
    cc.args([
        "-std=gnu11",
        "-O1",
        "-fPIC",
        "-shared",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]);
    run(cc, &tree.join(source), dir, &dir.join(name))
}

fn run(mut cc: Command, source: &Path, dir: &Path, output: &Path) -> Result<PathBuf, String> {
    let told = |e: std::io::Error| format!("{}: {e}", output.display());
    std::fs::create_dir_all(dir).map_err(told)?;
    let thread = format!("{:?}", std::thread::current().id());
    let own = output.with_extension(format!("{}.{thread}", std::process::id()));
    cc.arg("-o").args([&own, source]);
    let done = cc
        .output()
        .map_err(|e| format!("a C compiler is needed: {e}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("{}: {said}", source.display()));
    }
    std::fs::rename(&own, output).map_err(told)?;
    Ok(output.to_owned())
}
