//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container: files of ours in its folder, bound over the
//! image's. Each can be written by its container; none is ever the host's own file.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use runtime::spec::from_image::{Network, NetworkFiles};

/// The host's files are copied up to this length in bytes; longer ones are cut at a line.
const LONGEST: u64 = 64 << 10;

const LOCAL_NAMES: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
     fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// Writes the three files into `folder`. On the host's network names mean what they mean on the host.
pub fn write(folder: &Path, hostname: &str, network: Network) -> Result<NetworkFiles> {
    let hosts = match network {
        Network::Host => copy_of("/etc/hosts").unwrap_or_else(|| LOCAL_NAMES.to_owned()),
        Network::None => LOCAL_NAMES.to_owned(),
    };
    let resolver = copy_of("/etc/resolv.conf").unwrap_or_default();
    Ok(NetworkFiles {
        hosts: Some(file(folder, "hosts", &hosts)?),
        hostname: Some(file(folder, "hostname", &format!("{hostname}\n"))?),
        resolv_conf: Some(file(folder, "resolv.conf", &resolver)?),
    })
}

/// Readable by every user of the container, whatever our umask is.
fn file(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    use std::io::Write;
    let path = folder.join(name);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        })
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn copy_of(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 == LONGEST {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n')? + 1);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_user_of_the_container_can_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "box", Network::None).unwrap();
        assert_eq!(fs::read_to_string(files.hostname.as_ref().unwrap()).unwrap(), "box\n");
        assert!(fs::read_to_string(files.hosts.as_ref().unwrap()).unwrap().contains("localhost"));
        for path in [files.hosts, files.hostname, files.resolv_conf].into_iter().flatten() {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
        }
    }
}
