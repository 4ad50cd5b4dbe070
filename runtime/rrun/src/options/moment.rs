//! Points in time as docker's `--since` and `--until` take them: RFC 3339 or the beginning of one, seconds since 1970, or how
//! long ago it was.

use image::document::Timestamp;

/// Units of Go's durations, in nanoseconds; longer names first.
const UNITS: [(&str, i128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a point in time.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    absolute(text)
        .or_else(|| seconds(text))
        .or_else(|| ago(text))
        .ok_or_else(|| "expected a time like 2026-01-02T13:23:37Z, 10m or 1767360217".to_owned())
}

/// RFC 3339, whose end may be missing: that is midnight, the full minute, and UTC.
fn absolute(text: &str) -> Option<Timestamp> {
    if text.len() < 10 || text.as_bytes()[4] != b'-' {
        return None;
    }
    const COMPLETE: &str = "0000-00-00T00:00:00";
    let zone = text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    let mut full = text.to_owned();
    if text.len() < COMPLETE.len() {
        full.push_str(&COMPLETE[text.len()..]);
    }
    if !zone {
        full.push('Z');
    }
    full.parse().ok()
}

/// Seconds since 1970, with or without a fraction.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Some(Timestamp { seconds: whole.parse().ok()?, nanoseconds })
}

/// A duration of Go, as `1h30m`, before now.
fn ago(text: &str) -> Option<Timestamp> {
    let mut total: i128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..end].parse().ok().filter(|_| end > 0)?;
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        total += (number * *factor as f64) as i128;
        rest = &rest[end + unit.len()..];
    }
    let now = Timestamp::now();
    let now = i128::from(now.seconds) * 1_000_000_000 + i128::from(now.nanoseconds);
    let then = now.checked_sub(total).filter(|_| !text.is_empty())?;
    Some(Timestamp {
        seconds: i64::try_from(then.div_euclid(1_000_000_000)).ok()?,
        nanoseconds: u32::try_from(then.rem_euclid(1_000_000_000)).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        for (text, expected) in [
            ("2026-01-02T13:23:37Z", "2026-01-02T13:23:37Z"),
            ("2026-01-02T13:23:37.5+01:00", "2026-01-02T12:23:37.5Z"),
            ("2026-01-02T13:23:37", "2026-01-02T13:23:37Z"),
            ("2026-01-02T13:23", "2026-01-02T13:23:00Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("1136073845", "2006-01-01T00:04:05Z"),
            ("1136073845.25", "2006-01-01T00:04:05.25Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), expected, "{text}");
        }
        let now = Timestamp::now().seconds;
        for (text, seconds) in [("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("500ms", 1), ("0s", 0)] {
            let then = moment(text).unwrap().seconds;
            assert!((now - then - seconds).abs() <= 1, "{text}");
        }
        for bad in ["", "m", "10", "10x", "yesterday", "2026-13-01", "1.2.3s", "10m5", "-5m"] {
            // A number alone is a time, too.
            assert!(bad == "10" || moment(bad).is_err(), "{bad}");
        }
    }
}
