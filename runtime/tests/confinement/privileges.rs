//! Capabilities, resource limits and the change of user, read back from /proc.

use std::collections::HashSet;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use oci_spec::runtime::{Capability, LinuxCapabilities, PosixRlimitBuilder, PosixRlimitType};
use runtime::security::capabilities::{CapabilityPlan, MachineCapabilities};
use runtime::security::rlimits::Rlimits;
use runtime::spec::defaults;
use rustix::thread::CapabilitySet;

use crate::Test;
use crate::child;

pub const TESTS: &[Test] = &[
    ("privileges::root_gets_the_default_set_and_no_more", root_gets_the_default_set_and_no_more),
    ("privileges::a_user_keeps_only_ambient_over_exec", a_user_keeps_only_ambient_over_exec),
    ("privileges::no_capabilities_at_all", no_capabilities_at_all),
    ("privileges::limits_hold", limits_hold),
];

fn request(set: &HashSet<Capability>, ambient: bool) -> LinuxCapabilities {
    let mut request = LinuxCapabilities::default();
    request
        .set_bounding(Some(set.clone()))
        .set_permitted(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_inheritable(ambient.then(|| set.clone()))
        .set_ambient(ambient.then(|| set.clone()));
    request
}

/// Confines a child as a container's init does, and reads its sets before and after exec.
fn confined(request: Option<&LinuxCapabilities>, uid: u32) -> Vec<(String, u64)> {
    let machine = MachineCapabilities::read().unwrap();
    let (plan, _) = CapabilityPlan::new(request, &machine).unwrap();
    let report = child::run(|| {
        plan.drop_bounding().unwrap();
        plan.keep_over_setuid().unwrap();
        setgroups(&[Gid::from_raw(uid)]).unwrap();
        setgid(Gid::from_raw(uid)).unwrap();
        setuid(Uid::from_raw(uid)).unwrap();
        plan.apply().unwrap();
        let before = std::fs::read_to_string("/proc/self/status").unwrap();
        let after = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap();
        format!("{before}{}", String::from_utf8_lossy(&after.stdout))
    });
    report
        .lines()
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("Cap")?.split_once(':')?;
            Some((name.to_owned(), u64::from_str_radix(value.trim(), 16).unwrap()))
        })
        .collect()
}

fn bits(names: &HashSet<Capability>) -> u64 {
    let machine = MachineCapabilities::read().unwrap();
    let (plan, _) = CapabilityPlan::new(Some(&request(names, false)), &machine).unwrap();
    plan.bounding.bits()
}

fn sets(inheritable: u64, permitted: u64, effective: u64, bounding: u64, ambient: u64) -> [(String, u64); 5] {
    [("Inh", inheritable), ("Prm", permitted), ("Eff", effective), ("Bnd", bounding), ("Amb", ambient)]
        .map(|(name, bits)| (name.to_owned(), bits))
}

fn root_gets_the_default_set_and_no_more() {
    let set = defaults::capabilities();
    let wanted = bits(&set);
    assert_eq!(wanted.count_ones(), 14);
    let found = confined(Some(&request(&set, false)), 0);
    assert_eq!(found[..5], sets(0, wanted, wanted, wanted, 0));
    assert_eq!(found[5..], sets(0, wanted, wanted, wanted, 0));
}

fn a_user_keeps_only_ambient_over_exec() {
    let set = defaults::capabilities();
    let wanted = bits(&set);
    let found = confined(Some(&request(&set, false)), 4711);
    assert_eq!(found[..5], sets(0, wanted, wanted, wanted, 0));
    assert_eq!(found[5..], sets(0, 0, 0, wanted, 0));
    let one = HashSet::from([Capability::NetBindService]);
    let bit = CapabilitySet::NET_BIND_SERVICE.bits();
    let found = confined(Some(&request(&one, true)), 4711);
    assert_eq!(found[5..], sets(bit, bit, bit, bit, bit));
}

fn no_capabilities_at_all() {
    for uid in [0, 4711] {
        let found = confined(None, uid);
        assert!(found.iter().all(|(_, bits)| *bits == 0), "{found:?}");
    }
}

fn limits_hold() {
    let limit = |kind, soft: u64, hard: u64| {
        PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().unwrap()
    };
    let wanted = [
        limit(PosixRlimitType::RlimitNofile, 64, 128),
        limit(PosixRlimitType::RlimitCore, 0, 0),
        limit(PosixRlimitType::RlimitNproc, u64::MAX, u64::MAX),
    ];
    let held = MachineCapabilities::read().unwrap().permitted;
    let (limits, _) = Rlimits::new(&wanted, held).unwrap();
    let report = child::run(|| {
        limits.apply().unwrap();
        std::fs::read_to_string("/proc/self/limits").unwrap()
    });
    let line = |name: &str| -> Vec<String> {
        let line = report.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(line("Max open files"), ["64", "128"]);
    assert_eq!(line("Max core file size"), ["0", "0"]);
}
