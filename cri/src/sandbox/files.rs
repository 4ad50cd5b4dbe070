//! What a pod's containers share in files: their names, their resolver, their shared memory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use engine::NetworkMode;
use engine::network_files::HostFiles;
use k8s_cri::v1::DnsConfig;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::Pod;
use crate::error::{Error, Result};

/// Options of the file system behind `/dev/shm`: 64 MiB for everybody.
const SHARED_MEMORY: &std::ffi::CStr = c"mode=1777,size=65536k";

/// Writes `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` into the pod's folder.
pub fn write(pod: &Pod, folder: &Path) -> Result<()> {
    // Names mean what they mean on the host, where the kubelet does not mount a file of its own.
    let mut files = HostFiles::of_network(NetworkMode::Host, &pod.hostname());
    if let Some(dns) = &pod.config.dns_config {
        files.resolv_conf = resolv_conf(dns);
    }
    files.write(folder)?;
    Ok(())
}

/// An empty configuration is an empty file.
fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    dns.servers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

/// Where the shared memory of a pod is mounted; `state` is the pod's own folder of what a reboot ends.
pub fn shared_memory(state: &Path) -> PathBuf {
    state.join("shm")
}

/// Mounts the shared memory of a pod.
pub fn mount_shared_memory(state: &Path) -> Result<()> {
    let path = shared_memory(state);
    DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(Error::io("create", &path))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("shm", &path, "tmpfs", flags, SHARED_MEMORY)
        .map_err(Error::io("mount shared memory at", &path))
}

/// Removes the shared memory of a pod, and the folder it is in. What is not there is removed.
pub fn remove_shared_memory(state: &Path) -> Result<()> {
    let path = shared_memory(state);
    // Lazily: a container that is being killed may have it open.
    match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => {}
        Err(errno) => return Err(Error::io("unmount", &path)(errno)),
    }
    for folder in [path.as_path(), state] {
        match rustix::fs::rmdir(folder) {
            // The socket of a monitor that is about to remove it.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(Error::io("remove", folder)(errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_written_as_asked_for() {
        assert_eq!(resolv_conf(&DnsConfig::default()), "");
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let dns = DnsConfig {
            servers: words(&["10.96.0.10", "1.1.1.1"]),
            searches: words(&["a.b", "c"]),
            options: words(&["ndots:5"]),
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a.b c\nnameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:5\n"
        );
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        remove_shared_memory(&folder.path().join("pod")).unwrap();
        std::fs::create_dir_all(folder.path().join("pod/shm")).unwrap();
        remove_shared_memory(&folder.path().join("pod")).unwrap();
        assert!(!folder.path().join("pod").exists());
    }
}
