//! What a cgroup uses, in the shape that `runc events` prints. What cannot be read counts as nothing: a controller may be
//! missing, and the container may be ending.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::Cgroup;
use super::mounts::read_whole;
use crate::spec::number_list;

/// One look at a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes it may use.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Disks.
    pub blkio: BlockIo,
    /// Huge pages by their size, as `2MB`.
    pub hugetlb: BTreeMap<String, Counter>,
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Used.
    pub usage: CpuUsage,
    /// Withheld by the quota.
    pub throttling: Throttling,
}

/// Nanoseconds of processor time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    pub total: u64,
    /// Of each processor; v1 only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// Outside it.
    pub user: u64,
}

/// What the quota did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Throttling {
    /// Periods that passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which it was used up.
    #[serde(rename = "throttledPeriods", skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds of waiting.
    #[serde(rename = "throttledTime", skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Processors and memory nodes by number.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuSet {
    /// Processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u32>,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u32>,
}

/// Bytes of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// In all.
    pub usage: Counter,
    /// Memory and swap together on v1, swap alone on v2.
    pub swap: Counter,
    /// Of the kernel for it.
    pub kernel: Counter,
    /// Of the kernel's TCP buffers for it; v1 only.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Counter,
    /// `memory.stat` as it is.
    pub raw: BTreeMap<String, u64>,
}

/// A use with its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Counter {
    /// The limit; the largest number where there is none.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// At most so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// The limit; 0 where there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Disks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlockIo {
    /// Bytes read and written.
    #[serde(rename = "ioServiceBytesRecursive", skip_serializing_if = "Vec::is_empty")]
    pub service_bytes: Vec<BlockIoEntry>,
    /// Requests.
    #[serde(rename = "ioServicedRecursive", skip_serializing_if = "Vec::is_empty")]
    pub serviced: Vec<BlockIoEntry>,
}

/// One device, one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BlockIoEntry {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// `Read`, `Write` and the like.
    pub op: String,
    /// How many.
    pub value: u64,
}

impl Cgroup {
    /// Reads what the cgroup uses.
    pub fn stats(&self) -> Stats {
        let folder = |controller| self.folder_of(controller).map(Files);
        let unified = self.version2_folder().map(Files);
        Stats {
            cpu: match (folder("cpuacct").or_else(|| folder("cpu")), unified) {
                (Some(account), _) => account.cpu_version1(folder("cpu")),
                (None, Some(files)) => files.cpu_version2(),
                (None, None) => Cpu::default(),
            },
            cpuset: folder("cpuset").or(unified).map(Files::cpuset).unwrap_or_default(),
            memory: match (folder("memory"), unified) {
                (Some(files), _) => files.memory_version1(),
                (None, Some(files)) => files.memory_version2(),
                (None, None) => Memory::default(),
            },
            pids: folder("pids").or(unified).map(Files::pids).unwrap_or_default(),
            blkio: match (folder("blkio"), unified) {
                (Some(files), _) => files.block_io_version1(),
                (None, Some(files)) => files.block_io_version2(),
                (None, None) => BlockIo::default(),
            },
            hugetlb: folder("hugetlb").or(unified).map(Files::huge_pages).unwrap_or_default(),
        }
    }
}

