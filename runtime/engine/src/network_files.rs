//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container: files of ours in its folder, bound over the
//! image's. Each can be written by its container; none is ever the host's own file.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use runtime::spec::from_image::NetworkFiles;

use crate::error::Result;
use crate::files::{self, Durability};
use crate::record::NetworkMode;

/// The host's files are copied up to this length in bytes; longer ones are cut at a line.
const LONGEST: u64 = 64 << 10;

/// Where systemd keeps the name servers behind its own, which listens on the host's loopback only.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

const LOCAL_NAMES: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
     fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// What the three files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFiles {
    /// `/etc/hosts`.
    pub hosts: String,
    /// The name in `/etc/hostname`.
    pub hostname: String,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
}

impl HostFiles {
    /// What a container of this network finds: on the host's, names mean what they mean on the host.
    pub fn of_network(network: NetworkMode, hostname: &str) -> HostFiles {
        let hosts = match network {
            NetworkMode::Host => copy_of("/etc/hosts"),
            _ => None,
        };
        let resolv_conf = match network {
            NetworkMode::Bridge => reachable_resolver(),
            _ => copy_of("/etc/resolv.conf").unwrap_or_default(),
        };
        HostFiles {
            hosts: hosts.unwrap_or_else(|| LOCAL_NAMES.to_owned()),
            hostname: hostname.to_owned(),
            resolv_conf,
        }
    }

    /// Adds names to `/etc/hosts`.
    pub fn add_hosts<'a>(&mut self, hosts: impl IntoIterator<Item = (&'a str, IpAddr)>) {
        for (name, address) in hosts {
            self.hosts.push_str(&format!("{address}\t{name}\n"));
        }
    }

    /// Replaces the name servers, unless there are none.
    pub fn set_name_servers(&mut self, servers: &[IpAddr]) {
        if !servers.is_empty() {
            let others = self.resolv_conf.lines().filter(|line| server_of(line).is_none());
            let lines = servers.iter().map(|server| format!("nameserver {server}\n"));
            self.resolv_conf = others.map(|line| format!("{line}\n")).chain(lines).collect();
        }
    }

    /// Writes the three files into `folder`, over those of an earlier start.
    pub fn write(&self, folder: &Path) -> Result<NetworkFiles> {
        Ok(NetworkFiles {
            hosts: Some(file(folder, "hosts", &self.hosts)?),
            hostname: Some(file(folder, "hostname", &format!("{}\n", self.hostname))?),
            resolv_conf: Some(file(folder, "resolv.conf", &self.resolv_conf)?),
        })
    }
}

/// Readable by every user of the container, whatever our umask is.
fn file(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    files::replace(&path, text.as_bytes(), 0o644, Durability::Eventual)?;
    Ok(path)
}

/// The host's resolver as seen from another network: a server on the host's loopback is nobody there.
fn reachable_resolver() -> String {
    let behind = || copy_of(BEHIND_SYSTEMD).map(|text| without_loopback(&text));
    let own = without_loopback(&copy_of("/etc/resolv.conf").unwrap_or_default());
    let has_server = |text: &String| text.lines().any(|line| server_of(line).is_some());
    if has_server(&own) { own } else { behind().filter(has_server).unwrap_or(own) }
}

fn without_loopback(text: &str) -> String {
    let reachable = |line: &&str| server_of(line).is_none_or(|server| !server.is_loopback());
    text.lines().filter(reachable).map(|line| format!("{line}\n")).collect()
}

/// The address of a `nameserver` line.
fn server_of(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
    // A link-local server names its interface after a percent sign.
    address.split('%').next()?.parse().ok()
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
        let mut wanted = HostFiles::of_network(NetworkMode::None, "box");
        wanted.add_hosts([("box", "10.0.0.2".parse().unwrap())]);
        // Twice, as when a container is started again.
        wanted.write(folder.path()).unwrap();
        let files = wanted.write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(files.hostname.as_ref().unwrap()).unwrap(), "box\n");
        let hosts = fs::read_to_string(files.hosts.as_ref().unwrap()).unwrap();
        assert!(hosts.contains("localhost") && hosts.ends_with("10.0.0.2\tbox\n"), "{hosts}");
        for path in [files.hosts, files.hostname, files.resolv_conf].into_iter().flatten() {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
        }
    }

    #[test]
    fn servers_on_the_loopback_are_left_out_and_can_be_replaced() {
        let text =
            "search example\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 10.0.0.1\noptions edns0\n";
        let left = without_loopback(text);
        assert_eq!(left, "search example\nnameserver 10.0.0.1\noptions edns0\n");
        let mut files = HostFiles { hosts: String::new(), hostname: String::new(), resolv_conf: left };
        files.set_name_servers(&[]);
        files.set_name_servers(&["1.1.1.1".parse().unwrap()]);
        assert_eq!(files.resolv_conf, "search example\noptions edns0\nnameserver 1.1.1.1\n");
    }
}
