//! Members read by their type: each either has its value, or is reported and counts as absent.

use spiderweb_protocol::limits::MAX_MANIFEST;
use spiderweb_protocol::strict::Shape;
use spiderweb_protocol::{canonical, is_identifier};

use super::fault::FaultName;
use super::members;
use super::place::{Place, Report};

/// What an object or array is to be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Object,
    Array,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
        }
    }
}

impl Report<'_> {
    /// A required identifier.
    pub(super) fn identifier(
        &mut self,
        parent: &Place<'_>,
        name: &str,
        max: usize,
        right: &str,
    ) -> Option<String> {
        let Some(place) = parent.member(name) else {
            self.missing(parent, name, right);
            return None;
        };
        match place.value.as_text() {
            Some(text) if is_identifier(text) && text.len() <= max => Some(text.to_owned()),
            _ => {
                self.refuse(&place, FaultName::InvalidManifest, right);
                None
            }
        }
    }

    /// A string; any other type counts as absent, as in the original.
    pub(super) fn lenient_text(
        &mut self,
        parent: &Place<'_>,
        name: &str,
        is_right: impl Fn(&str) -> bool,
        right: &str,
        default: &str,
    ) -> String {
        let Some(place) = parent.member(name) else {
            return default.to_owned();
        };
        match place.value.as_text() {
            Some(text) if is_right(text) => return text.to_owned(),
            Some(_) => self.refuse(&place, FaultName::InvalidManifest, right),
            None => self.note(&place, format!("is not a string, so `{default}` counts")),
        }
        default.to_owned()
    }

    /// A string of at most this many bytes, or a fault.
    pub(super) fn strict_text(&mut self, parent: &Place<'_>, name: &str, max: usize) -> Option<String> {
        let place = parent.member(name)?;
        match place.value.as_text() {
            Some(text) if (1..=max).contains(&text.len()) => Some(text.to_owned()),
            _ => {
                let right = format!("a string of 1 to {max} bytes");
                self.refuse(&place, FaultName::InvalidManifest, &right);
                None
            }
        }
    }

    /// A path in the control server's namespace, expanded.
    pub(super) fn path(&mut self, place: &Place<'_>, node_id: &str) -> Option<String> {
        let path = place
            .value
            .as_text()
            .map(|path| path.replace("{node_id}", node_id));
        match path {
            Some(path) if path.starts_with('/') && path.len() <= members::MAX_PATH => Some(path),
            _ => {
                let right = "a string of 1 to 512 bytes that begins with `/`";
                self.refuse(place, FaultName::InvalidManifest, right);
                None
            }
        }
    }

    /// An object or array that is published as canonical JSON.
    pub(super) fn json(&mut self, parent: &Place<'_>, name: &str, kind: Kind, default: &str) -> String {
        let Some(place) = parent.member(name) else {
            return default.to_owned();
        };
        let is_right = match kind {
            Kind::Object => matches!(place.value.shape, Shape::Object(_)),
            Kind::Array => matches!(place.value.shape, Shape::Array(_)),
        };
        if !is_right {
            self.refuse(&place, FaultName::InvalidManifest, kind.words());
            return default.to_owned();
        }
        // What was read once can be read again.
        let text = canonical::render(place.value.source.as_bytes()).unwrap_or_default();
        if text.len() as u64 > MAX_MANIFEST {
            let what = format!("is {} bytes long with its numbers written out", text.len());
            self.wrong(&place, FaultName::FileTooBig, what, "at most 1048576 bytes then");
        }
        text
    }

    /// An integer from 0, or a fault of this name.
    pub(super) fn unsigned(&mut self, parent: &Place<'_>, member: &str, name: FaultName) -> Option<u64> {
        let place = parent.member(member)?;
        let number = place.value.as_unsigned();
        if number.is_none() {
            self.refuse(&place, name, "an integer from 0");
        }
        number
    }

    /// A boolean, or a fault of this name.
    pub(super) fn boolean(&mut self, parent: &Place<'_>, member: &str, name: FaultName) -> Option<bool> {
        let place = parent.member(member)?;
        let value = place.value.as_bool();
        if value.is_none() {
            self.refuse(&place, name, "`true` or `false`");
        }
        value
    }
}
