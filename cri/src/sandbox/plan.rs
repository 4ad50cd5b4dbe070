//! What a pod is asked to be, checked before anything exists. Pure: no file, no state.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use k8s_cri::v1::{
    LinuxPodSandboxConfig, NamespaceMode, NamespaceOption, PodSandboxConfig, PortMapping as CriPort,
    Protocol as CriProtocol,
};
use prost::Message;
use runtime::cgroup::CgroupPath;
use runtime::network::{PortMapping, Protocol};
use rustix::thread::UnshareFlags;

use crate::encoded;
use crate::error::{Error, Result};
use crate::text;

/// Parameters that pods with a network of their own get unless they say otherwise: every user may ping and listen on
/// every port, as the pod is alone there.
const DEFAULT_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// `__NEW_UTS_LEN` of the kernel.
const LONGEST_HOSTNAME: usize = 64;

/// The parts of a request that the rest of the work should not have to guess about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// A network of its own.
    pub own_network: bool,
    /// A PID namespace of its own, so pause is its first process.
    pub own_pid: bool,
    /// An IPC namespace of its own.
    pub own_ipc: bool,
    /// Kernel parameters, `name=value` each, in order of their names.
    pub sysctls: Vec<String>,
    /// Ports of the host.
    pub ports: Vec<PortMapping>,
}

/// Checks a request for a pod.
pub fn check(config: &PodSandboxConfig, handler: &str) -> Result<Plan> {
    if config.encoded_len() > encoded::LONGEST {
        return Err(Error::invalid("config", format!("it has more than {} bytes", encoded::LONGEST)));
    }
    // One handler has no name: the default.
    if !handler.is_empty() {
        return Err(Error::invalid("runtime_handler", format!("there is no handler {handler:?}")));
    }
    let metadata =
        config.metadata.as_ref().ok_or_else(|| Error::invalid("config.metadata", "it is missing"))?;
    text::name("config.metadata.name", &metadata.name)?;
    for (field, value) in [
        ("config.metadata.name", &metadata.name),
        ("config.metadata.namespace", &metadata.namespace),
        ("config.metadata.uid", &metadata.uid),
    ] {
        network_argument(field, value)?;
    }
    log_directory(&config.log_directory)?;
    let linux = config.linux.clone().unwrap_or_default();
    let namespaces = namespaces(&linux)?;
    let own_network = namespaces.network() == NamespaceMode::Pod;
    let own_ipc = namespaces.ipc() == NamespaceMode::Pod;
    hostname(&config.hostname)?;
    dns(config)?;
    if !linux.cgroup_parent.is_empty() {
        CgroupPath::parse(&linux.cgroup_parent)
            .map_err(|error| Error::invalid("config.linux.cgroup_parent", error))?;
    }
    Ok(Plan {
        own_network,
        own_pid: namespaces.pid() != NamespaceMode::Node,
        own_ipc,
        sysctls: sysctls(&linux, own_network, own_ipc)?,
        ports: config.port_mappings.iter().enumerate().try_fold(Vec::new(), |mut ports, (index, port)| {
            ports.extend(port_mapping(index, port)?);
            Ok::<_, Error>(ports)
        })?,
    })
}

fn namespaces(linux: &LinuxPodSandboxConfig) -> Result<NamespaceOption> {
    const FIELD: &str = "config.linux.security_context.namespace_options";
    let security = linux.security_context.clone().unwrap_or_default();
    let options = security.namespace_options.unwrap_or_default();
    let allowed = |name: &str, mode: i32, allowed: &[NamespaceMode]| match NamespaceMode::try_from(mode)
        .is_ok_and(|mode| allowed.contains(&mode))
    {
        true => Ok(()),
        false => {
            Err(Error::invalid(format!("{FIELD}.{name}"), format!("mode {mode} makes no sense for a pod")))
        }
    };
    let shared = [NamespaceMode::Pod, NamespaceMode::Node];
    allowed("network", options.network, &shared)?;
    allowed("ipc", options.ipc, &shared)?;
    allowed("pid", options.pid, &[NamespaceMode::Pod, NamespaceMode::Node, NamespaceMode::Container])?;
    no_user_namespace(&options)?;
    Ok(options)
}

/// User namespaces are not announced, so the kubelet asks for none; those who do get no pod with the host's users.
pub fn no_user_namespace(options: &NamespaceOption) -> Result<()> {
    match options.userns_options.as_ref().map(|options| options.mode()) {
        None | Some(NamespaceMode::Node) => Ok(()),
        Some(NamespaceMode::Pod) => {
            Err(Error::Unsupported { field: "namespace_options.userns_options", what: "user namespaces are" })
        }
        Some(mode) => Err(Error::invalid(
            "namespace_options.userns_options.mode",
            format!("mode {} makes no sense", mode.as_str_name()),
        )),
    }
}

