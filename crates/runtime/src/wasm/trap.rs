//! Names for the ways a module can end badly.

use wasmtime::{Error, Trap};

use crate::driver::Fault;

/// The range of an address and a length is not in the module's memory.
pub(crate) const OUT_OF_BOUNDS: &str = "OutOfBoundsMemoryAccess";

/// The original's name of a trap.
pub(crate) const fn name(trap: Trap) -> &'static str {
    match trap {
        Trap::UnreachableCodeReached => "Unreachable",
        Trap::OutOfFuel => "FuelExhausted",
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => OUT_OF_BOUNDS,
        Trap::TableOutOfBounds => "OutOfBoundsTableAccess",
        Trap::IndirectCallToNull => "UndefinedElement",
        Trap::BadSignature => "IndirectCallTypeMismatch",
        Trap::IntegerDivisionByZero => "DivisionByZero",
        Trap::IntegerOverflow => "IntegerOverflow",
        Trap::BadConversionToInteger => "InvalidConversion",
        Trap::StackOverflow => "StackOverflow",
        _ => "Trap",
    }
}

/// What an error of the engine means for a run: the fault it carries if a host function raised it, else the trap.
pub(crate) fn fault(error: Error) -> Fault {
    let error = match error.downcast::<Fault>() {
        Ok(fault) => return fault,
        Err(error) => error,
    };
    error
        .downcast_ref::<Trap>()
        .map_or(Fault::InvalidModule, |trap| Fault::Trapped(name(*trap)))
}
