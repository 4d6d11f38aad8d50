//! From an address in a library to the name of the function there, read from the sealed copy's symbol table.
//!
//! The file is a plugin's, so it may say anything: whatever lies outside it, or is larger than a bound, is simply not
//! there. Nothing of it is held in memory but a window of its symbols.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Symbols that are looked at in one table, and bytes of one's name.
const MAX_SYMBOLS: u64 = 500_000;
const MAX_NAME: usize = 512;
/// Characters of a name that are shown.
const SHOWN: usize = 80;
const HEADER: usize = 64;
const SYMBOL: u64 = 24;
const WINDOW: u64 = 1024;

/// What the code at an address of a file is called.
#[derive(Debug, PartialEq, Eq)]
pub enum Code {
    Named(String),
    Nameless,
    /// That is no code at all.
    None,
}

/// `offset` counts from where the library's first page was mapped.
pub fn lookup(file: &File, offset: u64) -> Code {
    let Some(elf) = Elf::open(file) else {
        return Code::Nameless;
    };
    let Some(address) = elf.address(offset) else {
        return Code::None;
    };
    match elf.symbol(address) {
        Some(name) => Code::Named(shown(&name)),
        None => Code::Nameless,
    }
}

struct Elf<'a> {
    file: &'a File,
    header: [u8; HEADER],
}

/// A section header, as far as it matters.
#[derive(Clone, Copy)]
struct Section {
    kind: u32,
    offset: u64,
    size: u64,
    link: u32,
}

impl<'a> Elf<'a> {
    /// 64 bits, in this machine's byte order; others cannot be loaded.
    fn open(file: &'a File) -> Option<Elf<'a>> {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let order = if cfg!(target_endian = "little") { 1 } else { 2 };
        (header[..4] == *b"\x7fELF" && header[4] == 2 && header[5] == order)
            .then_some(Elf { file, header })
    }

    /// The address that the file itself knows `offset` by. None: it does not lie in code.
    fn address(&self, offset: u64) -> Option<u64> {
        const LOAD: u32 = 1;
        const EXECUTE: u32 = 1;
        let (at, size, count) = (
            word(&self.header, 32),
            half(&self.header, 54),
            half(&self.header, 56),
        );
        let mut first = None;
        for i in 0..u64::from(count) {
            let segment: [u8; 56] = self.read(at.checked_add(i * u64::from(size))?)?;
            let (kind, flags) = (quad(&segment, 0), quad(&segment, 4));
            if kind != LOAD {
                continue;
            }
            let (from, length) = (word(&segment, 16), word(&segment, 40));
            let first = *first.get_or_insert(from & !0xfff);
            let address = offset.checked_add(first)?;
            if flags & EXECUTE != 0 && address.wrapping_sub(from) < length {
                return Some(address);
            }
        }
        None
    }

    /// The function that holds this address: of the full table if the file was not stripped, else of what it exports.
    fn symbol(&self, address: u64) -> Option<String> {
        const SYMTAB: u32 = 2;
        const DYNSYM: u32 = 11;
        let count = half(&self.header, 60);
        let sections: Vec<Section> = (0..count).map_while(|i| self.section(i)).collect();
        [SYMTAB, DYNSYM].into_iter().find_map(|kind| {
            let table = sections.iter().find(|s| s.kind == kind)?;
            let names = sections.get(table.link as usize)?;
            self.find(*table, *names, address)
        })
    }

    fn section(&self, index: u16) -> Option<Section> {
        let (at, size) = (word(&self.header, 40), half(&self.header, 58));
        let s: [u8; 64] = self.read(at.checked_add(u64::from(index) * u64::from(size))?)?;
        Some(Section {
            kind: quad(&s, 4),
            offset: word(&s, 24),
            size: word(&s, 32),
            link: quad(&s, 40),
        })
    }

    fn find(&self, table: Section, names: Section, address: u64) -> Option<String> {
        const FUNCTION: u8 = 2;
        let count = (table.size / SYMBOL).min(MAX_SYMBOLS);
        let mut window = vec![0; (WINDOW * SYMBOL) as usize];
        let mut best: Option<(u64, u32)> = None;
        for from in (0..count).step_by(WINDOW as usize) {
            let bytes = ((count - from).min(WINDOW) * SYMBOL) as usize;
            let at = table.offset.checked_add(from * SYMBOL)?;
            self.file.read_exact_at(&mut window[..bytes], at).ok()?;
            for s in window[..bytes].chunks_exact(SYMBOL as usize) {
                let (start, size) = (word(s, 8), word(s, 16));
                // One without a size, as assembly has, reaches to the next.
                let holds = address.wrapping_sub(start) < size || (size == 0 && start <= address);
                let is_defined = half(s, 6) != 0;
                if s[4] & 15 == FUNCTION
                    && is_defined
                    && holds
                    && best.is_none_or(|(b, _)| start > b)
                {
                    best = Some((start, quad(s, 0)));
                }
            }
        }
        let at = u64::from(best?.1);
        let room = names.size.checked_sub(at)?.min(MAX_NAME as u64) as usize;
        let mut name = vec![0; room];
        self.file
            .read_exact_at(&mut name, names.offset.checked_add(at)?)
            .ok()?;
        let end = name.iter().position(|b| *b == 0)?;
        let name = std::str::from_utf8(&name[..end]).ok()?;
        (!name.is_empty() && !name.contains(char::is_control)).then(|| name.to_owned())
    }

    fn read<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }
}

