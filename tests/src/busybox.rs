//! The base image of the tests: Debian's `busybox-static` with its links, as `fixtures/busybox/rootfs.sh` makes it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::project_dir;

/// The path of the root file system as an uncompressed tar archive, made once for each process.
///
/// # Panics
/// If the script fails, as it does with a clear message where `busybox-static` is missing.
pub fn busybox_archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(make)
}

fn make() -> PathBuf {
    // Beside the build output, under a name by process: removed with it, shared by nobody.
    let folder = project_dir().join("target/tmp");
    std::fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    let archive = folder.join("busybox.tar");
    let fresh = folder.join(format!("busybox-{}.tar", std::process::id()));
    let script = project_dir().join("fixtures/busybox/rootfs.sh");
    let output = Command::new(&script).arg(&fresh).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    // Every process makes the same bytes; renaming keeps a reader of the older file whole.
    std::fs::rename(&fresh, &archive)
        .unwrap_or_else(|error| panic!("cannot place {}: {error}", archive.display()));
    archive
}
