//! Counters of a cgroup, of either version. What cannot be read counts as nothing: the container may be ending.

use std::path::Path;

use runtime::cgroup::{Cgroup, CgroupPath, Hierarchies};
use runtime::monitor::status_record;

/// Version 1 writes "no limit" as the largest multiple of a page.
const UNLIMITED: u64 = 1 << 62;

/// One look at a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, in nanoseconds since 1970.
    pub timestamp: i64,
    /// Nanoseconds of processor time since it was made.
    pub cpu: u64,
    /// Memory.
    pub memory: Memory,
    /// Swap.
    pub swap: Swap,
}

/// Bytes of memory, and how it was had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub usage: u64,
    /// What is in use and cannot easily be given back.
    pub working_set: u64,
    /// What is left below the limit; 0 without one.
    pub available: u64,
    /// What belongs to no file.
    pub rss: u64,
    /// Faults.
    pub page_faults: u64,
    /// Faults that needed a disk.
    pub major_page_faults: u64,
}

/// Bytes of swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// In use.
    pub usage: u64,
    /// Left below the limit; 0 without one.
    pub available: u64,
}

/// Looks at a cgroup.
pub fn sample(hierarchies: &Hierarchies, path: &CgroupPath) -> Sample {
    let cgroup = Cgroup::open(hierarchies, path);
    let mut sample = Sample { timestamp: status_record::now(), ..Sample::default() };
    match cgroup.folder_of("memory") {
        Some(folder) => (sample.memory, sample.swap) = memory_version1(folder),
        None => {
            if let Some(folder) = cgroup.version2_folder() {
                (sample.memory, sample.swap) = memory_version2(folder);
            }
        }
    }
    sample.cpu = match (cgroup.folder_of("cpuacct"), cgroup.version2_folder()) {
        (Some(folder), _) => number(folder, "cpuacct.usage").unwrap_or(0),
        (None, Some(folder)) => Table::read(folder, "cpu.stat").get("usage_usec").saturating_mul(1000),
        (None, None) => 0,
    };
    sample
}

fn memory_version1(folder: &Path) -> (Memory, Swap) {
    let usage = number(folder, "memory.usage_in_bytes").unwrap_or(0);
    let table = Table::read(folder, "memory.stat");
    let limit = number(folder, "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED);
    let both = number(folder, "memory.memsw.usage_in_bytes");
    let both_limit = number(folder, "memory.memsw.limit_in_bytes").filter(|limit| *limit < UNLIMITED);
    let swap_usage = both.map_or(0, |both| both.saturating_sub(usage));
    let swap_limit = both_limit.map(|both| both.saturating_sub(limit.unwrap_or(0)));
    let memory = Memory {
        rss: table.get("total_rss"),
        page_faults: table.get("total_pgfault"),
        major_page_faults: table.get("total_pgmajfault"),
        ..of(usage, table.get("total_inactive_file"), limit)
    };
    (memory, swap(swap_usage, swap_limit))
}

fn memory_version2(folder: &Path) -> (Memory, Swap) {
    let usage = number(folder, "memory.current").unwrap_or(0);
    let table = Table::read(folder, "memory.stat");
    let memory = Memory {
        rss: table.get("anon"),
        page_faults: table.get("pgfault"),
        major_page_faults: table.get("pgmajfault"),
        // "max" is no number, so no limit.
        ..of(usage, table.get("inactive_file"), number(folder, "memory.max"))
    };
    let used = number(folder, "memory.swap.current").unwrap_or(0);
    (memory, swap(used, number(folder, "memory.swap.max")))
}

fn of(usage: u64, inactive_file: u64, limit: Option<u64>) -> Memory {
    let working_set = usage.saturating_sub(inactive_file);
    let available = limit.map_or(0, |limit| limit.saturating_sub(working_set));
    Memory { usage, working_set, available, ..Memory::default() }
}

fn swap(usage: u64, limit: Option<u64>) -> Swap {
    Swap { usage, available: limit.map_or(0, |limit| limit.saturating_sub(usage)) }
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

/// A file of names and numbers.
struct Table(String);

impl Table {
    fn read(folder: &Path, file: &str) -> Table {
        Table(std::fs::read_to_string(folder.join(file)).unwrap_or_default())
    }

    fn get(&self, name: &str) -> u64 {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(value).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        folder
    }

    #[test]
    fn version_1_is_read_by_its_own_formulas() {
        let folder = folder(&[
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.stat",
                "rss 1\ninactive_file 2\ntotal_rss 300\ntotal_inactive_file 400\ntotal_pgfault 5\n",
            ),
        ]);
        let (memory, swap) = memory_version1(folder.path());
        assert_eq!((memory.working_set, memory.available, memory.rss, memory.page_faults), (600, 0, 300, 5));
        assert_eq!(swap, Swap::default());
        std::fs::write(folder.path().join("memory.limit_in_bytes"), "700\n").unwrap();
        assert_eq!(memory_version1(folder.path()).0.available, 100);
    }

    #[test]
    fn version_2_is_read_by_its_own_formulas() {
        let folder = folder(&[
            ("memory.current", "1000\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 300\nfile 1\ninactive_file 1400\npgmajfault 7\n"),
            ("memory.swap.current", "10\n"),
            ("memory.swap.max", "30\n"),
        ]);
        let (memory, swap) = memory_version2(folder.path());
        assert_eq!(
            (memory.working_set, memory.available, memory.rss, memory.major_page_faults),
            (0, 0, 300, 7)
        );
        assert_eq!(swap, Swap { usage: 10, available: 20 });
    }

    #[test]
    fn a_cgroup_that_is_gone_uses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(memory_version1(folder.path()), (Memory::default(), Swap::default()));
    }
}
