//! Turns a specification into a checked plan. Nothing exists yet when this fails.
//!
//! Each refusal names the field by its JSON path. What the specification knows and this runtime does not do is
//! refused by name, never ignored; unknown properties are ignored, as the specification demands.

mod linux;
mod mounts;
mod process;
mod scheduling;
mod sysctl;

use std::ffi::CString;
use std::path::{Component, Path, PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::{Hook, Spec};

pub use self::process::{further_process, process};
pub use self::sysctl::sysctl;
use super::plan::{Plan, RootPlan};
use crate::error::{Error, Result};
use crate::hooks::{Hooks, Point};
use crate::rootfs::options;

/// Checks a container's whole specification. `bundle` is what relative host paths mean; with `root_is_passed` the
/// root comes as a mount and `root.path` only informs.
pub fn container(spec: &Spec, bundle: &Path, root_is_passed: bool) -> Result<Plan> {
    version(spec.version())?;
    for (name, present) in [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ] {
        refuse_if(present, name)?;
    }
    let linux = spec.linux().as_ref().ok_or_else(|| missing("linux"))?;
    linux::refuse_unsupported(linux)?;
    let namespaces = linux::namespaces(linux)?;
    let (uid_mappings, gid_mappings) = linux::id_mappings(linux, &namespaces)?;
    let hooks = hooks(spec)?;
    let mut root = root(spec, linux, bundle, root_is_passed)?;
    if hooks.see_root() && !namespaces.has(CloneFlags::CLONE_NEWNS) {
        let reason = "those before the start need a mount namespace of the container to see its root in";
        return Err(invalid("hooks", reason.to_owned()));
    }
    if hooks.see_root() && !root_is_passed {
        // It is attached there by name, where the last link is not followed and the mount it is on has to be found.
        root.path = root.path.canonicalize().map_err(|error| {
            invalid("root.path", format!("cannot follow {}: {error}", root.path.display()))
        })?;
    }
    let users = CloneFlags::CLONE_NEWUSER;
    let surroundings = mounts::Surroundings {
        bundle,
        root: &root.path,
        users: &uid_mappings,
        groups: &gid_mappings,
        joins_users: namespaces.has(users) && !namespaces.create.contains(users),
    };
    let mut notes = Vec::new();
    let mounts = mounts::mounts(spec, &surroundings, &mut notes)?;
    let asked = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    let process = further_process("process", asked, Some(linux))?;
    linux::user_is_mapped(&process, &uid_mappings, &gid_mappings)?;
    Ok(Plan {
        version: spec.version().clone(),
        process,
        root,
        mounts,
        uid_mappings,
        gid_mappings,
        hostname: linux::name("hostname", spec.hostname(), &namespaces)?,
        domainname: linux::name("domainname", spec.domainname(), &namespaces)?,
        devices: linux::devices(linux)?,
        net_devices: linux::net_devices(linux, &namespaces)?,
        masked_paths: paths("linux.maskedPaths", linux.masked_paths())?,
        readonly_paths: paths("linux.readonlyPaths", linux.readonly_paths())?,
        sysctls: sysctl::sysctls(linux, &namespaces)?,
        time_offsets: linux::time_offsets(linux, &namespaces)?,
        resources: linux.resources().clone(),
        cgroups_path: linux::cgroups_path(linux)?,
        hooks,
        seccomp: linux.seccomp().clone(),
        notes,
        namespaces,
    })
}

/// 1.x documents are understood: newer minor versions only add what we then refuse by name or may ignore.
fn version(version: &str) -> Result<()> {
    let refuse = |reason: String| Err(invalid("ociVersion", reason));
    let (core, _) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let numbers: Vec<Option<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => refuse(format!("version {version} is not supported; known are 1.x")),
        _ => refuse(format!("{version:?} is no version")),
    }
}

fn hooks(spec: &Spec) -> Result<Hooks> {
    let Some(hooks) = spec.hooks() else { return Ok(Hooks::default()) };
    let list = |point: Point, list: &Option<Vec<Hook>>| -> Result<Vec<Hook>> {
        let list = list.clone().unwrap_or_default();
        for (index, hook) in list.iter().enumerate() {
            check_hook(&format!("hooks.{}[{index}]", point.name()), hook)?;
        }
        Ok(list)
    };
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    Ok(Hooks {
        prestart: list(Point::Prestart, prestart)?,
        create_runtime: list(Point::CreateRuntime, hooks.create_runtime())?,
        create_container: list(Point::CreateContainer, hooks.create_container())?,
        start_container: list(Point::StartContainer, hooks.start_container())?,
        poststart: list(Point::Poststart, hooks.poststart())?,
        poststop: list(Point::Poststop, hooks.poststop())?,
    })
}

