//! One stage's instructions become steps, and its config takes shape.
//!
//! All values of one instruction are computed with the state before it; two ARGs in one instruction do see each other.

use image::document::{Healthcheck as ConfigHealthcheck, ImageConfig};
use serde_json::{Map, Value};

use super::history;
use super::step::{Action, Step, WorkdirStep};
use super::{Failure, Planner, Scope};
use crate::dockerfile::instruction::{Argument, Healthcheck, Pairs, Word};
use crate::dockerfile::{
    Command, CommandLine, Diagnostic, Instruction, Span, Stage, expand, path, port, signal,
};

/// The shell of shell-form instructions without SHELL.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A stage in the middle of being planned.
pub(super) struct Lowering<'p, 'a> {
    pub(super) planner: &'p mut Planner<'a>,
    pub(super) stage: &'p Stage,
    pub(super) config: ImageConfig,
    pub(super) scope: Scope,
    steps: Vec<Step>,
    /// CMD stands in this stage already, so ENTRYPOINT keeps it.
    has_cmd: bool,
    /// The trigger being lowered: its text, and the source its spans point into.
    trigger: Option<String>,
    escape: char,
}

impl<'p, 'a> Lowering<'p, 'a> {
    pub(super) fn new(
        planner: &'p mut Planner<'a>,
        stage: &'p Stage,
        config: ImageConfig,
        scope: Scope,
    ) -> Lowering<'p, 'a> {
        let mut scope = scope;
        // The base's environment is the stage's; arguments of a stage it is based on stay in scope beside it.
        let mut variables = super::Variables::from_env(&config.config.env);
        for name in scope.variables.names().map(str::to_owned).collect::<Vec<_>>() {
            if let Some(value) = scope.variables.get(&name) {
                variables.set(&name, value);
            }
        }
        scope.variables = variables;
        let escape = planner.file.escape();
        Lowering { planner, stage, config, scope, steps: Vec::new(), has_cmd: false, trigger: None, escape }
    }

