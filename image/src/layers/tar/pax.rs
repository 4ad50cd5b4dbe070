//! PAX extended headers: records of `length key=value` before the entry that they describe.

use super::super::attributes::{Xattr, is_kept};

/// The prefix of extended attributes.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// What one extended header says about the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<(i64, u32)>,
    /// The attributes that a layer may carry; others are counted only.
    pub(crate) xattrs: Vec<Xattr>,
    pub(crate) dropped_xattrs: u64,
    /// `GNU.sparse.*`, in order: the oldest variant repeats its keys.
    pub(crate) sparse: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Parses the body of an extended header.
pub(crate) fn parse(mut body: &[u8]) -> Result<Records, &'static str> {
    let mut records = Records::default();
    // Some writers pad the body with NULs inside its stated size.
    while !body.is_empty() && body.iter().any(|byte| *byte != 0) {
        let (key, value, rest) = record(body)?;
        records.take(key, value)?;
        body = rest;
    }
    // A name twice would set an attribute twice; the last one counts, as it does for every reader.
    records.xattrs.reverse();
    records.xattrs.sort_by(|one, two| one.0.cmp(&two.0));
    records.xattrs.dedup_by(|later, first| later.0 == first.0);
    Ok(records)
}

/// Whether a global extended header changes nothing that matters. `git archive` writes one with a comment; one that
/// renames or resizes every entry behind it is read in different ways, or not at all, by different readers.
pub(crate) fn is_harmless(mut body: &[u8]) -> Result<bool, &'static str> {
    while !body.is_empty() && body.iter().any(|byte| *byte != 0) {
        let (key, _, rest) = record(body)?;
        let matters = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime")
            || key.starts_with(XATTR)
            || key.starts_with(b"GNU.sparse.");
        if matters {
            return Ok(false);
        }
        body = rest;
    }
    Ok(true)
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits off the first record: key, value, rest.
fn record(body: &[u8]) -> Result<Record<'_>, &'static str> {
    const BROKEN: &str = "an extended header record has no valid length";
    let space = body.iter().take(20).position(|byte| *byte == b' ').ok_or(BROKEN)?;
    let length: usize = decimal(&body[..space]).and_then(|length| length.try_into().ok()).ok_or(BROKEN)?;
    if length <= space + 1 || length > body.len() {
        return Err(BROKEN);
    }
    let (record, rest) = body.split_at(length);
    let text = record[space + 1..]
        .strip_suffix(b"\n")
        .ok_or("an extended header record has no newline at its end")?;
    let equals =
        text.iter().position(|byte| *byte == b'=').ok_or("an extended header record has no equals sign")?;
    if equals == 0 {
        return Err("an extended header record has no key");
    }
    Ok((&text[..equals], &text[equals + 1..], rest))
}

impl Records {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"path" => set(&mut self.path, name(value)?),
            b"linkpath" => set(&mut self.link, name(value)?),
            b"size" => set(&mut self.size, decimal(value).ok_or("a PAX size is not a number")?),
            b"uid" => set(&mut self.uid, owner(value)?),
            b"gid" => set(&mut self.gid, owner(value)?),
            b"mtime" => set(&mut self.mtime, time(value).ok_or("a PAX time is not a number")?),
            _ if key.starts_with(b"GNU.sparse.") => {
                self.sparse.push((key.to_vec(), value.to_vec()));
                Ok(())
            }
            _ => {
                if let Some(attribute) = key.strip_prefix(XATTR) {
                    self.xattr(attribute, value)?;
                }
                Ok(())
            }
        }
    }

    fn xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if key.is_empty() || key.contains(&0) || key.len() > 255 {
            return Err("an extended attribute has an impossible name");
        }
        if value.len() > 64 * 1024 {
            return Err("an extended attribute has more than 65536 bytes");
        }
        if is_kept(key) {
            self.xattrs.push((key.to_vec(), value.to_vec()));
        } else {
            self.dropped_xattrs += 1;
        }
        Ok(())
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("an extended header says the same thing twice"),
    }
}

fn name(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    if value.is_empty() {
        return Err("a PAX name is empty");
    }
    if value.contains(&0) {
        return Err("a PAX name has a NUL in it");
    }
    Ok(value.to_vec())
}

fn owner(value: &[u8]) -> Result<u32, &'static str> {
    let id = decimal(value).ok_or("a PAX owner is not a number")?;
    u32::try_from(id).map_err(|_| "a PAX owner is out of range")
}

/// Digits only: no sign, no blanks, no overflow.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Seconds and nanoseconds of a decimal fraction, negative ones rounded down.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let mut nanoseconds = 0;
    for index in 0..9 {
        let digit =
            fraction.get(index).map_or(Some(0), |digit| digit.is_ascii_digit().then(|| digit - b'0'))?;
        nanoseconds = nanoseconds * 10 + u32::from(digit);
    }
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_doubtful_ones_refused() {
        let records = parse(b"12 path=a/b\n11 size=100\n20 mtime=1.000000002\n").unwrap_err();
        assert_eq!(records, "an extended header record has no newline at its end");
        let records = parse(b"12 path=a/b\n13 size=1000\n").unwrap();
        assert_eq!((records.path, records.size), (Some(b"a/b".to_vec()), Some(1000)));
        for broken in [
            &b"12 path=a/b\n12 path=c/d\n"[..],
            b"9 path=a\n9 path=",
            b"8 path=\n",
            b"0 path=a\n",
            b"99999999999999999999 path=a\n",
            b"11 size=-10\n",
            b"10 path=\0a\n",
            b"5 =a\n",
            b"6 abc\n",
            b"xx",
        ] {
            assert!(parse(broken).is_err(), "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn overlay_marks_and_labels_never_get_through() {
        let mut body = Vec::new();
        for (key, value) in [
            ("trusted.overlay.opaque", "y"),
            ("user.overlay.redirect", "/etc"),
            ("security.selinux", "x"),
            ("trusted.other", "x"),
            ("user.kept", "one"),
            ("user.kept", "two"),
        ] {
            let text = format!(" SCHILY.xattr.{key}={value}\n");
            body.extend_from_slice(format!("{}{text}", text.len() + 2).as_bytes());
        }
        let records = parse(&body).unwrap();
        assert_eq!(records.xattrs, [(b"user.kept".to_vec(), b"two".to_vec())]);
        assert_eq!(records.dropped_xattrs, 4);
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(time(b"-0.5"), Some((-1, 500_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        for broken in [&b""[..], b".5", b"1.x", b"+1", b"1e3", b"1.0000000000x"] {
            assert_eq!(time(broken), None, "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn a_global_header_may_only_comment() {
        assert_eq!(is_harmless(b"17 comment=abcde\n"), Ok(true));
        assert_eq!(is_harmless(b"11 size=100\n"), Err("an extended header record has no newline at its end"));
        assert_eq!(is_harmless(b"13 size=1000\n"), Ok(false));
    }
}
