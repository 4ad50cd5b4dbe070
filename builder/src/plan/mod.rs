//! From instructions to steps: reachable stages, arguments in scope, defaults of the platform.
//!
//! A plan is made before anything runs. It holds the stages that the target needs, in the order of the file; in each
//! step all variables are replaced, and the config of each stage's result is known, because no instruction's effect on
//! the config depends on what a program did. Images are asked for through [`Images`]; nothing else is read.
//!
//! What always holds: a stage refers only to earlier ones; base images of stages that the target does not need are not
//! asked for; nothing of the caller's environment enters a plan except what [`BuildArgs`] was given.

use std::cell::RefCell;
use std::collections::BTreeMap;

use image::document::{ImageConfig, Platform};

use crate::dockerfile::{Diagnostic, Dockerfile, Severity, Span, expand};

mod args;
mod base;
mod files;
mod history;
mod lower;
mod run;
mod step;
#[cfg(test)]
mod tests;

pub use args::{BuildArgs, Variables, is_proxy};
pub use step::{
    Action, Base, BaseImage, CopySource, CopyStep, Network, Origin, RunCommand, RunStep, StagePlan, Step,
    WorkdirStep,
};

/// A finding that ends the planning.
pub type Failure = Box<Diagnostic>;

/// What programs find without an environment of their own.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a plan learns about images.
pub trait Images {
    /// The image that a FROM or `--from` names.
    fn image(&self, name: &str) -> Result<BaseImage, image::error::Error>;
    /// Names of all images, for suggestions.
    fn names(&self) -> Vec<String>;
}

/// What the command line decides.
#[derive(Debug)]
pub struct Options {
    /// `--target`.
    pub target: Option<String>,
    /// `--build-arg`.
    pub args: BuildArgs,
    /// `--network`: what RUN gets by default, and the most it may ask for.
    pub network: Network,
    /// The machine.
    pub platform: Platform,
}

/// All stages that the target needs.
#[derive(Debug)]
pub struct Plan {
    /// By position in the file.
    pub stages: BTreeMap<usize, StagePlan>,
    /// The stage that is the result.
    pub target: usize,
    /// Images that `COPY --from` names, by that name.
    pub images: BTreeMap<String, BaseImage>,
    /// Findings that do not stop the build.
    pub warnings: Vec<Diagnostic>,
}

impl Plan {
    /// Plans the build of a file.
    pub fn make(file: &Dockerfile, options: &Options, images: &dyn Images) -> Result<Plan, Failure> {
        let target = target(file, options.target.as_deref())?;
        let title = options.target.as_deref().unwrap_or("default");
        let mut planner = Planner {
            file,
            options,
            images,
            platform_values: args::platform_values(&options.platform, title),
            global: Variables::default(),
            stages: BTreeMap::new(),
            scopes: BTreeMap::new(),
            found: BTreeMap::new(),
            warnings: RefCell::default(),
        };
        planner.read_global_args()?;
        planner.stage(target)?;
        planner.warn_of_unused_args();
        Ok(Plan {
            stages: planner.stages,
            target,
            images: planner.found,
            warnings: planner.warnings.into_inner(),
        })
    }

    /// The plan of a stage that some stage in this plan needs.
    pub fn stage(&self, index: usize) -> Option<&StagePlan> {
        self.stages.get(&index)
    }

    /// The stage that is the result.
    pub fn target_stage(&self) -> Option<&StagePlan> {
        self.stages.get(&self.target)
    }
}

/// What a stage hands to one that is based on it, besides its config.
#[derive(Debug, Clone, Default)]
struct Scope {
    variables: Variables,
    /// Arguments in order of declaration, for the history.
    declared: Vec<(String, String)>,
}

struct Planner<'a> {
    file: &'a Dockerfile,
    options: &'a Options,
    images: &'a dyn Images,
    platform_values: Vec<(String, String)>,
    /// ARGs before the first FROM that have a value.
    global: Variables,
    stages: BTreeMap<usize, StagePlan>,
    scopes: BTreeMap<usize, Scope>,
    found: BTreeMap<String, BaseImage>,
    warnings: RefCell<Vec<Diagnostic>>,
}

/// The position of the stage that `--target` names; without it the last one.
fn target(file: &Dockerfile, wanted: Option<&str>) -> Result<usize, Failure> {
    let Some(wanted) = wanted else { return Ok(file.stages.len().saturating_sub(1)) };
    if let Some(stage) = file.stage_named(wanted, file.stages.len()) {
        return Ok(stage.index);
    }
    if let Some(index) = wanted.parse::<usize>().ok().filter(|index| *index < file.stages.len()) {
        return Ok(index);
    }
    let names: Vec<&str> =
        file.stages.iter().filter_map(|stage| stage.name.as_ref()).map(|name| name.text.as_str()).collect();
    let message = format!("there is no stage {wanted:?} to build as --target");
    let diagnostic =
        Diagnostic::without_place(Severity::Error, message).suggest(wanted, names.iter().copied());
    Err(Box::new(match names.is_empty() {
        true => diagnostic.note("no stage has a name; write FROM ... AS NAME"),
        false => diagnostic.note(format!("stages with a name: {}", names.join(", "))),
    }))
}

