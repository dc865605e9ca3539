//! Why an invoke failed, as the service shows it.

use std::fmt::{self, Display};

/// A failed invoke: `exit_code` goes to `status.json`, `message` to `last_error.txt` (section 9.5).
///
/// By custom 2 means that the payload was at fault, and 1 anything else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriverError {
    exit_code: u8,
    message: String,
}

impl DriverError {
    /// A failure with an exit code, and one line that says what would have worked. Zero means success to whoever
    /// runs a driver, so 0 becomes 1.
    pub fn new(exit_code: u8, message: impl Into<String>) -> Self {
        Self {
            exit_code: exit_code.max(1),
            message: message.into(),
        }
    }

    /// The exit code, never 0.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// What is to be told.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DriverError {}
