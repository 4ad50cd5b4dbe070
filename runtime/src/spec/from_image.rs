//! From what a person and an image ask for to a `config.json`.
//!
//! Plain data in, plain data out: no image type, no file and no host setting is read here, so that `rrun`, the
//! builder and a pod service all get the same confinement from the same words. Invariants:
//!
//! - only [`ContainerSettings`]' named fields decide; an image can fill `args`, `env`, `cwd`, `user` and nothing else
//! - environment entries without `=` are dropped, never completed from the host's environment
//! - the cgroup path is never empty; [`container_spec`] puts the container below `/hull` when none is given

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    BoxBuilder, Linux, LinuxCapabilities, LinuxCpu, LinuxMemory, LinuxNamespaceType, LinuxResources, Mount,
    Process, Root, Spec, User,
};

use super::defaults;
use crate::security::{defaults as confinement, seccomp};

/// Everything that makes one container differ from another. Start from [`ContainerSettings::new`].
#[derive(Debug, Clone)]
pub struct ContainerSettings {
    /// Container id, 64 hex digits; names the cgroup when [`Self::cgroup_path`] is not set.
    pub id: String,
    /// Where the root is, for readers of `config.json`; a root passed as a descriptor wins over it.
    pub rootfs: PathBuf,
    /// Whether the root is mounted read-only.
    pub read_only_root: bool,
    /// Program and arguments; must not be empty.
    pub args: Vec<String>,
    /// `KEY=VALUE` entries, later ones win over earlier ones and over the defaults.
    pub env: Vec<String>,
    /// Working directory inside the root, absolute.
    pub cwd: PathBuf,
    /// Numeric user, group and further groups, already resolved inside the root.
    pub user: Identity,
    /// Value of `HOME` where `env` has none: the user's entry in the root's passwd file.
    pub home: String,
    /// Host name inside the container.
    pub hostname: String,
    /// A pseudo terminal for the process, with its first size where one is known.
    pub terminal: Option<TerminalSize>,
    /// Which network the container sees.
    pub network: Network,
    /// Memory limit in bytes; swap gets as much again, as Docker does.
    pub memory: Option<u64>,
    /// CPU time per second of wall time, in billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// Host files and folders seen inside, mounted in this order after the defaults.
    pub binds: Vec<Bind>,
    /// Files of ours bound over `/etc/hosts` and its friends.
    pub files: NetworkFiles,
    /// Cgroup path below each hierarchy's root; `/hull/<id>` when `None`.
    pub cgroup_path: Option<PathBuf>,
}

/// Who the process runs as, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub additional_gids: Vec<u32>,
}

/// Rows and columns of a terminal; zero where unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TerminalSize {
    /// Height in characters.
    pub rows: u16,
    /// Width in characters.
    pub columns: u16,
}

/// The network a container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// A network namespace of its own with only the loopback device.
    #[default]
    None,
    /// The host's.
    Host,
    /// The network namespace that is pinned at this path.
    Namespace(PathBuf),
}

/// A host path bound into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host; must exist when the container starts.
    pub source: PathBuf,
    /// Absolute path inside the root.
    pub destination: PathBuf,
    /// Whether writes through it are refused.
    pub read_only: bool,
}

/// Generated files that replace the image's; a missing one is left to the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFiles {
    /// Bound over `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// Bound over `/etc/hostname`.
    pub hostname: Option<PathBuf>,
    /// Bound over `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
}

impl ContainerSettings {
    /// Settings of a container `id` that runs `args` as root in `/`, without network, limits or terminal.
    pub fn new(id: &str, args: Vec<String>) -> ContainerSettings {
        ContainerSettings {
            id: id.to_owned(),
            rootfs: PathBuf::from("rootfs"),
            read_only_root: false,
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: Identity::default(),
            home: "/".to_owned(),
            hostname: id.chars().take(12).collect(),
            terminal: None,
            network: Network::default(),
            memory: None,
            nano_cpus: None,
            binds: Vec::new(),
            files: NetworkFiles::default(),
            cgroup_path: None,
        }
    }
}

/// The runtime specification of a container with these settings.
pub fn container_spec(settings: &ContainerSettings) -> Spec {
    let mut root = Root::default();
    root.set_path(settings.rootfs.clone()).set_readonly(Some(settings.read_only_root));

    let mut spec = Spec::default();
    spec.set_root(Some(root))
        .set_hostname(Some(settings.hostname.clone()))
        .set_mounts(Some(mounts(settings)))
        .set_process(Some(process(settings)))
        .set_linux(Some(linux(settings)));
    spec
}

