//! COPY and ADD: sources, destination and flags with all variables replaced.

use super::Failure;
use super::history;
use super::lower::Lowering;
use super::step::{Action, CopySource, CopyStep, Origin};
use crate::dockerfile::instruction::{Add, Copy, FileSource, Files, Heredoc, Word};
use crate::dockerfile::{Instruction, expand, mode, path};

/// What a source looks like that only ADD of a later version fetches.
const REMOTE: [&str; 5] = ["http://", "https://", "git://", "ssh://", "git@"];

impl Lowering<'_, '_> {
    pub(super) fn copy(&mut self, instruction: &Instruction, copy: &Copy) -> Result<(), Failure> {
        if copy.parents {
            return Err(self.refuse_flag(instruction, "COPY", "parents", &copy.files.flags));
        }
        let origin = match &copy.from {
            Some(word) => self.origin(word)?,
            None => Origin::Context,
        };
        self.files(instruction, "COPY", &copy.files, origin, false)
    }

    pub(super) fn add(&mut self, instruction: &Instruction, add: &Add) -> Result<(), Failure> {
        for (given, name) in [(add.checksum.is_some(), "checksum"), (add.keep_git_dir, "keep-git-dir")] {
            if given {
                return Err(self.refuse_flag(instruction, "ADD", name, &add.files.flags));
            }
        }
        self.files(instruction, "ADD", &add.files, Origin::Context, add.unpack.unwrap_or(true))
    }

    fn files(
        &mut self,
        instruction: &Instruction,
        keyword: &'static str,
        files: &Files,
        origin: Origin,
        unpack: bool,
    ) -> Result<(), Failure> {
        for (given, name) in [(files.link, "link"), (!files.excludes.is_empty(), "exclude")] {
            if given {
                return Err(self.refuse_flag(instruction, keyword, name, &files.flags));
            }
        }
        let sources =
            files.sources.iter().map(|source| self.source(keyword, source)).collect::<Result<Vec<_>, _>>()?;
        let written = self.expand(&files.destination)?;
        if written.is_empty() {
            let message = format!("the destination of {keyword} is empty once its variables are replaced");
            return Err(self.fail(files.destination.span, message));
        }
        let (destination, into_directory) = path::destination(&self.config.config.working_dir, &written);
        let chown = files.chown.as_ref().map(|word| self.expand(word)).transpose()?;
        let chmod_text = files.chmod.as_ref().map(|word| self.expand(word)).transpose()?;
        let chmod = match (&chmod_text, &files.chmod) {
            (Some(text), Some(word)) => Some(mode::parse(text).map_err(|error| self.fail(word.span, error))?),
            _ => None,
        };
        let mut flags = Vec::new();
        flags.extend(chown.as_deref().map(|value| ("chown", value)));
        flags.extend(chmod_text.as_deref().map(|value| ("chmod", value)));
        let created_by = history::files(keyword, &flags, &sources, &written);
        let step = CopyStep {
            keyword,
            origin,
            sources,
            destination,
            into_directory,
            chown: chown.filter(|value| !value.is_empty()),
            chmod,
            unpack,
        };
        self.step(instruction, created_by, Action::Copy(Box::new(step)));
        Ok(())
    }

    fn source(&self, keyword: &str, source: &FileSource) -> Result<CopySource, Failure> {
        match source {
            FileSource::Path(word) => {
                let path = self.expand(word)?;
                if REMOTE.iter().any(|prefix| path.starts_with(prefix)) {
                    let message = if keyword == "ADD" {
                        format!("ADD of {path}: fetching from the network is not supported yet")
                    } else {
                        format!("COPY takes files of the context, not {path}")
                    };
                    return Err(self.fail(word.span, message));
                }
                Ok(CopySource::Path { path, span: self.place(word.span) })
            }
            FileSource::Heredoc(heredoc) => self.inline(heredoc),
        }
    }

    fn inline(&self, heredoc: &Heredoc) -> Result<CopySource, Failure> {
        let content = if heredoc.expand {
            let expanded = expand::expand_heredoc(&heredoc.content, &self.scope.variables)
                .map_err(|error| self.expansion_failed(heredoc.content_span, &error))?;
            self.warn_of_unset(heredoc.content_span, &expanded.unset);
            expanded.text
        } else {
            heredoc.content.clone()
        };
        Ok(CopySource::Inline { name: heredoc.name.clone(), content })
    }

    /// What `--from` names: an earlier stage by name or number, else an image.
    fn origin(&mut self, word: &Word) -> Result<Origin, Failure> {
        let name = word.text.as_str();
        let here = self.stage.index;
        if let Some(stage) = self.planner.file.stage_named(name, here) {
            return Ok(Origin::Stage(stage.index));
        }
        if let Ok(number) = name.parse::<usize>() {
            if number < here {
                return Ok(Origin::Stage(number));
            }
            let message =
                format!("--from={number} must be an earlier stage; this is stage {here}, counted from 0");
            return Err(self.fail(word.span, message));
        }
        if name.contains('$') {
            let message = format!("--from={name}: variables are not replaced here");
            return Err(Box::new(
                self.error(word.span, message)
                    .help(format!("name a stage: FROM {name} AS source, and COPY --from=source ...")),
            ));
        }
        if self.stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name)) {
            return Err(self.fail(word.span, format!("stage {name} cannot copy from itself")));
        }
        if !self.planner.found.contains_key(name) {
            let place = self.place(word.span);
            let image = self.planner.find_image(self.stage, name, place)?;
            self.planner.found.insert(name.to_owned(), image);
        }
        Ok(Origin::Image(name.to_owned()))
    }
}
