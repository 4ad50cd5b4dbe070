//! Messages of failed steps: the place in the file, the cause, and the facts that help.

use super::build::Build;
use super::error::{Error, StepError};
use super::keys;
use super::source::SelectError;
use crate::dockerfile::{Diagnostic, Span};
use crate::plan::{Action, CopySource, Origin, StagePlan, Step};
use crate::progress::Label;

impl Build<'_> {
    /// Gives an error its place in the file, and the facts that help.
    pub(super) fn fail(&self, step: &Step, running: Option<(&StagePlan, &Label)>, error: StepError) -> Error {
        let at = |span: Span, message: String| Diagnostic::error(&self.file.source, span, message);
        let mut diagnostic = match error {
            StepError::Other(
                error @ (Error::Store(_) | Error::Layer(_) | Error::Cache(_) | Error::File { .. }),
            ) => at(step.span, crate::plan::chain(&error)),
            StepError::Other(error) => return error,
            StepError::Select(error) => self.explain(step, &error),
            StepError::Copy(error) => at(step.span, crate::plan::chain(&error)),
            StepError::Told { message, notes, helps } => {
                let diagnostic = notes.into_iter().fold(at(step.span, message), Diagnostic::note);
                helps.into_iter().fold(diagnostic, Diagnostic::help)
            }
        };
        if let Some((stage, label)) = running {
            let numbers = label.0.rsplit(' ').next().unwrap_or_default();
            diagnostic = diagnostic.note(format!("step {numbers} of stage {}: {}", stage.title(), step.text));
        }
        if let Some(trigger) = &step.trigger {
            diagnostic = diagnostic.note(format!("in a trigger of the base image: ONBUILD {trigger}"));
        }
        Error::Step(Box::new(diagnostic))
    }

    /// The message for a source that selects nothing.
    fn explain(&self, step: &Step, error: &SelectError) -> Diagnostic {
        let Action::Copy(copy) = &step.action else {
            return Diagnostic::error(&self.file.source, step.span, crate::plan::chain(error));
        };
        let SelectError::Missing { path, ignored, near } = error else {
            return Diagnostic::error(&self.file.source, step.span, crate::plan::chain(error));
        };
        let found = copy.sources.iter().find_map(|source| match source {
            CopySource::Path { path: written, span } if keys::same_path(written, path) => {
                Some((written, *span))
            }
            _ => None,
        });
        let span = found.map_or(step.span, |(_, span)| span);
        let place = match &copy.origin {
            Origin::Context => "the build context".to_owned(),
            Origin::Stage(index) => self
                .plan
                .stage(*index)
                .map_or_else(|| format!("stage {index}"), |stage| format!("stage {}", stage.title())),
            Origin::Image(name) => format!("image {name}"),
        };
        let mut diagnostic = Diagnostic::error(&self.file.source, span, format!("{path} is not in {place}"));
        if *ignored {
            diagnostic = match self.ignore.excluded_by(path.as_bytes()) {
                Some(rule) => {
                    diagnostic.note(format!("it exists, but {} excludes it: {}", rule.place, rule.pattern))
                }
                None => diagnostic.note("it exists, but the ignore file excludes it"),
            };
        }
        if let Some(near) = near {
            diagnostic = diagnostic.help(format!("did you mean {near}?"));
        }
        if found.is_some_and(|(written, _)| written.split('/').any(|part| part == "..")) {
            diagnostic = diagnostic.note("paths cannot leave the context: .. stops at its root");
        }
        diagnostic
    }
}
