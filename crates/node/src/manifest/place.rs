//! A value in a manifest that knows its path, and the report of everything wrong in one text.

use spiderweb_protocol::strict::{Position, Shape, Value};

use super::fault::{FaultName, ManifestFault, Note};

/// A value and how it is called.
#[derive(Debug, Clone)]
pub(super) struct Place<'v> {
    pub(super) value: &'v Value<'v>,
    pub(super) path: String,
}

impl<'v> Place<'v> {
    pub(super) fn root(value: &'v Value<'v>) -> Self {
        let path = String::new();
        Self { value, path }
    }

    pub(super) fn member(&self, name: &str) -> Option<Self> {
        let value = self.value.member(name)?;
        let path = self.path_of(name);
        Some(Self { value, path })
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// The items, if this is an array.
    pub(super) fn items(&self) -> Option<impl Iterator<Item = Self>> {
        let items = self.value.as_array()?.iter().enumerate();
        Some(items.map(|(index, value)| Self {
            value,
            path: format!("{}[{index}]", self.path),
        }))
    }
}

/// Most faults, and most notes, that are told of one text: finding a line costs time, and nobody reads more.
const MOST: usize = 64;

/// What was found in one text. Faults and notes are in the order in which they were found.
#[derive(Debug)]
pub(super) struct Report<'t> {
    text: &'t str,
    pub(super) faults: Vec<ManifestFault>,
    pub(super) notes: Vec<Note>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            faults: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn position(&self, value: &Value<'_>) -> Position {
        value.position(self.text)
    }

    /// A value is wrong.
    pub(super) fn wrong(&mut self, place: &Place<'_>, name: FaultName, what: impl Into<String>, right: &str) {
        self.fault(place.path.clone(), place.value, name, what.into(), right);
    }

    fn fault(&mut self, path: String, value: &Value<'_>, name: FaultName, what: String, right: &str) {
        if self.faults.len() < MOST {
            self.faults.push(ManifestFault {
                file: None,
                path,
                position: Some(self.position(value)),
                what,
                right: right.to_owned(),
                name,
            });
        }
    }

    /// A value is wrong, and shown.
    pub(super) fn refuse(&mut self, place: &Place<'_>, name: FaultName, right: &str) {
        self.wrong(place, name, format!("is {}", shown(place.value)), right);
    }

    /// A member that must be there is not.
    pub(super) fn missing(&mut self, parent: &Place<'_>, member: &str, right: &str) {
        let path = parent.path_of(member);
        let what = "is missing".to_owned();
        self.fault(path, parent.value, FaultName::InvalidManifest, what, right);
    }

    pub(super) fn note(&mut self, place: &Place<'_>, what: impl Into<String>) {
        self.note_at(place.path.clone(), place.value.at, what.into());
    }

    /// Notes the members of an object that nobody reads.
    pub(super) fn note_unknown(&mut self, object: &Place<'_>, is_known: impl Fn(&str) -> bool, what: &str) {
        for member in object.value.as_object().unwrap_or_default() {
            if !is_known(&member.name) {
                self.note_at(object.path_of(&member.name), member.at, what.to_owned());
            }
        }
    }

    fn note_at(&mut self, path: String, at: usize, what: String) {
        if self.notes.len() < MOST {
            let position = Position::of(self.text, at);
            self.notes.push(Note { path, position, what });
        }
    }
}

/// A value for people: short ones in full.
fn shown(value: &Value<'_>) -> String {
    const LONGEST: usize = 40;
    match &value.shape {
        Shape::Array(_) | Shape::Object(_) => value.type_words().to_owned(),
        Shape::Text(text) if text.is_empty() => "empty".to_owned(),
        _ if value.source.len() <= LONGEST => value.source.to_owned(),
        Shape::Text(text) => format!("a string of {} bytes", text.len()),
        _ => value.type_words().to_owned(),
    }
}
