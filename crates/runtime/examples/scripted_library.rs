//! A library driver that does what its payload says, for the tests: `{"do":"<action>"}`.
#![expect(unsafe_code, reason = "the C ABI of section 16")]

use std::ffi::c_int;
use std::io::Write as _;
use std::process::Command;
use std::{ptr, thread, time};

/// The function of section 16.
///
/// # Safety
///
/// The pointers lead to memory of the lengths given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spiderweb_driver_v1_invoke_json(
    payload: *const u8,
    payload_len: usize,
    out: *mut u8,
    out_cap: usize,
    out_len: *mut usize,
    err: *mut u8,
    err_cap: usize,
    err_len: *mut usize,
) -> c_int {
    // SAFETY: promised by the caller.
    let payload = unsafe { std::slice::from_raw_parts(payload, payload_len) };
    let text = String::from_utf8_lossy(payload);
    let action = text
        .strip_prefix(r#"{"do":""#)
        .and_then(|rest| rest.split('"').next());
    let (code, output, error) = match action.unwrap_or_default() {
        "nothing" => (0, &b""[..], &b""[..]),
        "fail" => (3, &b"partial"[..], &b"failed"[..]),
        "negative" => (-1, &b"kept"[..], &b""[..]),
        "large" => (256, &b"kept"[..], &b""[..]),
        "above" => {
            // SAFETY: promised by the caller.
            unsafe { *out_len = out_cap + 1 };
            return 0;
        }
        "abort" => {
            eprint!("last words");
            std::process::abort()
        }
        "exit" => {
            print!("leaving");
            let _ = std::io::stdout().flush();
            std::process::exit(9)
        }
        "hang" => {
            eprint!("hanging");
            loop {
                thread::sleep(time::Duration::from_secs(1));
            }
        }
        "print" => {
            // As C code would, without a line's end.
            print!("printed ");
            let _ = std::io::stdout().flush();
            eprint!("noted ");
            (0, &b"answered"[..], &b"erred"[..])
        }
        "flood" => loop {
            let _ = std::io::stdout().write_all(&[b'x'; 4096]);
        },
        "read" => {
            let mut input = String::new();
            let read = std::io::stdin().read_line(&mut input);
            (c_int::from(read.ok() != Some(0)), &b"end"[..], &b""[..])
        }
        "pid" => {
            let pid = std::process::id().to_string();
            // SAFETY: promised by the caller.
            unsafe { write(pid.as_bytes(), out, out_len) };
            return 0;
        }
        // Its child shows that the call has begun.
        action if action.starts_with("hang ") => {
            let _child = Command::new("sleep")
                .arg(action.trim_start_matches("hang "))
                .spawn();
            loop {
                thread::sleep(time::Duration::from_secs(1));
            }
        }
        action if action.starts_with("spawn ") => {
            let time = action.trim_start_matches("spawn ");
            let started = Command::new("sleep").arg(time).spawn();
            (c_int::from(started.is_err()), &b"spawned"[..], &b""[..])
        }
        _ => (0, payload, &b""[..]),
    };
    if output.len() > out_cap || error.len() > err_cap {
        return 3;
    }
    // SAFETY: checked above; the rest is promised by the caller.
    unsafe {
        write(output, out, out_len);
        write(error, err, err_len);
    }
    code
}

/// # Safety
///
/// The buffer has room.
unsafe fn write(bytes: &[u8], buffer: *mut u8, length: *mut usize) {
    // SAFETY: promised by the caller.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len());
        *length = bytes.len();
    }
}
