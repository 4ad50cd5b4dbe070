//! Filters that a node's administrator keeps in files, in Docker's format: the specification's, with conditions on
//! architecture, capabilities and kernel for each entry.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use crate::error::{Error, Result};

/// Longest profile in bytes; Docker's has 13 KiB.
const LONGEST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    arch_map: Option<Vec<Architecture>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
    #[serde(default)]
    listener_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

/// Where an entry counts, or does not.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// What the conditions are about.
struct Machine<'a> {
    bounding: &'a Capabilities,
    arch: &'static str,
    kernel: (u32, u32),
}

/// Reads the profile in `file` for a container that may hold the `bounding` capabilities.
pub fn load(file: &Path, bounding: &Capabilities) -> Result<LinuxSeccomp> {
    let refuse = |reason: &dyn std::fmt::Display| {
        Error::invalid("seccomp.localhost_ref", format!("{}: {reason}", file.display()))
    };
    if !file.is_absolute() {
        return Err(refuse(&"the path must be absolute"));
    }
    let text = read(file).map_err(|error| refuse(&error))?;
    let machine = Machine { bounding, arch: go_architecture(), kernel: kernel_version() };
    let profile = translate(&text, &machine).map_err(|reason| refuse(&reason))?;
    // Here, where the error is the request's, and not when the container starts.
    runtime::security::seccomp::compile(&profile).map_err(|error| refuse(&error))?;
    Ok(profile)
}

/// A regular file only: anything else would make us wait.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LONGEST {
        true => Err(std::io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

fn translate(text: &[u8], machine: &Machine<'_>) -> Result<LinuxSeccomp, String> {
    let profile: Profile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if profile.listener_path.is_some_and(|path| !path.is_empty()) {
        return Err("notifying a listener is not supported".to_owned());
    }
    let mut syscalls = Vec::new();
    for entry in profile.syscalls.into_iter().flatten() {
        if machine.takes(&entry)? {
            syscalls.push(rule(entry)?);
        }
    }
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(profile.default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures(architectures(profile.architectures, profile.arch_map))
        .set_flags(profile.flags)
        .set_syscalls(Some(syscalls));
    Ok(seccomp)
}

fn rule(entry: Entry) -> Result<LinuxSyscall, String> {
    let names: Vec<String> = entry.names.into_iter().flatten().chain(entry.name).collect();
    if names.is_empty() {
        return Err("an entry names no system call".to_owned());
    }
    let mut rule = LinuxSyscall::default();
    rule.set_names(names)
        .set_action(entry.action)
        .set_errno_ret(entry.errno_ret)
        .set_args(entry.args.filter(|list| !list.is_empty()));
    Ok(rule)
}

/// The list, or the entry of the map that is about this machine.
fn architectures(list: Option<Vec<Arch>>, map: Option<Vec<Architecture>>) -> Option<Vec<Arch>> {
    let native = if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };
    let list = list.filter(|list| !list.is_empty());
    list.or_else(|| {
        let own = map?.into_iter().find(|entry| entry.architecture == native)?;
        Some(std::iter::once(native).chain(own.sub_architectures.into_iter().flatten()).collect())
    })
}

impl Machine<'_> {
    /// Does an entry count here?
    fn takes(&self, entry: &Entry) -> Result<bool, String> {
        let blank = Filter::default();
        let includes = entry.includes.as_ref().unwrap_or(&blank);
        let excludes = entry.excludes.as_ref().unwrap_or(&blank);
        // Of what is included everything must hold, of what is excluded nothing.
        let included = all(&includes.caps, |name| self.may(name))?
            && (includes.arches.as_ref().is_none_or(Vec::is_empty)
                || any(&includes.arches, |arch| Ok(arch == self.arch))?)
            && includes.min_kernel.as_deref().map_or(Ok(true), |version| self.is_at_least(version))?;
        let excluded = any(&excludes.caps, |name| self.may(name))?
            || any(&excludes.arches, |arch| Ok(arch == self.arch))?
            || excludes.min_kernel.as_deref().map_or(Ok(false), |version| self.is_at_least(version))?;
        Ok(included && !excluded)
    }

    fn may(&self, name: &str) -> Result<bool, String> {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        let capability: Capability = short.parse().map_err(|_| format!("unknown capability {name:?}"))?;
        Ok(self.bounding.contains(&capability))
    }

    fn is_at_least(&self, version: &str) -> Result<bool, String> {
        let wanted = numbers(version).ok_or_else(|| format!("{version:?} is no kernel version"))?;
        Ok(self.kernel >= wanted)
    }
}

type Condition<'a> = dyn Fn(&str) -> Result<bool, String> + 'a;

fn all(list: &Option<Vec<String>>, holds: impl Fn(&str) -> Result<bool, String>) -> Result<bool, String> {
    let holds: &Condition<'_> = &holds;
    list.iter().flatten().try_fold(true, |all, word| Ok(all & holds(word)?))
}

fn any(list: &Option<Vec<String>>, holds: impl Fn(&str) -> Result<bool, String>) -> Result<bool, String> {
    let holds: &Condition<'_> = &holds;
    list.iter().flatten().try_fold(false, |any, word| Ok(any | holds(word)?))
}

/// As profiles call it: Go's name.
fn go_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    name.release().to_str().ok().and_then(numbers).unwrap_or_default()
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(text: &str, bounding: Capabilities) -> Result<Vec<Vec<String>>, String> {
        let machine = Machine { bounding: &bounding, arch: "amd64", kernel: (6, 1) };
        let profile = translate(text.as_bytes(), &machine)?;
        let rules = profile.syscalls().clone().unwrap();
        Ok(rules.into_iter().map(|rule| rule.names().clone()).collect())
    }

    const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
        {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
        {"architecture":"SCMP_ARCH_S390X","subArchitectures":["SCMP_ARCH_S390"]}],
        "syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"x","includes":{},"excludes":{}},
        {"name":"ptrace","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
        {"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.1"}},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"],"arches":["s390"]}},
        {"names":["breakpoint"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm","arm64"]}}]}"#;

    #[test]
    fn conditions_choose_the_entries() {
        let names = |list: &[&str]| list.iter().map(|name| vec![(*name).to_owned()]).collect::<Vec<_>>();
        assert_eq!(translated(PROFILE, Capabilities::new()).unwrap(), names(&["read", "ptrace", "clone"]));
        let admin = Capabilities::from([Capability::SysAdmin]);
        assert_eq!(translated(PROFILE, admin).unwrap(), names(&["read", "ptrace", "mount"]));
    }

    #[test]
    fn a_file_becomes_a_filter_or_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile.json");
        std::fs::write(&file, PROFILE).unwrap();
        let profile = load(&file, &Capabilities::new()).unwrap();
        assert!(profile.architectures().as_ref().unwrap().len() == 2 || cfg!(target_arch = "aarch64"));
        for bad in [
            "",
            "{}",
            r#"{"defaultAction":"SCMP_ACT_NOPE"}"#,
            r#"{"defaultAction":"SCMP_ACT_ERRNO","listenerPath":"/x"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ERRNO"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["X"]}}]}"#,
        ] {
            std::fs::write(&file, bad).unwrap();
            assert!(
                load(&file, &Capabilities::new()).unwrap_err().to_string().contains("profile.json"),
                "{bad}"
            );
        }
        assert!(load(folder.path(), &Capabilities::new()).is_err());
        assert!(load(Path::new("relative"), &Capabilities::new()).is_err());
    }
}
