//! What a machine is, and where it can be reached.

use super::fields::{FieldFault, Fields};
use crate::canonical::ObjectWriter;
use crate::name::{InvalidIdentifier, is_identifier};

/// Most bytes of the words of a platform.
const MAX_WORD: usize = 64;
/// Most bytes of an address.
const MAX_URL: usize = 512;

/// What a machine is, in three words.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// `linux`, `macos`, `windows`, …
    pub os: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// `native`.
    pub runtime_kind: String,
}

impl Default for Platform {
    /// Nothing is known.
    fn default() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            os: unknown(),
            arch: unknown(),
            runtime_kind: unknown(),
        }
    }
}

impl Platform {
    /// The machine this runs on.
    pub fn this_machine() -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            runtime_kind: "native".to_owned(),
        }
    }

    /// The JSON object.
    pub fn encode(&self) -> String {
        ObjectWriter::new()
            .text("os", &self.os)
            .text("arch", &self.arch)
            .text("runtime_kind", &self.runtime_kind)
            .finish()
    }

    /// Reads the member `platform`; words that are absent are unknown.
    pub fn decode(fields: Fields<'_>) -> Result<Option<Self>, FieldFault> {
        let Some(value) = fields.object("platform")? else {
            return Ok(None);
        };
        let fields = Fields::of(Some(value))?;
        let word = |name| {
            let word = fields.optional(name, |text| {
                (is_identifier(text) && text.len() <= MAX_WORD)
                    .then(|| text.to_owned())
                    .ok_or(InvalidIdentifier)
            })?;
            Ok(word.unwrap_or_else(|| "unknown".to_owned()))
        };
        Ok(Some(Self {
            os: word("os")?,
            arch: word("arch")?,
            runtime_kind: word("runtime_kind")?,
        }))
    }
}

/// An address under which clients reach a node: empty, or `ws://…/v2/fs…`.
pub(super) fn fs_url(fields: Fields<'_>) -> Result<Option<String>, FieldFault> {
    fields.optional("fs_url", |url| {
        let is_valid =
            url.is_empty() || (url.len() <= MAX_URL && url.starts_with("ws://") && url.contains("/v2/fs"));
        is_valid.then(|| url.to_owned()).ok_or(FieldFault::Invalid)
    })
}
