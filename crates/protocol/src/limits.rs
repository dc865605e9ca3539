//! Every bound of the wire in one place, with its reason.

/// Largest text frame either side may send, in bytes (section 2.2): the original clients and node drop the
/// connection above it.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// Largest text frame the older generation's server takes from a node (`control.md`, section 2.3): it drops the
/// connection above it, with everybody who is routed through it.
pub const SEED_FRAME: usize = 256 * 1024;

/// Most bytes to ask for, or to write, at a time where frames are bounded by [`SEED_FRAME`]: as base64 inside a frame
/// they fit.
pub const SEED_IO: u32 = 128 * 1024;

/// Most bytes one `read` returns; a larger `len` is cut to it (section 8.7).
pub const MAX_READ: u32 = 1024 * 1024;

/// Most decoded bytes one `write` may carry (section 8.8).
pub const MAX_WRITE: usize = 1024 * 1024;

/// Most entries of one `readdirp` page; a larger `max` is cut to it (section 8.5).
pub const MAX_PAGE_ENTRIES: u32 = 16_384;

/// Entries of a `readdirp` page when the request names no `max` (section 8.5).
pub const DEFAULT_PAGE_ENTRIES: u32 = 128;

/// Bytes of encoded entries after which a `readdirp` page ends early. One entry with a name of 255 bytes,
/// each escaped to six characters, stays below 2 KiB, so the frame stays below [`MAX_FRAME`].
pub const PAGE_BYTE_BUDGET: usize = MAX_FRAME - PAGE_RESERVE;

/// Bytes of a frame that a page leaves free: for the envelope, and for the entry that made it full.
pub const PAGE_RESERVE: usize = 64 * 1024;

/// Bytes a `read` returns when the request names no `len` (section 8.7).
pub const DEFAULT_READ: u32 = 64 * 1024;

/// Deepest nesting of a JSON text. The original accepts about this much and dies above it; a recorded
/// exchange nests 200 levels.
pub const MAX_JSON_DEPTH: u32 = 256;

/// Most values in one JSON text. A message has a few dozen; a frame full of `[0,0,…]` would become many times its
/// size in memory, and hold up the thread that reads it.
pub const MAX_JSON_VALUES: u32 = 65_536;

/// Largest integer a peer can read: the original clients parse into signed 64 bits (section 3.1).
pub const MAX_WIRE_INTEGER: u64 = i64::MAX as u64;

/// Most bytes a driver may write to its standard output, and to its standard error (`services.md`, section 9.4).
pub const MAX_DRIVER_OUTPUT: usize = 1024 * 1024;

/// Largest manifest (`services.md`, section 3.1).
pub const MAX_MANIFEST: u64 = 1024 * 1024;
