//! Network configurations: `.conflist` files, and single plugins as `.conf` or `.json`.
//!
//! A configuration is checked once, when it is read, and keeps its text: what plugins get is what the file says. A
//! file is at most 1 MiB, a list at most 64 plugins; files that a list would include (`loadOnlyInlinedPlugins`) are
//! not looked for. The version is the file's own, since it says what the installed plugins know; of several
//! (`cniVersions`) it is the highest that we know.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{Error, Result, errno};
use super::names;

/// The versions of the specification that we speak, for messages.
pub(super) const SUPPORTED: &str = "0.3.0 to 1.1.0";

const LARGEST_FILE: u64 = 1 << 20;
const MOST_PLUGINS: usize = 64;
/// A folder with more files than this is not a folder of network configurations.
const MOST_FILES: usize = 1000;

/// A version of the CNI specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u16, u16, u16);

impl Version {
    /// Since then there is CHECK, and DEL gets the result of ADD.
    pub(super) const CHECK: Version = Version(0, 4, 0);
    /// Since then there is STATUS.
    pub(super) const STATUS: Version = Version(1, 1, 0);

    /// A version that we speak.
    pub(super) fn supported(text: &str) -> Option<Version> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        let version = Version(numbers.next()??, numbers.next()??, numbers.next()??);
        let known = version >= Version(0, 3, 0) && version < Version(1, 2, 0);
        // Plugins compare texts, so there is one way to write a version.
        let plain = text == format!("{}.{}.{}", version.0, version.1, version.2);
        (known && plain).then_some(version)
    }
}

/// One plugin of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Its name, which is its file's name in one of the plugin folders.
    pub name: String,
    /// Its configuration as written.
    pub config: Map<String, Value>,
}

impl Plugin {
    /// Does it say that it understands this capability?
    pub fn declares(&self, capability: &str) -> bool {
        let declared = self.config.get("capabilities").and_then(|all| all.get(capability));
        declared.and_then(Value::as_bool) == Some(true)
    }

    /// The plugin for addresses that it will run, if any.
    pub fn address_plugin(&self) -> Option<&str> {
        self.config.get("ipam")?.get("type")?.as_str().filter(|name| !name.is_empty())
    }
}

/// A checked network configuration. It is kept in records as its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkConfig {
    name: String,
    version: Version,
    version_text: String,
    check_disabled: bool,
    plugins: Vec<Plugin>,
    text: String,
}

impl NetworkConfig {
    /// Checks the content of a configuration file; `source` is for messages.
    pub fn parse(bytes: &[u8], source: &Path) -> Result<NetworkConfig> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string());
        text.and_then(parse).map_err(|reason| Error::Config { path: source.to_owned(), reason })
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the specification in which its plugins are addressed.
    pub fn cni_version(&self) -> &str {
        &self.version_text
    }

    /// Does any plugin say that it understands this capability, as `portMappings`?
    pub fn declares(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.declares(capability))
    }

    /// Its plugins in order.
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Was CHECK switched off by whoever wrote the file?
    pub(super) fn check_disabled(&self) -> bool {
        self.check_disabled
    }
}

impl TryFrom<String> for NetworkConfig {
    type Error = String;

    fn try_from(text: String) -> Result<NetworkConfig, String> {
        parse(&text)
    }
}

impl From<NetworkConfig> for String {
    fn from(config: NetworkConfig) -> String {
        config.text
    }
}

/// The first usable configuration of a folder, in the order of file names; `None` if it has none at all.
///
/// Unusable files before it are passed over, as everyone who reads such folders does. If no file is usable, the error
/// tells why, file by file.
pub fn load_first(folder: &Path) -> Result<Option<NetworkConfig>> {
    load(folder, |_| true)
}

/// The first usable configuration of this name; `None` if there is none.
pub fn load_named(folder: &Path, name: &str) -> Result<Option<NetworkConfig>> {
    load(folder, |config| config.name == name)
}