/// Plugins of the network are told of a pod in a list that has no way to quote.
fn network_argument(field: &str, value: &str) -> Result<()> {
    text::printable(field, value)?;
    match value.contains(';') {
        true => Err(Error::invalid(field, format!("{value:?} has a semicolon"))),
        false => Ok(()),
    }
}

fn log_directory(path: &str) -> Result<()> {
    const FIELD: &str = "config.log_directory";
    text::printable(FIELD, path)?;
    match path.is_empty() || Path::new(path).is_absolute() {
        true => Ok(()),
        false => Err(Error::invalid(FIELD, format!("{path:?} is not absolute"))),
    }
}

fn hostname(name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match name.len() <= LONGEST_HOSTNAME && name.bytes().all(good) {
        true => Ok(()),
        false => Err(Error::invalid("config.hostname", format!("{name:?} is no name of a host"))),
    }
}

fn dns(config: &PodSandboxConfig) -> Result<()> {
    let Some(dns) = &config.dns_config else { return Ok(()) };
    for (field, words) in [
        ("config.dns_config.servers", &dns.servers),
        ("config.dns_config.searches", &dns.searches),
        ("config.dns_config.options", &dns.options),
    ] {
        words.iter().try_for_each(|word| text::word(field, word))?;
    }
    Ok(())
}

