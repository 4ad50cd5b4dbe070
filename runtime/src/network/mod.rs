//! Networks of containers: a client of CNI, the Container Network Interface, versions 0.3 to 1.1.
//!
//! ```text
//! /etc/cni/net.d --config--> NetworkConfig --+
//! /usr/lib/cni   --plugins-> Plugins --------+--> Attachment --write--> network.json      durable, before anything is made
//! container, its namespace, its ports -------+        |
//!                              add: each plugin in order    NetworkResult, cached after each plugin
//!                              check                        is what add made still there?
//!                              delete: in reverse order     goes on after a failure and tells all
//! namespace::create, remove: a network namespace that lives as long as its pin
//! ```
//!
//! What must hold:
//!
//! - An attachment is on disk before the first plugin runs, with all that undoing it takes: configuration, arguments,
//!   folders. It stays until every plugin has undone its part, so whoever finds the file can [`release`] it, as often
//!   as needed, after a crash or a reboot, and after the configuration changed.
//! - A plugin is found by a bare name in the configured folders (CVE-2021-20206). It gets three descriptors, the
//!   variables of CNI and `PATH`; it ends by itself, or with its process group at a deadline. What it writes has a limit.
//! - For one attachment one plugin runs at a time, whoever called it and however that caller ended.
//! - A container that was given IPv4 addresses only has no IPv6 on that interface, not even link-local
//!   (CVE-2020-10749, CVE-2024-32473): see [`ipv6`](self).
//! - Nothing here knows an async runtime, and the only threads are those that visit a network namespace and end.

mod attachment;
mod cache;
mod capability;
mod config;
mod devices;
mod error;
mod files;
mod invoke;
mod ipv6;
mod loopback;
mod names;
pub mod namespace;
mod plugins;
mod result;
mod route_socket;
#[cfg(test)]
mod tests;
mod turn;
mod verbs;

pub use attachment::{Attachment, abandon, release};
pub use capability::{PortMapping, Protocol};
pub use config::{NetworkConfig, Plugin, load_first, load_named};
pub use devices::{examine_devices, move_devices};
pub use error::{Error, Failure, Result};
pub use invoke::Verb;
pub use loopback::bring_up_loopback;
pub use plugins::Plugins;
pub use result::{Dns, Interface, NetworkResult};
pub use verbs::status;

/// Entry point of the fuzzer: what may be read from a configuration file, and from a plugin.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(config) = NetworkConfig::parse(bytes, "fuzz".as_ref()) {
        assert!(names::is_name(config.name()) && !config.plugins().is_empty());
        assert!(config.plugins().iter().all(|plugin| names::is_name(&plugin.name)));
        let again = NetworkConfig::parse(config.text().as_bytes(), "fuzz".as_ref());
        assert_eq!(again.ok().as_ref(), Some(&config));
    }
    if let Ok(result) = NetworkResult::parse(bytes, "1.0.0") {
        assert!(result.raw.is_object() && result.primary_first().len() <= result.addresses.len());
    }
    let shown = error::printable(bytes, 100);
    assert!(!shown.chars().any(char::is_control));
}
