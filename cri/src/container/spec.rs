//! The config.json of a container: what every container of ours gets, changed by what this one is asked to be.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxNamespace, LinuxNamespaceType as Kind, LinuxResources, LinuxSeccomp, Mount, Spec,
};
use runtime::security::user::User;
use runtime::spec::defaults;
use runtime::spec::from_image::{ContainerSettings, Identity, TerminalSize, container_spec};

use super::command::Command;
use super::devices::Devices;
use super::mounts::{bind, without_covered};
use super::request::{PidNamespace, Plan};
use crate::error::{Error, Result};

/// What the pod gives its containers.
#[derive(Debug)]
pub struct PodParts {
    /// The process that holds the namespaces.
    pub pause: u32,
    /// Its host name.
    pub hostname: String,
    /// Where its network namespace is pinned; the host's when missing.
    pub network: Option<PathBuf>,
    /// Its IPC namespace is its own.
    pub own_ipc: bool,
    /// Its PID namespace is its own.
    pub own_pid: bool,
    /// Its folder, with the files of its network.
    pub folder: PathBuf,
    /// What is at `/dev/shm`.
    pub shared_memory: PathBuf,
}

/// Everything that config.json is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its folder.
    pub folder: &'a Path,
    /// Its cgroup.
    pub cgroup: &'a str,
    /// What was asked for.
    pub plan: &'a Plan,
    /// It has a terminal.
    pub terminal: bool,
    /// What it runs.
    pub command: Command,
    /// Who it runs as.
    pub user: User,
    /// Its pod.
    pub pod: &'a PodParts,
    /// What of the host it sees.
    pub mounts: Vec<Mount>,
    /// Device files.
    pub devices: Devices,
    /// Its limits.
    pub limits: LinuxResources,
    /// Its filter of system calls.
    pub seccomp: Option<LinuxSeccomp>,
    /// The machine has cgroups of version 2 only.
    pub unified: bool,
}

/// Builds it.
pub fn build(parts: Parts<'_>) -> Result<Spec> {
    let security = &parts.plan.security;
    let joined = parts.pod_namespaces();
    let mut settings = ContainerSettings::new(parts.id, parts.command.args);
    settings.rootfs = parts.folder.join("rootfs");
    settings.read_only_root = security.readonly_rootfs;
    settings.env = parts.command.env;
    settings.cwd = parts.command.cwd;
    settings.home = parts.user.home;
    settings.user =
        Identity { uid: parts.user.uid, gid: parts.user.gid, additional_gids: parts.user.additional_gids };
    settings.hostname = parts.pod.hostname.clone();
    settings.terminal = parts.terminal.then(TerminalSize::default);
    settings.cgroup_path = Some(PathBuf::from(parts.cgroup));
    let mut spec = container_spec(&settings);
    // The pod has set it, in the namespace that is joined.
    spec.set_hostname(None);
    spec.set_mounts(Some(mounts(parts.plan, parts.pod, parts.mounts)));

    let uid = settings.user.uid;
    let mut process = spec.process().clone().ok_or_else(incomplete)?;
    process
        .set_capabilities(Some(parts.plan.granted.sets(uid)))
        .set_no_new_privileges(Some(security.no_new_privs))
        .set_oom_score_adj(Some(parts.plan.oom_score));
    spec.set_process(Some(process));

    let mut linux = spec.linux().clone().ok_or_else(incomplete)?;
    let travels = parts.plan.mounts.iter().any(super::mounts::Wanted::is_bidirectional);
    let (masked, readonly) = match security.privileged {
        true => (Vec::new(), Vec::new()),
        false => (security.masked_paths.clone(), security.readonly_paths.clone()),
    };
    linux
        .set_namespaces(Some(namespaces(&joined, security.privileged)))
        .set_rootfs_propagation(travels.then(|| "rshared".to_owned()))
        .set_masked_paths(Some(masked))
        .set_readonly_paths(Some(readonly))
        .set_seccomp(parts.seccomp)
        .set_devices(Some(parts.devices.files));
    let mut limits = parts.limits;
    let mut rules = defaults::device_rules();
    rules.extend(parts.devices.rules);
    limits.set_devices(Some(rules));
    linux.set_resources(Some(limits));
    spec.set_linux(Some(linux));
    Ok(spec)
}

