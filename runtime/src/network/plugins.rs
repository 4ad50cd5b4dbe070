//! Where network plugins are, and what to install when they are not.
//!
//! A plugin is found by a bare name: with `/` or `..` in it, whoever writes a network configuration could have any
//! program run as root (CVE-2021-20206).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::config::NetworkConfig;
use super::error::{Error, Result};
use super::names;

/// Debian's package of the plugins that the CNI project keeps, and what is in it.
const PACKAGE: &str = "containernetworking-plugins";
const PACKAGED: &[&str] = &[
    "bandwidth",
    "bridge",
    "dhcp",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
];

/// The folders of plugins, in the order in which they are searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    folders: Vec<PathBuf>,
}

impl Plugins {
    /// Searches `folders` in order.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Plugins {
        // Plugins are run in `/`, where a relative path would mean something else.
        let absolute = |folder: PathBuf| std::path::absolute(&folder).unwrap_or(folder);
        Plugins { folders: folders.into_iter().map(absolute).collect() }
    }

    /// The folders in order.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The program of a plugin.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        if !names::is_name(name) {
            return Err(Error::PluginName { name: name.to_owned() });
        }
        let program = self.folders.iter().map(|folder| folder.join(name)).find(|path| executable(path));
        program.ok_or_else(|| Error::PluginMissing { name: name.to_owned(), folders: self.folders.clone() })
    }

    /// The programs of all plugins of a network in order. The plugins for addresses that these will run are looked
    /// for too, so that nothing is set up half because one is missing.
    pub fn find_all(&self, config: &NetworkConfig) -> Result<Vec<PathBuf>> {
        let mut programs = Vec::new();
        for plugin in config.plugins() {
            programs.push(self.find(&plugin.name)?);
            plugin.address_plugin().map(|name| self.find(name)).transpose()?;
        }
        Ok(programs)
    }

    /// The value of `CNI_PATH`.
    pub(super) fn search_path(&self) -> OsString {
        let folders: Vec<OsString> = self.folders.iter().map(|folder| folder.clone().into()).collect();
        folders.join(":".as_ref())
    }
}

impl Default for Plugins {
    /// Where Kubernetes installers and Debian put plugins.
    fn default() -> Plugins {
        Plugins { folders: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()] }
    }
}

fn executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// What to do about a missing plugin.
pub(super) fn hint(name: &str) -> String {
    match PACKAGED.contains(&name) {
        true => format!("install the package {PACKAGE}"),
        false => {
            format!("it is not of the package {PACKAGE}, so whoever made the network configuration has it")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_plugin_is_a_program_of_that_name_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        for (place, name, mode) in
            [(&first, "bridge", 0o644), (&second, "bridge", 0o755), (&second, "../up", 0o755)]
        {
            std::fs::create_dir_all(place).unwrap();
            std::fs::write(place.join(name), "").unwrap();
            std::fs::set_permissions(place.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(first.join("portmap")).unwrap();
        let plugins = Plugins::new([first, second.clone()]);
        // What cannot be executed is passed over.
        assert_eq!(plugins.find("bridge").unwrap(), second.join("bridge"));
        assert!(matches!(plugins.find("portmap"), Err(Error::PluginMissing { .. })));
        for name in ["../up", "..", ".", "", "/bin/sh", "b/bridge", "bridge\0"] {
            assert!(matches!(plugins.find(name), Err(Error::PluginName { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_missing_plugin_names_what_to_install() {
        let plugins = Plugins::new(["/nowhere/a".into(), "/nowhere/b".into()]);
        assert_eq!(
            plugins.find("portmap").unwrap_err().to_string(),
            "network plugin \"portmap\" is not in /nowhere/a, /nowhere/b: \
             install the package containernetworking-plugins"
        );
        let foreign = plugins.find("calico").unwrap_err().to_string();
        assert!(foreign.contains("not of the package containernetworking-plugins"), "{foreign}");
    }
}
