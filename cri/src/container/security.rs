//! What a container's processes may do: capabilities, system calls, paths. Pure but for profiles in files.

use std::collections::HashSet;
use std::path::Path;

use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{Capability as CriCapabilities, LinuxContainerSecurityContext, SecurityProfile};
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, LinuxSeccomp};
use runtime::spec::defaults;

use super::seccomp;
use crate::error::{Error, Result};

const ALL: &str = "ALL";
/// Where the kernel says that AppArmor is on.
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// Every capability, in the order of the kernel.
const EVERY: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The capabilities that a container may ever hold, and those that it keeps over execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The bounding set.
    pub bounding: Capabilities,
    /// The ambient set.
    pub ambient: Capabilities,
}

/// Works out the capabilities: ALL is added, then dropped, then single ones are added, then dropped. What the machine
/// lacks is left out later, by the runtime.
pub fn capabilities(security: &LinuxContainerSecurityContext) -> Result<Granted> {
    if security.privileged {
        return Ok(Granted { bounding: EVERY.into(), ambient: Capabilities::new() });
    }
    let CriCapabilities { add_capabilities, drop_capabilities, add_ambient_capabilities } =
        security.capabilities.clone().unwrap_or_default();
    let add = names("capabilities.add_capabilities", &add_capabilities)?;
    let drop = names("capabilities.drop_capabilities", &drop_capabilities)?;
    let ambient = names("capabilities.add_ambient_capabilities", &add_ambient_capabilities)?;
    let mut bounding = defaults::capabilities();
    if add.all {
        bounding = EVERY.into();
    }
    if drop.all {
        bounding = Capabilities::new();
    }
    bounding.extend(&add.single);
    bounding.retain(|capability| !drop.single.contains(capability));
    let mut asked = ambient.single;
    if ambient.all {
        asked.extend(&bounding);
    }
    // What it may not have it cannot keep.
    asked.retain(|capability| bounding.contains(capability));
    Ok(Granted { bounding, ambient: asked })
}

#[derive(Debug, Default)]
struct Names {
    all: bool,
    single: HashSet<Capability>,
}

fn names(field: &str, list: &[String]) -> Result<Names> {
    let mut names = Names::default();
    for given in list {
        let upper = given.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == ALL {
            names.all = true;
        } else {
            let capability =
                name.parse().map_err(|_| Error::invalid(field, format!("unknown capability {given:?}")))?;
            names.single.insert(capability);
        }
    }
    Ok(names)
}

impl Granted {
    /// The five sets of the first process. A user other than root holds what is ambient and may gain the rest.
    pub fn sets(&self, uid: u32) -> LinuxCapabilities {
        let held = if uid == 0 { self.bounding.clone() } else { self.ambient.clone() };
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(Some(self.bounding.clone()))
            .set_permitted(Some(held.clone()))
            .set_effective(Some(held))
            .set_inheritable(Some(self.ambient.clone()))
            .set_ambient(Some(self.ambient.clone()));
        sets
    }
}

/// The filter of system calls; none for privileged containers and those that ask for none.
pub fn filter(
    security: &LinuxContainerSecurityContext,
    bounding: &Capabilities,
) -> Result<Option<LinuxSeccomp>> {
    const FIELD: &str = "security_context.seccomp";
    if security.privileged {
        return Ok(None);
    }
    let Some(profile) = &security.seccomp else { return Ok(None) };
    match kind(FIELD, profile)? {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => Ok(Some(runtime::security::seccomp::default_profile(bounding))),
        ProfileType::Localhost => seccomp::load(Path::new(&profile.localhost_ref), bounding).map(Some),
    }
}

/// The type of a profile; a file belongs to one type only.
fn kind(field: &str, profile: &SecurityProfile) -> Result<ProfileType> {
    let kind = ProfileType::try_from(profile.profile_type)
        .map_err(|_| Error::invalid(field, format!("there is no profile type {}", profile.profile_type)))?;
    match (kind, profile.localhost_ref.is_empty()) {
        (ProfileType::Localhost, true) => {
            Err(Error::invalid(field, "a localhost profile needs localhost_ref"))
        }
        (ProfileType::Localhost, false) | (_, true) => Ok(kind),
        (_, false) => Err(Error::invalid(field, "localhost_ref goes with a localhost profile only")),
    }
}

