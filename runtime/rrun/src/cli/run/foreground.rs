//! Becoming the monitor of a foreground container.

use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use engine::{Containers, NetworkMode, launch, network_file};
use rustix::io::FdFlags;

use super::creation::Prepared;
use super::request::Request;

/// Executes the monitor in this process. The root and the lock are the only descriptors that it inherits.
pub fn become_monitor(
    request: &Request<'_>,
    containers: &Containers,
    prepared: &Prepared,
) -> Result<Infallible> {
    let Prepared { record, held, root } = prepared;
    let roci = runtime::container::roci_path();
    let mut command = Command::new(&roci);
    command.arg("--root").arg(containers.runtime_state());
    command.args(["monitor", "--foreground", "--program", "rrun", "--id", &held.id]);
    command.arg("--bundle").arg(&held.path);
    command.arg("--socket").arg(containers.socket(&held.id));
    for (option, descriptor) in [("--rootfs-fd", root), ("--lock-fd", &held.lock)] {
        rustix::io::fcntl_setfd(descriptor, FdFlags::empty()).context("cannot pass a descriptor on")?;
        command.arg(option).arg(descriptor.as_raw_fd().to_string());
    }
    if record.network == NetworkMode::Bridge {
        command.arg("--network").arg(network_file(&held.path));
    }
    match record.remove {
        true => command.arg("--remove").arg(&held.path),
        // What goes with the container at its end needs no second copy until then.
        false => command.arg("--log").arg(launch::log_file(&held.path)),
    };
    if !record.remove {
        command.arg("--log-files").arg(record.log.max_files.to_string());
        if let Some(size) = record.log.max_size {
            command.arg("--log-size").arg(size.to_string());
        }
    }
    if request.arguments.interactive {
        command.arg("--interactive");
    }
    if request.arguments.tty {
        command.arg("--terminal");
    }
    Err(command.exec()).with_context(|| format!("cannot execute the runtime {}", roci.display()))
}
