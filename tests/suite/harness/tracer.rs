//! A process that does not end when it is killed, as one that hangs in the kernel: somebody traces it.

use super::skipped;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// As long as it lives, its process is not gone.
pub struct Tracer(Child);

impl Tracer {
    /// None: it cannot be had here, and that has been said.
    pub fn hold(pid: u32) -> Option<Tracer> {
        // Each process of tests makes its own: one that runs cannot be written.
        let program = format!("tracer-{}", std::process::id());
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(program);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/harness/tracer.c");
        let built = Command::new("cc")
            .arg("-o")
            .args([&program, &source])
            .status();
        assert!(built.is_ok_and(|s| s.success()), "a C compiler is needed");
        let mut tracer = Command::new(&program)
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("our own program");
        let _ = std::fs::remove_file(&program);
        let mut said = String::new();
        let stdout = tracer.stdout.take().expect("piped");
        let held = BufReader::new(stdout).read_line(&mut said);
        if !held.is_ok_and(|n| n > 0) {
            let _ = tracer.wait();
            skipped("nobody may be traced here");
            return None;
        }
        Some(Tracer(tracer))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
