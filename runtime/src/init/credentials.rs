//! The user and groups of the process that is about to run the command.

use super::{Step, StepFailure};
use crate::spec::plan::ProcessPlan;
use rustix::thread::{Gid, Uid};

/// Becomes the user of the process. Capabilities stay permitted if that was asked for before.
pub(super) fn become_user(process: &ProcessPlan) -> Result<(), StepFailure> {
    let groups: Vec<Gid> = process.additional_gids.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let failed = |object: String| StepFailure::of(Step::User, object);
    rustix::thread::set_thread_groups(&groups)
        .map_err(failed(format!("groups {:?}", process.additional_gids)))?;
    let gid = Gid::from_raw(process.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed(format!("group {}", process.gid)))?;
    let uid = Uid::from_raw(process.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed(format!("user {}", process.uid)))?;
    // A machine with fs.suid_dumpable=1 makes who changes users traceable by them (CVE-2016-9962).
    let behavior = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(behavior)
        .map_err(StepFailure::of(Step::User, "the process to be not dumpable"))
}
