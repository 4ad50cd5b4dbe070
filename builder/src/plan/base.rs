//! What a stage starts from: nothing, an earlier stage, or an image of the store, for this machine.

use image::document::ImageConfig;

use super::step::{Base, BaseImage};
use super::{DEFAULT_PATH, Failure, Planner, Scope, Variables, chain};
use crate::dockerfile::diagnostic::nearest;
use crate::dockerfile::{Diagnostic, Lookup as _, Span, Stage, expand, platform};

impl Planner<'_> {
    /// What the stage starts from, the config and the variables it inherits.
    pub(super) fn base(&mut self, stage: &Stage) -> Result<(Base, ImageConfig, Scope), Failure> {
        let written = &stage.from.image;
        let name = self.expand_global(&written.text, written.span)?;
        if name.is_empty() {
            return Err(self.blank_base(stage));
        }
        if name == "scratch" {
            let mut config = ImageConfig::scratch();
            config.config.working_dir = "/".to_owned();
            return Ok((Base::Scratch, with_path(config), Scope::default()));
        }
        let earlier = self.file.stages[..stage.index]
            .iter()
            .rev()
            .find(|other| other.name.as_ref().is_some_and(|own| own.text == name));
        if let Some(earlier) = earlier {
            self.stage(earlier.index)?;
            let config = self.stages[&earlier.index].config.clone();
            return Ok((Base::Stage(earlier.index), config, self.scopes[&earlier.index].clone()));
        }
        let image = self.find_image(stage, &name, written.span)?;
        let mut config = with_path(image.config.clone());
        // What builders of old noted about their last container is not true of the result.
        config.extra.clear();
        Ok((Base::Image(Box::new(image)), config, Scope::default()))
    }

    fn blank_base(&self, stage: &Stage) -> Failure {
        let written = &stage.from.image;
        let message =
            format!("the base image name {} is empty once its variables are replaced", written.text);
        let mut diagnostic = Diagnostic::error(&self.file.source, written.span, message);
        for usage in expand::usages(&written.text, self.file.escape()).unwrap_or_default() {
            if self.global_value(&usage.name).is_none_or(|value| value.is_empty()) {
                let name = usage.name;
                diagnostic = diagnostic.note(format!("${name} has no value here")).help(format!(
                    "declare ARG {name}=VALUE before the first FROM, or pass --build-arg {name}=VALUE"
                ));
            }
        }
        Box::new(diagnostic)
    }

    /// An image of the store, or the message that it is missing.
    pub(super) fn find_image(&self, stage: &Stage, name: &str, span: Span) -> Result<BaseImage, Failure> {
        let error = match self.images.image(name) {
            Ok(image) => {
                self.warn_of_platform(&image, span);
                return Ok(image);
            }
            Err(error) => error,
        };
        if error.kind() != image::error::Kind::NotFound {
            return Err(Box::new(Diagnostic::error(&self.file.source, span, chain(&error))));
        }
        let message = format!("there is no image {name:?} in the store and no earlier stage of that name");
        let mut diagnostic = Diagnostic::error(&self.file.source, span, message);
        if let Some(later) = self.file.stages[stage.index..]
            .iter()
            .find(|other| other.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name)))
        {
            diagnostic = diagnostic.also(later.from.span, "a stage of that name is defined only here");
        }
        let stages = self.file.stages[..stage.index].iter().filter_map(|other| other.name.as_ref());
        let images = self.images.names();
        let candidates = stages.map(|own| own.text.as_str()).chain(images.iter().map(String::as_str));
        diagnostic = match nearest(name, candidates) {
            Some(near) => diagnostic.help(format!("did you mean {near}?")),
            None => diagnostic.help("bring it with rrun load or rrun import; images are not pulled yet"),
        };
        Err(Box::new(diagnostic))
    }

    fn warn_of_platform(&self, image: &BaseImage, span: Span) {
        let (theirs, ours) = (image.config.platform(), &self.options.platform);
        if !theirs.architecture.is_empty() && !theirs.runs_on(ours) {
            let message = format!(
                "base image {} is for {}/{}, this machine is {}/{}",
                image.name, theirs.os, theirs.architecture, ours.os, ours.architecture
            );
            self.warn(Diagnostic::warning(
                &self.file.source,
                span,
                Some("InvalidBaseImagePlatform"),
                message,
            ));
        }
    }

    /// Only images of this machine's platform are built.
    pub(super) fn check_platform(&self, stage: &Stage) -> Result<(), Failure> {
        let Some(written) = &stage.from.platform else { return Ok(()) };
        let text = self.expand_global(&written.text, written.span)?;
        let asked = platform::parse(&text)
            .map_err(|error| Box::new(Diagnostic::error(&self.file.source, written.span, error)))?;
        let ours = &self.options.platform;
        let fits = asked.os == ours.os
            && (asked.architecture.is_empty() || asked.architecture == ours.architecture)
            && (asked.variant.is_empty() || ours.variant.as_ref().is_none_or(|own| *own == asked.variant));
        if fits {
            return Ok(());
        }
        let message = format!(
            "--platform={text} is not this machine's platform {}/{}; building for another one is not supported",
            ours.os, ours.architecture
        );
        Err(Box::new(Diagnostic::error(&self.file.source, written.span, message)))
    }
}

/// Adds the default PATH to a config that has none.
fn with_path(mut config: ImageConfig) -> ImageConfig {
    if Variables::from_env(&config.config.env).lookup("PATH").is_none() {
        config.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    config
}
