//! The solver: which steps are known, which must run, and the image at the end.
//!
//! A step's key is made of the layers below it and its own words, so it is known as soon as the step before it has a
//! result, whether that came from the cache or was made now. A stage that others only copy from is first *looked up*:
//! if all its steps are known, its layers tell what was copied, and nothing of it needs to be there. Only when a step
//! has to run, or for the layers of the result itself, must the folders exist; a remembered layer that was collected
//! is then made again.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use image::document::{History, Timestamp};
use image::layers::Overlay;
use image::store::{Image, LayerDescriptor, Lease, Store};

use super::error::{Error, Result, StepError};
use super::source::SourceTree;
use super::{keys, made};
use crate::cache::index::{BuiltLayer, Index, Outcome};
use crate::cache::key::Key;
use crate::dockerfile::{Diagnostic, Dockerfile, Matcher};
use crate::plan::{Action, Base, CopyStep, Origin, Plan, StagePlan, Step};
use crate::progress::{Label, Progress};

/// What a build works with.
#[derive(Debug)]
pub struct Build<'a> {
    /// The file, for messages.
    pub file: &'a Dockerfile,
    /// What to do.
    pub plan: &'a Plan,
    /// Where images and layers are.
    pub store: &'a Store,
    /// What keeps unfinished work.
    pub lease: &'a Lease,
    /// Results of earlier builds.
    pub index: Index,
    /// The build context.
    pub context: SourceTree,
    /// The ignore file of the context.
    pub ignore: &'a Matcher,
    /// Do not look results up.
    pub no_cache: bool,
    /// `SOURCE_DATE_EPOCH`: the time of everything that is made.
    pub epoch: Option<Timestamp>,
    /// How RUN is run.
    pub runner: super::run::Runner,
    /// Where progress goes.
    pub progress: &'a Progress,
}

/// Results of stages, by their position in the file.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Looked up only: folders may be missing.
    known: BTreeMap<usize, Option<StageResult>>,
    /// With all folders there.
    there: BTreeMap<usize, StageResult>,
}

/// What a stage, or a part of it, made.
#[derive(Debug, Clone, Default)]
pub(super) struct StageResult {
    pub(super) layers: Vec<LayerDescriptor>,
    history: Vec<History>,
    /// When the newest of its layers was made.
    created: Option<Timestamp>,
}

/// Whether the folders of remembered layers must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// No: what is not remembered ends the lookup.
    Keys,
    /// Yes: what is not remembered is made.
    Layers,
}

