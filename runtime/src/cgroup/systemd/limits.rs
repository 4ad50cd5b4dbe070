//! What systemd is told about a cgroup's limits, so that it does not undo them when it writes its own again (on a
//! daemon-reload, for instance): read from the control files themselves. So there is one translation of `linux.resources`,
//! and what came by `unified` counts as well.

use std::path::Path;

use super::message::Value;
use crate::cgroup::mounts::read_whole;
use crate::spec::number_list;

/// systemd has no fractions of a percent in what it writes down, and takes a quota of none for a mistake.
const PERCENT: u64 = 10_000;
/// `CPUWeight=idle`, since this version.
const IDLE_SINCE: u32 = 252;

/// The properties of a scope with this folder. `version` is systemd's.
pub(super) fn read(folder: &Path, version: u32) -> Vec<(&'static str, Value)> {
    let files = Files(folder);
    let mut properties = Vec::new();
    for (property, file) in [
        ("MemoryMin", "memory.min"),
        ("MemoryLow", "memory.low"),
        ("MemoryHigh", "memory.high"),
        ("MemoryMax", "memory.max"),
        ("MemorySwapMax", "memory.swap.max"),
        ("TasksMax", "pids.max"),
    ] {
        properties.extend(files.number(file).map(|number| (property, Value::Number(number))));
    }
    let idle = files.number("cpu.idle") == Some(1);
    let weight = if idle { (version >= IDLE_SINCE).then_some(0) } else { files.number("cpu.weight") };
    properties.extend(weight.map(|weight| ("CPUWeight", Value::Number(weight))));
    if let Some((quota, period)) = files.quota() {
        let per_second =
            quota.map_or(u64::MAX, |quota| (quota * 1_000_000).div_ceil(period).next_multiple_of(PERCENT));
        properties.push(("CPUQuotaPerSecUSec", Value::Number(per_second)));
        properties.push(("CPUQuotaPeriodUSec", Value::Number(period)));
    }
    for (property, file) in [("AllowedCPUs", "cpuset.cpus"), ("AllowedMemoryNodes", "cpuset.mems")] {
        let list = files.text(file).and_then(|text| number_list::parse(&text));
        let list = list.filter(|list| !list.is_empty());
        properties.extend(list.map(|list| (property, Value::Bytes(bits(&list)))));
    }
    properties.extend(files.weight("io.weight").map(|weight| ("IOWeight", Value::Number(weight))));
    properties
}

struct Files<'a>(&'a Path);

impl Files<'_> {
    fn text(&self, file: &str) -> Option<String> {
        String::from_utf8(read_whole(self.0.join(file)).ok()?).ok()
    }

    /// A number, where `max` is infinity, the largest to systemd.
    fn number(&self, file: &str) -> Option<u64> {
        match self.text(file)?.trim() {
            "max" => Some(u64::MAX),
            text => text.parse().ok(),
        }
    }

    /// Quota and period in microseconds, of `cpu.max`; no quota is no limit.
    fn quota(&self) -> Option<(Option<u64>, u64)> {
        let text = self.text("cpu.max")?;
        let (quota, period) = text.trim().split_once(' ')?;
        let period = period.parse().ok().filter(|period| *period > 0)?;
        Some((if quota == "max" { None } else { Some(quota.parse().ok()?) }, period))
    }

    /// `default 100`, and devices after it.
    fn weight(&self, file: &str) -> Option<u64> {
        self.text(file)?.lines().find_map(|line| line.strip_prefix("default ")?.trim().parse().ok())
    }
}

/// A bit for each number, the lowest first.
fn bits(numbers: &[u32]) -> Vec<u8> {
    let largest = numbers.iter().copied().max().unwrap_or(0) as usize;
    let mut bits = vec![0; largest / 8 + 1];
    numbers.iter().for_each(|number| bits[*number as usize / 8] |= 1 << (number % 8));
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(files: &[(&str, &str)], version: u32) -> Vec<(&'static str, Value)> {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        read(folder.path(), version)
    }

    #[test]
    fn files_become_properties() {
        let files = [
            ("memory.max", "67108864\n"),
            ("memory.swap.max", "max\n"),
            ("pids.max", "max\n"),
            ("cpu.weight", "59\n"),
            ("cpu.idle", "0\n"),
            ("cpu.max", "50000 100000\n"),
            ("cpuset.cpus", "0-1,9\n"),
            ("cpuset.mems", "\n"),
            ("io.weight", "default 4950\n8:0 100\n"),
        ];
        let number = Value::Number;
        assert_eq!(
            properties(&files, 252),
            [
                ("MemoryMax", number(67_108_864)),
                ("MemorySwapMax", number(u64::MAX)),
                ("TasksMax", number(u64::MAX)),
                ("CPUWeight", number(59)),
                ("CPUQuotaPerSecUSec", number(500_000)),
                ("CPUQuotaPeriodUSec", number(100_000)),
                ("AllowedCPUs", Value::Bytes(vec![3, 2])),
                ("IOWeight", number(4950)),
            ]
        );
    }

    #[test]
    fn a_quota_is_rounded_up_to_a_percent_and_none_is_infinite() {
        for (text, expected) in
            [("1000 1000000", 10_000), ("33333 100000", 340_000), ("max 100000", u64::MAX)]
        {
            assert_eq!(properties(&[("cpu.max", text)], 252)[0].1, Value::Number(expected), "{text}");
        }
    }

    #[test]
    fn an_idle_group_has_no_weight_where_systemd_knows_no_other_word() {
        let files = [("cpu.idle", "1\n"), ("cpu.weight", "0\n")];
        assert_eq!(properties(&files, 252), [("CPUWeight", Value::Number(0))]);
        assert_eq!(properties(&files, 250), []);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(properties(&[("cpu.max", "what\n"), ("memory.max", "")], 252), []);
    }
}
