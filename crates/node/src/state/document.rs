//! The state of services as a text (section 11).
//!
//! Both vocabularies are read, the dialect decides which is written. A text that is not UTF-8, as a driver may have
//! written it, stands base64-encoded in a member of its own beside an empty one that the original reads.

use spiderweb_protocol::canonical::{self, ObjectWriter};
use spiderweb_protocol::strict::Value;
use spiderweb_protocol::{Dialect, ServiceId};
use spiderweb_runtime::{ControlOp, Policy, Saved, Stats};

use super::file::Contents;

/// Longest document, in bytes: what is longer is not read back, so it is not written either.
pub const MAX_DOCUMENT: u64 = 64 * 1024 * 1024;

/// The version of the document.
const SCHEMA: i64 = 1;

/// What could be read of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// The services, up to the first that has a fault.
    pub services: Vec<(ServiceId, Saved)>,
    /// The fault, in words.
    pub fault: Option<String>,
}

/// What [`StateFile::open`](super::StateFile::open) asks for.
impl From<Restored> for Contents<Vec<(ServiceId, Saved)>> {
    fn from(restored: Restored) -> Self {
        Self {
            value: Some(restored.services),
            fault: restored.fault,
        }
    }
}

/// Renders the state of services, in the order given.
///
/// Should that be longer than [`MAX_DOCUMENT`], the largest results and error texts are left out, as if the services
/// had been reset.
pub fn render(dialect: Dialect, services: &[(ServiceId, Saved)]) -> String {
    render_within(dialect, services, MAX_DOCUMENT as usize)
}

fn render_within(dialect: Dialect, services: &[(ServiceId, Saved)], max: usize) -> String {
    let services = services.iter();
    let mut elements: Vec<_> = services
        .map(|(id, saved)| (element(dialect, id, saved), id, saved))
        .collect();
    let mut total: usize = elements.iter().map(|(text, ..)| text.len() + 1).sum();
    if total > max {
        let mut largest: Vec<_> = elements.iter_mut().collect();
        largest.sort_by_key(|(text, ..)| std::cmp::Reverse(text.len()));
        for (text, id, saved) in largest {
            if total <= max {
                break;
            }
            total -= text.len();
            *text = element(dialect, id, &without_texts(saved));
            total += text.len();
        }
    }
    let elements = elements.iter().map(|(text, ..)| text);
    ObjectWriter::new()
        .json("schema", SCHEMA)
        .array(dialect.list_member(), elements)
        .finish()
}

fn without_texts(saved: &Saved) -> Saved {
    let fresh = fresh();
    Saved {
        result: fresh.result,
        last_error: fresh.last_error,
        ..saved.clone()
    }
}

fn element(dialect: Dialect, id: &ServiceId, saved: &Saved) -> String {
    let Saved {
        enabled,
        restarts_total,
        last_control_ms,
        last_control_op,
        config,
        cooldown_until_ms,
        policy,
        stats,
        result,
        status,
        last_error,
    } = saved;
    let supervision = ObjectWriter::new()
        .json("max_consecutive_failures", policy.max_consecutive_failures)
        .json("max_consecutive_timeouts", policy.max_consecutive_timeouts)
        .json("cooldown_ms", policy.cooldown_ms)
        .json("auto_disable_on_threshold", policy.auto_disable_on_threshold);
    let runtime = ObjectWriter::new()
        .json("enabled", enabled)
        .json("restarts_total", restarts_total)
        .json("last_control_ms", last_control_ms)
        .text("last_control_op", last_control_op.wire())
        .text("config_json", config)
        .json("cooldown_until_ms", cooldown_until_ms)
        .json("supervision", supervision.finish());
    let stats = ObjectWriter::new()
        .json("invokes_total", stats.invokes_total)
        .json("failures_total", stats.failures_total)
        .json("consecutive_failures", stats.consecutive_failures)
        .json("timeouts_total", stats.timeouts_total)
        .json("consecutive_timeouts", stats.consecutive_timeouts)
        .json("last_duration_ms", stats.last_duration_ms)
        .json("last_started_ms", stats.last_started_ms)
        .json("last_finished_ms", stats.last_finished_ms)
        .json("last_exit_code", stats.last_exit_code);
    let mut element = ObjectWriter::new()
        .text(dialect.id_member(), id.as_str())
        .json("runtime", runtime.finish())
        .json("stats", stats.finish());
    for (text, names) in [result, status, last_error].into_iter().zip(TEXTS) {
        element = if let Ok(text) = std::str::from_utf8(text) {
            element.text(names.plain, text)
        } else {
            let encoded = base64_simd::STANDARD.encode_to_string(text);
            element.text(names.plain, "").text(names.encoded, &encoded)
        };
    }
    element.finish()
}