/// As its author wrote it: without the hash that Rust adds, and with the types of C++.
fn shown(name: &str) -> String {
    let name = match rustc_demangle::try_demangle(name) {
        Ok(rust) => format!("{rust:#}"),
        Err(_) => cpp(name).unwrap_or_else(|| name.to_owned()),
    };
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name,
    }
}

/// A short name may stand for a very long one: no more of it is written than will be shown.
fn cpp(name: &str) -> Option<String> {
    struct Bounded(String);
    impl cpp_demangle::DemangleWrite for Bounded {
        fn write_string(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(text);
            match self.0.len() {
                ..=MAX_NAME => Ok(()),
                _ => Err(std::fmt::Error),
            }
        }
    }
    let symbol = cpp_demangle::Symbol::new(name).ok()?;
    let mut text = Bounded(String::new());
    let options = cpp_demangle::DemangleOptions::new();
    let all = symbol.structured_demangle(&mut text, &options);
    (all.is_ok() || text.0.len() > SHOWN).then_some(text.0)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn quad(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The program of this very test, in which the functions below stand.
    fn own() -> File {
        File::open("/proc/self/exe").expect("our own program")
    }

    #[inline(never)]
    fn a_function_to_be_found() -> u64 {
        std::hint::black_box(17)
    }

    /// Where the program's first page was mapped.
    fn base() -> u64 {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("our own maps");
        let exe = std::fs::read_link("/proc/self/exe").expect("our own program");
        let line = maps
            .lines()
            .find(|l| l.ends_with(exe.to_str().expect("a plain path")))
            .expect("the program is mapped");
        let from = line.split('-').next().expect("a range");
        u64::from_str_radix(from, 16).expect("a number")
    }

    #[test]
    fn a_function_of_this_program_is_found_by_its_address() {
        assert_eq!(a_function_to_be_found(), 17);
        let code = a_function_to_be_found as fn() -> u64 as usize as u64;
        let Code::Named(name) = lookup(&own(), code - base() + 1) else {
            panic!("not found");
        };
        assert!(name.ends_with("tests::a_function_to_be_found"), "{name}");
    }

    #[test]
    fn what_is_no_code_has_no_name() {
        assert_eq!(lookup(&own(), 0), Code::None);
        assert_eq!(lookup(&own(), u64::MAX), Code::None);
    }

    #[test]
    fn a_file_that_lies_is_not_believed_and_never_ends_us() {
        let whole = std::fs::read("/proc/self/exe").expect("our own program");
        let code = a_function_to_be_found as fn() -> u64 as usize as u64 - base();
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let path = std::env::temp_dir().join(format!("healthd-elf-{}", std::process::id()));
        for round in 0..200 {
            // The header, and for every second round the section headers, filled with nonsense here and there.
            let mut bytes = whole[..whole.len().min(1 << 16)].to_vec();
            for _ in 0..1 + round % 8 {
                let at = 16 + random() as usize % 48;
                bytes[at] = random() as u8;
            }
            if round % 2 == 0 {
                bytes.truncate(random() as usize % bytes.len());
            }
            let mut file = File::create(&path).expect("our own file");
            file.write_all(&bytes).expect("our own file");
            let file = File::open(&path).expect("our own file");
            lookup(&file, code);
            lookup(&file, random());
        }
        std::fs::remove_file(&path).expect("our own file");
    }

    #[test]
    fn names_are_shown_as_they_were_written_and_cut() {
        assert_eq!(shown("hurt"), "hurt");
        assert_eq!(
            shown("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE"),
            "core::fmt::Formatter::pad"
        );
        assert_eq!(shown("_ZN5check3runEPKcb"), "check::run(char const*, bool)");
        assert_eq!(shown("_Z"), "_Z");
        assert_eq!(shown(&"x".repeat(300)).len(), SHOWN + 3);
        // Each pair doubles what the last one stands for.
        let bomb = format!("_Z1fI1aE{}v", "St4pairIS_S_E".repeat(40));
        assert!(shown(&bomb).len() <= SHOWN + 3);
    }
}
