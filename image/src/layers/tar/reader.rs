//! Reading: a stream of blocks becomes entries, each with its body.

use std::io::{self, Read};
use std::time::Instant;

use super::super::attributes::Attributes;
use super::super::error::{Error, Name, Result};
use super::super::limits::Limits;
use super::header::{Header, field};
use super::pax::{self, Records};
use super::{BLOCK, padding};

/// The longest extension (PAX records, GNU long name) that is read into memory, in bytes.
const EXTENSION_BYTES: u64 = 1 << 20;
/// From here on a size does not fit the header's octal field, so a PAX record has to say it.
const OCTAL_SIZES_END: u64 = 1 << 33;

/// What an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file; its body follows.
    File,
    /// Another name of the file with this name.
    HardLink(Vec<u8>),
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
    /// A character device.
    Character { major: u32, minor: u32 },
    /// A block device.
    Block { major: u32, minor: u32 },
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry, as all readers of tar agree about it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The name as written, never cleaned.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) attributes: Attributes,
}

/// A strict reader of one tar stream.
pub(crate) struct Reader<R> {
    inner: R,
    limits: Limits,
    /// Bytes of the stream taken so far.
    offset: u64,
    entries: u64,
    /// Bytes of the current body that nobody has read.
    body: u64,
    /// Bytes between the current body and the next header.
    padding: u64,
    finished: bool,
}

/// What extension headers said about the entry that comes next.
#[derive(Default)]
struct Extensions {
    records: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read + io::Seek> Reader<R> {
    /// Passes over the body of the entry that was returned last, without reading it. Returns where it begins in the
    /// stream, and its length; whether all of it is there shows when it is read.
    pub(crate) fn pass_body(&mut self) -> Result<(u64, u64)> {
        let (offset, size) = (self.offset, self.body);
        let distance = i64::try_from(size).map_err(|_| self.malformed("a body is longer than any file"))?;
        self.inner.seek(io::SeekFrom::Current(distance)).map_err(Error::Read)?;
        self.offset += size;
        self.body = 0;
        Ok((offset, size))
    }
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R, limits: Limits) -> Reader<R> {
        Reader { inner, limits, offset: 0, entries: 0, body: 0, padding: 0, finished: false }
    }

    /// The next entry. What is left of the previous body is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_body()?;
            let mut block = [0; BLOCK];
            self.check_time()?;
            if !self.read_header(&mut block)? {
                if extensions.is_empty() {
                    return Ok(None);
                }
                return Err(self.malformed("the archive ends behind an extension header"));
            }
            let header = Header::parse(&block).map_err(|reason| self.malformed(reason))?;
            // Extensions count too: an archive of nothing else would never end otherwise.
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Error::Limit { what: "entries", limit: self.limits.entries });
            }
            let kind = header.kind();
            if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
                return self.entry(&header, extensions).map(Some);
            }
            let extension = self.extension(&header)?;
            let taken = match kind {
                b'x' => pax::parse(&extension).and_then(|records| once(&mut extensions.records, records)),
                b'L' => once(&mut extensions.name, until_nul(extension)),
                b'K' => once(&mut extensions.link, until_nul(extension)),
                _ => match pax::is_harmless(&extension) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("a global extended header changes entries; readers disagree about it"),
                    Err(reason) => Err(reason),
                },
            };
            taken.map_err(|reason| self.malformed(reason))?;
        }
    }

    /// The body of the entry that was returned last.
    pub(crate) fn body(&mut self) -> Body<'_, R> {
        Body(self)
    }

    fn entry(&mut self, header: &Header<'_>, extensions: Extensions) -> Result<Entry> {
        // Which of the two names wins, and whose size a PAX size is, differs between readers. No writer mixes them.
        if extensions.records.is_some() && (extensions.name.is_some() || extensions.link.is_some()) {
            return Err(self.malformed("an entry has both a PAX header and a GNU long name"));
        }
        let records = extensions.records.unwrap_or_default();
        if !records.sparse.is_empty() {
            return Err(Error::Unsupported("a sparse file in a tar (make the archive without --sparse)"));
        }
        let bad = |reason| Error::Malformed { offset: self.offset, reason };
        let name = records.path.or(extensions.name).unwrap_or_else(|| header.name());
        let link = records.link.or(extensions.link).unwrap_or_else(|| header.link());
        let size = size_of(header, records.size).map_err(bad)?;
        let kind = kind_of(header, &name, link, size).map_err(bad)?.ok_or(match header.kind() {
            b'S' => Error::Unsupported("a sparse file in a tar (make the archive without --sparse)"),
            b'M' | b'V' => Error::Unsupported("a tar of several volumes"),
            b'D' => Error::Unsupported("an incremental tar"),
            _ => Error::Refused { entry: Name::from(&name), reason: "its type is unknown" },
        })?;
        if kind != EntryKind::File && size != 0 {
            return Err(bad("an entry that is no file has a body; readers disagree about it"));
        }
        if name.len() > self.limits.name_bytes {
            return Err(Error::Limit { what: "a name with bytes", limit: self.limits.name_bytes as u64 });
        }
        let owner = |field, record: Option<u32>, what| {
            let id = match record {
                Some(id) => id,
                None => header.number(field, what).and_then(|id| u32::try_from(id).map_err(|_| what))?,
            };
            // The kernel takes this one for "leave it as it is".
            if id == u32::MAX { Err(what) } else { Ok(id) }
        };
        let mode = header.number(field::MODE, "the mode is not a number").map_err(bad)?;
        let mtime = match records.mtime {
            Some(time) => time,
            None => (header.number(field::MTIME, "the time is not a number").map_err(bad)?, 0),
        };
        let attributes = Attributes {
            // Some writers put the file type there too.
            mode: (mode & 0o7777) as u32,
            uid: owner(field::UID, records.uid, "the owner is no 32-bit number").map_err(bad)?,
            gid: owner(field::GID, records.gid, "the group is no 32-bit number").map_err(bad)?,
            seconds: mtime.0,
            nanoseconds: mtime.1,
            xattrs: records.xattrs,
        };
        self.body = size;
        self.padding = padding(size);
        Ok(Entry { name, kind, attributes })
    }

    /// Reads a header block. False at the end: two empty blocks, or no more bytes.
    fn read_header(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        if self.finished || !self.read_block(block)? {
            self.finished = true;
            return Ok(false);
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        self.finished = true;
        if self.read_block(block)? && block.iter().any(|byte| *byte != 0) {
            return Err(self.malformed("one empty block stands between entries"));
        }
        Ok(false)
    }

    /// Fills a block; false when the stream ends exactly before it.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.take(&mut block[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(self.malformed("the archive ends within a header")),
                count => filled += count,
            }
        }
        Ok(true)
    }

    /// The body of an extension header, with what pads it skipped.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = size_of(header, None).map_err(|reason| self.malformed(reason))?;
        // Fields that mean nothing here, but some readers end the archive where one is broken.
        for field in [field::MODE, field::UID, field::GID, field::MTIME] {
            let broken = "an extension header has a field that is not a number";
            header.number(field, broken).map_err(|reason| self.malformed(reason))?;
        }
        if size > EXTENSION_BYTES {
            return Err(Error::Limit { what: "an extension header with bytes", limit: EXTENSION_BYTES });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.body = size;
        self.padding = padding(size);
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_body(&mut bytes[filled..])? {
                0 => return Err(self.malformed("the archive ends within an extension header")),
                count => filled += count,
            }
        }
        Ok(bytes)
    }

    fn skip_body(&mut self) -> Result<()> {
        let mut waste = [0; 8192];
        self.body += std::mem::take(&mut self.padding);
        while self.body > 0 {
            if self.read_body(&mut waste)? == 0 {
                return Err(self.malformed("the archive ends within an entry"));
            }
        }
        Ok(())
    }

    fn check_time(&self) -> Result<()> {
        match self.limits.until {
            Some(until) if Instant::now() > until => Err(Error::TimeOut),
            _ => Ok(()),
        }
    }

    fn read_body(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.check_time()?;
        let most = usize::try_from(self.body).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.take(&mut buffer[..most])?;
        self.body -= count as u64;
        Ok(count)
    }

    /// The only place that reads the stream, and so the place that ends bombs.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Ok(count) => {
                    self.offset += count as u64;
                    if self.offset > self.limits.bytes {
                        return Err(Error::Limit { what: "bytes", limit: self.limits.bytes });
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
    }

    fn malformed(&self, reason: &'static str) -> Error {
        Error::Malformed { offset: self.offset, reason }
    }
}

