//! What the container of an ordinary user cannot have: refused before anything exists, by the field that asks for it.

use nix::sched::CloneFlags;

use super::user_namespace::is_single;
use crate::error::{Error, Result};
use crate::namespaces::NEW_TIME;
use crate::security::seccomp::Program;
use crate::spec::plan::Plan;

/// Checks the plan of a caller without rights on the machine.
pub(super) fn check(plan: &Plan) -> Result<()> {
    if !plan.namespaces.has(CloneFlags::CLONE_NEWUSER) {
        return refuse(
            "linux.namespaces",
            "the container of an ordinary user needs a user namespace, with id mappings; roci spec --rootless writes both",
        );
    }
    if !plan.namespaces.create.contains(CloneFlags::CLONE_NEWNS) {
        // He may mount only in that, and host paths are to be those of the host.
        return refuse(
            "linux.namespaces",
            "the container of an ordinary user needs a mount namespace of its own",
        );
    }
    if plan.namespaces.create.contains(NEW_TIME) {
        return refuse("linux.namespaces", "a new time namespace takes rights that this user has not");
    }
    for (index, mount) in plan.mounts.iter().enumerate() {
        if mount.id_map.is_some() {
            let field = format!("mounts[{index}]");
            return refuse(&field, "to map the ids of a mount takes rights that this user has not");
        }
    }
    let own_group = rustix::process::getegid().as_raw();
    if !plan.process.additional_gids.is_empty() && is_single(&plan.gid_mappings, own_group) {
        return refuse(
            "process.user.additionalGids",
            "nobody may change groups in a user namespace of which an ordinary user mapped his own group alone; map more of them",
        );
    }
    Ok(())
}

/// Nobody but root gets at the descriptor that answers a filter's calls, for the process that has it cannot be traced.
pub(super) fn check_filter(filter: Option<&Program>) -> Result<()> {
    if filter.is_some_and(Program::has_listener) {
        return refuse("linux.seccomp", "SCMP_ACT_NOTIFY takes rights that this user has not");
    }
    Ok(())
}

fn refuse(field: &str, reason: &str) -> Result<()> {
    Err(Error::Spec { path: field.to_owned(), reason: reason.to_owned() })
}
