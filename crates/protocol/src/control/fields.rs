//! The members of a payload, read under the original server's rules.

use crate::secret::Secret;
use crate::strict::{Member, Shape, Value};

/// Most bytes of a secret or token in a request.
const MAX_SECRET: usize = 256;

/// Why a payload is not acceptable. The words are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    /// A member that is needed is not there.
    #[error("MissingField")]
    Missing,
    /// A member has the wrong type or a value that is not allowed.
    #[error("InvalidPayload")]
    Invalid,
}

/// The members of one JSON object.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'v>(&'v [Member<'v>]);

impl<'v> Fields<'v> {
    /// The members of a payload; a missing payload has none, anything but an object is a fault.
    pub fn of(payload: Option<&'v Value<'v>>) -> Result<Self, FieldFault> {
        match payload {
            None => Ok(Self(&[])),
            Some(value) => value.as_object().map(Self).ok_or(FieldFault::Invalid),
        }
    }

    /// A member as it is.
    pub fn value(&self, name: &str) -> Option<&'v Value<'v>> {
        let member = self.0.iter().find(|member| member.name == name)?;
        Some(&member.value)
    }

    /// All of them.
    pub fn members(&self) -> &'v [Member<'v>] {
        self.0
    }

    /// A string. One of another type counts as absent.
    pub fn text(&self, name: &str) -> Option<&'v str> {
        self.value(name)?.as_text()
    }

    /// A string that must be there.
    pub fn required(&self, name: &str) -> Result<&'v str, FieldFault> {
        self.text(name).ok_or(FieldFault::Missing)
    }

    /// A string that must be there and mean something.
    pub fn checked<T, E>(
        &self,
        name: &str,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, FieldFault> {
        check(self.required(name)?).map_err(|_| FieldFault::Invalid)
    }

    /// A string that must mean something if it is there.
    pub fn optional<T, E>(
        &self,
        name: &str,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, FieldFault> {
        self.text(name)
            .map(check)
            .transpose()
            .map_err(|_| FieldFault::Invalid)
    }

    /// A secret that must be there: 1 to 256 bytes.
    pub fn secret(&self, name: &str) -> Result<Secret, FieldFault> {
        self.optional_secret(name)?.ok_or(FieldFault::Missing)
    }

    /// A secret, if there is one.
    pub fn optional_secret(&self, name: &str) -> Result<Option<Secret>, FieldFault> {
        match self.text(name) {
            None => Ok(None),
            Some(text) if (1..=MAX_SECRET).contains(&text.len()) => Ok(Some(Secret::new(text))),
            Some(_) => Err(FieldFault::Invalid),
        }
    }

    /// An integer from 0. One of another type is a fault.
    pub fn unsigned(&self, name: &str) -> Result<Option<u64>, FieldFault> {
        self.value(name)
            .map(|value| value.as_unsigned().ok_or(FieldFault::Invalid))
            .transpose()
    }

    /// A boolean. One of another type is a fault.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, FieldFault> {
        self.value(name)
            .map(|value| value.as_bool().ok_or(FieldFault::Invalid))
            .transpose()
    }

    /// An object. One of another type is a fault, `null` counts as absent.
    pub fn object(&self, name: &str) -> Result<Option<&'v Value<'v>>, FieldFault> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.shape {
                Shape::Object(_) => Ok(Some(value)),
                Shape::Null => Ok(None),
                _ => Err(FieldFault::Invalid),
            },
        }
    }

    /// An array. One of another type is a fault, `null` counts as absent.
    pub fn array(&self, name: &str) -> Result<Option<&'v [Value<'v>]>, FieldFault> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match &value.shape {
                Shape::Array(items) => Ok(Some(items)),
                Shape::Null => Ok(None),
                _ => Err(FieldFault::Invalid),
            },
        }
    }

    /// The first of two names that is a string: the generations call the same thing differently.
    pub fn either(&self, name: &str, other: &str) -> Option<&'v str> {
        self.text(name).or_else(|| self.text(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_are_treated_as_the_original_treats_them() {
        let text = br#"{"s":5,"n":"5","neg":-1,"big":9223372036854775808,"ok":7,"f":true,"sec":""}"#;
        let value = Value::parse(text).unwrap();
        let fields = Fields::of(Some(&value)).unwrap();
        assert_eq!(fields.text("s"), None);
        assert_eq!(fields.required("s"), Err(FieldFault::Missing));
        for name in ["n", "neg", "big", "f"] {
            assert_eq!(fields.unsigned(name), Err(FieldFault::Invalid), "{name}");
        }
        assert_eq!(
            (fields.unsigned("ok"), fields.unsigned("none")),
            (Ok(Some(7)), Ok(None))
        );
        assert_eq!(
            (fields.flag("f"), fields.flag("ok")),
            (Ok(Some(true)), Err(FieldFault::Invalid))
        );
        assert!(fields.secret("sec").is_err() && fields.secret("none").is_err());
        assert!(Fields::of(None).unwrap().members().is_empty());
        let array = Value::parse(b"[]").unwrap();
        assert_eq!(Fields::of(Some(&array)).unwrap_err(), FieldFault::Invalid);
    }
}
