//! The two ABIs behind the `export_…!` macros, and all unsafe code of this crate.
//!
//! Drivers do not call this; the macros do. Everything that takes a pointer says what the host has to promise, and
//! the promises are those of the contract: section 16 for the C ABI, 17.2 for the host ABI of WASM modules.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::DriverError;

/// Exit code of a driver that panicked, as for a Rust program.
const PANICKED: u8 = 101;
/// Return value when the result does not fit (section 15.2).
const TOO_SMALL: u8 = 3;

/// A buffer of the host that the driver fills.
#[derive(Clone, Copy, Debug)]
pub struct HostBuffer {
    /// Its first byte; may be null when `capacity` is 0.
    pub start: *mut u8,
    /// Its size in bytes.
    pub capacity: usize,
    /// Where the number of bytes written goes; not null.
    pub length: *mut usize,
}

impl HostBuffer {
    /// Fills the buffer with as much of `bytes` as fits, and says how much that is.
    ///
    /// # Safety
    ///
    /// `start` is valid for writing `capacity` bytes and `length` for writing one number, both until this returns.
    #[expect(unsafe_code, reason = "the C ABI hands over buffers as pointers")]
    unsafe fn fill(self, bytes: &[u8]) {
        let count = if self.start.is_null() {
            0
        } else {
            bytes.len().min(self.capacity)
        };
        if count > 0 {
            // SAFETY: `count` is at most both the source's length and the capacity the caller vouches for. `bytes`
            // was made by the driver, so it cannot overlap a buffer that the host lends for writing.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, count) };
        }
        if !self.length.is_null() {
            // SAFETY: not null, and the caller vouches for it otherwise.
            unsafe { self.length.write(count) };
        }
    }
}

/// Answers one call of `spiderweb_driver_v1_invoke_json` (section 16).
///
/// Returns 0 and the result, or the driver's exit code and its message, cut to what fits. A result that does not fit
/// is the failure 3, `output buffer too small`; a panic is the failure 101 and never leaves this function.
///
/// # Safety
///
/// `payload` is valid for reading `payload_len` bytes, or `payload_len` is 0. Both buffers are as [`HostBuffer`]
/// says. All of it stays so until this returns, and nobody else writes there meanwhile.
#[expect(unsafe_code, reason = "the C ABI hands over the payload as a pointer")]
pub unsafe fn invoke_library(
    payload: *const u8,
    payload_len: usize,
    out: HostBuffer,
    err: HostBuffer,
    driver: impl FnOnce(&[u8]) -> Result<Vec<u8>, DriverError>,
) -> c_int {
    let payload = if payload_len == 0 || payload.is_null() {
        &[]
    } else {
        // SAFETY: not null, and the caller vouches for `payload_len` bytes that nobody changes.
        unsafe { std::slice::from_raw_parts(payload, payload_len) }
    };
    let answered = catch_unwind(AssertUnwindSafe(|| driver(payload)))
        .unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
        .and_then(|result| {
            if result.len() <= out.capacity {
                Ok(result)
            } else {
                Err(DriverError::new(TOO_SMALL, "output buffer too small"))
            }
        });
    let (code, result, message) = match answered {
        Ok(result) => (0, result, String::new()),
        Err(error) => (error.exit_code(), Vec::new(), error.message().to_owned()),
    };
    // SAFETY: the caller vouches for both buffers.
    unsafe {
        out.fill(&result);
        err.fill(message.as_bytes());
    }
    code.into()
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> DriverError {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    DriverError::new(PANICKED, format!("the driver panicked: {words}"))
}

/// Memory for a payload, which [`venom_invoke`] takes back; null when there is none, or nothing was asked for.
pub fn venom_alloc(len: usize) -> *mut u8 {
    let mut payload: Vec<u8> = Vec::new();
    if len == 0 || payload.try_reserve_exact(len).is_err() {
        return std::ptr::null_mut();
    }
    payload.resize(len, 0);
    Box::into_raw(payload.into_boxed_slice()).cast::<u8>()
}

/// Answers one call of `spider_venom_invoke_json` (section 17.2).
///
/// # Errors
///
/// What the driver says.
///
/// # Safety
///
/// `payload` came from [`venom_alloc`] with this `len` and was not handed in before, or `len` is 0.
#[expect(unsafe_code, reason = "the host ABI hands over the payload as an address")]
pub unsafe fn venom_invoke(
    payload: *mut u8,
    len: usize,
    driver: impl FnOnce(&[u8]) -> Result<Vec<u8>, DriverError>,
) -> Result<Vec<u8>, DriverError> {
    let payload = if len == 0 || payload.is_null() {
        Box::default()
    } else {
        // SAFETY: the caller vouches that this is a box of `len` bytes from `venom_alloc`, given back once.
        unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(payload, len)) }
    };
    driver(&payload)
}

/// Where the host finds an output: the address in the low half, the length in the high half. The bytes are left to
/// the host for good; every invoke has an instance of its own.
#[cfg(target_arch = "wasm32")]
pub fn venom_output(output: Vec<u8>) -> u64 {
    let output = output.leak();
    (output.len() as u64) << 32 | output.as_ptr().addr() as u64
}

/// Ends a failed invoke. The host ABI knows no exit codes: the message goes to the host's log, which a node shows in
/// `last_error.txt`, and a trap tells that the invoke failed.
#[cfg(target_arch = "wasm32")]
pub fn venom_fail(error: &DriverError) -> ! {
    log_error(error.message());
    core::arch::wasm32::unreachable()
}

/// Makes panics visible: without this their message is lost, and only the trap remains.
#[cfg(target_arch = "wasm32")]
pub fn venom_log_panics() {
    std::panic::set_hook(Box::new(|panic| log_error(&panic.to_string())));
}

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the host's log is a function that takes an address")]
fn log_error(message: &str) {
    #[link(wasm_import_module = "spider_host_v1")]
    unsafe extern "C" {
        fn spider_host_log(level: i32, start: *const u8, len: usize) -> i32;
    }
    /// The host's number for errors.
    const ERROR: i32 = 40;
    // SAFETY: the host reads `len` bytes of `message` before it returns. It may refuse, which changes nothing.
    let _ = unsafe { spider_host_log(ERROR, message.as_ptr(), message.len()) };
}
