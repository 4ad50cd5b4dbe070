//! Measures a layer's way into the store and the hashing of a built one:
//! `cargo run --release -p image --example layers -- FILE.tar FOLDER`.
//!
//! FILE may be compressed. FOLDER becomes a store and is removed; it should lie on the file system in question. Compare
//! with `tar -xpf FILE.tar`, which verifies nothing.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::digest::DigestReader;
use image::layers::{commit_upper, decompress, unpack_image};
use image::store::{LayerDescriptor, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(tar), Some(folder)) = (arguments.next(), arguments.next().map(PathBuf::from)) else {
        return Err("usage: layers FILE.tar FOLDER".into());
    };
    for round in 1..=3 {
        println!("round {round}: {}", measure(Path::new(&tar), &folder)?);
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn measure(tar: &Path, folder: &Path) -> Result<String, Box<dyn Error>> {
    let store = Store::open(folder)?;
    let lease = store.lease("measuring")?;
    let mut plain = DigestReader::new(decompress(File::open(tar)?)?);
    plain.drain()?;
    let (diff_id, size) = plain.finish();
    let digest = lease.write_blob(&fs::read(tar)?)?;
    let mut layers = [LayerDescriptor { digest, ..LayerDescriptor::built(diff_id, size) }];
    let start = Instant::now();
    unpack_image(&store, &lease, &mut layers)?;
    let unpacked = start.elapsed();
    let upper = lease.temporary_path();
    fs::rename(store.layer_path(&layers[0].folder), &upper)?;
    let start = Instant::now();
    let built = commit_upper(&store, &lease, &upper, &[])?;
    let committed = start.elapsed();
    let rate = |bytes: u64, time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    Ok(format!(
        "unpack {:.0} ms ({:.0} MB/s), commit {:.0} ms ({:.0} MB/s)",
        unpacked.as_secs_f64() * 1e3,
        rate(size, unpacked),
        committed.as_secs_f64() * 1e3,
        rate(built.size, committed),
    ))
}
