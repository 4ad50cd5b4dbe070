//! How results are printed: docker's tables, templates, sizes, ages and patterns.

mod template;

use image::document::Timestamp;

pub use template::Template;

/// A size in powers of 1000 with three digits, as docker prints it: `4.26kB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    // 999.5 would round to four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value >= 99.95 || unit == 0 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let mut number = format!("{value:.decimals$}");
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{number}{}", UNITS[unit])
}

/// An age in docker's words: `About an hour ago`.
pub fn since(time: Option<Timestamp>) -> String {
    match time.filter(|time| time.seconds > ZERO_TIME) {
        Some(time) => format!("{} ago", age(Some(time))),
        None => "N/A".into(),
    }
}

/// How long ago that was: `5 minutes`.
pub fn age(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "N/A".into(), |time| duration(Timestamp::now().seconds - time.seconds))
}

/// A point in time as docker prints it: `2026-11-21 01:33:45 +0000 UTC`.
pub fn moment(time: Option<Timestamp>) -> String {
    let Some(time) = time.filter(|time| time.seconds > ZERO_TIME) else { return "N/A".into() };
    let (year, month, day, hour, minute, second) = time.civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// Matches `*`, `?`, `[...]` and `\`; nothing but a slash matches a slash.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            // Several stars in a row are one; this keeps the search short.
            !rest.starts_with(b"*") && (0..=end).any(|from| glob(rest, &text[from..]))
                || rest.starts_with(b"*") && glob(rest, text)
        }
        [b'?', rest @ ..] => text.first().is_some_and(|byte| *byte != b'/') && glob(rest, &text[1..]),
        [b'[', rest @ ..] => match (rest.iter().position(|byte| *byte == b']'), text.first()) {
            (Some(end), Some(byte)) if *byte != b'/' => {
                in_class(&rest[..end], *byte) && glob(&rest[end + 1..], &text[1..])
            }
            _ => false,
        },
        [b'\\', literal, rest @ ..] => text.first() == Some(literal) && glob(rest, &text[1..]),
        [literal, rest @ ..] => text.first() == Some(literal) && glob(rest, &text[1..]),
    }
}

/// Go's zero time, which some tools write for "unknown", and anything before it.
const ZERO_TIME: i64 = -62_135_596_800;

fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class {
        [b'^', rest @ ..] => (true, rest),
        class => (false, class),
    };
    let mut rest = class;
    let mut found = false;
    while let [first, more @ ..] = rest {
        rest = match more {
            [b'-', last, after @ ..] => {
                found |= (*first..=*last).contains(&byte);
                after
            }
            _ => {
                found |= *first == byte;
                more
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4262, "4.26kB"),
            (77_820_000, "77.8MB"),
            (999_600, "1MB"),
            (133_000_000, "133MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_are_in_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (600, "10 minutes"),
            (3600, "About an hour"),
            (86_400, "24 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 20, "2 weeks"),
            (86_400 * 100, "3 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(since(None), "N/A");
    }

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, text, expected) in [
            ("busy*", "busybox", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?x", "box", true),
            ("[a-c]x", "bx", true),
            ("[^a]x", "ax", false),
            ("**x", "x", true),
            ("x", "xy", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
