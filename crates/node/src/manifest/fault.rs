//! What can be wrong with a manifest, in one shape.

use std::fmt;
use std::path::{Path, PathBuf};

use spiderweb_protocol::strict::{JsonFault, JsonFaultKind, Position};

/// Something that is wrong with a manifest, or with where it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestFault {
    /// The file or folder.
    pub file: Option<PathBuf>,
    /// The member, as in `runtime.args[2]`; empty for the file as a whole.
    pub path: String,
    /// Where it is in the file.
    pub position: Option<Position>,
    /// What is wrong.
    pub what: String,
    /// What would be right; may be empty where the fault says it all.
    pub right: String,
    /// The original's name for it.
    pub name: FaultName,
}

impl ManifestFault {
    /// A fault of a file or folder as a whole.
    pub(crate) fn of_file(file: &Path, name: FaultName, what: &str, right: &str) -> Self {
        Self {
            file: Some(file.to_owned()),
            path: String::new(),
            position: None,
            what: what.to_owned(),
            right: right.to_owned(),
            name,
        }
    }

    /// The same, known to be in this file.
    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }
}

impl From<JsonFault> for ManifestFault {
    fn from(fault: JsonFault) -> Self {
        let name = match fault.kind {
            JsonFaultKind::Syntax | JsonFaultKind::TooDeep => FaultName::SyntaxError,
            JsonFaultKind::UnexpectedEnd => FaultName::UnexpectedEndOfInput,
            JsonFaultKind::DuplicateMember => FaultName::DuplicateField,
            JsonFaultKind::NotAnObject => FaultName::InvalidManifest,
        };
        Self {
            file: None,
            path: String::new(),
            position: Some(fault.position),
            what: fault.what.to_owned(),
            right: String::new(),
            name,
        }
    }
}

/// `file:line:column: path: what; must be right`
impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
        }
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.position.is_some() {
            f.write_str(" ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        if !self.right.is_empty() {
            write!(f, "; must be {}", self.right)?;
        }
        Ok(())
    }
}

/// Something in a manifest that has no effect. The manifest is fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The member.
    pub path: String,
    /// Where it is in the file.
    pub position: Position,
    /// Why it has no effect.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{line}:{column}: {}: {}", self.path, self.what)
    }
}

/// The original's names of faults (section 3.7). They are for people and scripts that know them from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are all there is to say")]
pub enum FaultName {
    AccessDenied,
    DuplicateField,
    FileNotFound,
    FileTooBig,
    InvalidArguments,
    InvalidManifest,
    InvalidPluginConfig,
    InvalidProviderConfig,
    InvalidServiceCatalog,
    InvalidWasmHostConfig,
    IsDir,
    MissingInvokeSymbol,
    NotDir,
    SyntaxError,
    UnexpectedEndOfInput,
    UnsupportedPlatform,
    Unexpected,
}

impl FaultName {
    /// The name as it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDenied",
            Self::DuplicateField => "DuplicateField",
            Self::FileNotFound => "FileNotFound",
            Self::FileTooBig => "FileTooBig",
            Self::InvalidArguments => "InvalidArguments",
            Self::InvalidManifest => "InvalidManifest",
            Self::InvalidPluginConfig => "InvalidPluginConfig",
            Self::InvalidProviderConfig => "InvalidProviderConfig",
            Self::InvalidServiceCatalog => "InvalidServiceCatalog",
            Self::InvalidWasmHostConfig => "InvalidWasmHostConfig",
            Self::IsDir => "IsDir",
            Self::MissingInvokeSymbol => "MissingInvokeSymbol",
            Self::NotDir => "NotDir",
            Self::SyntaxError => "SyntaxError",
            Self::UnexpectedEndOfInput => "UnexpectedEndOfInput",
            Self::UnsupportedPlatform => "UnsupportedPlatform",
            Self::Unexpected => "Unexpected",
        }
    }
}
