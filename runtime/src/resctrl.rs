//! Intel RDT, the kernel's `resctrl` file system (runtime-spec, "IntelRdt"): this runtime does not use it, and says what is missing.

/// Why nothing can be done with it here.
pub fn refusal() -> &'static str {
    refusal_for(&read("/proc/filesystems"), &read("/proc/self/mountinfo"))
}

fn refusal_for(filesystems: &str, mounts: &str) -> &'static str {
    if !filesystems.lines().any(|line| line.split('\t').next_back() == Some("resctrl")) {
        "this machine has no resctrl file system: its processor or kernel lacks Intel RDT"
    } else if !mounts.lines().any(|line| line.contains(" - resctrl ")) {
        "no resctrl file system is mounted, and this runtime would not use one"
    } else {
        "it is not supported: this runtime does not use the resctrl file system"
    }
}

/// A file of the kernel's; one that cannot be read lists nothing.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let known = "nodev\tproc\nnodev\tresctrl\n\text4\n";
        let mounted = "30 23 0:27 / /sys/fs/resctrl rw,relatime - resctrl resctrl rw\n";
        assert!(refusal_for("nodev\tproc\n", "").contains("this machine has no resctrl"));
        assert!(refusal_for(known, "1 1 0:1 / /resctrl rw - tmpfs resctrl rw").contains("is mounted"));
        assert!(refusal_for(known, mounted).starts_with("it is not supported"));
    }
}
