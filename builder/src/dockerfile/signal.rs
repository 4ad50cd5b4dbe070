//! Signals as STOPSIGNAL writes them.

/// Names of the signals of Linux on x86-64 and arm64, at the index of their number.
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const FIRST_REALTIME: i32 = 34;
const LAST_REALTIME: i32 = 64;

/// The number of a signal given as number or as name with or without `SIG`, in any case; `RTMIN+n` and `RTMAX-n` too.
#[must_use]
pub fn parse(text: &str) -> Option<i32> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=LAST_REALTIME).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let alias = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        _ => name,
    };
    if let Some(number) = NAMES.iter().skip(1).position(|known| *known == alias) {
        return i32::try_from(number + 1).ok();
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => FIRST_REALTIME,
        (_, Some("")) => LAST_REALTIME,
        (Some(rest), _) => FIRST_REALTIME + offset(rest, '+')?,
        (_, Some(rest)) => LAST_REALTIME - offset(rest, '-')?,
        _ => return None,
    };
    (FIRST_REALTIME..=LAST_REALTIME).contains(&number).then_some(number)
}

/// The names, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().skip(1)
}

fn offset(rest: &str, sign: char) -> Option<i32> {
    let digits = rest.strip_prefix(sign)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|n| *n <= 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, expected) in [
            ("9", Some(9)),
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("sigquit", Some(3)),
            ("SIGSYS", Some(31)),
            ("SIGIOT", Some(6)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("RTMIN+", None),
            ("RTMIN-1", None),
            ("0", None),
            ("65", None),
            ("", None),
            ("SIG", None),
            ("SIGTREM", None),
            ("99999999999999", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
