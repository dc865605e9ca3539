//! Sizes and times: from words to numbers and back.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Reads a duration such as `15s`, `500ms`, `2m` or `24h`; a bare number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = number.parse().unwrap_or(f64::NAN) * factor;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a time above zero such as 500ms, 15s, 2m or 24h".to_owned()),
    }
}

/// Reads a size such as `4096`, `4KiB`, `1M`; all units are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => 64,
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?))
        .ok_or_else(|| "expected a size such as 4096, 4KiB or 1MiB".to_owned())
}

/// A block size of one request: 1 byte to 1 MiB.
pub(crate) fn parse_block(text: &str) -> Result<u32, String> {
    match parse_size(text)? {
        size @ 1..=0x10_0000 => Ok(size as u32),
        _ => Err("a request carries 1 byte to 1MiB, such as 4KiB".to_owned()),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A size for people: at most four characters of number and a binary unit.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    // 1023.95 and above would be rounded to four digits.
    while size >= 1023.95 {
        let Some(next) = units.next() else { break };
        unit = Some(next);
        size /= 1024.0;
    }
    let unit = unit.copied().unwrap_or_default();
    if size < 100.0 {
        format!("{size:.1} {unit}")
    } else {
        format!("{size:.0} {unit}")
    }
}

/// A time in nanoseconds since 1970 as local date and minute.
pub(crate) fn local_minute(nanoseconds: i64) -> String {
    local(nanoseconds, "%Y-%m-%d %H:%M")
}

/// The same to the nanosecond, with the zone.
pub(crate) fn local_exact(nanoseconds: i64) -> String {
    local(nanoseconds, "%Y-%m-%d %H:%M:%S.%9f %z")
}

fn local(nanoseconds: i64, format: &str) -> String {
    match Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime(format).to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// A time for programs: RFC 3339 in UTC.
pub(crate) fn rfc3339(nanoseconds: i64) -> String {
    match Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) => time.to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, milliseconds) in [
            ("15s", Some(15_000)),
            ("15", Some(15_000)),
            ("0.5s", Some(500)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("0", None),
            ("-1s", None),
            ("s", None),
            ("5 parsecs", None),
            ("1e400s", None),
            ("", None),
        ] {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(parse_duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("4KiB", Some(4096)),
            ("4k", Some(4096)),
            ("1 MiB", Some(1 << 20)),
            ("2G", Some(2 << 30)),
            ("99999999999G", None),
            ("1.5M", None),
            ("M", None),
            ("4KiBs", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text}");
        }
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (102_400, "100 KiB"),
            (1_048_575, "1.0 MiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn any_time_can_be_shown() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        for time in [i64::MIN, -1, 0, i64::MAX] {
            assert!(
                !local_minute(time).is_empty() && !local_exact(time).is_empty() && !rfc3339(time).is_empty()
            );
        }
    }
}