fn load(folder: &Path, wanted: impl Fn(&NetworkConfig) -> bool) -> Result<Option<NetworkConfig>> {
    let mut failures = Vec::new();
    let mut usable = false;
    for path in files(folder)? {
        match read(&path).and_then(|bytes| NetworkConfig::parse(&bytes, &path)) {
            Ok(config) if wanted(&config) => return Ok(Some(config)),
            Ok(_) => usable = true,
            Err(failure) => failures.push(failure),
        }
    }
    if usable || failures.is_empty() {
        return Ok(None);
    }
    Err(Error::NoValidConfig { folder: folder.to_owned(), failures })
}

/// The configuration files of a folder in the order of their names. A folder that is missing has none.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error: std::io::Error| Error::system("read", folder.display())(errno(&error));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = Vec::new();
    for (number, entry) in entries.enumerate() {
        if number == MOST_FILES {
            let reason = format!("the folder has more than {MOST_FILES} entries");
            return Err(Error::Config { path: folder.to_owned(), reason });
        }
        let path = entry.map_err(fail)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("conf" | "conflist" | "json")) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file that must be a regular one: a FIFO or device would make us wait.
fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |error: std::io::Error| Error::system("read", path.display())(errno(&error));
    let refuse = |reason: &str| Error::Config { path: path.to_owned(), reason: reason.to_owned() };
    let file =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(refuse("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refuse("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Reads either form: a list has `plugins`, a single plugin has `type`.
fn parse(text: &str) -> Result<NetworkConfig, String> {
    let document: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let name = string(&document, "name")?.ok_or("it has no \"name\"")?;
    names::check("network", name).map_err(|error| error.to_string())?;
    let (version, version_text) = version(&document)?;
    let plugins = match document.get("plugins") {
        None => vec![plugin(document.clone())?],
        Some(Value::Array(plugins)) if plugins.is_empty() => return Err("it lists no plugin".to_owned()),
        Some(Value::Array(plugins)) if plugins.len() > MOST_PLUGINS => {
            return Err(format!("it lists more than {MOST_PLUGINS} plugins"));
        }
        Some(Value::Array(plugins)) => plugins
            .iter()
            .map(|entry| match entry {
                Value::Object(config) => plugin(config.clone()),
                _ => Err("an entry of \"plugins\" is not an object".to_owned()),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("\"plugins\" is not a list".to_owned()),
    };
    Ok(NetworkConfig {
        name: name.to_owned(),
        version,
        version_text,
        check_disabled: disabled(&document, "disableCheck")?,
        plugins,
        text: text.to_owned(),
    })
}

fn plugin(config: Map<String, Value>) -> Result<Plugin, String> {
    let name = string(&config, "type")?.ok_or("a plugin has no \"type\"")?.to_owned();
    let plugin = Plugin { name, config };
    for name in [Some(plugin.name.as_str()), plugin.address_plugin()].into_iter().flatten() {
        if !names::is_name(name) {
            return Err(Error::PluginName { name: name.to_owned() }.to_string());
        }
    }
    Ok(plugin)
}

/// The highest version of `cniVersion` and `cniVersions` that we speak.
fn version(document: &Map<String, Value>) -> Result<(Version, String), String> {
    let single = string(document, "cniVersion")?;
    let several = match document.get("cniVersions") {
        None => &[],
        Some(Value::Array(versions)) => versions.as_slice(),
        Some(_) => return Err("\"cniVersions\" is not a list".to_owned()),
    };
    single
        .into_iter()
        .chain(several.iter().filter_map(Value::as_str))
        .filter_map(|text| Some((Version::supported(text)?, text.to_owned())))
        .max()
        .ok_or_else(|| match single {
            Some(text) => format!("cniVersion {text:?} is not supported: {SUPPORTED} are"),
            None => "it has no \"cniVersion\"".to_owned(),
        })
}

/// libcni takes a text for a boolean here, too.
fn disabled(document: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match document.get(key) {
        None => Ok(false),
        Some(Value::Bool(disabled)) => Ok(*disabled),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("{key:?} is not true or false")),
    }
}

fn string<'a>(document: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, String> {
    match document.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{key:?} is not a text")),
    }
}
