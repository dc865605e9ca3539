//! The names of the 22 requests.

use std::fmt;

macro_rules! ops {
    ($($name:ident $wire:literal $upper:literal;)*) => {
        /// One of the 22 requests (section 1).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Op {
            $(#[doc = concat!("`acheron.t_fs_", $wire, "`")] $name,)*
        }

        impl Op {
            /// Every request, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The request called `acheron.t_fs_<name>`.
            pub fn from_wire(name: &str) -> Option<Self> {
                match name {
                    $($wire => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name behind `acheron.t_fs_` and `acheron.r_fs_`.
            pub const fn wire(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// The name as error messages spell it (section 8).
            pub const fn upper(self) -> &'static str {
                match self { $(Self::$name => $upper,)* }
            }
        }
    };
}

ops! {
    Hello "hello" "HELLO";
    Exports "exports" "EXPORTS";
    Lookup "lookup" "LOOKUP";
    Getattr "getattr" "GETATTR";
    Readdirp "readdirp" "READDIRP";
    Symlink "symlink" "SYMLINK";
    Setxattr "setxattr" "SETXATTR";
    Getxattr "getxattr" "GETXATTR";
    Listxattr "listxattr" "LISTXATTR";
    Removexattr "removexattr" "REMOVEXATTR";
    Open "open" "OPEN";
    Read "read" "READ";
    Close "close" "CLOSE";
    Lock "lock" "LOCK";
    Create "create" "CREATE";
    Write "write" "WRITE";
    Truncate "truncate" "TRUNCATE";
    Unlink "unlink" "UNLINK";
    Mkdir "mkdir" "MKDIR";
    Rmdir "rmdir" "RMDIR";
    Rename "rename" "RENAME";
    Statfs "statfs" "STATFS";
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        assert_eq!(Op::ALL.len(), 22);
        for op in Op::ALL {
            assert_eq!(Op::from_wire(op.wire()), Some(*op));
            assert_eq!(op.wire().to_uppercase(), op.upper());
        }
        assert_eq!(Op::from_wire("nope"), None);
    }
}
