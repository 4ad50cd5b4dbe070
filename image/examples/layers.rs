//! Measures unpacking and capturing a layer: `cargo run --release -p image --example layers -- FILE.tar FOLDER`.
//!
//! FOLDER is made and removed; it should lie on the file system in question. Compare with `tar -xpf FILE.tar`.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use image::digest::{DigestReader, DigestWriter};
use image::layers::{Limits, capture, decompress, unpack};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(tar), Some(folder)) = (arguments.next(), arguments.next().map(PathBuf::from)) else {
        return Err("usage: layers FILE.tar FOLDER".into());
    };
    for round in 1..=3 {
        fs::create_dir(&folder)?;
        let handle = File::open(&folder)?;
        let start = Instant::now();
        let mut stream = DigestReader::new(decompress(File::open(&tar)?)?);
        unpack(&mut stream, handle.as_fd(), &Limits::default())?;
        stream.drain()?;
        let (digest, bytes) = stream.finish();
        let unpacked = start.elapsed();
        let start = Instant::now();
        let mut out = DigestWriter::new(io::sink());
        capture(handle.as_fd(), &mut out)?;
        let (_, _, captured_bytes) = out.finish();
        let captured = start.elapsed();
        let rate = |bytes: u64, time: std::time::Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        println!(
            "round {round}: unpack {:.0} ms ({:.0} MB/s, {}), capture {:.0} ms ({:.0} MB/s)",
            unpacked.as_secs_f64() * 1e3,
            rate(bytes, unpacked),
            digest.short(),
            captured.as_secs_f64() * 1e3,
            rate(captured_bytes, captured),
        );
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
