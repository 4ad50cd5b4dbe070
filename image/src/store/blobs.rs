//! Blobs: files named by their digest. A blob under its final name is complete.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    path::PathBuf,
};

use super::{Lease, Store, StoreError};
use crate::{
    digest::{Digest, DigestError, DigestReader, DigestWriter},
    error::{IoContext, IoFailure, Result},
};

/// Receives a blob into a lease's temporary folder and names it once it is complete.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    lease: &'a Lease,
    path: PathBuf,
    file: DigestWriter<File>,
}

impl Store {
    /// Where a blob is, if it is.
    pub fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.path("images/blobs/sha256").join(blob.hex())
    }

    /// True when the blob is there, complete.
    pub fn has_blob(&self, blob: &Digest) -> bool {
        self.blob_path(blob).is_file()
    }

    /// Opens a blob for streaming. Who parses it verifies it on the way ([`DigestReader`]).
    pub fn open_blob(&self, blob: &Digest) -> Result<File> {
        let path = self.blob_path(blob);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { what: "blob", digest: *blob }.into(),
            _ => IoFailure::new("open", path, error).into(),
        })
    }

    /// Reads a document, bounded and verified.
    pub fn read_blob(&self, blob: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.blob_path(blob);
        let mut bytes = Vec::new();
        self.open_blob(blob)?.take(limit + 1).read_to_end(&mut bytes).at("read", &path)?;
        if bytes.len() as u64 > limit {
            let actual = bytes.len() as u64;
            return Err(
                DigestError::WrongSize { what: format!("blob {blob}"), expected: limit, actual }.into()
            );
        }
        Digest::of(&bytes).expect(blob, &format!("blob {}", path.display()))?;
        Ok(bytes)
    }

    /// Compares a stored blob with its name.
    pub(super) fn verify_blob(&self, blob: &Digest) -> Result<()> {
        let path = self.blob_path(blob);
        let mut reader = DigestReader::new(BufReader::with_capacity(256 << 10, self.open_blob(blob)?));
        reader.drain().at("read", &path)?;
        Ok(reader.finish().0.expect(blob, &format!("blob {}", path.display()))?)
    }
}

impl Lease {
    /// Starts a blob.
    pub fn blob_writer(&self) -> Result<BlobWriter<'_>> {
        let path = self.temporary_path();
        let file = File::create_new(&path).at("create", &path)?;
        Ok(BlobWriter { lease: self, path, file: DigestWriter::new(file) })
    }

    /// Stores a small blob and protects it. One that is there already is compared, and replaced if it is damaged.
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.store().blob_path(&digest);
        if fs::read(&path).is_ok_and(|there| there == bytes) && self.keep_blob(&digest).is_ok() {
            return Ok(digest);
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).at("write", &path)?;
        writer.replace()
    }

    /// Stores a blob from a stream and protects it. It must have exactly `size` bytes and the digest `expected`; no
    /// byte beyond that is read.
    pub fn copy_blob(&self, mut from: impl Read, expected: &Digest, size: u64, what: &str) -> Result<()> {
        let mut writer = self.blob_writer()?;
        let path = writer.path.clone();
        let copied = io::copy(&mut from.by_ref().take(size), &mut writer).at("write", &path)?;
        let more = from.read(&mut [0]).at("read the rest of", what)?;
        if copied != size || more != 0 {
            let actual = copied + more as u64;
            return Err(DigestError::WrongSize { what: what.into(), expected: size, actual }.into());
        }
        writer.finish(expected, what)
    }
}

impl BlobWriter<'_> {
    /// Bytes written so far.
    pub fn count(&self) -> u64 {
        self.file.count()
    }

    /// Names the blob, if it is what was promised; `what` is named if not.
    pub fn finish(mut self, expected: &Digest, what: &str) -> Result<()> {
        self.file.flush().at("write", &self.path)?;
        let (_, actual, _) = self.file.finish();
        actual.expect(expected, what)?;
        self.lease.add_blob(&self.path, expected)?;
        Ok(())
    }

    /// Names the blob by whatever digest it has; returns it with its length.
    pub fn finish_any(self) -> Result<(Digest, u64)> {
        let (_, digest, count) = self.file.finish();
        self.lease.add_blob(&self.path, &digest)?;
        Ok((digest, count))
    }

    /// As [`BlobWriter::finish_any`], over a damaged blob of that name.
    fn replace(self) -> Result<Digest> {
        let (_, digest, _) = self.file.finish();
        if !self.lease.add_blob(&self.path, &digest)? && self.path.exists() {
            let path = self.lease.store().blob_path(&digest);
            fs::rename(&self.path, &path).at("rename", path)?;
        }
        Ok(digest)
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
