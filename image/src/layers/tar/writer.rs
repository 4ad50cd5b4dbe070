//! Writing: one way only, so that a tar is a pure function of what it holds.

use std::io::{self, Write};

use super::super::attributes::Attributes;
use super::header::field;
use super::pax::XATTR;
use super::reader::EntryKind;
use super::{BLOCK, padding};

/// Octal fields end here: 7 digits for ids and modes, 11 for sizes and times.
const ID_END: u64 = 1 << 21;
const LONG_END: u64 = 1 << 33;

/// Writes entries; the caller writes each file's body behind its header.
pub(crate) struct Writer<W> {
    inner: W,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(inner: W) -> Writer<W> {
        Writer { inner }
    }

    /// Writes the header of an entry. Directory names end in a slash. `size` is that of a file's body.
    pub(crate) fn header(
        &mut self,
        name: &[u8],
        kind: &EntryKind,
        attributes: &Attributes,
        size: u64,
    ) -> io::Result<()> {
        let link: &[u8] = match kind {
            EntryKind::HardLink(target) | EntryKind::Symlink(target) => target,
            _ => &[],
        };
        let split = split(name);
        let records = records(name, split.is_none(), link, attributes, size);
        if !records.is_empty() {
            let mut block = Block::new();
            block.text(field::NAME, b"PaxHeaders/entry");
            block.number(field::MODE, 0o644);
            block.number(field::SIZE, records.len() as u64);
            self.inner.write_all(&block.finish(b'x'))?;
            self.inner.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let mut block = Block::new();
        let (prefix, rest) = split.unwrap_or((&[], &name[..name.len().min(100)]));
        block.text(field::PREFIX, prefix);
        block.text(field::NAME, rest);
        block.text(field::LINK, &link[..link.len().min(100)]);
        block.number(field::MODE, attributes.mode.into());
        block.number(field::UID, fitting(attributes.uid.into(), ID_END));
        block.number(field::GID, fitting(attributes.gid.into(), ID_END));
        block.number(field::SIZE, fitting(size, LONG_END));
        block.number(field::MTIME, fitting(u64::try_from(attributes.seconds).unwrap_or(0), LONG_END));
        let (kind, major, minor) = match kind {
            EntryKind::File => (b'0', 0, 0),
            EntryKind::HardLink(_) => (b'1', 0, 0),
            EntryKind::Symlink(_) => (b'2', 0, 0),
            EntryKind::Character { major, minor } => (b'3', *major, *minor),
            EntryKind::Block { major, minor } => (b'4', *major, *minor),
            EntryKind::Directory => (b'5', 0, 0),
            EntryKind::Fifo => (b'6', 0, 0),
        };
        block.number(field::MAJOR, major.into());
        block.number(field::MINOR, minor.into());
        self.inner.write_all(&block.finish(kind))
    }

    /// Writes a part of the body.
    pub(crate) fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)
    }

    /// Fills up the last block of a body of `size` bytes.
    pub(crate) fn pad(&mut self, size: u64) -> io::Result<()> {
        self.inner.write_all(&[0; BLOCK][..padding(size) as usize])
    }

    /// Writes the end mark.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()
    }
}

/// Prefix and name of a ustar header, if the name fits.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= field::NAME.len() {
        return Some((&[], name));
    }
    // The longest prefix: the first slash that leaves a short enough rest. The slash itself is implied.
    let from = name.len().saturating_sub(field::NAME.len() + 1);
    let slash = from + name[from..name.len() - 1].iter().position(|byte| *byte == b'/')?;
    (slash > 0 && slash <= field::PREFIX.len()).then(|| (&name[..slash], &name[slash + 1..]))
}

fn fitting(value: u64, end: u64) -> u64 {
    if value < end { value } else { 0 }
}

/// The PAX records that this entry needs, keys in the order of their names.
fn records(name: &[u8], long_name: bool, link: &[u8], attributes: &Attributes, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in &attributes.xattrs {
        record(&mut out, &[XATTR, name].concat(), value);
    }
    let mut decimal = |key: &[u8], value: i128| record(&mut out, key, value.to_string().as_bytes());
    if u64::from(attributes.gid) >= ID_END {
        decimal(b"gid", attributes.gid.into());
    }
    if !u64::try_from(attributes.seconds).is_ok_and(|seconds| seconds < LONG_END) {
        decimal(b"mtime", attributes.seconds.into());
    }
    if size >= LONG_END {
        decimal(b"size", size.into());
    }
    if u64::from(attributes.uid) >= ID_END {
        decimal(b"uid", attributes.uid.into());
    }
    if link.len() > field::LINK.len() {
        record(&mut out, b"linkpath", link);
    }
    if long_name {
        record(&mut out, b"path", name);
    }
    out
}

/// One `length key=value` record; the length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

struct Block([u8; BLOCK]);

impl Block {
    fn new() -> Block {
        let mut block = [0; BLOCK];
        block[field::MAGIC].copy_from_slice(b"ustar\x0000");
        let mut block = Block(block);
        for field in [field::UID, field::GID, field::SIZE, field::MTIME, field::MAJOR, field::MINOR] {
            block.number(field, 0);
        }
        block
    }

    fn text(&mut self, field: std::ops::Range<usize>, text: &[u8]) {
        self.0[field][..text.len()].copy_from_slice(text);
    }

    /// Octal with leading zeros and a NUL at the end.
    fn number(&mut self, field: std::ops::Range<usize>, value: u64) {
        let digits = field.len() - 1;
        let text = format!("{value:0digits$o}\0");
        self.0[field].copy_from_slice(text.as_bytes());
    }

    fn finish(mut self, kind: u8) -> [u8; BLOCK] {
        self.0[field::TYPE] = kind;
        self.0[field::CHECKSUM].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[field::CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::Limits;
    use super::super::Reader;
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let long = [b"d/".repeat(60), b"name".to_vec()].concat();
        let longer = vec![b'n'; 300];
        let attributes = Attributes {
            mode: 0o4755,
            uid: 3_000_000,
            gid: u32::MAX - 1,
            seconds: -5,
            nanoseconds: 0,
            xattrs: vec![(b"user.a".to_vec(), b"1=\n2".to_vec())],
        };
        let cases = [
            (b"short".to_vec(), EntryKind::File, Attributes::default()),
            (long.clone(), EntryKind::Fifo, Attributes::default()),
            (longer.clone(), EntryKind::Symlink(vec![b't'; 200]), attributes.clone()),
            (b"dir/".to_vec(), EntryKind::Directory, attributes),
            (b"dev".to_vec(), EntryKind::Character { major: 1, minor: 3 }, Attributes::default()),
        ];
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        for (name, kind, attributes) in &cases {
            writer.header(name, kind, attributes, 0).unwrap();
        }
        writer.finish().unwrap();
        let mut reader = Reader::new(&bytes[..], Limits::default());
        for (name, kind, attributes) in cases {
            let entry = reader.next_entry().unwrap().unwrap();
            assert_eq!((entry.name, entry.kind, entry.attributes), (name, kind, attributes));
        }
        assert!(reader.next_entry().unwrap().is_none());
    }
}
