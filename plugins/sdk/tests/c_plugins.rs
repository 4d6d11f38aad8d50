//! C against the header alone: the example compiles with the command printed in it and runs on MockHost, and the pieces
//! of C in `plugins/README.md` compile.

use healthd_plugin::mock::MockHost;
use healthd_plugin::{Status, abi};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
const README: &str = include_str!("../../README.md");

type Entry = extern "C" fn(u32) -> *const abi::HdPlugin;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn load(source: &Path, name: &str, standard: &str) -> MockHost {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libhealthd_{name}.so"));
    let done = Command::new("cc")
        .args([
            standard,
            "-O2",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-I",
        ])
        .arg(plugins().join("abi/include"))
        .arg("-o")
        .args([output.as_path(), source])
        .output()
        .expect("a C compiler is needed for this test");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    // SAFETY: our own library; it has no constructors.
    let library = unsafe { libloading::Library::new(&output) }.unwrap();
    // A plugin is never unloaded.
    let library = ManuallyDrop::new(library);
    // SAFETY: the symbol is what the header says.
    let entry = unsafe { library.get::<Entry>(abi::ENTRY) }.unwrap();
    MockHost::new(*entry)
}

#[test]
fn the_example_waits_for_a_banner() {
    let example = plugins().join("examples/c/banner.c");
    assert!(
        std::fs::read_to_string(&example)
            .unwrap()
            .contains("cc -std=c99 -O2 -fPIC -shared")
    );
    let plugin = load(&example, "banner", "-std=c99").plugin("banner");
    assert_eq!(plugin.schema()["properties"]["port"]["maximum"], 65535);
    assert_eq!(
        plugin.create("{}").err().unwrap(),
        "port: must be 1 to 65535"
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(r#"{{"port":{}}}"#, listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 ready\r\nmore").unwrap();
        let (_silent, _) = listener.accept().unwrap();
        listener.accept().unwrap();
    });
    let check = plugin.create(&config).unwrap();
    let o = check.run(LONG);
    assert_eq!((o.status, &*o.message), (Status::Ok, "220 ready."));
    let o = check.run(Duration::from_secs(2));
    assert_eq!(o.message, "timeout after 2s in phase banner");
    assert_eq!(check.run(LONG).message, "banner: connection closed");
    server.join().unwrap();
    assert_eq!(check.run(LONG).message, "connect: Connection refused");
}

/// These pieces of C are parts of a plugin: what stands before an empty line is outside of functions. Its whole
/// plugins are built by tests/suite/authors.rs.
#[test]
fn the_pieces_of_the_readme_compile() {
    let pieces = README.split("```c\n").skip(3);
    let mut source = String::from(
        "#include \"healthd_plugin.h\"\n#include <errno.h>\n#define S(literal) { literal, sizeof(literal) - 1 }\n\
         static const hd_host *host;\n",
    );
    let mut n = 0;
    for piece in pieces.filter_map(|p| p.split("```").next()) {
        let (outside, inside) = piece.split_once("\n\n").unwrap_or(("", piece));
        source += &format!("{outside}\nvoid piece_{n}(const hd_ctx *c) {{\n{inside}}}\n");
        n += 1;
    }
    assert_eq!(n, 2);
    source += "const hd_plugin *hd_plugin_v1(uint32_t i) { (void)i; (void)host; return NULL; }\n";
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pieces.c");
    std::fs::write(&file, source).unwrap();
    assert!(load(&file, "pieces", "-std=gnu99").descriptors().is_empty());
}
