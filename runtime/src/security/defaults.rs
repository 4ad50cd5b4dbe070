//! The paths that a container does not see or cannot write unless its creator says otherwise.
//!
//! These are the specification's and Docker's current lists. Each hides something that tells about other
//! containers or the hardware, or changes the host although the container holds no capability for it.

const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    // Timing of the host's devices: a side channel for keystrokes.
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    // Power meters: a side channel for what other containers compute (GHSA-7ww5-4wqc-m92c).
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that are hidden: folders under an empty read-only tmpfs, files under the null device. To the fixed ones come
/// each processor's heat counters, which tell what other containers compute. Virtual machines
/// mostly have none.
pub fn masked_paths() -> Vec<String> {
    let counters = (0..)
        .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"))
        .take_while(|path| std::path::Path::new(path).exists());
    MASKED_PATHS.iter().map(ToString::to_string).chain(counters).collect()
}

/// Paths that can be read but not written.
pub const READONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
