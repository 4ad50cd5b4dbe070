//! RUN: command, environment and network.

use super::Failure;
use super::history;
use super::lower::{Lowering, flag_span};
use super::step::{Action, Network, RunCommand, RunStep};
use crate::dockerfile::instruction::{Run, RunNetwork, RunScript, RunSecurity};
use crate::dockerfile::{CommandLine, Instruction, path};

impl Lowering<'_, '_> {
    pub(super) fn run(&mut self, instruction: &Instruction, run: &Run) -> Result<(), Failure> {
        for (refused, name) in [
            (!run.mounts.is_empty(), "mount"),
            (run.security == RunSecurity::Insecure, "security"),
            (!run.devices.is_empty(), "device"),
        ] {
            if refused {
                return Err(self.refuse_flag(instruction, "RUN", name, &run.flags));
            }
        }
        let network = self.run_network(instruction, run)?;
        let shell = self.shell();
        let command = match &run.script {
            RunScript::Command(line) => RunCommand::Arguments {
                list: line.arguments(&shell),
                shell: matches!(line, CommandLine::Shell(_)),
            },
            RunScript::File(heredoc) => {
                RunCommand::Script { name: heredoc.name.clone(), content: heredoc.content.clone() }
            }
        };
        let declared = &self.scope.declared;
        let proxies = self.planner.options.args.proxies().into_iter().filter(|entry| {
            let name = entry.split('=').next().unwrap_or_default();
            !declared.iter().any(|(declared, _)| declared == name)
        });
        let step = RunStep {
            env: self.scope.variables.to_env(),
            proxies: proxies.collect(),
            cwd: path::absolute("/", &self.config.config.working_dir),
            user: self.config.config.user.clone(),
            network,
            command,
        };
        let created_by = history::run(&step.command, declared);
        self.step(instruction, created_by, Action::Run(Box::new(step)));
        Ok(())
    }

    /// A file cannot give itself the host's network: that takes the command line (CVE-2024-23653).
    fn run_network(&self, instruction: &Instruction, run: &Run) -> Result<Network, Failure> {
        let allowed = self.planner.options.network;
        match run.network {
            RunNetwork::Default => Ok(allowed),
            RunNetwork::None => Ok(Network::None),
            RunNetwork::Host if allowed == Network::Host => Ok(Network::Host),
            RunNetwork::Host => {
                let span = flag_span(&run.flags, "network").unwrap_or(instruction.span);
                Err(Box::new(
                    self.error(
                        span,
                        "RUN --network=host asks for the network of the host, which is not allowed",
                    )
                    .help("allow it with rbuild --network host"),
                ))
            }
        }
    }
}
