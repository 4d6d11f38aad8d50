//! Every input that was worth keeping, once: seeds, and what fuzzing has found.

use std::fs;
use std::path::Path;

#[test]
fn nothing_of_the_corpus_breaks_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in healthd_fuzz::TARGETS {
        let files = fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut seen = 0;
        for file in files {
            let file = file.expect("our own folder").path();
            let bytes = fs::read(&file).expect("our own file");
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{} breaks {name}", file.display());
            seen += 1;
        }
        assert!(seen > 0, "{name} has no seed");
        target(&[]);
    }
}