    /// The base's triggers, then the stage's instructions.
    pub(super) fn all(&mut self) -> Result<(), Failure> {
        for text in std::mem::take(&mut self.config.config.on_build) {
            self.run_trigger(text)?;
        }
        let stage = self.stage;
        for instruction in &stage.instructions {
            self.instruction(instruction)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> (Vec<Step>, ImageConfig, Scope) {
        (self.steps, self.config, self.scope)
    }

    fn run_trigger(&mut self, text: String) -> Result<(), Failure> {
        let (_, parsed) =
            crate::dockerfile::parse_trigger(&text, "ONBUILD trigger").map_err(|diagnostics| {
                let said = diagnostics.first().map(|first| first.message.clone()).unwrap_or_default();
                let message = format!("the base image's trigger cannot be read: {said}");
                Box::new(self.error(self.stage.from.span, message).note(format!("ONBUILD {text}")))
            })?;
        // Triggers were written for the file of the base image, whose escape character is not known.
        let escape = std::mem::replace(&mut self.escape, '\\');
        self.trigger = Some(text.clone());
        let result = self.instruction(&parsed);
        self.trigger = None;
        self.escape = escape;
        result.map_err(|failure| {
            Box::new(failure.note(format!("in a trigger of the base image: ONBUILD {text}")))
        })
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), Failure> {
        match &instruction.command {
            Command::Run(run) => self.run(instruction, run),
            Command::Copy(copy) => self.copy(instruction, copy),
            Command::Add(add) => self.add(instruction, add),
            Command::Env(pairs) => self.env(instruction, pairs),
            Command::Label(pairs) => self.label(instruction, pairs),
            Command::Arg(list) => self.arg(instruction, list),
            Command::Workdir(word) => self.workdir(instruction, word),
            Command::User(word) => {
                self.config.config.user = self.expand(word)?;
                let text = format!("USER {}", self.config.config.user);
                self.config_step(instruction, text);
                Ok(())
            }
            Command::Expose(words) => self.expose(instruction, words),
            Command::Volume(words) => self.volume(instruction, words),
            Command::Entrypoint(line) => self.entrypoint(instruction, line),
            Command::Cmd(line) => {
                let list = line.arguments(&self.shell());
                self.config_step(instruction, format!("CMD {}", history::json(&list)));
                self.config.config.cmd = Some(list);
                self.has_cmd = true;
                Ok(())
            }
            Command::Shell(list) => {
                self.config_step(instruction, format!("SHELL {}", history::json(list)));
                self.config.config.shell = Some(list.clone());
                Ok(())
            }
            Command::Stopsignal(word) => self.stop_signal(instruction, word),
            Command::Healthcheck(check) => self.healthcheck(instruction, check),
            Command::Onbuild(onbuild) => {
                // BuildKit writes no history for it.
                self.config.config.on_build.push(onbuild.text.clone());
                Ok(())
            }
            Command::Maintainer(word) => {
                self.config_step(instruction, format!("MAINTAINER {}", word.text));
                self.config.author = Some(word.text.clone());
                Ok(())
            }
        }
    }

    fn env(&mut self, instruction: &Instruction, pairs: &Pairs) -> Result<(), Failure> {
        let values = self.pairs(pairs)?;
        let mut text = "ENV".to_owned();
        for (name, value) in &values {
            if name.is_empty() {
                return Err(self.fail(instruction.span, "ENV needs a name before ="));
            }
            text.push_str(&format!(" {name}={value}"));
        }
        let mut env = super::Variables::from_env(&self.config.config.env);
        for (name, value) in values {
            env.set(&name, &value);
            self.scope.variables.set(&name, &value);
        }
        self.config.config.env = env.to_env();
        self.config_step(instruction, text);
        Ok(())
    }

    fn label(&mut self, instruction: &Instruction, pairs: &Pairs) -> Result<(), Failure> {
        let values = self.pairs(pairs)?;
        let mut text = "LABEL".to_owned();
        for (name, value) in values {
            text.push_str(&format!(" {name}={value}"));
            self.config.config.labels.insert(name, value);
        }
        self.config_step(instruction, text);
        Ok(())
    }

    /// Expands all names and values before any of them counts.
    fn pairs(&self, pairs: &Pairs) -> Result<Vec<(String, String)>, Failure> {
        pairs.pairs.iter().map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?))).collect()
    }

    fn arg(&mut self, instruction: &Instruction, list: &[Argument]) -> Result<(), Failure> {
        let mut text = "ARG".to_owned();
        for argument in list {
            let name = &argument.name.text;
            let given = self.planner.options.args.value(name).map(str::to_owned);
            let value = match (given, &argument.default) {
                (Some(value), _) => Some(value),
                (None, Some(default)) => Some(self.expand(default)?),
                (None, None) => self.planner.global_value(name),
            };
            text.push_str(&format!(" {name}"));
            if let Some(value) = value {
                text.push_str(&format!("={value}"));
                self.scope.variables.set(name, &value);
                self.scope.declared.retain(|(declared, _)| declared != name);
                self.scope.declared.push((name.clone(), value));
            }
        }
        self.config_step(instruction, text);
        Ok(())
    }

    fn workdir(&mut self, instruction: &Instruction, word: &Word) -> Result<(), Failure> {
        let written = self.expand(word)?;
        if written.is_empty() {
            return Err(
                self.fail(word.span, "WORKDIR needs a path, but it is empty once its variables are replaced")
            );
        }
        let path = path::absolute(&self.config.config.working_dir, &written);
        self.config.config.working_dir.clone_from(&path);
        let created_by = format!("WORKDIR {path}");
        if path == "/" {
            self.config_step(instruction, created_by);
        } else {
            let user = self.config.config.user.clone();
            self.step(instruction, created_by, Action::Workdir(WorkdirStep { path, user }));
        }
        Ok(())
    }

    fn expose(&mut self, instruction: &Instruction, words: &[Word]) -> Result<(), Failure> {
        let mut added = Vec::new();
        for word in words {
            let expanded = expand::expand_list(&word.text, self.escape, &self.scope.variables)
                .map_err(|error| self.expansion_failed(word.span, &error))?;
            self.warn_of_unset(word.span, &expanded.unset);
            for text in expanded.words {
                let ports = port::parse(&text).map_err(|error| self.fail(word.span, error))?;
                added.extend(ports.keys());
            }
        }
        let text = format!("EXPOSE [{}]", added.join(" "));
        for key in added {
            self.config.config.exposed_ports.insert(key, Value::Object(Map::new()));
        }
        self.config_step(instruction, text);
        Ok(())
    }

    fn volume(&mut self, instruction: &Instruction, words: &[Word]) -> Result<(), Failure> {
        let mut added = Vec::new();
        for word in words {
            let path = self.expand(word)?;
            if path.is_empty() {
                return Err(self.fail(
                    word.span,
                    "VOLUME needs a path, but it is empty once its variables are replaced",
                ));
            }
            added.push(path);
        }
        let text = format!("VOLUME [{}]", added.join(" "));
        for path in added {
            self.config.config.volumes.insert(path, Value::Object(Map::new()));
        }
        self.config_step(instruction, text);
        Ok(())
    }

    fn entrypoint(&mut self, instruction: &Instruction, line: &CommandLine) -> Result<(), Failure> {
        let list = line.arguments(&self.shell());
        self.config_step(instruction, format!("ENTRYPOINT {}", history::json(&list)));
        self.config.config.entrypoint = Some(list);
        if !self.has_cmd {
            self.config.config.cmd = None;
        }
        Ok(())
    }

    fn stop_signal(&mut self, instruction: &Instruction, word: &Word) -> Result<(), Failure> {
        let text = self.expand(word)?;
        if signal::parse(&text).is_none() {
            let message =
                format!("STOPSIGNAL {text} is no signal: write a name such as SIGTERM, or a number");
            return Err(Box::new(self.error(word.span, message).suggest(&text, signal::names())));
        }
        self.config_step(instruction, format!("STOPSIGNAL {text}"));
        self.config.config.stop_signal = Some(text);
        Ok(())
    }

    fn healthcheck(&mut self, instruction: &Instruction, check: &Healthcheck) -> Result<(), Failure> {
        let some = |number: i64| (number != 0).then_some(number);
        let record = match check {
            Healthcheck::None => ConfigHealthcheck { test: vec!["NONE".to_owned()], ..Default::default() },
            Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } => {
                let test = match command {
                    CommandLine::Exec(list) => ["CMD".to_owned()].into_iter().chain(list.clone()).collect(),
                    CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                };
                ConfigHealthcheck {
                    test,
                    interval: some(*interval),
                    timeout: some(*timeout),
                    start_period: some(*start_period),
                    start_interval: some(*start_interval),
                    retries: some(i64::from(*retries)),
                    ..Default::default()
                }
            }
        };
        self.config_step(instruction, history::healthcheck(check, &record.test));
        self.config.config.healthcheck = Some(record);
        Ok(())
    }

    pub(super) fn refuse_flag(
        &self,
        instruction: &Instruction,
        keyword: &str,
        name: &str,
        flags: &[crate::dockerfile::instruction::FlagSpan],
    ) -> Failure {
        let span = flag_span(flags, name).unwrap_or(instruction.span);
        Box::new(self.error(span, format!("{keyword} --{name} is not supported yet")))
    }

    pub(super) fn shell(&self) -> Vec<String> {
        let shell = self.config.config.shell.clone().filter(|shell| !shell.is_empty());
        shell.unwrap_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec())
    }

    pub(super) fn expand(&self, word: &Word) -> Result<String, Failure> {
        let expanded = expand::expand(&word.text, self.escape, &self.scope.variables)
            .map_err(|error| self.expansion_failed(word.span, &error))?;
        self.warn_of_unset(word.span, &expanded.unset);
        Ok(expanded.text)
    }

    pub(super) fn expansion_failed(&self, span: Span, error: &expand::ExpandError) -> Failure {
        self.fail(span, error.to_string())
    }

    /// The check UndefinedVar: only here it is known what the base image sets.
    pub(super) fn warn_of_unset(&self, span: Span, unset: &[String]) {
        for name in unset {
            let message = format!("${name} is not set here and gives an empty string");
            let (source, place) = (&self.planner.file.source, self.place(span));
            let warning = Diagnostic::warning(source, place, Some("UndefinedVar"), message);
            self.planner.warn(warning.suggest(name, self.scope.variables.names()));
        }
    }

    pub(super) fn config_step(&mut self, instruction: &Instruction, created_by: String) {
        self.step(instruction, created_by, Action::Config);
    }

    pub(super) fn step(&mut self, instruction: &Instruction, created_by: String, action: Action) {
        let text = instruction.text.clone();
        let (span, trigger) = (self.place(instruction.span), self.trigger.clone());
        self.steps.push(Step { text, span, trigger, created_by, action });
    }

    /// Spans of a trigger point into another text; its place in this file is the FROM line.
    pub(super) fn place(&self, span: Span) -> Span {
        if self.trigger.is_some() { self.stage.from.span } else { span }
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.planner.file.source, self.place(span), message)
    }

    pub(super) fn fail(&self, span: Span, message: impl Into<String>) -> Failure {
        Box::new(self.error(span, message))
    }
}

pub(super) fn flag_span(flags: &[crate::dockerfile::instruction::FlagSpan], name: &str) -> Option<Span> {
    flags.iter().find(|flag| flag.name == name).map(|flag| flag.span)
}
