//! The command line of `rbuild`: what was typed, checked as far as that goes without looking at any file.
//!
//! Options of `docker build` that are not built yet are refused by name, never ignored.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Arg, ArgAction, CommandFactory as _, FromArgMatches as _, Parser};
use image::reference::Reference;

use crate::plan::Network;

/// Options of `docker build` and `buildctl` that are refused, and whether they take a value.
const REFUSED: [(&str, bool); 47] = [
    ("add-host", true),
    ("allow", true),
    ("annotation", true),
    ("attest", true),
    ("build-context", true),
    ("builder", true),
    ("cache-from", true),
    ("cache-to", true),
    ("call", true),
    ("cgroup-parent", true),
    ("check", false),
    ("compress", false),
    ("cpu-period", true),
    ("cpu-quota", true),
    ("cpu-shares", true),
    ("cpuset-cpus", true),
    ("cpuset-mems", true),
    ("debug", false),
    ("device", true),
    ("disable-content-trust", false),
    ("force-rm", false),
    ("ignorefile", true),
    ("isolation", true),
    ("label", true),
    ("load", false),
    ("memory", true),
    ("memory-swap", true),
    ("metadata-file", true),
    ("no-cache-filter", true),
    ("output-local", true),
    ("platform", true),
    ("progress", true),
    ("provenance", true),
    ("pull", false),
    ("push", false),
    ("rm", false),
    ("sbom", true),
    ("secret", true),
    ("security-opt", true),
    ("shm-size", true),
    ("source-policy-file", true),
    ("squash", false),
    ("ssh", true),
    ("ulimit", true),
    ("userns", true),
    ("volume", true),
    ("jobs", true),
];

/// Builds an OCI image from a Dockerfile, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "rbuild", version, max_term_width = 100)]
struct Typed {
    /// Name of the image, as NAME[:TAG]; may be repeated
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// The Dockerfile; - reads it from stdin [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Value of an ARG; without =VALUE the environment's value; may be repeated
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// Stage to build [default: the last one]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Run every step, and remember the new results
    #[arg(long)]
    no_cache: bool,
    /// Network of RUN: none has its own loopback only, host is the machine's
    #[arg(long, value_enum, default_value_t = TypedNetwork::None)]
    network: TypedNetwork,
    /// Folder of the image store [default: $HULL_ROOT, or /var/lib/hull]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Folder of running containers [default: $HULL_STATE, or /run/hull]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Also write the image as an archive: type=oci|docker,dest=FILE (- is stdout)
    #[arg(short, long, value_name = "type=TYPE,dest=FILE")]
    output: Option<String>,
    /// Write the image id to FILE
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Print only the image id, on stdout
    #[arg(short, long)]
    quiet: bool,
    /// Folder whose files COPY and ADD take
    #[arg(value_name = "CONTEXT")]
    context: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TypedNetwork {
    None,
    Host,
    #[value(hide = true)]
    Default,
}

/// A checked command line.
#[derive(Debug)]
pub struct Options {
    /// `-t`.
    pub names: Vec<Reference>,
    /// `-f`.
    pub file: Option<PathBuf>,
    /// `--build-arg`, values of the environment filled in.
    pub build_args: Vec<(String, String)>,
    /// `--target`.
    pub target: Option<String>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--network`.
    pub network: Network,
    /// `--root`.
    pub root: PathBuf,
    /// `--state`.
    pub state: PathBuf,
    /// `--output`.
    pub output: Option<Output>,
    /// `--iidfile`.
    pub id_file: Option<PathBuf>,
    /// `-q`.
    pub quiet: bool,
    /// The context folder.
    pub context: PathBuf,
}

/// `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Format of the archive.
    pub format: OutputFormat,
    /// The file; `None` is stdout.
    pub destination: Option<PathBuf>,
}

/// Format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// OCI image layout in a tar.
    Oci,
    /// What `docker save` writes.
    Docker,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Build.
    Build(Box<Options>),
    /// Print this and end well: `--help`, `--version`.
    Print(String),
}

/// Reads the command line.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request> {
    let refused = REFUSED.iter().map(|(name, value)| {
        let action = if *value { ArgAction::Append } else { ArgAction::Count };
        Arg::new(*name).long(*name).hide(true).action(action).allow_hyphen_values(*value)
    });
    let matches = match Typed::command().args(refused).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Request::Print(error.to_string())),
        Err(error) => bail!("{}", said(&error)),
    };
    for (name, value) in REFUSED {
        let given = if value { matches.contains_id(name) } else { matches.get_count(name) > 0 };
        ensure!(!given, "--{name} is not supported yet");
    }
    let typed = Typed::from_arg_matches(&matches).map_err(|error| anyhow::anyhow!("{}", said(&error)))?;
    Ok(Request::Build(Box::new(check(typed)?)))
}

/// Clap's message without its own prefix.
fn said(error: &clap::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
}

