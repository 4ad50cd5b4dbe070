//! What a reboot without a sync may have lost.
//!
//! Build steps run on volatile overlays and nothing is synced until an image is named, so after a crash of the
//! machine a layer or cache entry may be there by name and empty in content. `synced` holds the boot in which the
//! last sync happened and, as its mtime, when that began. The first lease of another boot drops every unnamed layer
//! and cache entry that appeared later. An orderly shutdown syncs too and loses them all the same: that is cheap.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Hold, Store, lease::Kept};
use crate::error::{IoContext, Result};

impl Store {
    /// Records that everything from before `start` is on the disk.
    pub(super) fn note_sync(&self, _exclusive: &Hold, start: SystemTime) -> Result<()> {
        let (path, beside) = (self.path("synced"), self.path("synced.new"));
        fs::write(&beside, boot_id()?).at("write", &beside)?;
        File::options()
            .write(true)
            .open(&beside)
            .and_then(|file| file.set_modified(start))
            .at("write", &beside)?;
        fs::rename(&beside, &path).at("rename", path)?;
        Ok(())
    }

    /// Drops what was made in an earlier boot and never synced. Costs two small reads when this boot has synced.
    pub(super) fn forget_unsynced_work(&self) -> Result<()> {
        let path = self.path("synced");
        let current = boot_id()?;
        let noted = fs::read_to_string(&path).unwrap_or_default();
        if noted == current {
            return Ok(());
        }
        let hold = self.hold_exclusive()?;
        if fs::read_to_string(&path).unwrap_or_default() == current {
            return Ok(());
        }
        // A note that was itself lost in the crash covers nothing.
        let covered = match noted.is_empty() {
            true => UNIX_EPOCH,
            false => fs::metadata(&path).and_then(|stat| stat.modified()).unwrap_or(UNIX_EPOCH),
        };
        let reachable = self.reachable(&hold)?;
        let (garbage, _) = self.unreferenced(&reachable)?;
        let paths = garbage.into_iter().map(|kept| match kept {
            Kept::Blob(digest) => self.blob_path(&digest),
            Kept::Layer(digest) => self.layer_folder(&digest),
        });
        for path in paths.filter(|path| appeared(path) > covered) {
            self.trash(&path)?;
        }
        self.trash_newer_entries(&self.cache_dir(), covered)?;
        self.note_sync(&hold, covered)?;
        drop(hold);
        self.empty_trash()
    }

    fn trash_newer_entries(&self, folder: &std::path::Path, covered: SystemTime) -> Result<()> {
        for entry in fs::read_dir(folder).at("list", folder)? {
            let entry = entry.at("list", folder)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.trash_newer_entries(&entry.path(), covered)?;
            } else if appeared(&entry.path()) > covered {
                self.trash(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// When a file got its name or last changed; now, if that cannot be told.
fn appeared(path: &std::path::Path) -> SystemTime {
    let Ok(stat) = path.symlink_metadata() else { return SystemTime::now() };
    let nanoseconds = u32::try_from(stat.ctime_nsec()).unwrap_or(0);
    u64::try_from(stat.ctime()).map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::new(seconds, nanoseconds))
}

fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).at("read", path)?)
}