/// The body of one entry.
pub(crate) struct Body<'a, R>(&'a mut Reader<R>);

impl<R: Read> Body<'_, R> {
    /// Fills the buffer as far as one read goes; 0 at the end of the body, and an error if the stream ends before.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.0.body == 0 {
            return Ok(0);
        }
        match self.0.read_body(buffer)? {
            0 => Err(self.0.malformed("the archive ends within an entry")),
            count => Ok(count),
        }
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.records.is_none() && self.name.is_none() && self.link.is_none()
    }
}

/// A PAX size wins. One that differs from a header that has a size too is where parsers part ways, unless the header
/// could not hold it (CVE-2025-62518, RUSTSEC-2026-0068).
fn size_of(header: &Header<'_>, record: Option<u64>) -> std::result::Result<u64, &'static str> {
    let stated = header.number(field::SIZE, "the size is not a number")?;
    let stated = u64::try_from(stated).map_err(|_| "the size is negative")?;
    match record {
        None => Ok(stated),
        Some(size) if stated == 0 || stated == size || size >= OCTAL_SIZES_END => Ok(size),
        Some(_) => Err("the PAX size and the header's size differ"),
    }
}

/// The kind; nothing for one that is not built.
fn kind_of(
    header: &Header<'_>,
    name: &[u8],
    link: Vec<u8>,
    size: u64,
) -> std::result::Result<Option<EntryKind>, &'static str> {
    let target = |link: Vec<u8>| match link.is_empty() || link.contains(&0) {
        true => Err("a link has no target"),
        false => Ok(link),
    };
    Ok(Some(match header.kind() {
        // Writers before POSIX mark directories by the slash alone; with a newer type only some readers do so.
        0 if name.ends_with(b"/") && size == 0 => EntryKind::Directory,
        0 | b'0' | b'7' if name.ends_with(b"/") => return Err("a file's name ends in a slash"),
        0 | b'0' | b'7' => EntryKind::File,
        b'1' => EntryKind::HardLink(target(link)?),
        b'2' => EntryKind::Symlink(target(link)?),
        b'3' => header.device().map(|(major, minor)| EntryKind::Character { major, minor })?,
        b'4' => header.device().map(|(major, minor)| EntryKind::Block { major, minor })?,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Ok(None),
    }))
}

fn once<T>(slot: &mut Option<T>, value: T) -> std::result::Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("an entry has two extension headers of one kind"),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
