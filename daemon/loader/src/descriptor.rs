//! What a plugin says of itself, copied out of its memory and checked.

use healthd_abi::{self as abi, HdPlugin, HdStr};
use serde::{Deserialize, Serialize};

/// How a check spends its time, and so which lane runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Waits on the network, in steps.
    Io,
    /// Waits in blocking calls.
    Block,
    /// Computes.
    Cpu,
    /// Waits for children.
    Exec,
}

impl Workload {
    fn from_code(code: u32) -> Option<Workload> {
        Some(match code {
            abi::WL_IO => Workload::Io,
            abi::WL_BLOCK => Workload::Block,
            abi::WL_CPU => Workload::Cpu,
            abi::WL_EXEC => Workload::Exec,
            _ => return None,
        })
    }

    /// In steps on the reactor, or in one call on a thread?
    pub fn is_step(self) -> bool {
        matches!(self, Workload::Io | Workload::Exec)
    }
}

/// This is also what `healthd --probe` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Which one of the library's plugins.
    pub index: u32,
    pub name: String,
    pub version: String,
    pub summary: String,
    pub vendor: String,
    pub license: String,
    pub build: String,
    /// "1.0": major and minor that it was built for.
    pub abi: String,
    pub flags: u64,
    pub workload: Workload,
    pub default_timeout_ms: u32,
    pub max_inflight: u32,
    pub stack_kib: u32,
    pub schema: serde_json::Value,
}

/// Longest text that is taken from a descriptor, and longest schema.
const MAX_TEXT: usize = 1024;
const MAX_SCHEMA: usize = 1 << 20;

/// Reads and judges the descriptor behind `ptr`, which the plugin's entry function returned.
/// Err: why it is refused, with both versions where that is the reason.
pub(crate) fn read(ptr: *const HdPlugin, index: u32) -> Result<(Descriptor, HdPlugin), String> {
    if !ptr.is_aligned() {
        return Err("its descriptor is not aligned".into());
    }
    // SAFETY: the entry function promises a pointer to a static descriptor, which begins with the magic.
    let magic = unsafe { std::ptr::read(ptr.cast::<u64>()) };
    if magic != abi::MAGIC {
        return Err(format!(
            "wrong magic {magic:#018x} in its descriptor (healthd plugins have {:#018x})",
            abi::MAGIC
        ));
    }
    // SAFETY: the magic says that this is a descriptor, and every version of one has these fields.
    let head = unsafe { ptr.cast::<Head>().read() };
    let least = abi::PLUGIN_SIZE_1_0;
    if (head.struct_size as usize) < least {
        return Err(format!(
            "its descriptor has {} bytes, ABI 1.0 has {least}: it was built with a header older than 1.0 (this healthd has ABI 1.{})",
            head.struct_size,
            abi::ABI_MINOR
        ));
    }
    if head.abi_min_minor > abi::ABI_MINOR {
        return Err(format!(
            "it needs a host with plugin ABI 1.{} or newer, this healthd has 1.{}",
            head.abi_min_minor,
            abi::ABI_MINOR
        ));
    }
    // SAFETY: it has as many bytes as it says, at least those of 1.0 (checked).
    let raw = unsafe { known_part(ptr, head.struct_size as usize) };
    let unknown = raw.flags & abi::F_MUST_UNDERSTAND & !abi::F_KNOWN;
    if unknown != 0 {
        return Err(format!(
            "it sets must-understand flag {:#x}, which this healthd (ABI 1.{}) does not know",
            unknown,
            abi::ABI_MINOR
        ));
    }
    let workload = Workload::from_code(raw.workload).ok_or_else(|| {
        format!(
            "unknown workload {} (1 io, 2 block, 3 cpu, 4 exec)",
            raw.workload
        )
    })?;
    let steps = [raw.start.is_some(), raw.step.is_some(), raw.drop.is_some()];
    if steps.contains(&true) && steps.contains(&false) {
        return Err("half a step lane: start, step and drop must all be there, or none".into());
    }
    if workload.is_step() && raw.step.is_none() {
        return Err(format!(
            "workload {workload:?} needs the step lane (start, step, drop), which is missing"
        )
        .to_lowercase());
    }
    if !workload.is_step() && raw.run.is_none() {
        return Err(
            format!("workload {workload:?} needs the run lane (run), which is missing")
                .to_lowercase(),
        );
    }
    if raw.create.is_none() || raw.destroy.is_none() {
        return Err("create or destroy is missing".into());
    }
    if raw.chunk.is_some() && workload != Workload::Cpu {
        return Err(format!(
            "it has `chunk`, which is for workload cpu alone, and is {workload:?}"
        )
        .to_lowercase());
    }
    let name = text(raw.name, "name")?;
    if name.is_empty()
        || name.len() > 32
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    {
        return Err(format!(
            "its name {name:?} is not 1 to 32 of the characters A-Z a-z 0-9 . _ -"
        ));
    }
    let schema = limited(raw.config_schema, "config_schema", MAX_SCHEMA)?;
    let schema = match schema.trim() {
        "" => serde_json::json!({}),
        text => {
            serde_json::from_str(text).map_err(|e| format!("its config_schema is not JSON: {e}"))?
        }
    };
    let descriptor = Descriptor {
        index,
        name,
        version: text(raw.version, "version")?,
        summary: text(raw.summary, "summary")?,
        vendor: text(raw.vendor, "vendor")?,
        license: text(raw.license, "license")?,
        build: text(raw.build, "build")?,
        abi: format!("1.{}", raw.abi_minor),
        flags: raw.flags,
        workload,
        default_timeout_ms: raw.default_timeout_ms,
        max_inflight: raw.max_inflight,
        stack_kib: raw.stack_kib,
        schema,
    };
    Ok((descriptor, raw))
}

/// What of it both sides know: fields behind the end of an older plugin's descriptor are empty.
///
/// # Safety
/// `size` bytes at `ptr` are a descriptor of major 1, and at least as many as 1.0 had.
unsafe fn known_part(ptr: *const HdPlugin, size: usize) -> HdPlugin {
    if size >= size_of::<HdPlugin>() {
        // SAFETY: as long as ours; its first part never changes within major 1.
        return unsafe { ptr.read() };
    }
    let mut raw = std::mem::MaybeUninit::<HdPlugin>::zeroed();
    // SAFETY: the caller's promise for the source; the target is ours and larger than that. Only 1.1 has added a
    // field, so a shorter descriptor ends where that of 1.0 did.
    unsafe {
        std::ptr::copy_nonoverlapping(
            ptr.cast::<u8>(),
            raw.as_mut_ptr().cast(),
            abi::PLUGIN_SIZE_1_0,
        );
    }
    // SAFETY: every field is filled, or zero, which is None for a function.
    unsafe { raw.assume_init() }
}

/// The part that every descriptor of major 1 begins with.
#[repr(C)]
#[derive(Clone, Copy)]
struct Head {
    magic: u64,
    struct_size: u32,
    abi_minor: u16,
    abi_min_minor: u16,
}

fn text(s: HdStr, what: &str) -> Result<String, String> {
    limited(s, what, MAX_TEXT)
}

fn limited(s: HdStr, what: &str, cap: usize) -> Result<String, String> {
    if s.len > cap {
        return Err(format!("its {what} is longer than {cap} bytes"));
    }
    // SAFETY: the descriptor is static data by contract, and the length has been bounded.
    let bytes = unsafe { s.as_bytes() };
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("its {what} is not UTF-8"))
}