/// The namespaces of a container: path of one to join, or nothing for one of its own.
struct Joined {
    network: Option<PathBuf>,
    ipc: Option<PathBuf>,
    uts: Option<PathBuf>,
    pid: Option<Option<PathBuf>>,
    cgroup: bool,
}

impl Parts<'_> {
    fn pod_namespaces(&self) -> Joined {
        let of_pause = |name: &str| PathBuf::from(format!("/proc/{}/ns/{name}", self.pod.pause));
        Joined {
            network: self.pod.network.clone(),
            ipc: self.pod.own_ipc.then(|| of_pause("ipc")),
            // Who sees the host's network has the host's name.
            uts: self.pod.network.is_some().then(|| of_pause("uts")),
            pid: match self.plan.pid {
                PidNamespace::Own => Some(None),
                PidNamespace::Pod if self.pod.own_pid => Some(Some(of_pause("pid"))),
                PidNamespace::Pod | PidNamespace::Host => None,
            },
            cgroup: self.unified,
        }
    }
}

fn namespaces(joined: &Joined, privileged: bool) -> Vec<LinuxNamespace> {
    let namespace = |kind: Kind, path: Option<PathBuf>| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(path);
        namespace
    };
    let mut namespaces = vec![namespace(Kind::Mount, None)];
    namespaces.extend(joined.pid.clone().map(|path| namespace(Kind::Pid, path)));
    for (kind, path) in [(Kind::Network, &joined.network), (Kind::Ipc, &joined.ipc), (Kind::Uts, &joined.uts)]
    {
        namespaces.extend(path.iter().map(|path| namespace(kind, Some(path.clone()))));
    }
    // On machines of version 1 programs look for their cgroup by the host's path.
    if joined.cgroup && !privileged {
        namespaces.push(namespace(Kind::Cgroup, None));
    }
    namespaces
}

