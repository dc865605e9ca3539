//! Numbers that mean something: file ids, handles and tags.

use std::fmt;

use crate::limits::MAX_WIRE_INTEGER;

macro_rules! wire_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a number; `None` above 2^63−1, which no peer could read back (section 3.1).
            pub const fn new(number: u64) -> Option<Self> {
                if number <= MAX_WIRE_INTEGER { Some(Self(number)) } else { None }
            }

            /// The number on the wire.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

wire_number! {
    /// Names one file or directory of one export (section 6.1). The wire calls it `node`.
    ///
    /// The upper 16 bits say which export: `(export index + 1) << 48`.
    InodeId
}

wire_number! {
    /// Names one open file of the node (section 12).
    HandleId
}

impl InodeId {
    /// Bits that belong to the export's source.
    pub const LOCAL_BITS: u32 = 48;
    /// Mask of the bits that belong to the export's source.
    pub const LOCAL_MASK: u64 = (1 << Self::LOCAL_BITS) - 1;

    /// The id of object `local` (48 bits) in the export at `index`; `None` when either does not fit.
    pub const fn compose(index: usize, local: u64) -> Option<Self> {
        if index >= 0x7fff || local > Self::LOCAL_MASK {
            return None;
        }
        Some(Self(((index as u64 + 1) << Self::LOCAL_BITS) | local))
    }

    /// Position of the export this id belongs to; `None` for tag 0, which no export has.
    pub const fn export_index(self) -> Option<usize> {
        ((self.0 >> Self::LOCAL_BITS) as usize).checked_sub(1)
    }

    /// The bits that belong to the export's source.
    pub const fn local(self) -> u64 {
        self.0 & Self::LOCAL_MASK
    }
}

/// The number that matches a reply to its request (section 3.1). Chosen by the client, echoed by the node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tag(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_export() {
        let id = InodeId::compose(2, 77).unwrap();
        assert_eq!(id.get(), (3 << 48) + 77);
        assert_eq!((id.export_index(), id.local()), (Some(2), 77));
        assert_eq!(InodeId::new(5).unwrap().export_index(), None);
        assert_eq!(InodeId::compose(0x7fff, 1), None, "would not fit in 63 bits");
        assert_eq!(InodeId::new(1 << 63), None);
    }
}
