//! The keys of steps (reference: what identifies a step).

use super::source::{SelectError, Selected, SourceTree};
use crate::cache::key::{Key, KeyWriter};
use crate::plan::{CopySource, CopyStep, Network, RunCommand, RunStep, WorkdirStep};

/// RUN: what runs, with which environment, where, as whom, on which network. Not the proxies.
pub(super) fn run(chain: &Key, run: &RunStep) -> Key {
    Key::of("run", |key| {
        key.key(chain);
        match &run.command {
            RunCommand::Arguments { list, .. } => {
                key.text("arguments");
                key.list(list);
            }
            RunCommand::Script { name, content } => {
                key.text("script");
                key.text(name);
                key.text(content);
            }
        }
        key.list(&run.env);
        key.text(&run.cwd);
        key.text(&run.user);
        key.text(match run.network {
            Network::None => "none",
            Network::Host => "host",
        });
        key.text(std::env::consts::ARCH);
    })
}

/// WORKDIR: path and owner.
pub(super) fn workdir(chain: &Key, workdir: &WorkdirStep) -> Key {
    Key::of("workdir", |key| {
        key.key(chain);
        key.text(&workdir.path);
        key.text(&workdir.user);
    })
}

/// COPY and ADD from the context: the content of everything selected.
pub(super) fn copy(chain: &Key, step: &CopyStep, context: &SourceTree, selected: &SelectedSources) -> Key {
    Key::of("copy", |key| {
        key.key(chain);
        words(step, key);
        for source in &selected.0 {
            match source {
                SelectedSource::Paths(paths) => {
                    key.text("paths");
                    context.add_to_key(paths, key);
                }
                SelectedSource::Inline { .. } => key.text("inline"),
            }
        }
    })
}

/// COPY from a stage or image: its layers and the paths as written.
pub(super) fn copy_from(chain: &Key, step: &CopyStep, from: &Key) -> Key {
    Key::of("copy-from", |key| {
        key.key(chain);
        key.key(from);
        words(step, key);
        for source in &step.sources {
            if let CopySource::Path { path, .. } = source {
                key.text(path);
            }
        }
    })
}

/// What COPY and ADD say besides the paths of their sources.
fn words(step: &CopyStep, key: &mut KeyWriter) {
    key.text(&step.destination);
    key.number(u64::from(step.into_directory));
    key.number(u64::from(step.unpack));
    key.optional(step.chown.as_deref());
    key.optional(step.chmod.as_ref().map(|mode| format!("{mode:?}")).as_deref());
    key.number(step.sources.len() as u64);
    for source in &step.sources {
        if let CopySource::Inline { name, content } = source {
            key.text(name);
            key.text(content);
        }
    }
}

/// What the sources of a step select, in their order.
#[derive(Debug)]
pub(super) struct SelectedSources(pub(super) Vec<SelectedSource>);

/// What one source selects.
#[derive(Debug)]
pub(super) enum SelectedSource {
    /// Files of the origin.
    Paths(Vec<Selected>),
    /// A file given in place.
    Inline {
        /// Its name.
        name: String,
        /// Its bytes.
        content: String,
    },
}

impl SelectedSources {
    /// Resolves the sources of a step.
    pub(super) fn of(step: &CopyStep, from: &mut SourceTree) -> Result<SelectedSources, SelectError> {
        let mut all = Vec::with_capacity(step.sources.len());
        for source in &step.sources {
            all.push(match source {
                CopySource::Path { path, .. } => SelectedSource::Paths(from.select(path)?),
                CopySource::Inline { name, content } => {
                    SelectedSource::Inline { name: name.clone(), content: content.clone() }
                }
            });
        }
        Ok(SelectedSources(all))
    }

    /// How many things go to the destination.
    pub(super) fn count(&self) -> usize {
        self.0
            .iter()
            .map(|source| match source {
                SelectedSource::Paths(paths) => paths.len(),
                SelectedSource::Inline { .. } => 1,
            })
            .sum()
    }
}

/// Whether a path of a message is the one written, `.`, `..` and slashes aside.
pub(super) fn same_path(written: &str, shown: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).map(str::to_owned).collect()
    };
    parts(written) == parts(shown)
}