/// Defaults, then what the pod shares, then what was asked for. A mount that was asked for takes the place of any other.
fn mounts(plan: &Plan, pod: &PodParts, asked: Vec<Mount>) -> Vec<Mount> {
    let access = if plan.security.readonly_rootfs { "ro" } else { "rw" };
    let mut mounts = defaults::mounts();
    for mount in &mut mounts {
        if mount.destination() == Path::new("/dev/shm") {
            *mount = bind(&pod.shared_memory, Path::new("/dev/shm"), &["rbind", "rprivate", "rw"]);
        }
        let is_kernels = mount.destination().starts_with("/sys");
        if plan.security.privileged && is_kernels {
            let options = mount.options().clone().unwrap_or_default();
            mount.set_options(Some(options.into_iter().filter(|option| option != "ro").collect()));
        }
    }
    for (name, place) in
        [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")]
    {
        mounts.push(bind(&pod.folder.join(name), Path::new(place), &["rbind", "rprivate", access]));
    }
    let mut mounts = without_covered(mounts, &plan.mounts);
    mounts.extend(asked);
    mounts
}

fn incomplete() -> Error {
    Error::Internal("the default specification is incomplete".to_owned())
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::{ContainerConfig, ContainerMetadata, ImageSpec, PodSandboxConfig};

    use super::super::request;
    use super::*;
    use crate::sandbox::Pod;

    fn config() -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "web".to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: "x".to_owned(), ..Default::default() }),
            ..Default::default()
        }
    }

    fn plan(change: impl FnOnce(&mut Plan)) -> Plan {
        let pod = Pod::new("a".repeat(64), PodSandboxConfig::default(), 1);
        let mut plan = request::check(&config(), &pod).unwrap();
        change(&mut plan);
        plan
    }

    fn built(plan: &Plan, network: Option<&str>) -> Spec {
        let pod = PodParts {
            pause: 42,
            hostname: "web-0".to_owned(),
            network: network.map(PathBuf::from),
            own_ipc: true,
            own_pid: true,
            folder: "/pods/a".into(),
            shared_memory: "/state/a/shm".into(),
        };
        let parts = Parts {
            id: "c",
            folder: Path::new("/containers/c"),
            cgroup: "/kubepods/podx/c",
            plan,
            terminal: false,
            command: Command { args: vec!["x".to_owned()], env: vec![], cwd: "/".into() },
            user: User { uid: 5, gid: 6, additional_gids: vec![6], home: "/h".to_owned() },
            pod: &pod,
            mounts: vec![],
            devices: Devices::default(),
            limits: LinuxResources::default(),
            seccomp: None,
            unified: false,
        };
        build(parts).unwrap()
    }

    fn kinds(spec: &Spec) -> Vec<(Kind, Option<String>)> {
        let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap();
        let path =
            |namespace: &LinuxNamespace| namespace.path().as_ref().map(|path| path.display().to_string());
        list.iter().map(|namespace| (namespace.typ(), path(namespace))).collect()
    }

    #[test]
    fn namespaces_are_the_pods_as_kubernetes_says() {
        let shared = kinds(&built(&plan(|_| {}), Some("/netns/a")));
        let path = |text: &str| Some(text.to_owned());
        assert_eq!(
            shared,
            [
                (Kind::Mount, None),
                (Kind::Pid, path("/proc/42/ns/pid")),
                (Kind::Network, path("/netns/a")),
                (Kind::Ipc, path("/proc/42/ns/ipc")),
                (Kind::Uts, path("/proc/42/ns/uts")),
            ]
        );
        let own = kinds(&built(&plan(|plan| plan.pid = PidNamespace::Own), None));
        assert_eq!(own, [(Kind::Mount, None), (Kind::Pid, None), (Kind::Ipc, path("/proc/42/ns/ipc"))]);
        let host = kinds(&built(&plan(|plan| plan.pid = PidNamespace::Host), None));
        assert!(host.iter().all(|(kind, _)| *kind != Kind::Pid));
    }

    /// To the runtime they can be orders (CVE-2024-3154), and a pod's are written by whoever may create pods.
    #[test]
    fn annotations_do_not_reach_the_runtime() {
        let annotations: std::collections::HashMap<String, String> =
            [("org.systemd.property.RuntimeMaxSec".to_owned(), "1".to_owned())].into();
        let pod = PodSandboxConfig { annotations: annotations.clone(), ..Default::default() };
        let pod = Pod::new("a".repeat(64), pod, 1);
        let plan = request::check(&ContainerConfig { annotations, ..config() }, &pod).unwrap();
        assert_eq!(built(&plan, None).annotations().iter().flatten().count(), 0);
    }

    #[test]
    fn nothing_is_masked_or_filtered_that_nobody_asked_for() {
        let plain = built(&plan(|_| {}), None);
        let linux = plain.linux().as_ref().unwrap();
        assert_eq!(linux.masked_paths().as_deref(), Some(&[][..]));
        assert!(linux.seccomp().is_none());
        assert_eq!(plain.hostname(), &None);
        let asked = built(&plan(|plan| plan.security.masked_paths = vec!["/proc/acpi".to_owned()]), None);
        let linux = asked.linux().as_ref().unwrap();
        assert_eq!(linux.masked_paths().as_deref(), Some(&["/proc/acpi".to_owned()][..]));
        let env = asked.process().as_ref().and_then(|process| process.env().clone()).unwrap();
        assert!(env.contains(&"HOSTNAME=web-0".to_owned()) && env.contains(&"HOME=/h".to_owned()));
    }

    #[test]
    fn shared_memory_and_files_are_the_pods_and_sys_is_writable_for_the_privileged() {
        let find = |spec: &Spec, place: &str| {
            let mounts = spec.mounts().clone().unwrap();
            mounts.into_iter().find(|mount| mount.destination() == Path::new(place))
        };
        let plain = built(&plan(|_| {}), None);
        let source = |mount: Option<Mount>| mount.and_then(|mount| mount.source().clone()).unwrap();
        assert_eq!(source(find(&plain, "/dev/shm")), Path::new("/state/a/shm"));
        assert_eq!(source(find(&plain, "/etc/hosts")), Path::new("/pods/a/hosts"));
        let is_read_only = |mount: Option<Mount>| {
            mount.and_then(|mount| mount.options().clone()).unwrap().contains(&"ro".to_owned())
        };
        assert!(is_read_only(find(&plain, "/sys")) && !is_read_only(find(&plain, "/etc/hosts")));
        let privileged = built(&plan(|plan| plan.security.privileged = true), None);
        assert!(!is_read_only(find(&privileged, "/sys")));
        let readonly = built(&plan(|plan| plan.security.readonly_rootfs = true), None);
        assert!(is_read_only(find(&readonly, "/etc/hosts")));
    }
}