/// The control files of one folder.
#[derive(Clone, Copy)]
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn text(self, file: &str) -> String {
        read_whole(self.0.join(file))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// A number; `max` is the largest, and what is not there is 0.
    fn number(self, file: &str) -> u64 {
        match self.text(file).trim() {
            "max" => u64::MAX,
            text => text.parse().unwrap_or(0),
        }
    }

    /// A file of names and numbers.
    fn table(self, file: &str) -> BTreeMap<String, u64> {
        let text = self.text(file);
        let entry = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.trim().parse().ok()?))
        };
        text.lines().filter_map(entry).collect()
    }

    fn cpu_version1(self, cpu: Option<Files<'_>>) -> Cpu {
        /// `USER_HZ` is 100 on every architecture that Linux runs containers on.
        const NANOSECONDS_OF_TICK: u64 = 10_000_000;
        let ticks = self.table("cpuacct.stat");
        let throttled = cpu.map(|cpu| cpu.table("cpu.stat")).unwrap_or_default();
        Cpu {
            usage: CpuUsage {
                total: self.number("cpuacct.usage"),
                percpu: self
                    .text("cpuacct.usage_percpu")
                    .split_ascii_whitespace()
                    .filter_map(|number| number.parse().ok())
                    .collect(),
                kernel: get(&ticks, "system").saturating_mul(NANOSECONDS_OF_TICK),
                user: get(&ticks, "user").saturating_mul(NANOSECONDS_OF_TICK),
            },
            throttling: Throttling {
                periods: get(&throttled, "nr_periods"),
                throttled_periods: get(&throttled, "nr_throttled"),
                throttled_time: get(&throttled, "throttled_time"),
            },
        }
    }

    fn cpu_version2(self) -> Cpu {
        let table = self.table("cpu.stat");
        let nanoseconds = |name| get(&table, name).saturating_mul(1000);
        Cpu {
            usage: CpuUsage {
                total: nanoseconds("usage_usec"),
                percpu: Vec::new(),
                kernel: nanoseconds("system_usec"),
                user: nanoseconds("user_usec"),
            },
            throttling: Throttling {
                periods: get(&table, "nr_periods"),
                throttled_periods: get(&table, "nr_throttled"),
                throttled_time: nanoseconds("throttled_usec"),
            },
        }
    }

    fn cpuset(self) -> CpuSet {
        let list = |version1: &str, version2: &str| {
            let own = self.text(version1);
            let text = if own.trim().is_empty() { self.text(version2) } else { own };
            number_list::parse(&text).unwrap_or_default()
        };
        CpuSet {
            cpus: list("cpuset.cpus", "cpuset.cpus.effective"),
            mems: list("cpuset.mems", "cpuset.mems.effective"),
        }
    }

    fn counter(self, prefix: &str) -> Counter {
        let number = |name: &str| self.number(&format!("{prefix}{name}"));
        Counter {
            limit: number("limit_in_bytes"),
            usage: number("usage_in_bytes"),
            max: number("max_usage_in_bytes"),
            failcnt: number("failcnt"),
        }
    }

    fn memory_version1(self) -> Memory {
        let raw = self.table("memory.stat");
        Memory {
            cache: get(&raw, "cache"),
            usage: self.counter("memory."),
            swap: self.counter("memory.memsw."),
            kernel: self.counter("memory.kmem."),
            kernel_tcp: self.counter("memory.kmem.tcp."),
            raw,
        }
    }

    fn memory_version2(self) -> Memory {
        let raw = self.table("memory.stat");
        let events = self.table("memory.events");
        Memory {
            cache: get(&raw, "file"),
            usage: Counter {
                limit: self.number("memory.max"),
                usage: self.number("memory.current"),
                max: self.number("memory.peak"),
                failcnt: get(&events, "max"),
            },
            swap: Counter {
                limit: self.number("memory.swap.max"),
                usage: self.number("memory.swap.current"),
                max: self.number("memory.swap.peak"),
                failcnt: get(&self.table("memory.swap.events"), "max"),
            },
            kernel: Counter { usage: get(&raw, "kernel"), ..Counter::default() },
            kernel_tcp: Counter::default(),
            raw,
        }
    }

    fn pids(self) -> Pids {
        let limit = Some(self.number("pids.max")).filter(|limit| *limit != u64::MAX);
        Pids { current: self.number("pids.current"), limit: limit.unwrap_or(0) }
    }

    fn block_io_version1(self) -> BlockIo {
        let table = |scheduler: &str, throttle: &str| {
            let entries = block_io_lines(&self.text(scheduler));
            if entries.is_empty() { block_io_lines(&self.text(throttle)) } else { entries }
        };
        BlockIo {
            service_bytes: table(
                "blkio.bfq.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes_recursive",
            ),
            serviced: table("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"),
        }
    }

    fn block_io_version2(self) -> BlockIo {
        let mut block_io = BlockIo::default();
        for line in self.text("io.stat").lines() {
            let mut words = line.split_ascii_whitespace();
            let Some((major, minor)) = words.next().and_then(device) else { continue };
            for (name, value) in words.filter_map(|word| word.split_once('=')) {
                let (list, op) = match name {
                    "rbytes" => (&mut block_io.service_bytes, "Read"),
                    "wbytes" => (&mut block_io.service_bytes, "Write"),
                    "rios" => (&mut block_io.serviced, "Read"),
                    "wios" => (&mut block_io.serviced, "Write"),
                    _ => continue,
                };
                let value = value.parse().unwrap_or(0);
                list.push(BlockIoEntry { major, minor, op: op.to_owned(), value });
            }
        }
        block_io
    }

    fn huge_pages(self) -> BTreeMap<String, Counter> {
        let mut sizes = BTreeMap::new();
        for entry in std::fs::read_dir(self.0).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix("hugetlb.")) else { continue };
            if let Some(size) = name.strip_suffix(".limit_in_bytes").filter(|size| !size.contains('.')) {
                sizes.insert(size.to_owned(), self.counter(&format!("hugetlb.{size}.")));
            } else if let Some(size) = name.strip_suffix(".max").filter(|size| !size.contains('.')) {
                let counter = Counter {
                    limit: self.number(&format!("hugetlb.{size}.max")),
                    usage: self.number(&format!("hugetlb.{size}.current")),
                    max: 0,
                    failcnt: get(&self.table(&format!("hugetlb.{size}.events")), "max"),
                };
                sizes.insert(size.to_owned(), counter);
            }
        }
        sizes
    }
}

fn get(table: &BTreeMap<String, u64>, name: &str) -> u64 {
    table.get(name).copied().unwrap_or(0)
}

/// `8:0 Read 4096`, one a line; the sum at the end has no device.
fn block_io_lines(text: &str) -> Vec<BlockIoEntry> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = device(words.next()?)?;
        let op = words.next()?.to_owned();
        Some(BlockIoEntry { major, minor, op, value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

fn device(word: &str) -> Option<(u64, u64)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("memory.current", "4096\n");
        write("memory.max", "max\n");
        write("memory.stat", "anon 1\nfile 2\nkernel 3\n");
        write("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n");
        write("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n");
        write("pids.max", "max\n");
        write("hugetlb.2MB.max", "0\n");
        write("hugetlb.2MB.rsvd.max", "0\n");
        let files = Files(folder.path());
        let memory = files.memory_version2();
        assert_eq!((memory.usage.usage, memory.usage.limit, memory.cache), (4096, u64::MAX, 2));
        assert_eq!(files.cpu_version2().usage.total, 5000);
        assert_eq!(files.pids().limit, 0);
        assert_eq!(files.huge_pages().into_keys().collect::<Vec<_>>(), ["2MB"]);
        let written = &files.block_io_version2().service_bytes[1];
        assert_eq!((written.major, &*written.op, written.value), (8, "Write", 2));
        write("memory.limit_in_bytes", "8192\n");
        write("memory.failcnt", "7\n");
        assert_eq!((files.memory_version1().usage.limit, files.memory_version1().usage.failcnt), (8192, 7));
        let lines = "8:0 Read 1\n8:0 Write 2\nTotal 3\n";
        assert_eq!(block_io_lines(lines).len(), 2);
    }
}
