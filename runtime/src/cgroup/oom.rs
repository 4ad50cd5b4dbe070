//! Whether the out-of-memory killer hit a cgroup: read from a file that was opened before the cgroup may go.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};

use super::Cgroup;

/// The counter's name in `memory.oom_control` (v1) and `memory.events` (v2).
const NAME: &str = "oom_kill";

impl Cgroup {
    /// Opens the file with the counter; `None` where nobody controls memory.
    pub fn open_oom_counter(&self) -> Option<OwnedFd> {
        let version1 = self.folder_of("memory").map(|folder| folder.join("memory.oom_control"));
        let path = version1.or_else(|| self.version2_folder().map(|folder| folder.join("memory.events")))?;
        fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }
}

/// How many processes of the cgroup the kernel killed for want of memory; 0 when the cgroup is gone.
pub fn oom_kills(counter: BorrowedFd<'_>) -> u64 {
    let mut buffer = [0; 512];
    let length = rustix::io::pread(counter, &mut buffer, 0).unwrap_or(0);
    std::str::from_utf8(&buffer[..length]).map_or(0, count_in)
}

fn count_in(text: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(NAME)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_in_both_versions() {
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(count_in("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(count_in("low 0\n"), 0);
        assert_eq!(count_in(""), 0);
    }
}
