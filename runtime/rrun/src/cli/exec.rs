//! `rrun exec`: a further process in a running container. Exit codes are those of `run`.

use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use engine::exec::{ExecSettings, process};
use engine::{Containers, Record, State, control};
use runtime::monitor::client::ClientError;
use runtime::monitor::protocol::Exec;
use runtime::spec::from_image::TerminalSize;
use runtime::terminal;

use super::Global;
use crate::session::{Pipes, Session, exit_code, null_device, terminal_relays, user_size};
use crate::{OUR_FAILURE, options};

/// Options of `exec`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Leave the process running
    #[arg(short, long, conflicts_with = "tty")]
    detach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable; without a value it is taken from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables of a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// User and group, names or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory inside
    #[arg(short, long, value_name = "DIR", value_parser = options::working_directory)]
    workdir: Option<PathBuf>,
    /// Name or id of a container, and the command
    #[arg(required = true, trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    container: Vec<String>,
}

pub fn run(global: &Global, arguments: &Arguments) -> Result<u8> {
    let [name, command @ ..] = &arguments.container[..] else { bail!("no container was named") };
    if command.is_empty() {
        crate::report("exec: no command was named");
        return Ok(OUR_FAILURE);
    }
    if arguments.tty
        && arguments.interactive
        && !arguments.detach
        && !rustix::termios::isatty(std::io::stdin())
    {
        bail!("the input device is not a TTY: -it needs a terminal, use -i alone to pass input on");
    }
    let containers = global.containers()?;
    let record = containers.find(name)?;
    let State::Running { pid, .. } = containers.state(&record.id)? else {
        return Err(control::not_running(&record).into());
    };
    let env = options::environment(&arguments.env_file, &arguments.env).map_err(anyhow::Error::msg)?;
    let settings = ExecSettings {
        args: command.to_vec(),
        env,
        cwd: arguments.workdir.clone(),
        user: arguments.user.clone(),
        terminal: arguments.tty.then(|| user_size().unwrap_or_default()),
    };
    let process = process(&containers.folder(&record.id), pid, &settings)?;
    execute(&containers, &record, arguments, &process).or_else(|error| {
        // Not executed: the code says why, and 1 that it was no matter of the command.
        let code = match error.downcast_ref::<ClientError>() {
            Some(error) if error.exit_code() != OUR_FAILURE => error.exit_code(),
            _ => return Err(error),
        };
        crate::report_error(&error);
        Ok(code)
    })
}

fn execute(containers: &Containers, record: &Record, arguments: &Arguments, process: &[u8]) -> Result<u8> {
    let mut client = control::connect(containers, record)?;
    let request = |terminal, bound| Exec { container: &record.id, terminal, bound };
    if arguments.detach {
        let null = null_device()?;
        let stdio = [null.as_fd(), null.as_fd(), null.as_fd()];
        client.exec(request(false, false), process, Some(stdio))?;
        return Ok(0);
    }
    if !arguments.tty {
        let pipes = Pipes::new(arguments.interactive)?;
        let [stdin, stdout, stderr] = &pipes.theirs;
        let stdio = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        client.exec(request(false, true), process, Some(stdio))?;
        let session =
            Session { relays: pipes.relays()?, has_input: arguments.interactive, ..Session::default() };
        return Ok(exit_code(session.follow(&mut client)?));
    }
    let executed = client.exec(request(true, true), process, None)?;
    let Some(master) = executed.terminal else { bail!("the monitor gave the process no terminal") };
    let resize = |size: TerminalSize| {
        // A terminal that is being closed has no size to set.
        let _ = terminal::set_size(&master, size);
    };
    let session = Session {
        relays: terminal_relays(&master, arguments.interactive)?,
        has_input: arguments.interactive,
        raw: arguments.interactive,
        from_terminal: true,
        resized: Some(Box::new(resize)),
        ..Session::default()
    };
    Ok(exit_code(session.follow(&mut client)?))
}
