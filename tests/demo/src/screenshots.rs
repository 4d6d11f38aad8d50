//! Pictures of the page for the documents, by Chromium without a window: `page.png` the overview, `page-check.png` a check
//! in the dark, `page-small.png` a telephone. `cargo demo --screenshots daemon/docs/pictures` makes them anew.

use crate::folder::Folder;
use crate::scene::Scene;
use crate::show::say;
use crate::web::Mood;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Enough runs by then, so that there is something to see.
const AFTER: Duration = Duration::from_secs(40);

pub fn take(into: &Path, scene: &Scene, folder: &Folder) -> Result<(), String> {
    say(
        "waiting until the web server is slow for the second time, which takes most of a minute ...",
    );
    let ready = || {
        let age = scene.web.started.elapsed();
        let (mood, left) = Mood::at(age);
        // Long enough slow for a verdict, and not yet over.
        age > AFTER && mood == Mood::Slow && left < Duration::from_secs(6)
    };
    while !ready() {
        std::thread::sleep(Duration::from_millis(200));
    }
    std::fs::create_dir_all(into).map_err(|e| format!("{}: {e}", into.display()))?;
    for (name, path, width, height, dark) in [
        ("page.png", "", 1100, 636, false),
        ("page-check.png", "check/shop/front", 1100, 760, true),
        ("page-small.png", "", 390, 760, false),
    ] {
        let file = into.join(name);
        let mut chromium = Command::new("chromium");
        chromium
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .args(["--disable-dev-shm-usage", "--timeout=3000"])
            .arg(format!(
                "--user-data-dir={}",
                folder.path("chromium").display()
            ))
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--screenshot={}", file.display()));
        if dark {
            chromium.arg("--blink-settings=preferredColorScheme=0");
        }
        chromium.arg(format!("{}{path}", scene.page));
        let done = chromium
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("chromium: {e} (Debian's package is `chromium`)"))?;
        if !done.status.success() || !file.exists() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("chromium: {}: {said}", done.status));
        }
        say(&format!("{} is written", file.display()));
    }
    Ok(())
}