/// `base` with each entry of `changes` put over it: same key replaces in place, a new key goes to the end, and an
/// entry without `=` or with an empty key is dropped.
pub fn merge_env(base: &[String], changes: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(base.len() + changes.len());
    for entry in base.iter().chain(changes) {
        let Some(key) = env_key(entry) else { continue };
        match merged.iter_mut().find(|existing| env_key(existing) == Some(key)) {
            Some(existing) => existing.clone_from(entry),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

fn env_key(entry: &str) -> Option<&str> {
    entry.split_once('=').map(|(key, _)| key).filter(|key| !key.is_empty())
}

fn process(settings: &ContainerSettings) -> Process {
    let mut user = User::default();
    user.set_uid(settings.user.uid).set_gid(settings.user.gid);
    if !settings.user.additional_gids.is_empty() {
        user.set_additional_gids(Some(settings.user.additional_gids.clone()));
    }
    let mut process = Process::default();
    process
        .set_terminal(Some(settings.terminal.is_some()))
        .set_console_size(settings.terminal.filter(|size| size.rows > 0).and_then(console_size))
        .set_user(user)
        .set_args(Some(settings.args.clone()))
        .set_env(Some(environment(settings)))
        .set_cwd(settings.cwd.clone())
        .set_capabilities(Some(process_capabilities(settings.user.uid)))
        .set_rlimits(None)
        .set_no_new_privileges(Some(false));
    process
}

fn console_size(size: TerminalSize) -> Option<oci_spec::runtime::Box> {
    BoxBuilder::default().height(u64::from(size.rows)).width(u64::from(size.columns)).build().ok()
}

fn environment(settings: &ContainerSettings) -> Vec<String> {
    let mut base = vec![format!("PATH={}", defaults::PATH), format!("HOSTNAME={}", settings.hostname)];
    if settings.terminal.is_some() {
        base.push(format!("TERM={}", defaults::TERM));
    }
    let mut merged = merge_env(&base, &settings.env);
    if !merged.iter().any(|entry| env_key(entry) == Some("HOME")) {
        merged.push(format!("HOME={}", settings.home));
    }
    merged
}

/// A user other than root gets only the bounding set: executing a program would drop the rest anyway, and what
/// was never held cannot leak in between. Inheritable and ambient stay empty for everyone.
fn process_capabilities(uid: u32) -> LinuxCapabilities {
    let granted = defaults::capabilities();
    let held = if uid == 0 { granted.clone() } else { Default::default() };
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(granted))
        .set_permitted(Some(held.clone()))
        .set_effective(Some(held))
        .set_inheritable(Some(Default::default()))
        .set_ambient(Some(Default::default()));
    capabilities
}

fn mounts(settings: &ContainerSettings) -> Vec<Mount> {
    let mut mounts = defaults::mounts();
    let files = &settings.files;
    for (source, destination) in [
        (&files.resolv_conf, "/etc/resolv.conf"),
        (&files.hostname, "/etc/hostname"),
        (&files.hosts, "/etc/hosts"),
    ] {
        if let Some(source) = source {
            mounts.push(bind(source, Path::new(destination), false));
        }
    }
    mounts.extend(settings.binds.iter().map(|it| bind(&it.source, &it.destination, it.read_only)));
    mounts
}

/// Private propagation: what is mounted on either side later stays on its side. Read-only means all that is mounted
/// below as well: with / of the host shown read-only its /proc and cgroups would take writes.
fn bind(source: &Path, destination: &Path, read_only: bool) -> Mount {
    let access = if read_only { "rro" } else { "rw" };
    let mut mount = Mount::default();
    mount
        .set_destination(destination.to_owned())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(vec!["rbind".to_owned(), "rprivate".to_owned(), access.to_owned()]));
    mount
}

fn linux(settings: &ContainerSettings) -> Linux {
    let mut namespaces = defaults::namespaces();
    match &settings.network {
        Network::None => namespaces.push(defaults::namespace(LinuxNamespaceType::Network)),
        Network::Host => {}
        Network::Namespace(path) => {
            let mut joined = defaults::namespace(LinuxNamespaceType::Network);
            joined.set_path(Some(path.clone()));
            namespaces.push(joined);
        }
    }
    let cgroup_path = match &settings.cgroup_path {
        Some(path) if !path.as_os_str().is_empty() => path.clone(),
        _ => Path::new("/hull").join(&settings.id),
    };
    let mut linux = Linux::default();
    linux
        .set_cgroups_path(Some(cgroup_path))
        .set_namespaces(Some(namespaces))
        .set_masked_paths(Some(confinement::masked_paths()))
        .set_readonly_paths(Some(owned(confinement::READONLY_PATHS)))
        .set_seccomp(Some(seccomp::default_profile(&defaults::capabilities())))
        .set_resources(Some(resources(settings)));
    linux
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

fn resources(settings: &ContainerSettings) -> LinuxResources {
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(defaults::device_rules()));
    if let Some(bytes) = settings.memory {
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(limit)).set_swap(Some(limit.saturating_mul(2)));
        resources.set_memory(Some(memory));
    }
    if let Some(nano_cpus) = settings.nano_cpus {
        let mut cpu = LinuxCpu::default();
        cpu.set_period(Some(defaults::CPU_PERIOD_MICROSECONDS)).set_quota(Some(cpu_quota(nano_cpus)));
        resources.set_cpu(Some(cpu));
    }
    resources
}

