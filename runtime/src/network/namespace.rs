//! Network namespaces that outlive every process in them: pinned by a bind mount at a path of ours.
//!
//! A namespace is made by a thread that moves into a new one, pins it and ends, so the caller stays where it is. Only
//! `lo` is in it, and up. The pin is what `CNI_NETNS` names and what containers join; as long as it is there, so is
//! everything that plugins put inside.

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::error::{Error, Result, errno};
use super::files;
use crate::namespaces::from_nix;

/// `NSFS_MAGIC`: the file system that namespaces are files of.
const NSFS: u64 = 0x6e73_6673;
/// The calling thread's own.
const OWN: &str = "/proc/thread-self/ns/net";

/// Makes a network namespace with `lo` up and pins it at `path`. Missing folders above are made, for root only.
///
/// After a failure nothing is left. What is pinned already is not touched: [`Error::NamespaceExists`].
pub fn create(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        files::make_folder(folder)?;
    }
    if is_pinned(path) {
        return Err(Error::NamespaceExists { path: path.to_owned() });
    }
    // A plain file is what a reboot left of a pin, or a run that was killed right here.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::system("create", path.display()))?;
    in_a_thread(|| {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::system("create", "a network namespace")(from_nix(errno)))?;
        super::bring_up_loopback().map_err(Error::system("bring up", "lo in the new network namespace"))?;
        rustix::mount::mount_bind(OWN, path)
            .map_err(Error::system("pin the new network namespace at", path.display()))
    })
    .inspect_err(|_| {
        // What matters is the failure above, and there is nothing at the path but our empty file.
        let _ = rustix::fs::unlink(path);
    })
}

/// Unpins the namespace at `path`. It ends with the last process in it. Nothing there is success.
pub fn remove(path: &Path) -> Result<()> {
    // Lazily, because someone may have just opened the path.
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // EINVAL: nothing is mounted there.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => {}
        Err(errno) => return Err(Error::system("unpin", path.display())(errno)),
    }
    // The kernel also takes the pin from other mount namespaces that have a copy of it.
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(Error::system("remove", path.display())(errno)),
    }
}

/// Is there a namespace at `path`? After a reboot there may be a file without one.
pub fn is_pinned(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| system.f_type as u64 == NSFS)
}

/// Does `work` inside the network namespace at `path`, on a thread of its own.
pub fn visit<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace: OwnedFd = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(Error::system("open network namespace", path.display()))?;
    in_a_thread(|| {
        nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::system("enter network namespace", path.display())(from_nix(errno)))?;
        Ok(work())
    })
}

/// Runs `work` on a thread that ends with it, so that what it changes about itself changes nobody else.
fn in_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .spawn_scoped(scope, work)
            .map_err(|error| Error::system("start", "a thread")(errno(&error)))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Past the capture of test output, so that a skipped test does not look like a passed one.
    fn report_skipped() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: root not found");
    }

    #[test]
    fn a_namespace_lives_as_long_as_its_pin() {
        if !rustix::process::geteuid().is_root() {
            report_skipped();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netns/one");
        create(&path).unwrap();
        assert!(is_pinned(&path));
        assert!(matches!(create(&path), Err(Error::NamespaceExists { .. })));
        assert!(is_pinned(&path));
        let interfaces = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap().lines().count();
        assert_eq!(visit(&path, interfaces).unwrap(), 3, "two lines of head and lo");
        let connected = visit(&path, || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).is_ok()
        });
        assert!(connected.unwrap());
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!is_pinned(&path) && !path.exists());
        assert!(visit(&path, || ()).is_err());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(folder.path().to_str().unwrap()));
    }

    #[test]
    fn a_failure_leaves_nothing_and_remains_are_taken_over() {
        if !rustix::process::geteuid().is_root() {
            report_skipped();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        std::fs::write(&path, "").unwrap();
        create(&path).unwrap();
        remove(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(create(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(create(&path).is_err());
        assert!(remove(&path).is_err());
        assert!(path.is_dir());
    }
}