fn check_hook(at: &str, hook: &Hook) -> Result<()> {
    text(&format!("{at}.path"), hook.path())?;
    if !hook.path().is_absolute() {
        return Err(invalid(&format!("{at}.path"), format!("{} is not absolute", hook.path().display())));
    }
    for (name, list) in [("args", hook.args()), ("env", hook.env())] {
        for (index, value) in list.iter().flatten().enumerate() {
            text(&format!("{at}.{name}[{index}]"), value)?;
        }
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        return Err(invalid(&format!("{at}.timeout"), "it has to be greater than zero".to_owned()));
    }
    Ok(())
}

fn root(spec: &Spec, linux: &oci_spec::runtime::Linux, bundle: &Path, is_passed: bool) -> Result<RootPlan> {
    let root = spec.root().as_ref().ok_or_else(|| missing("root"))?;
    let path = host_path("root.path", root.path(), bundle)?;
    if !is_passed && !path.is_dir() {
        return Err(invalid("root.path", format!("{} is not a directory", path.display())));
    }
    let word = linux.rootfs_propagation().as_deref().unwrap_or("");
    // Without a word mounts of the host arrive and none leave, as with runc.
    let propagation = options::propagation(if word.is_empty() { "rslave" } else { word })
        .ok_or_else(|| invalid("linux.rootfsPropagation", format!("unknown propagation {word:?}")))?;
    Ok(RootPlan { path, readonly: root.readonly().unwrap_or(false), propagation })
}

fn paths(field: &str, list: &Option<Vec<String>>) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (index, path) in list.iter().flatten().enumerate() {
        let path = lenient_path(&format!("{field}[{index}]"), Path::new(path))?;
        // Once is enough, and each further time would be a mount more.
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// An absolute path in the container, without `.` and doubled slashes. `..` is refused: it can only mean a
/// different place than its writer thought once links come in.
fn container_path(field: &str, path: &Path) -> Result<PathBuf> {
    text(field, path)?;
    if !path.is_absolute() {
        return Err(invalid(field, format!("{} is not absolute", path.display())));
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(invalid(field, format!("{} has a parent component", path.display())));
    }
    Ok(path.components().collect())
}

/// As [`container_path`], where older documents may leave the slash out: then the path starts at the root.
fn lenient_path(field: &str, path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err(invalid(field, "it is empty".to_owned()));
    }
    container_path(field, &Path::new("/").join(path))
}

/// An absolute path on the host; relative ones start at the bundle.
fn host_path(field: &str, path: &Path, bundle: &Path) -> Result<PathBuf> {
    text(field, path)?;
    if path.as_os_str().is_empty() {
        return Err(invalid(field, "it is empty".to_owned()));
    }
    Ok(bundle.join(path))
}

/// Longest text of any field. Nothing is ever cut to fit: a longer one is refused (CVE-2021-43784).
const LONGEST: usize = 64 << 10;

fn text(field: &str, value: impl AsRef<std::ffi::OsStr>) -> Result<()> {
    let value = value.as_ref();
    if value.len() > LONGEST {
        return Err(invalid(field, format!("it has {} bytes, more than {LONGEST}", value.len())));
    }
    if value.as_encoded_bytes().contains(&0) {
        return Err(invalid(field, "it holds a NUL byte".to_owned()));
    }
    Ok(())
}

/// A string for the kernel. Arguments and variables may be as long as exec takes one.
fn c_string(field: impl Fn() -> String, value: &str) -> Result<CString> {
    const MAX_ARG_STRLEN: usize = 128 << 10;
    if value.len() >= MAX_ARG_STRLEN {
        return Err(invalid(
            &field(),
            format!("it has {} bytes; exec takes {}", value.len(), MAX_ARG_STRLEN - 1),
        ));
    }
    CString::new(value).map_err(|_| invalid(&field(), "it holds a NUL byte".to_owned()))
}

fn refuse_if(present: bool, field: &str) -> Result<()> {
    if present { Err(Error::Unsupported { what: format!("config.json: {field}") }) } else { Ok(()) }
}

fn missing(field: &str) -> Error {
    invalid(field, "it is missing".to_owned())
}

fn invalid(field: &str, reason: String) -> Error {
    Error::Spec { path: field.to_owned(), reason }
}

#[cfg(test)]
mod tests;