/// Refuses confinement that is asked for and that nobody here can give. A privileged container asks for none of these by
/// itself.
pub fn refuse_unavailable(security: &LinuxContainerSecurityContext) -> Result<()> {
    const APPARMOR_FIELD: &str = "security_context.apparmor";
    let asked = match &security.apparmor {
        Some(profile) => match kind(APPARMOR_FIELD, profile)? {
            ProfileType::Unconfined => false,
            ProfileType::RuntimeDefault => !security.privileged,
            ProfileType::Localhost => true,
        },
        // What came before the field; the field wins.
        None => match deprecated_apparmor(security) {
            "" | "unconfined" => false,
            "runtime/default" => !security.privileged,
            _ => true,
        },
    };
    if asked {
        return Err(match is_on(APPARMOR, "Y") {
            true => Error::Unsupported { field: APPARMOR_FIELD, what: "AppArmor profiles are" },
            false => Error::invalid(APPARMOR_FIELD, "AppArmor is not enabled on this machine"),
        });
    }
    if security.selinux_options.is_some() && Path::new(SELINUX).exists() {
        return Err(Error::Unsupported {
            field: "security_context.selinux_options",
            what: "SELinux labels are",
        });
    }
    Ok(())
}

#[allow(deprecated)]
fn deprecated_apparmor(security: &LinuxContainerSecurityContext) -> &str {
    &security.apparmor_profile
}

fn is_on(file: &str, word: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.trim() == word)
}

/// Is labelling of mounts possible at all?
pub fn has_selinux() -> bool {
    Path::new(SELINUX).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(add: &[&str], drop: &[&str], ambient: &[&str]) -> Result<Granted> {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let capabilities = CriCapabilities {
            add_capabilities: words(add),
            drop_capabilities: words(drop),
            add_ambient_capabilities: words(ambient),
        };
        capabilities_of(Some(capabilities), false)
    }

    fn capabilities_of(capabilities: Option<CriCapabilities>, privileged: bool) -> Result<Granted> {
        super::capabilities(&LinuxContainerSecurityContext { capabilities, privileged, ..Default::default() })
    }

    #[test]
    fn all_and_single_ones_combine_in_the_documented_order() {
        assert_eq!(granted(&[], &[], &[]).unwrap().bounding.len(), 14);
        let most = granted(&["ALL"], &["CHOWN"], &[]).unwrap().bounding;
        assert!(most.len() == 40 && !most.contains(&Capability::Chown));
        let one = granted(&["net_admin"], &["all"], &[]).unwrap().bounding;
        assert_eq!(one, Capabilities::from([Capability::NetAdmin]));
        assert!(granted(&["CAP_SYS_PTRACE"], &["SYS_PTRACE", "ALL"], &[]).unwrap().bounding.is_empty());
        assert!(granted(&["NO_SUCH"], &[], &[]).is_err());
        assert_eq!(capabilities_of(None, true).unwrap().bounding.len(), 41);
    }

    #[test]
    fn only_what_is_asked_for_and_allowed_is_ambient() {
        let granted = granted(&["NET_ADMIN"], &[], &["NET_ADMIN", "SYS_ADMIN"]).unwrap();
        assert_eq!(granted.ambient, Capabilities::from([Capability::NetAdmin]));
        let sets = granted.sets(1000);
        assert_eq!(sets.effective().as_ref().unwrap(), &granted.ambient);
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 15);
        assert_eq!(granted.sets(0).effective().as_ref().unwrap().len(), 15);
    }

    #[test]
    fn a_filter_is_there_when_asked_for() {
        let with = |profile: Option<(i32, &str)>, privileged| {
            let seccomp = profile
                .map(|(profile_type, file)| SecurityProfile { profile_type, localhost_ref: file.to_owned() });
            let security = LinuxContainerSecurityContext { seccomp, privileged, ..Default::default() };
            filter(&security, &defaults::capabilities())
        };
        assert!(with(None, false).unwrap().is_none());
        assert!(with(Some((0, "")), false).unwrap().is_some());
        assert!(with(Some((0, "")), true).unwrap().is_none());
        assert!(with(Some((1, "")), false).unwrap().is_none());
        for bad in [(2, ""), (2, "/nowhere/at/all"), (0, "/file"), (9, "")] {
            assert!(with(Some(bad), false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn confinement_that_is_not_there_is_not_skipped() {
        let with = |profile_type, file: &str, privileged| {
            let apparmor = Some(SecurityProfile { profile_type, localhost_ref: file.to_owned() });
            refuse_unavailable(&LinuxContainerSecurityContext { apparmor, privileged, ..Default::default() })
        };
        assert!(with(1, "", false).is_ok());
        assert!(with(0, "", false).is_err());
        assert!(with(0, "", true).is_ok());
        assert!(with(2, "profile", true).is_err());
        assert!(with(1, "profile", false).is_err());
    }
}
