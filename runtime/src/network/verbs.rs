//! The verbs of CNI over all plugins of a network.
//!
//! Rules of the specification that are kept here: ADD and CHECK in the order of the list, DEL in reverse; each plugin
//! gets the network's name and version, the result before it (on DEL and CHECK that of ADD, from 0.4.0), and of the
//! capability arguments those that it declares.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::attachment::Attachment;
use super::config::{NetworkConfig, Plugin, Version};
use super::error::{Error, Failure, Result};
use super::invoke::{Call, Verb, memory_file};
use super::plugins::Plugins;
use super::result::NetworkResult;
use super::{cache, files, ipv6, namespace, turn};

/// How long a plugin without a caller may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// STATUS has no attachment that could say how long it may take; a node's status is asked for often.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

impl Attachment {
    /// Attaches the container: ADD of every plugin in order.
    ///
    /// After a failure everything is undone with a patience of its own; if that fails as well, both are told as
    /// [`Error::NotUndone`].
    pub fn add(&self) -> Result<NetworkResult> {
        self.check_values()?;
        // Before anything runs: a missing plugin leaves nothing to undo.
        self.plugins().find_all(&self.config)?;
        self.add_all().map_err(|failure| match self.delete_all() {
            undoing if undoing.is_empty() => failure,
            undoing => Error::NotUndone { failure: Box::new(failure), undoing },
        })
    }

    fn add_all(&self) -> Result<NetworkResult> {
        let deadline = Instant::now() + self.patience;
        let mut result = NetworkResult::default();
        let mut previous = None;
        for plugin in self.config.plugins() {
            let left = deadline.saturating_duration_since(Instant::now());
            let output = self.call(Verb::Add, plugin, previous.as_ref(), left)?;
            result = NetworkResult::parse(&output, self.config.cni_version())
                .map_err(|failure| failed(Verb::Add, plugin, &self.config, failure))?;
            cache::store(self, &result.raw)?;
            previous = Some(result.raw.clone());
        }
        ipv6::restrict(&self.netns, &self.interface, &result)?;
        Ok(result)
    }

    /// Asks every plugin whether what it set up is still there.
    ///
    /// Nothing is asked before version 0.4.0, which has no CHECK, and where the network's author disabled it.
    pub fn check(&self) -> Result<()> {
        self.check_values()?;
        if self.config.check_disabled() || self.config.version() < Version::CHECK {
            return Ok(());
        }
        let previous = cache::load(self).ok_or_else(|| Error::Record {
            path: cache::path(self),
            reason: "it does not hold the result of ADD".to_owned(),
        })?;
        let deadline = Instant::now() + self.patience;
        for plugin in self.config.plugins() {
            let left = deadline.saturating_duration_since(Instant::now());
            self.call(Verb::Check, plugin, Some(&previous), left)?;
        }
        Ok(())
    }

    /// Detaches the container: DEL of every plugin in reverse order, also of those that never ran.
    ///
    /// It goes on after a failure and tells all. A network namespace that is gone is told to the plugins as such.
    pub fn delete(&self) -> Result<()> {
        self.check_values()?;
        Error::collect(self.delete_all())
    }

    fn delete_all(&self) -> Vec<Error> {
        let previous = if self.config.version() < Version::CHECK { None } else { cache::load(self) };
        let deadline = Instant::now() + self.patience;
        let mut failures = Vec::new();
        for (index, plugin) in self.config.plugins().iter().enumerate().rev() {
            // Each gets its share of what is left, so that one that hangs does not keep the others from their work.
            let left = deadline.saturating_duration_since(Instant::now()) / (index as u32 + 1);
            if let Err(failure) = self.call(Verb::Del, plugin, previous.as_ref(), left) {
                failures.push(failure);
            }
        }
        if failures.is_empty() {
            failures.extend(cache::remove(self).err());
        }
        failures
    }

    fn plugins(&self) -> Plugins {
        Plugins::new(self.plugin_folders.iter().cloned())
    }

    fn call(
        &self,
        verb: Verb,
        plugin: &Plugin,
        previous: Option<&Value>,
        patience: Duration,
    ) -> Result<Vec<u8>> {
        let plugins = self.plugins();
        let program = plugins.find(&plugin.name)?;
        let arguments: Vec<String> = self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let variables = [
            ("CNI_COMMAND", verb.as_str().into()),
            ("CNI_CONTAINERID", self.container_id.clone().into()),
            ("CNI_NETNS", self.present_namespace(verb).into()),
            ("CNI_IFNAME", self.interface.clone().into()),
            ("CNI_ARGS", arguments.join(";").into()),
            ("CNI_PATH", plugins.search_path()),
        ];
        let input = input(&self.config, plugin, &self.capabilities, previous);
        files::make_folder(&self.cache_folder)?;
        let input = turn::take(&cache::turn(self), &input, self.patience.min(GRACE))?;
        Call { program: &program, variables: &variables, input, patience }
            .run()
            .map_err(|failure| failed(verb, plugin, &self.config, failure))
    }

    /// The path of the namespace. On DEL it is empty when the namespace is gone, after a reboot for example: the
    /// plugins then free what they have on the host.
    fn present_namespace(&self, verb: Verb) -> PathBuf {
        if verb == Verb::Del && !namespace::is_pinned(&self.netns) {
            PathBuf::new()
        } else {
            self.netns.clone()
        }
    }
}

/// Asks the plugins whether they could attach a container now. Before version 1.1.0 there is no such question.
pub fn status(config: &NetworkConfig, plugins: &Plugins) -> Result<()> {
    if config.version() < Version::STATUS {
        return Ok(());
    }
    let variables: [(&'static str, OsString); 2] =
        [("CNI_COMMAND", Verb::Status.as_str().into()), ("CNI_PATH", plugins.search_path())];
    for plugin in config.plugins() {
        let program = plugins.find(&plugin.name)?;
        let input = input(config, plugin, &Map::new(), None);
        memory_file(&input)
            .and_then(|input| {
                Call { program: &program, variables: &variables, input, patience: STATUS_PATIENCE }.run()
            })
            .map_err(|failure| failed(Verb::Status, plugin, config, failure))?;
    }
    Ok(())
}

/// What a plugin reads: its own configuration, and what it has to know of the network and the container.
fn input(
    config: &NetworkConfig,
    plugin: &Plugin,
    capabilities: &Map<String, Value>,
    previous: Option<&Value>,
) -> Vec<u8> {
    let mut input = plugin.config.clone();
    input.insert("name".to_owned(), config.name().into());
    input.insert("cniVersion".to_owned(), config.cni_version().into());
    let declared = capabilities.iter().filter(|(name, _)| plugin.declares(name));
    let declared: Map<String, Value> = declared.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !declared.is_empty() {
        input.insert("runtimeConfig".to_owned(), declared.into());
    }
    if let Some(previous) = previous {
        input.insert("prevResult".to_owned(), previous.clone());
    }
    Value::Object(input).to_string().into_bytes()
}

fn failed(verb: Verb, plugin: &Plugin, config: &NetworkConfig, failure: Failure) -> Error {
    Error::Plugin { plugin: plugin.name.clone(), verb, network: config.name().to_owned(), failure }
}
