//! Durations as HEALTHCHECK flags write them: `1m30s`, `1.5h`, `300ms`.

/// Nanoseconds of a duration; the error says what is wrong.
pub fn parse(text: &str) -> Result<i64, String> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("empty duration".to_owned());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let scale = scale(unit)?;
        total = nanoseconds(number, scale)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| "not a number, or too large".to_owned())?;
        rest = tail;
    }
    let total = i64::try_from(total).map_err(|_| "too large".to_owned())?;
    Ok(if negative { -total } else { total })
}

fn scale(unit: &str) -> Result<u64, String> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err("missing unit".to_owned()),
        _ => return Err("unknown unit".to_owned()),
    })
}

/// `12.345` times `scale`, in integers; `None` for no digits, two points, or overflow.
fn nanoseconds(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut place = u128::from(scale);
    for digit in fraction.chars() {
        place /= 10;
        total = total.checked_add(u64::try_from(place * u128::from(digit.to_digit(10)?)).ok()?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        const SECOND: i64 = 1_000_000_000;
        for (text, expected) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("30s", Some(30 * SECOND)),
            ("1m30s", Some(90 * SECOND)),
            ("1.5h", Some(5400 * SECOND)),
            ("300ms", Some(300_000_000)),
            ("1us", Some(1000)),
            ("1µs", Some(1000)),
            (".5s", Some(SECOND / 2)),
            ("2.s", Some(2 * SECOND)),
            ("-5s", Some(-5 * SECOND)),
            ("+5s", Some(5 * SECOND)),
            ("", None),
            ("30", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("5x", None),
            ("5 s", None),
            ("99999999999h", None),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("9223372036854775808ns", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
