//! What was typed for `run`, checked as far as that needs no image, and then with it.

use anyhow::{Result, anyhow, bail};
use engine::{LogSettings, NetworkMode, Record, ports};
use image::store::Image;
use runtime::network::PortMapping;

use super::Arguments;
use crate::options;
use crate::options::publish::{HostPort, Publish, publish};

/// The options, checked.
pub struct Request<'a> {
    pub arguments: &'a Arguments,
    pub image: &'a str,
    pub env: Vec<String>,
    command: &'a [String],
    log: LogSettings,
}

impl<'a> Request<'a> {
    pub fn new(arguments: &'a Arguments) -> Result<Request<'a>> {
        let Some((image, command)) = arguments.image.split_first() else { bail!("no image was named") };
        let Arguments { detach, tty, interactive, network, publish, .. } = arguments;
        if *tty && *interactive && !detach && !rustix::termios::isatty(std::io::stdin()) {
            bail!("the input device is not a TTY: -it needs a terminal, use -i alone to pass input on");
        }
        for (index, bind) in arguments.volume.iter().enumerate() {
            if arguments.volume[..index].iter().any(|other| other.destination == bind.destination) {
                bail!("duplicate mount point: {}", bind.destination.display());
            }
        }
        if *network == NetworkMode::None && (!publish.is_empty() || arguments.publish_all) {
            bail!("a container without network cannot publish ports: leave out -p or --network none");
        }
        if let Some(file) = arguments.cidfile.as_ref().filter(|file| file.exists()) {
            bail!("--cidfile {}: the file exists; is another container running? Remove it", file.display());
        }
        let env = options::environment(&arguments.env_file, &arguments.env).map_err(anyhow::Error::msg)?;
        let log = options::settings::log_settings(&arguments.log_opt).map_err(anyhow::Error::msg)?;
        Ok(Request { arguments, image, env, command, log })
    }

    /// The record of the container, but for its name and ports.
    pub fn record(&self, id: &str, image: &Image) -> Result<Record> {
        let (arguments, config) = (self.arguments, &image.config.config);
        let mut record = Record::new(id, image.manifest, self.image, &self.args(image)?);
        record.name = arguments.name.clone();
        record.remove = arguments.rm;
        record.hostname = arguments.hostname.clone();
        record.labels = config.labels.clone();
        record.labels.extend(arguments.label.iter().cloned());
        record.network = arguments.network;
        record.exposed = config.exposed_ports.keys().cloned().collect();
        record.exposed.extend(arguments.expose.iter().flat_map(|exposed| exposed.texts()));
        record.exposed.sort();
        record.exposed.dedup();
        record.extra_hosts = arguments.add_host.clone();
        record.dns = arguments.dns.clone();
        record.interactive = arguments.interactive;
        record.tty = arguments.tty;
        record.stop_signal =
            arguments.stop_signal.map(|signal| signal.to_string()).or_else(|| config.stop_signal.clone());
        record.stop_timeout = arguments.stop_timeout;
        record.log = self.log;
        Ok(record)
    }

    /// Which ports are to be published, though not all of them where. On the host's network there is nothing to do.
    pub fn published(&self, record: &Record) -> Result<Vec<Publish>> {
        let mut wanted: Vec<Publish> = self.arguments.publish.iter().flatten().cloned().collect();
        if self.arguments.publish_all {
            for text in &record.exposed {
                let named = |it: &Publish| format!("{}/{}", it.container_port, it.protocol) == *text;
                if !wanted.iter().any(named) {
                    let more =
                        publish(text).map_err(|reason| anyhow!("the image exposes {text:?}: {reason}"))?;
                    wanted.extend(more);
                }
            }
        }
        if record.network == NetworkMode::Host && !wanted.is_empty() {
            crate::report("warning: published ports are discarded when using host network mode");
            wanted.clear();
        }
        Ok(wanted)
    }

    /// Docker's rule: a given entry point also discards the image's command.
    fn args(&self, image: &Image) -> Result<Vec<String>> {
        let config = &image.config.config;
        let (mut args, default) = match self.arguments.entrypoint.as_deref() {
            Some("") => (Vec::new(), None),
            Some(program) => (vec![program.to_owned()], None),
            None => (config.entrypoint.clone().unwrap_or_default(), config.cmd.as_deref()),
        };
        let rest = if self.command.is_empty() { default.unwrap_or_default() } else { self.command };
        args.extend_from_slice(rest);
        if args.is_empty() {
            bail!("no command specified: image {} has none either", self.image);
        }
        Ok(args)
    }
}

/// Finds a port of the host for each; those in `avoid` were found to be taken.
pub fn assign(wanted: &[Publish], avoid: &[PortMapping]) -> Result<Vec<PortMapping>> {
    let mut assigned: Vec<PortMapping> = Vec::new();
    for one in wanted {
        let taken: Vec<PortMapping> = assigned.iter().chain(avoid).cloned().collect();
        let host_port = match &one.host {
            HostPort::Fixed(port) => *port,
            HostPort::AnyOf(range) => ports::choose(one.host_ip, one.protocol, range.clone(), &taken)?,
            HostPort::Any => ports::choose_ephemeral(one.host_ip, one.protocol, &taken)?,
        };
        assigned.push(one.to(host_port));
    }
    ports::check_free(&assigned)?;
    Ok(assigned)
}
