//! Steps: what a stage does once all variables are known, and the history it leaves.

use image::document::ImageConfig;

use crate::dockerfile::Span;

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The build context.
    Context,
    /// An earlier stage of the file.
    Stage(usize),
    /// An image of the store, by the name written.
    Image(String),
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// The result of an earlier stage.
    Stage(usize),
    /// An image of the store.
    Image(Box<BaseImage>),
}

/// An image as the plan needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The name as written in the file, variables replaced.
    pub name: String,
    /// Its config, history included.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<image::store::LayerDescriptor>,
}

/// One stage, ready to run.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// Position in the file.
    pub index: usize,
    /// Name after `AS`, if any.
    pub name: Option<String>,
    /// What it starts from.
    pub base: Base,
    /// The `FROM` line as written.
    pub from_text: String,
    /// The `FROM` line.
    pub from_span: Span,
    /// Everything after `FROM`, triggers of the base first.
    pub steps: Vec<Step>,
    /// The config of the result: base and all instructions. `rootfs`, `history` and `created` are still the base's.
    pub config: ImageConfig,
}

impl StagePlan {
    /// What messages call this stage.
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("stage-{}", self.index))
    }

    /// Steps that make a layer, plus `FROM`: what the numbers in `[2/6]` count.
    pub fn numbered(&self) -> usize {
        1 + self.steps.iter().filter(|step| step.action.makes_layer()).count()
    }
}

/// One instruction with all its variables replaced.
#[derive(Debug, Clone)]
pub struct Step {
    /// On one line, as written.
    pub text: String,
    /// Where it stands; for a trigger the `FROM` line.
    pub span: Span,
    /// The trigger's text, if the base image brought this step.
    pub trigger: Option<String>,
    /// The history's `created_by`.
    pub created_by: String,
    /// What to do.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Only the config changes, which the plan has done already.
    Config,
    /// Runs a program in the stage's root.
    Run(Box<RunStep>),
    /// Puts files into the stage's root.
    Copy(Box<CopyStep>),
    /// Makes a directory.
    Workdir(WorkdirStep),
}

impl Action {
    /// Whether the step adds a layer.
    pub fn makes_layer(&self) -> bool {
        !matches!(self, Action::Config)
    }
}

/// Which network a step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// Its own loopback.
    #[default]
    None,
    /// The host's.
    Host,
}

/// `RUN`.
#[derive(Debug, Clone)]
pub struct RunStep {
    /// What runs.
    pub command: RunCommand,
    /// `NAME=value`: the image's environment with the arguments in scope.
    pub env: Vec<String>,
    /// Proxy settings: seen by the program, no part of what identifies the step.
    pub proxies: Vec<String>,
    /// Where it runs; absolute.
    pub cwd: String,
    /// `user[:group]` as in the config; empty is root.
    pub user: String,
    /// The network.
    pub network: Network,
}

/// What a `RUN` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunCommand {
    /// A list of arguments; `shell` tells that the first ones are SHELL.
    Arguments {
        /// Program and arguments.
        list: Vec<String>,
        /// The shell form was used.
        shell: bool,
    },
    /// A script with its own `#!` line.
    Script {
        /// The terminator word of its heredoc, the script's name.
        name: String,
        /// Its text.
        content: String,
    },
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone)]
pub struct CopyStep {
    /// `COPY` or `ADD`, for messages.
    pub keyword: &'static str,
    /// Where paths are looked up.
    pub origin: Origin,
    /// What is copied, in order.
    pub sources: Vec<CopySource>,
    /// Absolute and cleaned, no trailing slash except for the root itself.
    pub destination: String,
    /// The destination was written as a directory (`/` or `.` at its end).
    pub into_directory: bool,
    /// `user[:group]` of everything copied.
    pub chown: Option<String>,
    /// Mode of everything copied.
    pub chmod: Option<crate::dockerfile::mode::Mode>,
    /// Archives are unpacked.
    pub unpack: bool,
}

/// One source of a `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path or pattern below the origin's root, as written.
    Path {
        /// Variables replaced.
        path: String,
        /// Where it stands in the file.
        span: Span,
    },
    /// A file given in place.
    Inline {
        /// Its name; may contain slashes.
        name: String,
        /// Its bytes, variables replaced.
        content: String,
    },
}

/// `WORKDIR`.
#[derive(Debug, Clone)]
pub struct WorkdirStep {
    /// Absolute and cleaned; not `/`.
    pub path: String,
    /// `user[:group]` that owns directories it makes; empty is root.
    pub user: String,
}
