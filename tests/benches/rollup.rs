//! What the kernel says a process occupies.

use std::fs;

use anyhow::Context;

/// One line of the sums over a process's mappings (`Pss:`, `Pss_Anon:`), in bytes.
pub fn rollup(pid: u32, key: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number =
        line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|line| line.parse::<u64>().ok());
    Ok(number.with_context(|| format!("{path} has no {key}"))? * 1024)
}
