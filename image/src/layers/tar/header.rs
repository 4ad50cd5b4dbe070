//! One 512-byte header block: field positions, numbers, checksum.

use std::ops::Range;

use super::BLOCK;

/// Field positions of the ustar header (POSIX.1-2017, `pax`, "ustar Interchange Format").
pub(crate) mod field {
    use std::ops::Range;
    pub(crate) const NAME: Range<usize> = 0..100;
    pub(crate) const MODE: Range<usize> = 100..108;
    pub(crate) const UID: Range<usize> = 108..116;
    pub(crate) const GID: Range<usize> = 116..124;
    pub(crate) const SIZE: Range<usize> = 124..136;
    pub(crate) const MTIME: Range<usize> = 136..148;
    pub(crate) const CHECKSUM: Range<usize> = 148..156;
    pub(crate) const TYPE: usize = 156;
    pub(crate) const LINK: Range<usize> = 157..257;
    pub(crate) const MAGIC: Range<usize> = 257..265;
    pub(crate) const MAJOR: Range<usize> = 329..337;
    pub(crate) const MINOR: Range<usize> = 337..345;
    pub(crate) const PREFIX: Range<usize> = 345..500;
    /// The prefix of the older `star` format, which keeps times behind it.
    pub(crate) const STAR_PREFIX: Range<usize> = 345..476;
    pub(crate) const STAR_TRAILER: Range<usize> = 508..512;
}

/// What a header's magic says about the fields behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Before POSIX: nothing is defined behind the link name.
    Old,
    /// POSIX: a name prefix and device numbers.
    Ustar,
    /// GNU: device numbers, and other things where POSIX has the prefix.
    Gnu,
    /// `star`: a shorter prefix.
    Star,
}

/// A header block whose checksum is right.
pub(crate) struct Header<'a> {
    block: &'a [u8; BLOCK],
}

impl<'a> Header<'a> {
    /// Checks the checksum. Signed sums, which some old writers made, are accepted as every reader does.
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Header<'a>, &'static str> {
        let stored = number(&block[field::CHECKSUM]).ok_or("the header's checksum is not a number")?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, byte) in block.iter().enumerate() {
            let byte = if field::CHECKSUM.contains(&index) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if stored != unsigned && stored != signed {
            return Err("the header's checksum is wrong");
        }
        Ok(Header { block })
    }

    pub(crate) fn kind(&self) -> u8 {
        self.block[field::TYPE]
    }

    pub(crate) fn format(&self) -> Format {
        match &self.block[field::MAGIC] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") => match &self.block[field::STAR_TRAILER] {
                b"tar\0" => Format::Star,
                _ => Format::Ustar,
            },
            _ => Format::Old,
        }
    }

    /// The entry's name, with its prefix.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = self.text(field::NAME);
        let prefix = match self.format() {
            Format::Ustar => self.text(field::PREFIX),
            Format::Star => self.text(field::STAR_PREFIX),
            Format::Gnu | Format::Old => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// What a link points to.
    pub(crate) fn link(&self) -> Vec<u8> {
        self.text(field::LINK).to_vec()
    }

    /// A numeric field; `what` is the message if it is none.
    pub(crate) fn number(&self, field: Range<usize>, what: &'static str) -> Result<i64, &'static str> {
        number(&self.block[field]).ok_or(what)
    }

    /// Major and minor number of a device, 0 in formats without them.
    pub(crate) fn device(&self) -> Result<(u32, u32), &'static str> {
        if self.format() == Format::Old {
            return Ok((0, 0));
        }
        let part = |field| {
            let value = self.number(field, "a device number is not a number")?;
            u32::try_from(value).map_err(|_| "a device number is out of range")
        };
        Ok((part(field::MAJOR)?, part(field::MINOR)?))
    }

    fn text(&self, field: Range<usize>) -> &'a [u8] {
        let bytes = &self.block[field];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        &bytes[..end]
    }
}

/// A numeric field: octal text with blanks around it, or GNU's base 256. An empty field is 0. Anything that is not
/// wholly one of these is nothing, because readers differ in where they stop.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        return base_256(field);
    }
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| !(b'0'..=b'7').contains(byte)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(|byte| matches!(byte, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| value.checked_mul(8)?.checked_add(i64::from(digit - b'0')))
}

/// Two's complement over the whole field, whose first bit is only the mark.
fn base_256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = (value << 8) | i128::from(byte);
        // Twelve bytes at most fit; only what i64 can hold is a number.
        if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
            return None;
        }
    }
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_and_nothing_else() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(b"77777777777\0"), Some(0o77_777_777_777));
        assert_eq!(number(b"777777777777"), Some(0o777_777_777_777));
        assert_eq!(number(b"00006x4\0"), None);
        assert_eq!(number(b"-000644\0"), None);
        assert_eq!(number(b"644\x001234"), None);
        assert_eq!(number(b"12 34   "), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\0\x05"), Some(5));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b""), None);
    }
}
