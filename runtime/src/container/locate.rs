//! Where the other programs find `roci`.

use std::path::PathBuf;

/// The path of `roci`: `HULL_ROCI`, else beside the running program, else `../libexec/hull/roci` from there, else
/// the bare name, which means PATH.
pub fn roci_path() -> PathBuf {
    if let Some(path) = std::env::var_os("HULL_ROCI").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let own = std::env::current_exe().ok();
    let folder = own.as_deref().and_then(std::path::Path::parent);
    folder
        .into_iter()
        .flat_map(|folder| [folder.join("roci"), folder.join("../libexec/hull/roci")])
        .find(|path| path.is_file())
        .unwrap_or_else(|| "roci".into())
}
