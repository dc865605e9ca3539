//! What a refusal means when an earlier sending of the same request may have been carried out.
//!
//! The table is in the crate's documentation; this is the table as a function.

use spiderweb_protocol::Errno;
use spiderweb_protocol::fs::Op;

/// How to read a refusal of a repeated request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The first sending did it.
    Done,
    /// The first sending may have done it: look.
    Look,
    /// Somebody did it, and looking will not tell who.
    Uncertain,
    /// The refusal is the answer.
    Stands,
}

/// Reads the refusal of a repeated request.
pub(crate) const fn verdict(op: Op, errno: Errno) -> Verdict {
    match (op, errno) {
        (Op::Close, Errno::EBADF)
        | (Op::Unlink | Op::Rmdir, Errno::ENOENT)
        | (Op::Removexattr, Errno::ENODATA) => Verdict::Done,
        (Op::Mkdir | Op::Setxattr, Errno::EEXIST) | (Op::Rename, Errno::ENOENT) => Verdict::Look,
        (Op::Create | Op::Symlink, Errno::EEXIST) => Verdict::Uncertain,
        _ => Verdict::Stands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refusal_that_the_first_sending_would_cause_is_special() {
        for op in Op::ALL {
            let special: Vec<_> = (1..130)
                .map(Errno::from_wire)
                .filter(|errno| verdict(*op, *errno) != Verdict::Stands)
                .collect();
            let expected = match op {
                Op::Close => vec![Errno::EBADF],
                Op::Unlink | Op::Rmdir | Op::Rename => vec![Errno::ENOENT],
                Op::Removexattr => vec![Errno::ENODATA],
                Op::Mkdir | Op::Setxattr | Op::Create | Op::Symlink => vec![Errno::EEXIST],
                _ => vec![],
            };
            assert_eq!(special, expected, "{op}");
        }
    }
}
