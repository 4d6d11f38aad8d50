//! `digest` of a tree with two workers, beside `sha256sum -c` of the same manifest.

use super::{Noise, daemon, run, spread, verdict};
use crate::Options;
use crate::daemon::temp_dir;
use crate::figures::median;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

pub fn digest(options: &Options) -> Result<(), String> {
    let dir = temp_dir("digest-data")?;
    let done = measure(options, &dir);
    let _ = fs::remove_dir_all(&dir);
    done
}

fn measure(options: &Options, dir: &Path) -> Result<(), String> {
    let files = write_tree(dir, options.mib).map_err(|e| format!("{}: {e}", dir.display()))?;
    // The manifest is sha256sum's own; making it leaves the tree in the page cache, for both.
    shell(
        dir,
        "find . -type f ! -name SUMS -print0 | sort -z | xargs -0 sha256sum > SUMS",
    )?;
    println!(
        "digest: {} MiB in {files} files, in the page cache",
        options.mib
    );
    let check = format!(
        "plugin = \"digest\"\nconfig = {{ manifest = {:?}, extra = \"crit\" }}",
        dir.join("SUMS")
    );
    let two = daemon("digest-2", 2, &check)?;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        theirs.push(shell(dir, "sha256sum --check --quiet SUMS")?);
        ours.push(run(&two)?.1);
    }
    let rate = |seconds: f64| options.mib as f64 / seconds;
    let (theirs, ours) = (median(&theirs), median(&ours));
    println!(
        "  sha256sum -c: {theirs:.2} s, {:.0} MiB/s (median of {})",
        rate(theirs),
        options.rounds
    );
    println!(
        "  digest:       {ours:.2} s, {:.0} MiB/s, 2 workers; {}",
        rate(ours),
        spread(&two)
    );
    verdict("  digest over sha256sum -c", theirs / ours);
    Ok(())
}

/// Files of 16 KiB to 64 MiB, as a backup has them.
fn write_tree(dir: &Path, mib: u64) -> std::io::Result<usize> {
    let mut noise = Noise(0xda94_2042_e4dd_58b5);
    let (mut left, mut files) = (mib << 20, 0);
    let mut block = vec![0; 1 << 20];
    while left > 0 {
        let size = (16u64 << 10 << (noise.next() % 13)).min(left);
        let folder = dir.join(format!("{:02}", files % 32));
        fs::create_dir_all(&folder)?;
        let mut file = BufWriter::new(File::create(folder.join(format!("{files}.bin")))?);
        let mut rest = size as usize;
        while rest > 0 {
            for eight in block.chunks_exact_mut(8) {
                eight.copy_from_slice(&noise.next().to_le_bytes());
            }
            let n = rest.min(block.len());
            file.write_all(&block[..n])?;
            rest -= n;
        }
        file.flush()?;
        left -= size;
        files += 1;
    }
    Ok(files)
}

/// How long it took.
fn shell(dir: &Path, script: &str) -> Result<f64, String> {
    let begun = Instant::now();
    let done = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .stdin(Stdio::null())
        .status()
        .map_err(|e| format!("sh: {e}"))?;
    match done.success() {
        true => Ok(begun.elapsed().as_secs_f64()),
        false => Err(format!("{script}: {done}")),
    }
}
