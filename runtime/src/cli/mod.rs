//! The command line of `roci`, which is runc's: what was typed, and one adapter per verb.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod monitor;
pub mod output;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod state_root;
mod terminal;
mod update;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use runtime::cgroup::Rootless;
use runtime::container::{CgroupDriver, Id};
use runtime::features::SPEC_VERSIONS;
use runtime::security::own_executable::Protection;

use self::log::{Log, LogFormat};

/// Runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(
    name = "roci",
    disable_version_flag = true,
    subcommand_required = false,
    arg_required_else_help = true
)]
struct CommandLine {
    #[command(flatten)]
    global: Global,
    /// Print the version of the program, its commit, and the specification's version
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// Options before the verb.
#[derive(Debug, Args)]
struct Global {
    /// Folder of the containers' state (default: $HULL_STATE/oci, for an ordinary user $XDG_RUNTIME_DIR/roci, else
    /// /run/hull/oci)
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// File to write errors to, as well as to standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Format of the log
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Log what is done
    #[arg(long)]
    debug: bool,
    /// Have systemd make the cgroups of new containers; linux.cgroupsPath is then slice:prefix:name
    #[arg(long)]
    systemd_cgroup: bool,
    /// Whether containers may go without a cgroup where this user may make none: auto is for all but the machine's root
    #[arg(long, value_name = "BOOL", default_value = "auto", value_parser = rootless)]
    rootless: Rootless,
}

/// What verbs that make containers need of the options before the verb.
#[derive(Debug)]
pub struct Context {
    /// Folder of the containers' records.
    pub state_root: PathBuf,
    /// `--systemd-cgroup`.
    pub cgroup_driver: CgroupDriver,
    /// `--rootless`.
    pub rootless: Rootless,
}

// Deferred: the options of nineteen verbs are 100 KB and a tenth of a short command's time, and one verb's are needed.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Create a container: everything but its command's execution
    Create(create::Arguments),
    /// Run the command of a created container
    Start(start::Arguments),
    /// Create a container and start it
    Run(run::Arguments),
    /// Print the state of a container
    State(state::Arguments),
    /// Send a signal to a container
    Kill(kill::Arguments),
    /// Delete a container
    Delete(delete::Arguments),
    /// Run a further command in a container
    Exec(exec::Arguments),
    /// Stop every process of a container
    Pause(pause::Arguments),
    /// Let a paused container go on
    Resume(pause::Arguments),
    /// Show the processes of a container
    Ps(ps::Arguments),
    /// Show the containers
    List(list::Arguments),
    /// Change the limits of a running container
    Update(update::Arguments),
    /// Show what a container uses, and when it runs out of memory
    Events(events::Arguments),
    /// Write a config.json to start from
    Spec(spec::Arguments),
    /// Show what this program can do
    Features(features::Arguments),
    /// Be the parent of a container: what rrun run becomes
    #[command(hide = true)]
    Monitor(monitor::Arguments),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// The verbs that put no process of ours into a container: what is in one never sees them.
const OUTSIDE: [&str; 12] = [
    "delete", "events", "features", "kill", "list", "pause", "ps", "resume", "spec", "start", "state",
    "update",
];

/// Does what these words ask for put a process of this program into a container? In doubt it does.
pub fn enters_containers(words: impl Iterator<Item = OsString>) -> bool {
    let mut words = words.map(|word| word.into_string());
    while let Some(Ok(word)) = words.next() {
        match word.as_str() {
            "--root" | "--log" | "--log-format" | "--rootless" => drop(words.next()),
            option if option.starts_with('-') => {}
            verb => return !OUTSIDE.contains(&verb),
        }
    }
    true
}

/// What runc does and this program does not.
const REFUSED: [&str; 2] = ["checkpoint", "restore"];

/// The whole program, to the code that it ends with.
pub fn run(protection: Option<Protection>) -> u8 {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 1 } else { 0 };
        }
    };
    if line.version {
        return match output::print(&version()) {
            Ok(()) => 0,
            Err(error) => {
                output::say(&format!("roci: error: {error:#}"));
                1
            }
        };
    }
    let log = match Log::open(line.global.log.as_deref(), line.global.log_format, line.global.debug) {
        // For as long as the program runs: the library tells it things, too.
        Ok(log) => &*Box::leak(Box::new(log)),
        Err(error) => {
            output::say(&format!("roci: error: {error:#}"));
            return 1;
        }
    };
    if !matches!(line.verb, Some(Verb::Monitor(_))) {
        Log::listen(log);
    }
    tell_own_executable(protection);
    let failure_code = match &line.verb {
        // Like runc: what exec itself fails with cannot be mistaken for the command's code.
        Some(Verb::Exec(_)) => 255,
        _ => 1,
    };
    match dispatch(&line, log) {
        Ok(code) => code,
        Err(error) => {
            log.error(&error);
            match (&line.verb, error.downcast_ref::<runtime::error::Error>()) {
                (Some(Verb::Run(_)), Some(error)) if error.exit_code() != 125 => error.exit_code(),
                _ => failure_code,
            }
        }
    }
}

