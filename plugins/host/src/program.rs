//! Programs that some kinds start: which environment they get, and what is said of one that fails.

use healthd_plugin::{Cx, ExecOutput, ExecSpec};

/// Where they are looked for. Their words are not translated.
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL=C",
    "SYSTEMD_COLORS=0",
];

/// Runs it to its end, whatever its exit code. `most`: so much is kept of what it prints.
pub async fn run(cx: Cx<'_>, argv: &[String], most: u32) -> Result<ExecOutput, String> {
    let program = argv.first().map_or("", String::as_str);
    let env = ENVIRONMENT.map(String::from);
    let spec = ExecSpec {
        argv,
        env: &env,
        max_output: most,
        ..ExecSpec::default()
    };
    let output = cx.exec(&spec).await;
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    match output.signal {
        Some(signal) => Err(format!("{program} was killed by signal {signal}")),
        None => Ok(output),
    }
}

/// What it says of an end that is none: `journalctl ended with 1: No journal files were found.`
pub fn failure(program: &str, output: &ExecOutput) -> String {
    let said = String::from_utf8_lossy(&output.err);
    let first = said.lines().map(str::trim).find(|l| !l.is_empty());
    let code = output.exit_code.unwrap_or(0);
    format!(
        "{program} ended with {code}: {}",
        first.unwrap_or("without a word")
    )
}
