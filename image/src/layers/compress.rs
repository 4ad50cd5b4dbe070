//! Compression, told by content and never by name.

use std::io::{self, BufReader, Chain, Cursor, Read};

use super::error::{Error, Result};
use crate::document::media_type;

/// Bytes that tell a format.
const MAGIC_BYTES: usize = 6;
/// The largest window that a zstd frame may ask for, as a power of two: the format's recommended limit (128 MiB).
const ZSTD_WINDOW: u32 = 27;
/// The most memory that an xz stream may ask for, in bytes; the strongest preset needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// A stream that is decompressed while it is read.
pub struct Decompressed<R: Read>(Format<R>);

enum Format<R: Read> {
    Plain(Input<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Input<R>>>),
    Zstd(Box<zstd::Decoder<'static, Input<R>>>),
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<Input<R>>>),
    Xz(Box<liblzma::bufread::XzDecoder<Input<R>>>),
}

/// Decompresses gzip, zstd, bzip2 and xz; anything else is passed on as it is.
///
/// Memory is bounded by the formats' windows. What comes out is not: the reader behind has to count.
pub fn decompress<R: Read>(mut from: R) -> Result<Decompressed<R>> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    from.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(Error::Read)?;
    let kind = Kind::of(&magic);
    let input = BufReader::with_capacity(128 << 10, Cursor::new(magic).chain(from));
    Ok(Decompressed(match kind {
        Kind::Plain => Format::Plain(input),
        Kind::Gzip => Format::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
        Kind::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input).map_err(Error::Read)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(Error::Read)?;
            Format::Zstd(Box::new(decoder))
        }
        Kind::Bzip2 => Format::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(input))),
        Kind::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
                    .map_err(|error| Error::Read(error.into()))?;
            Format::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream)))
        }
    }))
}

/// Whether a stream that begins so is compressed.
pub fn is_compressed(magic: &[u8]) -> bool {
    Kind::of(magic) != Kind::Plain
}

/// The media type of a compressed layer that begins so; nothing for a plain one.
pub fn media_type_of(magic: &[u8]) -> Option<&'static str> {
    match Kind::of(magic) {
        Kind::Gzip => Some(media_type::LAYER_GZIP),
        Kind::Zstd => Some(media_type::LAYER_ZSTD),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Kind {
    fn of(magic: &[u8]) -> Kind {
        match magic {
            [0x1f, 0x8b, ..] => Kind::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Kind::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Kind::Xz,
            _ => Kind::Plain,
        }
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            // Straight from the source, past the small buffer, once that is empty.
            Format::Plain(input) => input.read(buffer),
            Format::Gzip(decoder) => decoder.read(buffer),
            Format::Zstd(decoder) => decoder.read(buffer),
            Format::Bzip2(decoder) => decoder.read(buffer),
            Format::Xz(decoder) => decoder.read(buffer),
        }
    }
}

impl<R: Read> std::fmt::Debug for Decompressed<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn all(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(bytes).map_err(io::Error::other)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_format_is_told_by_its_first_bytes() {
        let text = b"a layer ".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&text).unwrap();
        for packed in [
            gzip.clone(),
            zstd::encode_all(&text[..], 1).unwrap(),
            xz.finish().unwrap(),
            bzip2.finish().unwrap(),
            text.clone(),
        ] {
            assert_eq!(all(&packed).unwrap(), text);
        }
        // Parallel compressors write several members.
        assert_eq!(all(&[gzip.clone(), gzip.clone()].concat()).unwrap(), [&text[..], &text[..]].concat());
        assert!(all(&gzip[..gzip.len() / 2]).is_err());
        assert_eq!(all(b"").unwrap(), b"");
    }

    #[test]
    fn a_zstd_frame_with_a_huge_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&vec![1; 1 << 20]).unwrap();
        assert!(all(&encoder.finish().unwrap()).is_err());
    }
}
