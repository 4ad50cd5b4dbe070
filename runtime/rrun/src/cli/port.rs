//! `rrun port`: where the ports of a container are reached.

use anyhow::{Result, bail};
use clap::Args;
use engine::ports;
use runtime::network::PortMapping;

use super::{Global, print};

/// Operands of `port`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let containers = global.containers()?;
    let record = containers.find(&arguments.container)?;
    let mut published: Vec<&PortMapping> = record.ports.iter().collect();
    // What does not run is reached nowhere.
    if !containers.state(&record.id)?.is_running() {
        published.clear();
    }
    published.sort_by_key(|port| (port.container_port, port.protocol.as_str(), port.host_port));
    let outside = |port: &PortMapping| {
        let shown = ports::shown(port);
        shown.rsplit_once('/').map_or(shown.clone(), |(address, _)| address.to_owned())
    };
    let inside = |port: &PortMapping| format!("{}/{}", port.container_port, port.protocol);
    let text = match &arguments.port {
        None => published.iter().map(|port| format!("{} -> {}\n", inside(port), outside(port))).collect(),
        Some(wanted) => {
            let wanted = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
            published.retain(|port| inside(port) == wanted);
            if published.is_empty() {
                bail!("no public port {wanted:?} published for {}", arguments.container);
            }
            published.iter().map(|port| format!("{}\n", outside(port))).collect::<String>()
        }
    };
    print(&text)?;
    Ok(0)
}
