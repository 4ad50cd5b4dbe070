//! A build where nothing changed: 20,000 files, 200 MB, everything in the cache.

use std::fs;
use std::path::Path;

use anyhow::Context;
use tests::busybox_archive;

use crate::contest::{Contestant, compare, quiet};
use crate::table::Row;
use crate::world::World;

const WHAT: &str = "rebuild, 20,000 files, nothing changed";
const FOLDERS: usize = 200;
const FILES_IN_EACH: usize = 100;
const FILE_SIZE: usize = 10 * 1024;

/// At most 1.5 of one thread that walks the same files with `lstat`, at most a fifth of `buildah bud --layers`.
pub fn nothing_changed(world: &World, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let context = world.path().join("context");
    fill(&context).with_context(|| format!("cannot fill {}", context.display()))?;
    let name = context.to_string_lossy().into_owned();

    let ours = || world.ours("rbuild", &["-q", "-t", "rebuilt", &name]);
    quiet(ours())?;
    let walk = Contestant::work("lstat walk", |_| {
        let count = walk(&context).with_context(|| format!("cannot walk {}", context.display()))?;
        anyhow::ensure!(count > FOLDERS * FILES_IN_EACH, "the walk saw only {count} entries");
        Ok(())
    });
    let mut rows = compare(WHAT, vec![Contestant::command("rbuild", |_| ours()), walk], &[1.5], rounds)?;
    if let Some(buildah) = buildah(world, &name) {
        // It takes seconds: a few rounds tell.
        let contestants = vec![Contestant::command("rbuild", |_| ours()), buildah];
        rows.extend(compare(WHAT, contestants, &[0.2], 3)?);
    }
    Ok(rows)
}

fn buildah<'a>(world: &'a World, context: &'a str) -> Option<Contestant<'a>> {
    // Storage is shared with podman; where that is missing, the base image comes by buildah itself.
    let archive = busybox_archive().to_string_lossy().into_owned();
    let base = world.path().join("base");
    let dockerfile = base.join("Dockerfile");
    let prepared = fs::create_dir_all(&base)
        .and_then(|()| fs::copy(&archive, base.join("rootfs.tar")))
        .and_then(|_| fs::write(&dockerfile, "FROM scratch\nADD rootfs.tar /\n"))
        .map_err(anyhow::Error::from)
        .and_then(|()| {
            let flags = ["bud", "--isolation", "chroot", "-t", "localhost/busybox"];
            quiet(world.peer("buildah", &[&flags[..], &[&base.to_string_lossy()]].concat()))
        });
    if let Err(error) = prepared {
        println!("skipped: buildah: {error:#}");
        return None;
    }
    let flags = ["bud", "--layers", "--isolation", "chroot", "--pull-never", "-q", "-t", "rebuilt", context];
    // Its first build, which takes part, fills the cache.
    Contestant::command("buildah bud --layers", move |_| world.peer("buildah", &flags)).take_part()
}

/// Files of different bytes, so that nobody gains by deduplication.
fn fill(context: &Path) -> std::io::Result<()> {
    let mut content = vec![b'x'; FILE_SIZE];
    for folder in 0..FOLDERS {
        let path = context.join(format!("folder{folder:03}"));
        fs::create_dir_all(&path)?;
        for file in 0..FILES_IN_EACH {
            let number = folder * FILES_IN_EACH + file;
            content[..8].copy_from_slice(&number.to_le_bytes());
            fs::write(path.join(format!("file{file:03}")), &content)?;
        }
    }
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY . /context\n")
}

fn walk(folder: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        count += 1;
        if fs::symlink_metadata(&path)?.is_dir() {
            count += walk(&path)?;
        }
    }
    Ok(count)
}
