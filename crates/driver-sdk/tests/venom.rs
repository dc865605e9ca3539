//! The host ABI's memory handling, which is the same on every target.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]
#![allow(unsafe_code, reason = "calls the ABI under test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use spiderweb_driver_sdk::abi::{venom_alloc, venom_invoke};
use spiderweb_driver_sdk::{DriverError, Value, answer_json, export_venom};

/// Counts what every thread holds, by the sizes it says when it takes and when it gives back.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    HELD.with(|held| held.set(held.get() + bytes));
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises, passed on.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(clippy::unnecessary_wraps, reason = "what a driver looks like")]
fn echo(payload: Value) -> Result<Value, DriverError> {
    Ok(payload)
}
export_venom!(echo);

fn call(payload: &[u8]) -> Result<Vec<u8>, DriverError> {
    let start = venom_alloc(payload.len());
    if !payload.is_empty() {
        assert!(!start.is_null());
        // SAFETY: `start` leads to as many bytes.
        unsafe { std::ptr::copy_nonoverlapping(payload.as_ptr(), start, payload.len()) };
    }
    // SAFETY: memory from `venom_alloc`, handed in once.
    unsafe { venom_invoke(start, payload.len(), |payload| answer_json(payload, echo)) }
}

#[test]
fn a_payload_goes_through_the_memory_of_the_module() {
    assert_eq!(call(br#"{"a":1}"#), Ok(br#"{"a":1}"#.to_vec()));
    assert_eq!(call(b"").unwrap_err().exit_code(), 2);
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(1_000_000));
    assert_eq!(call(large.as_bytes()), Ok(large.into_bytes()));
}

#[test]
fn memory_that_is_not_there_is_no_abort() {
    assert!(venom_alloc(usize::MAX / 2 + 1).is_null());
    assert!(venom_alloc(0).is_null());
}

#[test]
fn a_payload_is_given_back_as_what_it_was_taken() {
    let held = HELD.get();
    drop(call(br#"{"a":[1,2,3],"b":"some text"}"#));
    drop(call(b"no object"));
    assert_eq!(HELD.get(), held);
}