/// How a file's text is called.
struct TextNames {
    plain: &'static str,
    encoded: &'static str,
}

const TEXTS: [TextNames; 3] = [
    TextNames {
        plain: "result_json",
        encoded: "result_b64",
    },
    TextNames {
        plain: "status_json",
        encoded: "status_b64",
    },
    TextNames {
        plain: "last_error",
        encoded: "last_error_b64",
    },
];

/// Reads a document. Members that are absent leave the value of a service that was never used.
pub fn parse(text: &[u8]) -> Restored {
    let root = match Value::parse(text) {
        Ok(root) => root,
        Err(fault) => return failed(fault.to_string()),
    };
    if root.as_object().is_none() {
        return failed(format!("is {}, not an object", root.type_words()));
    }
    if let Some(schema) = root.member("schema")
        && schema.as_integer() != Some(SCHEMA)
    {
        return failed(format!("has schema {}, this node reads {SCHEMA}", schema.source));
    }
    let mut restored = Restored::default();
    for list in Dialect::ALL.map(Dialect::list_member) {
        let Some(list_value) = root.member(list) else {
            continue;
        };
        let Some(elements) = list_value.as_array() else {
            restored.fault = Some(format!("{list} is {}, not an array", list_value.type_words()));
            return restored;
        };
        for (index, value) in elements.iter().enumerate() {
            match service(value) {
                Ok(service) => restored.services.push(service),
                Err(Wrong(what)) => {
                    restored.fault = Some(format!("{list}[{index}]: {what}"));
                    return restored;
                }
            }
        }
    }
    restored
}

fn failed(fault: String) -> Restored {
    Restored {
        services: Vec::new(),
        fault: Some(fault),
    }
}

/// What is wrong with an element.
struct Wrong(String);

fn service(value: &Value<'_>) -> Result<(ServiceId, Saved), Wrong> {
    expect_object(value, "it")?;
    let mut ids = Dialect::ALL
        .iter()
        .filter_map(|dialect| value.member(dialect.id_member()));
    let id = ids
        .next()
        .and_then(Value::as_text)
        .and_then(|id| ServiceId::new(id).ok());
    let id = id.ok_or_else(|| Wrong("has no valid id".to_owned()))?;
    let mut saved = fresh();
    if let Some(runtime) = object(value, "runtime")? {
        restore_runtime(runtime, &mut saved)?;
    }
    if let Some(stats) = object(value, "stats")? {
        restore_stats(stats, &mut saved.stats)?;
    }
    let texts = [&mut saved.result, &mut saved.status, &mut saved.last_error];
    for (text, names) in texts.into_iter().zip(TEXTS) {
        if let Some(plain) = string(value, names.plain)? {
            *text = plain.to_owned().into();
        }
        if let Some(encoded) = string(value, names.encoded)? {
            let decoded = base64_simd::STANDARD.decode_to_vec(encoded);
            *text = decoded
                .map_err(|_| Wrong(format!("{} is not base64", names.encoded)))?
                .into();
        }
    }
    Ok((id, saved))
}

fn restore_runtime(runtime: &Value<'_>, saved: &mut Saved) -> Result<(), Wrong> {
    set(&mut saved.enabled, boolean(runtime, "enabled")?);
    set(&mut saved.restarts_total, unsigned(runtime, "restarts_total")?);
    set(&mut saved.last_control_ms, unsigned(runtime, "last_control_ms")?);
    set(
        &mut saved.cooldown_until_ms,
        unsigned(runtime, "cooldown_until_ms")?,
    );
    if let Some(word) = string(runtime, "last_control_op")? {
        // A word of a later version is no reason to lose the rest.
        let known = ControlOp::ALL.into_iter().find(|op| op.wire() == word);
        saved.last_control_op = known.unwrap_or_default();
    }
    if let Some(config) = string(runtime, "config_json")? {
        let wrong = |fault| Wrong(format!("config_json: {fault}"));
        canonical::check_object(config.as_bytes()).map_err(wrong)?;
        saved.config = canonical::render(config.as_bytes()).map_err(wrong)?;
        let config = Value::parse(saved.config.as_bytes()).map_err(wrong)?;
        if let Some(supervision) = object(&config, "supervision")? {
            restore_policy(supervision, &mut saved.policy)?;
        }
    }
    match object(runtime, "supervision")? {
        Some(supervision) => restore_policy(supervision, &mut saved.policy),
        None => Ok(()),
    }
}