impl Planner<'_> {
    fn read_global_args(&mut self) -> Result<(), Failure> {
        for instruction in &self.file.global_args {
            let crate::dockerfile::Command::Arg(list) = &instruction.command else { continue };
            for argument in list {
                let name = &argument.name.text;
                let given = self.options.args.value(name).map(str::to_owned);
                let value = match (&given, &argument.default) {
                    (Some(value), _) => Some(value.clone()),
                    (None, Some(default)) => Some(self.expand_global(&default.text, default.span)?),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.global.set(name, &value);
                }
            }
        }
        Ok(())
    }

    /// Expands text outside any stage: global ARGs and the platform's values.
    fn expand_global(&self, text: &str, span: Span) -> Result<String, Failure> {
        let lookup = |name: &str| self.global_value(name);
        let expanded = expand::expand(text, self.file.escape(), &lookup)
            .map_err(|error| Box::new(Diagnostic::error(&self.file.source, span, error.to_string())))?;
        Ok(expanded.text)
    }

    fn global_value(&self, name: &str) -> Option<String> {
        if let Some(value) = self.global.get(name) {
            return Some(value.to_owned());
        }
        let (_, value) = self.platform_values.iter().find(|(known, _)| known == name)?;
        Some(self.options.args.value(name).map_or_else(|| value.clone(), str::to_owned))
    }

    /// Plans a stage and what it needs, once.
    fn stage(&mut self, index: usize) -> Result<(), Failure> {
        if self.stages.contains_key(&index) {
            return Ok(());
        }
        let stage = &self.file.stages[index];
        self.check_platform(stage)?;
        let (base, config, scope) = self.base(stage)?;
        let mut plan = StagePlan {
            index,
            name: stage.name.as_ref().map(|name| name.text.clone()),
            base,
            from_text: self
                .file
                .source
                .slice(stage.from.span)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            from_span: stage.from.span,
            steps: Vec::new(),
            config: ImageConfig::default(),
        };
        let mut lowering = lower::Lowering::new(self, stage, config, scope);
        lowering.all()?;
        let (steps, config, scope) = lowering.finish();
        plan.steps = steps;
        plan.config = config;
        for origin in plan.steps.iter().filter_map(|step| match &step.action {
            Action::Copy(copy) => Some(&copy.origin),
            _ => None,
        }) {
            if let Origin::Stage(other) = origin {
                self.stage(*other)?;
            }
        }
        self.stages.insert(index, plan);
        self.scopes.insert(index, scope);
        Ok(())
    }

    fn warn_of_unused_args(&self) {
        let declared: Vec<&str> = self.declared_names();
        for name in self.options.args.unused() {
            if self.platform_values.iter().any(|(known, _)| known == name) {
                continue;
            }
            // Declared in a stage that the target does not need is no mistake.
            if declared.contains(&name) {
                continue;
            }
            let message = format!("--build-arg {name} is not used: no ARG declares it");
            let warning = Diagnostic::without_place(Severity::Warning, message);
            self.warn(warning.suggest(name, declared.iter().copied()));
        }
    }

    fn declared_names(&self) -> Vec<&str> {
        let instructions = self.file.stages.iter().flat_map(|stage| &stage.instructions);
        self.file
            .global_args
            .iter()
            .chain(instructions)
            .filter_map(|instruction| match &instruction.command {
                crate::dockerfile::Command::Arg(list) => Some(list),
                _ => None,
            })
            .flatten()
            .map(|argument| argument.name.text.as_str())
            .collect()
    }

    fn warn(&self, warning: Diagnostic) {
        self.warnings.borrow_mut().push(warning);
    }
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// Entry point for fuzzing: any file is planned or refused, without a panic, on images that are made up.
pub fn fuzz(bytes: &[u8]) {
    struct AnyImage;
    impl Images for AnyImage {
        fn image(&self, name: &str) -> Result<BaseImage, image::error::Error> {
            let mut config = ImageConfig::scratch();
            config.config.env = vec!["PATH=/bin".to_owned(), name.to_owned(), format!("NAME={name}")];
            config.config.on_build = vec![format!("RUN echo {name}"), name.to_owned()];
            config.config.on_build.truncate(name.len() % 3);
            Ok(BaseImage { name: name.to_owned(), config, layers: Vec::new() })
        }

        fn names(&self) -> Vec<String> {
            vec!["busybox".to_owned()]
        }
    }
    let Ok(file) = Dockerfile::parse_bytes(bytes, "Dockerfile") else { return };
    let args = vec![("V".to_owned(), "1".to_owned()), ("HTTP_PROXY".to_owned(), "p".to_owned())];
    let options = Options {
        target: None,
        args: BuildArgs::new(args),
        network: Network::None,
        platform: Platform::host(),
    };
    match Plan::make(&file, &options, &AnyImage) {
        Ok(plan) => assert!(plan.target_stage().is_some()),
        Err(failure) => assert!(!failure.render(crate::dockerfile::Style::Plain).is_empty()),
    }
}