impl Build<'_> {
    /// Builds the target and stores the image, unnamed, under the lease.
    pub fn run(&mut self) -> Result<Image> {
        let plan = self.plan;
        let stages = plan.stages.values().flat_map(|stage| &stage.steps);
        let sources = stages.filter_map(|step| match &step.action {
            Action::Copy(copy) if copy.origin == Origin::Context => Some(copy.sources.iter()),
            _ => None,
        });
        let paths = sources.flatten().filter_map(|source| match source {
            crate::plan::CopySource::Path { path, .. } => Some(path.as_str()),
            crate::plan::CopySource::Inline { .. } => None,
        });
        // What fails here fails again, with its place, at the step.
        let _ = self.context.prepare(paths);
        let mut results = Results::default();
        let built = self.stage(plan.target, Need::Layers, &mut results);
        // Also after a failure: what was hashed need not be hashed again.
        let remembered = self.context.remember();
        let result = built?.unwrap_or_default();
        remembered?;
        self.commit(result)
    }

    /// The result of a stage. `None` only when it was looked up and is not known.
    fn stage(&mut self, index: usize, need: Need, results: &mut Results) -> Result<Option<StageResult>> {
        if let Some(there) = results.there.get(&index) {
            return Ok(Some(there.clone()));
        }
        if need == Need::Keys
            && let Some(known) = results.known.get(&index)
        {
            return Ok(known.clone());
        }
        let result = self.stage_steps(index, need, results)?;
        match (&result, need) {
            (Some(result), Need::Layers) => drop(results.there.insert(index, result.clone())),
            (_, Need::Keys) => drop(results.known.insert(index, result.clone())),
            (None, Need::Layers) => {}
        }
        Ok(result)
    }

    fn stage_steps(
        &mut self,
        index: usize,
        need: Need,
        results: &mut Results,
    ) -> Result<Option<StageResult>> {
        let Some(stage) = self.plan.stage(index) else { return Ok(None) };
        let Some(mut result) = self.base(stage, need, results)? else { return Ok(None) };
        let mut number = 1;
        if need == Need::Layers {
            self.progress.base(&self.label(stage, number), &stage.from_text);
        }
        for step in &stage.steps {
            if !step.action.makes_layer() {
                result.history.push(self.history(step, result.created, true));
                continue;
            }
            number += 1;
            let label = self.label(stage, number);
            let outcome = match self.known(&result, step, need, results)? {
                Some(outcome) => {
                    if need == Need::Layers {
                        self.progress.cached(&label, &step.text);
                    }
                    outcome
                }
                None if need == Need::Keys => return Ok(None),
                None => self.execute(stage, &result, step, &label, results)?,
            };
            if let Some(layer) = outcome.layer {
                result.layers.push(LayerDescriptor::built(layer.diff_id, layer.size));
            }
            result.created = result.created.max(Some(outcome.created));
            result.history.push(self.history(step, Some(outcome.created), false));
        }
        Ok(Some(result))
    }

    fn base(&mut self, stage: &StagePlan, need: Need, results: &mut Results) -> Result<Option<StageResult>> {
        match &stage.base {
            Base::Scratch => Ok(Some(StageResult::default())),
            Base::Stage(other) => self.stage(*other, need, results),
            Base::Image(image) => {
                if need == Need::Layers {
                    for layer in &image.layers {
                        self.lease.keep_layer(&layer.folder)?;
                    }
                }
                Ok(Some(StageResult {
                    layers: image.layers.clone(),
                    history: image.config.history.clone(),
                    created: image.config.created(),
                }))
            }
        }
    }

    /// What the cache remembers of a step.
    fn known(
        &mut self,
        below: &StageResult,
        step: &Step,
        need: Need,
        results: &mut Results,
    ) -> Result<Option<Outcome>> {
        if self.no_cache {
            return Ok(None);
        }
        let Some(key) = self.key(below, step, need, results)? else { return Ok(None) };
        let Some(outcome) = self.index.find(&key) else { return Ok(None) };
        if let (Need::Layers, Some(layer)) = (need, &outcome.layer)
            && self.lease.keep_layer(&layer.diff_id).is_err()
        {
            return Ok(None);
        }
        Ok(Some(outcome))
    }

    /// The key of a step on top of these layers; `None` if a stage that it copies from is not known yet.
    fn key(
        &mut self,
        below: &StageResult,
        step: &Step,
        need: Need,
        results: &mut Results,
    ) -> Result<Option<Key>> {
        let chain = self.dated(chain_of(&below.layers));
        match &step.action {
            Action::Config => Ok(None),
            Action::Run(run) => Ok(Some(keys::run(&chain, run))),
            Action::Workdir(workdir) => Ok(Some(keys::workdir(&chain, workdir))),
            Action::Copy(copy) => match &copy.origin {
                Origin::Context => {
                    let selected = self.select(copy).map_err(|error| self.fail(step, None, error))?;
                    Ok(Some(keys::copy(&chain, copy, &self.context, &selected)))
                }
                Origin::Stage(other) => {
                    let mut from = self.stage(*other, Need::Keys, results)?;
                    if from.is_none() && need == Need::Layers {
                        from = self.stage(*other, Need::Layers, results)?;
                    }
                    Ok(from.map(|from| keys::copy_from(&chain, copy, &chain_of(&from.layers))))
                }
                Origin::Image(name) => {
                    let layers = self.plan.images.get(name).map(|image| image.layers.as_slice());
                    Ok(layers.map(|layers| keys::copy_from(&chain, copy, &chain_of(layers))))
                }
            },
        }
    }

    /// With `SOURCE_DATE_EPOCH` the files of a layer have other times, so it is another result.
    fn dated(&self, chain: Key) -> Key {
        match self.epoch {
            None => chain,
            Some(epoch) => Key::of("epoch", |key| {
                key.key(&chain);
                key.text(&epoch.to_string());
            }),
        }
    }

    /// Runs a step and remembers what it made.
    fn execute(
        &mut self,
        stage: &StagePlan,
        below: &StageResult,
        step: &Step,
        label: &Label,
        results: &mut Results,
    ) -> Result<Outcome> {
        let from = match &step.action {
            Action::Copy(copy) => self.origin(copy, results)?,
            _ => None,
        };
        self.progress.step(label, &step.text);
        let start = Instant::now();
        let unsettled_before = self.context.unsettled();
        let layer = self
            .make(below, step, from, label)
            .map_err(|error| self.fail(step, Some((stage, label)), error))?;
        let outcome = Outcome {
            created: Timestamp::now(),
            layer: Some(BuiltLayer { diff_id: layer.diff_id, size: layer.size }),
        };
        // The key is made again: a stage that it copies from may have come out differently than it was remembered.
        let settled = !self.context.unsettled() || (unsettled_before && !copies_context(step));
        if settled && let Some(key) = self.key(below, step, Need::Layers, results)? {
            self.index.store(&key, &outcome)?;
        }
        self.progress.done(label, start.elapsed());
        Ok(outcome)
    }

    /// The root file system that a step copies from, if it is not the context.
    fn origin(&mut self, copy: &CopyStep, results: &mut Results) -> Result<Option<SourceTree>> {
        let layers = match &copy.origin {
            Origin::Context => return Ok(None),
            Origin::Stage(other) => self.stage(*other, Need::Layers, results)?.unwrap_or_default().layers,
            Origin::Image(name) => {
                self.plan.images.get(name).map(|image| image.layers.clone()).unwrap_or_default()
            }
        };
        for layer in &layers {
            self.lease.keep_layer(&layer.folder)?;
        }
        Ok(Some(SourceTree::root_file_system(self.mount_read_only(&layers)?)))
    }

    pub(super) fn mount_read_only(&self, layers: &[LayerDescriptor]) -> Result<OwnedFd> {
        let lower = layers.iter().map(|layer| self.store.layer_path(&layer.folder)).collect();
        Ok(Overlay { lower, upper: None, volatile: false }.mount_detached()?)
    }

    /// Makes the layer of a step.
    fn make(
        &mut self,
        below: &StageResult,
        step: &Step,
        from: Option<SourceTree>,
        label: &Label,
    ) -> std::result::Result<LayerDescriptor, StepError> {
        let work = made::Workspace::on(self.store, self.lease, &below.layers)?;
        match &step.action {
            Action::Config => {}
            Action::Run(run) => self.runner.run(run, &work, label, self.progress, self.lease)?,
            Action::Workdir(workdir) => made::directory(&work, workdir)?,
            Action::Copy(copy) => match from {
                Some(mut from) => {
                    let selected = select(copy, &mut from)?;
                    made::files(&work, copy, &mut from, &selected)?;
                }
                None => {
                    let selected = self.select(copy)?;
                    made::files(&work, copy, &mut self.context, &selected)?;
                }
            },
        }
        Ok(work.commit(self.epoch.map(|epoch| epoch.seconds))?)
    }

    fn select(&mut self, copy: &CopyStep) -> std::result::Result<keys::SelectedSources, StepError> {
        select(copy, &mut self.context)
    }

    fn label(&self, stage: &StagePlan, number: usize) -> Label {
        let count = stage.numbered();
        match self.plan.stages.len() {
            1 => Label(format!("{number}/{count}")),
            _ => Label(format!("{} {number}/{count}", stage.title())),
        }
    }

    fn history(&self, step: &Step, created: Option<Timestamp>, empty_layer: bool) -> History {
        let latest = self.epoch.map(|epoch| created.map_or(epoch, |created| created.min(epoch)));
        History {
            created: latest.or(created).map(|created| created.to_string()),
            created_by: Some(step.created_by.clone()),
            comment: Some("hull.dockerfile.v1".to_owned()),
            empty_layer,
            ..History::default()
        }
    }

    /// The image of a finished stage.
    fn commit(&mut self, result: StageResult) -> Result<Image> {
        let Some(stage) = self.plan.target_stage() else { return Err(no_target()) };
        let mut config = stage.config.clone();
        config.history = result.history;
        config.rootfs.diff_ids = result.layers.iter().map(|layer| layer.diff_id).collect();
        config.created = None;
        // The same config gets the same time: a rebuild with nothing changed is the same image.
        let key = Key::of("image", |key| key.bytes(&config.to_bytes()));
        let known = if self.no_cache { None } else { self.index.find(&key) };
        let created = match (self.epoch, known) {
            (Some(epoch), _) => epoch,
            (None, Some(outcome)) => outcome.created,
            (None, None) => {
                let created = Timestamp::now();
                self.index.store(&key, &Outcome { created, layer: None })?;
                created
            }
        };
        config.created = Some(created.to_string());
        for entry in config.history.iter_mut().filter(|entry| entry.created.is_none()) {
            entry.created.clone_from(&config.created);
        }
        Ok(self.store.commit_image(self.lease, &config.to_bytes(), &result.layers)?)
    }
}

fn select(copy: &CopyStep, from: &mut SourceTree) -> std::result::Result<keys::SelectedSources, StepError> {
    Ok(keys::SelectedSources::of(copy, from)?)
}

fn copies_context(step: &Step) -> bool {
    matches!(&step.action, Action::Copy(copy) if copy.origin == Origin::Context)
}

fn chain_of(layers: &[LayerDescriptor]) -> Key {
    Key::of_layers(layers.iter().map(|layer| layer.diff_id))
}

fn no_target() -> Error {
    let message = "the plan has no target stage";
    Error::Step(Box::new(Diagnostic::without_place(crate::dockerfile::Severity::Error, message)))
}