fn restore_policy(supervision: &Value<'_>, policy: &mut Policy) -> Result<(), Wrong> {
    let number = |name| unsigned(supervision, name);
    set(
        &mut policy.max_consecutive_failures,
        number("max_consecutive_failures")?,
    );
    set(
        &mut policy.max_consecutive_timeouts,
        number("max_consecutive_timeouts")?,
    );
    set(&mut policy.cooldown_ms, number("cooldown_ms")?);
    let auto_disable = boolean(supervision, "auto_disable_on_threshold")?;
    set(&mut policy.auto_disable_on_threshold, auto_disable);
    Ok(())
}

fn restore_stats(value: &Value<'_>, stats: &mut Stats) -> Result<(), Wrong> {
    let number = |name| unsigned(value, name);
    set(&mut stats.invokes_total, number("invokes_total")?);
    set(&mut stats.failures_total, number("failures_total")?);
    set(&mut stats.consecutive_failures, number("consecutive_failures")?);
    set(&mut stats.timeouts_total, number("timeouts_total")?);
    set(&mut stats.consecutive_timeouts, number("consecutive_timeouts")?);
    set(&mut stats.last_duration_ms, number("last_duration_ms")?);
    set(&mut stats.last_started_ms, number("last_started_ms")?);
    set(&mut stats.last_finished_ms, number("last_finished_ms")?);
    let exit_code = member(value, "last_exit_code", "an integer", Value::as_integer)?;
    set(&mut stats.last_exit_code, exit_code);
    Ok(())
}

/// The state of a service that was never used.
fn fresh() -> Saved {
    Saved {
        enabled: true,
        restarts_total: 0,
        last_control_ms: 0,
        last_control_op: ControlOp::Init,
        config: "{}".to_owned(),
        cooldown_until_ms: 0,
        policy: Policy::default(),
        stats: Stats::default(),
        result: IDLE.as_bytes().into(),
        status: IDLE.as_bytes().into(),
        last_error: "".into(),
    }
}

const IDLE: &str = r#"{"state":"idle"}"#;

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A member that may be absent, but not of another type.
fn member<'v, 'a, T>(
    parent: &'v Value<'a>,
    name: &str,
    right: &str,
    read: impl FnOnce(&'v Value<'a>) -> Option<T>,
) -> Result<Option<T>, Wrong> {
    let Some(value) = parent.member(name) else {
        return Ok(None);
    };
    match read(value) {
        Some(value) => Ok(Some(value)),
        None => Err(Wrong(format!("{name} is {}, not {right}", value.type_words()))),
    }
}

fn unsigned(parent: &Value<'_>, name: &str) -> Result<Option<u64>, Wrong> {
    member(parent, name, "an integer from 0", Value::as_unsigned)
}

fn boolean(parent: &Value<'_>, name: &str) -> Result<Option<bool>, Wrong> {
    member(parent, name, "a boolean", Value::as_bool)
}

fn string<'v>(parent: &'v Value<'_>, name: &str) -> Result<Option<&'v str>, Wrong> {
    member(parent, name, "a string", |value| value.as_text())
}

fn object<'v, 'a>(parent: &'v Value<'a>, name: &str) -> Result<Option<&'v Value<'a>>, Wrong> {
    if let Some(value) = parent.member(name) {
        expect_object(value, name)?;
        return Ok(Some(value));
    }
    Ok(None)
}

fn expect_object(value: &Value<'_>, name: &str) -> Result<(), Wrong> {
    match value.as_object() {
        Some(_) => Ok(()),
        None => Err(Wrong(format!("{name} is {}, not an object", value.type_words()))),
    }
}

#[cfg(test)]
mod tests;