fn dispatch(line: &CommandLine, log: &Log) -> anyhow::Result<u8> {
    // Not every verb looks at containers.
    let state_root = || -> anyhow::Result<PathBuf> {
        let root = state_root::find(line.global.root.as_deref())?;
        ::log::debug!("roci {} with state in {}", env!("CARGO_PKG_VERSION"), root.display());
        Ok(root)
    };
    // The other verbs find it in the container's record.
    let cgroup_driver =
        if line.global.systemd_cgroup { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
    let rootless = line.global.rootless;
    let context = || Ok::<_, anyhow::Error>(Context { state_root: state_root()?, cgroup_driver, rootless });
    match &line.verb {
        Some(Verb::Create(arguments)) => create::run(arguments, &context()?, log),
        Some(Verb::Start(arguments)) => start::run(arguments, &state_root()?),
        Some(Verb::Run(arguments)) => run::run(arguments, &context()?, log),
        Some(Verb::State(arguments)) => state::run(arguments, &state_root()?),
        Some(Verb::Kill(arguments)) => kill::run(arguments, &state_root()?),
        Some(Verb::Delete(arguments)) => delete::run(arguments, &state_root()?, log),
        Some(Verb::Exec(arguments)) => exec::run(arguments, &state_root()?, log),
        Some(Verb::Pause(arguments)) => pause::pause(arguments, &state_root()?),
        Some(Verb::Resume(arguments)) => pause::resume(arguments, &state_root()?),
        Some(Verb::Ps(arguments)) => ps::run(arguments, &state_root()?),
        Some(Verb::List(arguments)) => list::run(arguments, line.global.root.is_some(), &state_root()?, log),
        Some(Verb::Update(arguments)) => update::run(arguments, &state_root()?, log),
        Some(Verb::Events(arguments)) => events::run(arguments, &state_root()?),
        Some(Verb::Spec(arguments)) => spec::run(arguments),
        Some(Verb::Features(_)) => features::run(),
        Some(Verb::Monitor(_)) if line.global.systemd_cgroup => {
            anyhow::bail!(
                "monitor: --systemd-cgroup is not supported: it makes the cgroups of its containers itself"
            )
        }
        Some(Verb::Monitor(arguments)) => Ok(monitor::run(arguments, state_root()?, log)),
        Some(Verb::Other(words)) => {
            let verb = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
            if REFUSED.contains(&&*verb) {
                anyhow::bail!("{verb} is not supported");
            }
            anyhow::bail!("No help topic for '{verb}', which is an unknown command; see roci --help");
        }
        None => anyhow::bail!("no command; see roci --help"),
    }
}

fn tell_own_executable(protection: Option<Protection>) {
    match protection {
        Some(Protection::Overlay) => {
            ::log::debug!(
                "using /proc/self/exe clone: an overlayfs without an upper layer, which nobody can write"
            );
        }
        Some(Protection::SealedCopy) => ::log::debug!("using /proc/self/exe clone: a sealed copy in memory"),
        Some(Protection::None) | None => {
            ::log::debug!("using /proc/self/exe as it is: no process of it enters a container");
        }
    }
}

/// `--rootless` as clap reads it: what runc takes for a truth value, or `auto`.
fn rootless(text: &str) -> Result<Rootless, String> {
    match text {
        "" | "auto" => Ok(Rootless::Auto),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Rootless::Yes),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Rootless::No),
        _ => Err("it is true, false or auto".to_owned()),
    }
}

/// Engines look for the lines `commit:` and `spec:`.
fn version() -> String {
    let commit = option_env!("HULL_COMMIT").unwrap_or("unknown");
    format!("roci version {}\ncommit: {commit}\nspec: {}", env!("CARGO_PKG_VERSION"), SPEC_VERSIONS[1])
}

/// A container id as clap reads it.
fn id(text: &str) -> Result<Id, String> {
    text.parse().map_err(|error: runtime::error::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_outside_goes_without_protection() {
        let enters = |line: &str| enters_containers(line.split(' ').map(OsString::from));
        for line in [
            "state x",
            "--root /r delete x",
            "--root=/r --debug start run",
            "--log exec kill x 9",
            "--rootless true ps x",
        ] {
            assert!(!enters(line), "{line}");
        }
        for line in
            ["run x", "--root state exec x", "--log kill create x", "monitor", "--version", "what", ""]
        {
            assert!(enters(line), "{line}");
        }
    }
}