fn sysctls(linux: &LinuxPodSandboxConfig, own_network: bool, own_ipc: bool) -> Result<Vec<String>> {
    let mut all: BTreeMap<&str, &str> = BTreeMap::new();
    if own_network {
        all.extend(DEFAULT_SYSCTLS);
    }
    // Its host name is its own where its network is.
    let own = [
        (UnshareFlags::NEWNET, own_network),
        (UnshareFlags::NEWUTS, own_network),
        (UnshareFlags::NEWIPC, own_ipc),
    ];
    for (name, value) in &linux.sysctls {
        let at = || format!("config.linux.sysctls[{name:?}]");
        text::word("config.linux.sysctls", name)?;
        text::printable(&at(), value)?;
        runtime::spec::sysctl(name, value, |kind| {
            own.iter().any(|(flag, is_own)| *is_own && flag.bits() == kind.bits().unsigned_abs())
        })
        .map_err(|reason| Error::invalid(at(), reason))?;
        all.insert(name, value);
    }
    Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

/// `None` for a port that is only declared.
fn port_mapping(index: usize, port: &CriPort) -> Result<Option<PortMapping>> {
    let at = |name: &str| format!("config.port_mappings[{index}].{name}");
    let number = |name: &str, value: i32| {
        u16::try_from(value).map_err(|_| Error::invalid(at(name), format!("{value} is no port")))
    };
    let host_port = number("host_port", port.host_port)?;
    let container_port = number("container_port", port.container_port)?;
    if host_port == 0 {
        return Ok(None);
    }
    if container_port == 0 {
        return Err(Error::invalid(at("container_port"), "0 is no port"));
    }
    let protocol = match port.protocol() {
        CriProtocol::Tcp => Protocol::Tcp,
        CriProtocol::Udp => Protocol::Udp,
        CriProtocol::Sctp => Protocol::Sctp,
    };
    let host_ip = Some(port.host_ip.as_str()).filter(|address| !address.is_empty());
    let host_ip = host_ip
        .map(str::parse::<IpAddr>)
        .transpose()
        .map_err(|error| Error::invalid(at("host_ip"), error))?;
    Ok(Some(PortMapping { host_port, container_port, protocol, host_ip }))
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::{DnsConfig, LinuxSandboxSecurityContext, PodSandboxMetadata, UserNamespace};

    use super::*;

    fn config() -> PodSandboxConfig {
        let metadata = PodSandboxMetadata { name: "web".to_owned(), ..Default::default() };
        PodSandboxConfig { metadata: Some(metadata), ..Default::default() }
    }

    fn with_namespaces(options: NamespaceOption) -> PodSandboxConfig {
        let security = LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
        let linux = LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() };
        PodSandboxConfig { linux: Some(linux), ..config() }
    }

    #[test]
    fn a_pod_without_wishes_has_everything_of_its_own() {
        let plan = check(&config(), "").unwrap();
        assert!(plan.own_network && plan.own_pid && plan.own_ipc);
        assert_eq!(
            plan.sysctls,
            ["net.ipv4.ip_unprivileged_port_start=0", "net.ipv4.ping_group_range=0 2147483647"]
        );
        assert!(check(&config(), "runc").is_err());
        assert!(check(&PodSandboxConfig::default(), "").is_err());
    }

    #[test]
    fn the_hosts_network_gets_no_parameters() {
        let node = NamespaceMode::Node as i32;
        let plan = check(
            &with_namespaces(NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() }),
            "",
        )
        .unwrap();
        assert_eq!(
            plan,
            Plan { own_network: false, own_pid: false, own_ipc: false, sysctls: vec![], ports: vec![] }
        );
        let container = NamespaceMode::Container as i32;
        assert!(
            check(&with_namespaces(NamespaceOption { pid: container, ..Default::default() }), "")
                .unwrap()
                .own_pid
        );
        for bad in [
            NamespaceOption { network: container, ..Default::default() },
            NamespaceOption { ipc: NamespaceMode::Target as i32, ..Default::default() },
            NamespaceOption { pid: NamespaceMode::Target as i32, ..Default::default() },
            NamespaceOption { pid: 77, ..Default::default() },
        ] {
            assert!(check(&with_namespaces(bad), "").is_err());
        }
    }

    #[test]
    fn user_namespaces_are_refused_and_not_forgotten() {
        for (mode, accepted) in [(0, false), (1, false), (2, true), (3, false)] {
            let userns = UserNamespace { mode, ..Default::default() };
            let options = NamespaceOption { userns_options: Some(userns), ..Default::default() };
            assert_eq!(check(&with_namespaces(options), "").is_ok(), accepted, "{mode}");
        }
    }

    #[test]
    fn given_parameters_win_and_cannot_smuggle_others() {
        let with = |name: &str, value: &str| {
            let sysctls = [(name.to_owned(), value.to_owned())].into();
            let linux = LinuxPodSandboxConfig { sysctls, ..Default::default() };
            check(&PodSandboxConfig { linux: Some(linux), ..config() }, "")
        };
        let plan = with("net.ipv4.ip_unprivileged_port_start", "80").unwrap();
        assert!(plan.sysctls.contains(&"net.ipv4.ip_unprivileged_port_start=80".to_owned()));
        assert_eq!(plan.sysctls.len(), 2);
        for (name, value) in
            [("a=b", "1"), ("net.x", "1\nkernel.core_pattern=|/x"), ("", "1"), ("net.x y", "1")]
        {
            assert!(with(name, value).is_err(), "{name:?} {value:?}");
        }
        // What is the host's is refused before anything exists, and not by the first process of the pod.
        for name in ["kernel.core_pattern", "vm.swappiness", "net..x", "kernel.hostname"] {
            assert!(matches!(with(name, "1"), Err(Error::Invalid { .. })), "{name}");
        }
        assert!(with("kernel.shmmax", "1").is_ok() && with("fs/mqueue/msg_max", "1").is_ok());
        let sysctls = [("kernel.shmmax".to_owned(), "1".to_owned())].into();
        let mut shared =
            with_namespaces(NamespaceOption { ipc: NamespaceMode::Node as i32, ..Default::default() });
        shared.linux.as_mut().unwrap().sysctls = sysctls;
        assert!(check(&shared, "").is_err());
    }

    #[test]
    fn ports_are_ports() {
        let with = |host_port, container_port, host_ip: &str| {
            let port = CriPort { host_port, container_port, host_ip: host_ip.to_owned(), protocol: 1 };
            check(&PodSandboxConfig { port_mappings: vec![port], ..config() }, "").map(|plan| plan.ports)
        };
        assert_eq!(with(0, 80, "").unwrap(), []);
        let mapped = with(8080, 80, "127.0.0.1").unwrap();
        assert_eq!((mapped[0].protocol, mapped[0].host_port), (Protocol::Udp, 8080));
        for (host, container, ip) in
            [(-1, 1, ""), (65536, 1, ""), (1, 0, ""), (1, 70000, ""), (1, 1, "localhost")]
        {
            assert!(with(host, container, ip).is_err(), "{host} {container} {ip}");
        }
    }

    #[test]
    fn what_becomes_a_line_of_a_file_stays_one() {
        let hostname = PodSandboxConfig { hostname: "a\nb".to_owned(), ..config() };
        assert!(check(&hostname, "").is_err());
        let dns = DnsConfig { searches: vec!["a\nnameserver 6.6.6.6".to_owned()], ..Default::default() };
        assert!(check(&PodSandboxConfig { dns_config: Some(dns), ..config() }, "").is_err());
        for log_directory in ["relative/logs", "/a\nb"] {
            let bad = PodSandboxConfig { log_directory: log_directory.to_owned(), ..config() };
            assert!(check(&bad, "").is_err(), "{log_directory:?}");
        }
        for (name, namespace, uid) in [("a;K8S_POD_UID=x", "", ""), ("a", "b;c", ""), ("a", "b", ";")] {
            let [name, namespace, uid] = [name, namespace, uid].map(str::to_owned);
            let metadata = Some(PodSandboxMetadata { name, namespace, uid, attempt: 0 });
            let bad = PodSandboxConfig { metadata, ..config() };
            assert!(matches!(check(&bad, ""), Err(Error::Invalid { .. })), "{bad:?}");
        }
        let large = PodSandboxConfig { log_directory: "x".repeat(encoded::LONGEST), ..config() };
        assert!(check(&large, "").is_err());
        let linux = LinuxPodSandboxConfig { cgroup_parent: "/a/../..".to_owned(), ..Default::default() };
        assert!(check(&PodSandboxConfig { linux: Some(linux), ..config() }, "").is_err());
    }
}
