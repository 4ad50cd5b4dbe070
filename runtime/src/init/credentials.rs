//! The user and groups of the process that is about to run the command.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, Gid, Uid};

use super::{Step, StepFailure};
use crate::fault::{self, Defence};

/// Sets the supplementary groups. Where nobody may, as in the user namespace of an ordinary user's single group, no groups
/// means those that the caller has: they are as they were, and no rights are won by that.
pub(super) fn set_groups(groups: &[Gid]) -> Result<(), Errno> {
    match rustix::thread::set_thread_groups(groups) {
        // With this right it is the namespace that forbids it (user_namespaces(7), setgroups).
        Err(Errno::PERM) if groups.is_empty() && holds_the_right()? => Ok(()),
        other => other,
    }
}

fn holds_the_right() -> Result<bool, Errno> {
    let own = rustix::thread::capabilities(None)?;
    Ok(own.effective.contains(CapabilitySet::SETGID))
}

/// Becomes the user of the process. Capabilities stay permitted if that was asked for before.
pub(super) fn become_user(user: u32, group: u32, additional: &[u32]) -> Result<(), StepFailure> {
    let groups: Vec<Gid> = additional.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let failed = |object: String| StepFailure::of(Step::User, object);
    if !fault::without(Defence::ExactGroups) {
        set_groups(&groups).map_err(|errno| {
            let forbidden = if errno == Errno::PERM {
                ", which a user namespace with a single group forbids"
            } else {
                ""
            };
            failed(format!("groups {additional:?}{forbidden}"))(errno)
        })?;
    }
    let gid = Gid::from_raw(group);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed(format!("group {group}")))?;
    let uid = Uid::from_raw(user);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed(format!("user {user}")))?;
    // A machine with fs.suid_dumpable=1 makes who changes users traceable by them (CVE-2016-9962).
    forbid_tracing().map_err(StepFailure::of(Step::User, "the process to be not dumpable"))
}

/// Lets nobody look into this process who has no right to look into all.
pub(super) fn forbid_tracing() -> Result<(), Errno> {
    if fault::without(Defence::NotDumpable) {
        return Ok(());
    }
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}