/// Microseconds of CPU time per period; the kernel refuses less than a millisecond.
fn cpu_quota(nano_cpus: u64) -> i64 {
    let quota = u128::from(nano_cpus) * u128::from(defaults::CPU_PERIOD_MICROSECONDS) / 1_000_000_000;
    i64::try_from(quota).unwrap_or(i64::MAX).max(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ContainerSettings {
        ContainerSettings::new(&"ab".repeat(32), vec!["true".into()])
    }

    fn env_of(spec: &Spec) -> Vec<String> {
        spec.process().as_ref().and_then(|process| process.env().clone()).unwrap()
    }

    #[test]
    fn image_entries_without_a_value_are_dropped() {
        let mut settings = settings();
        settings.env = ["A=1", "BROKEN", "=x", "SECRET*", "A=2"].map(str::to_owned).to_vec();
        let env = env_of(&container_spec(&settings));
        assert!(env.contains(&"A=2".to_owned()));
        assert!(env.iter().all(|entry| env_key(entry).is_some()));
        assert_eq!(env.iter().filter(|entry| entry.starts_with("A=")).count(), 1);
    }

    #[test]
    fn home_comes_from_the_user_database_only_where_nobody_set_it() {
        let mut settings = settings();
        settings.home = "/home/app".into();
        assert!(env_of(&container_spec(&settings)).contains(&"HOME=/home/app".to_owned()));
        settings.env.push("HOME=/elsewhere".into());
        let env = env_of(&container_spec(&settings));
        assert_eq!(env.iter().filter(|entry| entry.starts_with("HOME=")).count(), 1);
        assert!(env.contains(&"HOME=/elsewhere".to_owned()));
    }

    #[test]
    fn an_empty_cgroup_path_becomes_ours() {
        let mut settings = settings();
        settings.cgroup_path = Some(PathBuf::new());
        let spec = container_spec(&settings);
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
        assert_eq!(path, Some(Path::new("/hull").join("ab".repeat(32))));
    }

    #[test]
    fn the_host_network_has_no_network_namespace() {
        let mut settings = settings();
        let kinds = |spec: Spec| -> Vec<LinuxNamespaceType> {
            let linux = spec.linux().clone().unwrap();
            linux.namespaces().iter().flatten().map(|namespace| namespace.typ()).collect()
        };
        assert!(kinds(container_spec(&settings)).contains(&LinuxNamespaceType::Network));
        settings.network = Network::Host;
        assert!(!kinds(container_spec(&settings)).contains(&LinuxNamespaceType::Network));
        settings.network = Network::Namespace("/run/netns/x".into());
        let linux = container_spec(&settings).linux().clone().unwrap();
        let joined = linux.namespaces().iter().flatten().find(|it| it.typ() == LinuxNamespaceType::Network);
        assert_eq!(joined.unwrap().path().as_deref(), Some(Path::new("/run/netns/x")));
    }

    #[test]
    fn only_root_holds_capabilities_from_the_start() {
        let mut settings = settings();
        settings.user.uid = 1000;
        let spec = container_spec(&settings);
        let capabilities =
            spec.process().as_ref().and_then(|process| process.capabilities().clone()).unwrap();
        assert_eq!(capabilities.bounding().as_ref().map(|set| set.len()), Some(14));
        for set in [capabilities.permitted(), capabilities.effective(), capabilities.inheritable()] {
            assert!(set.as_ref().unwrap().is_empty());
        }
    }

    #[test]
    fn limits_scale() {
        let mut settings = settings();
        settings.memory = Some(64 << 20);
        settings.nano_cpus = Some(1_500_000_000);
        let spec = container_spec(&settings);
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap();
        assert_eq!(resources.memory().as_ref().and_then(|memory| memory.swap()), Some(128 << 20));
        assert_eq!(resources.cpu().as_ref().and_then(|cpu| cpu.quota()), Some(150_000));
        assert_eq!(cpu_quota(1), 1000);
    }

    #[test]
    fn the_spec_survives_its_own_json() {
        let spec = container_spec(&settings());
        let text = serde_json::to_vec(&spec).unwrap();
        assert_eq!(serde_json::from_slice::<Spec>(&text).unwrap(), spec);
    }
}
