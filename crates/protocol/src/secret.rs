//! Values that must not show up in a log.

use std::fmt;

use subtle::ConstantTimeEq as _;

/// A token or password: hidden in `Debug`, compared in constant time.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret text. It may be empty: a peer must then send an empty one (section 15).
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Whether `candidate` is the secret, in a time that depends on the length alone.
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }

    /// The text itself, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_whole_and_never_printed() {
        let secret = Secret::new("s3cret");
        assert!(secret.matches("s3cret"));
        assert!(!secret.matches("S3CRET") && !secret.matches("s3cre") && !secret.matches(""));
        assert!(!format!("{secret:?}").contains("s3"));
        assert!(Secret::new("").matches(""));
    }
}