fn check(typed: Typed) -> Result<Options> {
    let context = typed.context.to_string_lossy();
    ensure!(context != "-", "a context from stdin is not supported yet: give a folder");
    ensure!(
        !["http://", "https://", "git://", "ssh://", "git@"].iter().any(|prefix| context.starts_with(prefix)),
        "context {context} is not a folder: remote contexts are not supported yet"
    );
    let names = typed.tags.iter().map(|name| name_of(name)).collect::<Result<_>>()?;
    let network = match typed.network {
        TypedNetwork::None | TypedNetwork::Default => Network::None,
        TypedNetwork::Host => Network::Host,
    };
    Ok(Options {
        names,
        build_args: typed
            .build_args
            .iter()
            .filter_map(|text| build_arg(text).transpose())
            .collect::<Result<_>>()?,
        output: typed.output.as_deref().map(output).transpose()?,
        file: typed.file,
        target: typed.target,
        no_cache: typed.no_cache,
        network,
        root: folder(typed.root, "HULL_ROOT", "/var/lib/hull"),
        state: folder(typed.state, "HULL_STATE", "/run/hull"),
        id_file: typed.iidfile,
        quiet: typed.quiet,
        context: typed.context,
    })
}

/// A folder given by option, by variable, or where it is usually.
fn folder(given: Option<PathBuf>, variable: &str, usual: &str) -> PathBuf {
    let set = || std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    given.or_else(set).unwrap_or_else(|| PathBuf::from(usual))
}

fn name_of(text: &str) -> Result<Reference> {
    let name: Reference = text.parse().with_context(|| format!("--tag {text}"))?;
    ensure!(name.digest.is_none(), "--tag {text}: a name to give cannot have a digest");
    Ok(name)
}

/// `NAME=VALUE`, or `NAME` for the value in our environment; unset there means not given.
fn build_arg(text: &str) -> Result<Option<(String, String)>> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    ensure!(!name.is_empty(), "--build-arg {text}: a name must stand before =");
    Ok(value.map(|value| (name.to_owned(), value)))
}

fn output(text: &str) -> Result<Output> {
    let (mut format, mut destination) = (None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("type", "oci")) => format = Some(OutputFormat::Oci),
            Some(("type", "docker")) => format = Some(OutputFormat::Docker),
            Some(("type", other)) => bail!("--output type={other} is not supported yet: use oci or docker"),
            Some(("dest", path)) if !path.is_empty() => destination = Some(path),
            Some((key, _)) => bail!("--output {text}: key {key} is not supported yet: use type and dest"),
            None => bail!("--output {text}: write type=oci|docker,dest=FILE"),
        }
    }
    let format = format.with_context(|| format!("--output {text}: type=oci or type=docker is missing"))?;
    let destination = destination.with_context(|| format!("--output {text}: dest=FILE is missing"))?;
    Ok(Output { format, destination: (destination != "-").then(|| PathBuf::from(destination)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Options> {
        match parse(["rbuild"].iter().chain(arguments).map(OsString::from))? {
            Request::Build(options) => Ok(*options),
            Request::Print(text) => bail!("{text}"),
        }
    }

    #[test]
    fn a_whole_command_line_is_understood() {
        let options = parsed(&[
            "-t",
            "register:0.0.1",
            "-t",
            "x/y",
            "-f",
            "F",
            "--build-arg",
            "A=1=2",
            "--build-arg=B=",
            "--target",
            "s",
            "--no-cache",
            "--network",
            "host",
            "--root",
            "/r",
            "--output",
            "type=oci,dest=-",
            "-q",
            ".",
        ])
        .unwrap();
        assert_eq!(options.names[0].to_string(), "docker.io/library/register:0.0.1");
        assert_eq!(options.build_args, [("A".into(), "1=2".into()), ("B".into(), String::new())]);
        assert_eq!(options.network, Network::Host);
        assert_eq!(options.output, Some(Output { format: OutputFormat::Oci, destination: None }));
        assert!(options.no_cache && options.quiet);
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        for (arguments, name) in [
            (vec!["--secret", "id=x", "."], "--secret"),
            (vec!["--pull", "."], "--pull"),
            (vec!["--platform=linux/arm64", "."], "--platform"),
            (vec!["--output", "type=tar,dest=x", "."], "type=tar"),
            (vec!["--output", "dest=x", "."], "type="),
            (vec!["--nonsense", "."], "--nonsense"),
            (vec!["-"], "stdin"),
            (vec!["https://example.org/x.git"], "remote"),
            (vec!["-t", "UPPER", "."], "UPPER"),
            (vec![], "CONTEXT"),
        ] {
            let error = parsed(&arguments).unwrap_err();
            assert!(format!("{error:#}").contains(name), "{arguments:?}: {error:#}");
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Typed::command().debug_assert();
    }
}
