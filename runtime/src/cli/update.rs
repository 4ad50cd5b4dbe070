//! `roci update`: other limits for a running container.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use oci_spec::runtime::LinuxResources;
use runtime::container::{self, Id};
use runtime::resctrl;
use serde_json::{Map, Value, json};

use super::log::Log;

#[derive(Debug, Args)]
pub struct Arguments {
    /// File with the limits, as linux.resources of config.json; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Relative share of disk time, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Period of the processor quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Processor time within a period, in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Processor time that may be saved up, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_burst: Option<u64>,
    /// Relative share of processor time
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Period of real-time scheduling, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// Real-time scheduling within a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<i64>,
    /// 1 to run only when nobody else wants to, 0 as usual
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,
    /// Processors that may be used, as 0-2,5
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory, in bytes or as 64M; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory that is left when others want it, in bytes or as 64M
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes or as 64M; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Processes; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Share of the processors' cache by Intel RDT (refused: not supported)
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Share of the memory's bandwidth by Intel RDT (refused: not supported)
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::id)]
    id: Id,
}

pub fn run(arguments: &Arguments, state_root: &Path, log: &Log) -> anyhow::Result<u8> {
    for (option, given) in
        [("--l3-cache-schema", &arguments.l3_cache_schema), ("--mem-bw-schema", &arguments.mem_bw_schema)]
    {
        ensure!(given.is_none(), "{option}: {}", resctrl::refusal());
    }
    let options = arguments.options();
    let resources = match &arguments.resources {
        Some(file) => {
            ensure!(options == json!({}), "--resources holds all limits: leave the other options out");
            read(file)?
        }
        None => serde_json::from_value(options)?,
    };
    log.clamped(&container::update(state_root, &arguments.id, &resources)?);
    Ok(0)
}

impl Arguments {
    /// The options as `linux.resources`, without those that were not given.
    fn options(&self) -> Value {
        let group = |fields: &[(&str, Option<Value>)]| {
            let given = fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
            given.collect::<Map<_, _>>()
        };
        let value = |number: Option<i64>| number.map(Value::from);
        let groups = [
            ("blockIO", group(&[("weight", self.blkio_weight.map(Value::from))])),
            (
                "cpu",
                group(&[
                    ("period", self.cpu_period.map(Value::from)),
                    ("quota", value(self.cpu_quota)),
                    ("burst", self.cpu_burst.map(Value::from)),
                    ("shares", self.cpu_share.map(Value::from)),
                    ("realtimePeriod", self.cpu_rt_period.map(Value::from)),
                    ("realtimeRuntime", value(self.cpu_rt_runtime)),
                    ("idle", value(self.cpu_idle)),
                    ("cpus", self.cpuset_cpus.clone().map(Value::from)),
                    ("mems", self.cpuset_mems.clone().map(Value::from)),
                ]),
            ),
            (
                "memory",
                group(&[
                    ("limit", value(self.memory)),
                    ("reservation", value(self.memory_reservation)),
                    ("swap", value(self.memory_swap)),
                ]),
            ),
            ("pids", group(&[("limit", value(self.pids_limit))])),
        ];
        let given = groups.into_iter().filter(|(_, fields)| !fields.is_empty());
        Value::Object(given.map(|(name, fields)| (name.to_owned(), Value::Object(fields))).collect())
    }
}

fn read(file: &Path) -> anyhow::Result<LinuxResources> {
    /// Far more than any real document has.
    const LARGEST: u64 = 1 << 20;
    let named = || format!("cannot read --resources {}", file.display());
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().take(LARGEST).read_to_end(&mut text).with_context(named)?;
    } else {
        std::fs::File::open(file)
            .with_context(named)?
            .take(LARGEST)
            .read_to_end(&mut text)
            .with_context(named)?;
    }
    runtime::spec::parse_resources(&text).with_context(|| format!("--resources {}", file.display()))
}

/// A number of bytes, with a unit of `b`, `k`, `m`, `g` or `t` (1024 each) if there is one.
fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[at..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("not a number of bytes such as 67108864 or 64M".to_owned()),
    };
    let number: i64 =
        text[..at].parse().map_err(|_| "not a number of bytes such as 67108864 or 64M".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than any memory".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(
            [bytes("64M"), bytes("1gb"), bytes("7"), bytes("-1")],
            [Ok(64 << 20), Ok(1 << 30), Ok(7), Ok(-1)]
        );
        for bad in ["", "M", "-2", "1.5G", "64Q", "9223372036854775807k"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
