//! What the tests of all kinds have in common, and what holds for each kind.

use crate::hd_plugin_v1;
use healthd_plugin::mock::{MockCheck, MockHost, Outcome};
use healthd_plugin::serde_json::Value;
use std::time::Duration;

pub const LONG: Duration = Duration::from_secs(60);

pub fn create(kind: &str, options: &Value) -> Result<MockCheck, String> {
    MockHost::new(hd_plugin_v1)
        .plugin(kind)
        .create(options.to_string())
}

/// One run on this machine as it is.
pub fn check(kind: &str, options: Value) -> Outcome {
    create(kind, &options)
        .unwrap_or_else(|e| panic!("{kind} {options}: {e}"))
        .run(LONG)
}

/// A folder in the place of `/`, with these files in it.
pub fn sample(files: &[(&str, &str)]) -> (healthd_testing::Folder, crate::kernel::Kernel) {
    let folder = healthd_testing::Folder::new();
    for (path, text) in files {
        let path = folder.file(path);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("our own");
        std::fs::write(path, text).expect("our own");
    }
    let kernel = crate::kernel::Kernel::at(folder.path());
    (folder, kernel)
}

#[test]
fn each_option_of_each_kind_is_documented() {
    let host = MockHost::new(hd_plugin_v1);
    let pages = [
        ("clock", include_str!("../CLOCK.md")),
        ("container", include_str!("../CONTAINER.md")),
        ("disk", include_str!("../DISK.md")),
        ("file", include_str!("../FILE.md")),
        ("interface", include_str!("../INTERFACE.md")),
        ("journal", include_str!("../JOURNAL.md")),
        ("load", include_str!("../LOAD.md")),
        ("log", include_str!("../LOG.md")),
        ("memory", include_str!("../MEMORY.md")),
        ("mount", include_str!("../MOUNT.md")),
        ("process", include_str!("../PROCESS.md")),
        ("raid", include_str!("../RAID.md")),
        ("sensors", include_str!("../SENSORS.md")),
        ("smart", include_str!("../SMART.md")),
        ("systemd", include_str!("../SYSTEMD.md")),
        ("updates", include_str!("../UPDATES.md")),
    ];
    assert_eq!(host.descriptors().len(), pages.len());
    for (kind, page) in pages {
        host.plugin(kind).assert_documented(page);
    }
}
