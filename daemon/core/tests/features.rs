//! A build without a part refuses the section that needs it and says what to do; one with it takes the section. CI runs
//! this with each part alone.

use std::io;
use std::path::{Path, PathBuf};

use healthd_core::config::{Files, load};

/// One file, and nothing else.
struct Only(&'static str);

impl Files for Only {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
    fn read_secret(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn list_toml(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn credentials_dir(&self) -> Option<PathBuf> {
        None
    }
    fn cores(&self) -> u16 {
        4
    }
}

#[test]
fn a_section_whose_part_was_left_out_is_refused_with_a_way_out() {
    for (feature, text, is_built) in [
        ("history", "[history]\n", cfg!(feature = "history")),
        ("web", "[web]\n", cfg!(feature = "web")),
        (
            "push",
            "[push]\nurl = \"https://a.example/\"\n",
            cfg!(feature = "push"),
        ),
    ] {
        let refused = load(Path::new("healthd.toml"), &Only(text), None)
            .err()
            .map(|all| all.render(false));
        let Some(refused) = refused else {
            assert!(is_built, "[{feature}] is taken, and nobody does it");
            continue;
        };
        assert!(!is_built, "{refused}");
        for part in [
            format!("this healthd was built without what [{feature}] needs"),
            format!("remove the section, or build with `--features {feature}`"),
            "healthd.toml:1:".to_owned(),
        ] {
            assert!(refused.contains(&part), "{part}: {refused}");
        }
    }
}
