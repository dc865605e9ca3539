//! The system's random numbers, from the seed.
//!
//! Pauses of the product, the order in which tokio's `select!` looks at its branches and the order of hash maps come from
//! the standard library's hash seed, and that from `getrandom`. On Linux a program's own function of this name takes the
//! place of the C library's, so here all of them come from the seed, and the product needs no switch for it. A process
//! plays one seed only, because hash seeds are counted on for as long as it lives.
//!
//! Only the thread of the run follows the seed: watchers of folders have threads of their own, and whenever they come to
//! draw a number, they must not take one away.

use std::cell::Cell;

use crate::dice::Dice;

thread_local! {
    /// The generator's state; zero leaves it to the system.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// From now on random numbers of this thread follow from `seed`.
pub(crate) fn follow(seed: u64) {
    STATE.set(Dice::new(seed).number() | 1);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "the C library's function has to be replaced under its own name"
)]
mod replaced {
    use super::{Dice, STATE};

    // SAFETY: no other function of this name is in the program; the dynamic C library's gives way to it, as POSIX has it.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
        // SAFETY: the caller gives room for `length` bytes, as the C library's function demands.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(buffer.cast::<std::mem::MaybeUninit<u8>>(), length) };
        let state = STATE.get();
        if state == 0 {
            return match rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty()) {
                Ok((filled, _)) => filled.len() as isize,
                Err(_) => -1,
            };
        }
        let mut dice = Dice::new(state);
        for chunk in bytes.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(dice.number().to_le_bytes()) {
                byte.write(random);
            }
        }
        STATE.set(dice.number() | 1);
        length as isize
    }
}
