//! `rbuild` from command line to exit code: reads the files, makes the plan, builds, names the result.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use image::document::{Platform, Timestamp};
use image::store::{Image, Store};
use rustix::fs::{FileType, Mode, OFlags};

use crate::cache::index::Index;
use crate::cli::{self, Options, Request};
use crate::dockerfile::diagnostic::Style;
use crate::dockerfile::directives::check_options;
use crate::dockerfile::{Diagnostic, Dockerfile, Matcher, lint};
use crate::execute::ignored::Ignored;
use crate::execute::rooted::{Last, Missing, Place, walk};
use crate::execute::source::SourceTree;
use crate::execute::{self, Build, run::Runner};
use crate::plan::{BaseImage, BuildArgs, Images, Plan};
use crate::progress::Progress;

/// Largest Dockerfile or ignore file that is read, in bytes.
const LARGEST_FILE: u64 = 16 << 20;
/// Stack of a build, in bytes; memory is taken only as it is used.
const STACK: usize = 64 << 20;
/// The time of everything made, as reproducible builds set it.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Replaces the directive `check` of the file.
const CHECK: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Findings that were already shown in full: the process only has to fail.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Findings(String);

/// Runs the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    match cli::parse(arguments)? {
        Request::Print(text) => {
            std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
        }
        Request::Build(options) => with_room(|| build(&options)),
    }
}

/// Runs on a stack that is large enough for stages based on stages as deep as a file may have them; the main thread's
/// depends on the caller's limits.
fn with_room(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("build".to_owned()).stack_size(STACK);
        let worker = worker.spawn_scoped(scope, work).context("cannot start a thread")?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Shows why the program failed.
pub fn report(error: &anyhow::Error) {
    let text = match error.downcast_ref::<Findings>() {
        Some(findings) => findings.0.clone(),
        None => {
            let line = one_line(error);
            // A build step's own words come framed with their place.
            match error.downcast_ref::<execute::Error>() {
                Some(execute::Error::Step(diagnostic)) => diagnostic.render(style()),
                _ => format!("rbuild: {line}\n"),
            }
        }
    };
    // Nobody reads stderr: the exit code still tells.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The chain of causes, without those that their cause repeats.
fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if parts.last().is_none_or(|last| !last.ends_with(&said)) {
            parts.push(said);
        }
    }
    parts.join(": ")
}

fn style() -> Style {
    Progress::stderr(true).style()
}

fn build(options: &Options) -> Result<()> {
    let progress = Progress::stderr(options.quiet);
    let context = open_context(&options.context)?;
    let (mut file, ignore_name) = read_dockerfile(options, &context)?;
    if let Some((_, value)) = options.build_args.iter().rev().find(|(name, _)| name == CHECK) {
        file.directives.check =
            check_options(value).map_err(|error| anyhow!("--build-arg {CHECK}: {error}"))?;
    }
    let ignore = read_ignore(&ignore_name, &context)?;
    let mut findings = lint::check(&file);
    findings.extend(lint::copy_ignored_file(&file, &ignore));
    findings.iter().for_each(|finding| progress.diagnostic(finding));

    let store = Store::open(&options.root).context("cannot open the image store")?;
    let lease = store.lease("rbuild").context("cannot work in the image store")?;
    // A build that was killed together with its runtime could take nothing back.
    let state = options.state.join("oci");
    if let Err(error) = runtime::container::delete_abandoned(&state, |bundle| store.is_abandoned(bundle)) {
        progress.note(&format!("warning: cannot free what an interrupted build left: {error}"));
    }
    let platform = Platform::host();
    let epoch = epoch(options)?;
    let plan_options = crate::plan::Options {
        target: options.target.clone(),
        args: BuildArgs::new(options.build_args.clone()),
        network: options.network,
        platform,
    };
    let plan =
        Plan::make(&file, &plan_options, &StoreImages(&store)).map_err(|failure| framed(&[*failure]))?;
    let planned = plan.warnings.iter().filter(|warning| !lint::is_skipped(&file, warning));
    planned.clone().for_each(|warning| progress.diagnostic(warning));
    if file.directives.check.error {
        let failed = findings.iter().chain(planned).filter(|finding| finding.name.is_some()).count();
        ensure!(failed == 0, "{failed} findings, and check=error=true makes them errors");
    }
    let source = SourceTree::context(&context.path, Box::new(Ignored(ignore.clone())), &store.cache_dir())
        .map_err(|errno| anyhow!("cannot read the context {}: {errno}", context.path.display()))?;
    let mut build = Build {
        file: &file,
        plan: &plan,
        store: &store,
        lease: &lease,
        index: Index::new(&store.cache_dir()),
        context: source,
        ignore: &ignore,
        no_cache: options.no_cache,
        epoch,
        runner: Runner { roci: runtime::container::roci_path(), state: options.state.clone() },
        progress: &progress,
    };
    let image = build.run()?;
    finish(options, &store, &lease, &image, &progress)
}

/// Names the image, writes what was asked for, and tells.
fn finish(
    options: &Options,
    store: &Store,
    lease: &image::store::Lease,
    image: &Image,
    progress: &Progress,
) -> Result<()> {
    // An image that only becomes an archive is not kept; all names are given in one step, or none.
    if !options.names.is_empty() || options.output.is_none() {
        let entry = (image.clone(), options.names.clone());
        store.enter_all(lease, &[entry]).context("cannot name the image")?;
    }
    if let Some(output) = &options.output {
        crate::export::export(store, image, &options.names, output)?;
    }
    if let Some(path) = &options.id_file {
        fs::write(path, image.id.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    progress.note(&format!("image {}", image.id));
    for name in &options.names {
        progress.note(&format!("named {name}"));
    }
    let archive_on_stdout = options.output.as_ref().is_some_and(|output| output.destination.is_none());
    if options.quiet && !archive_on_stdout {
        writeln!(std::io::stdout(), "{}", image.id).context("cannot write to stdout")?;
    }
    Ok(())
}

/// The context folder: its real path, and a handle.
struct Context {
    path: PathBuf,
    handle: OwnedFd,
}

fn open_context(path: &Path) -> Result<Context> {
    let real =
        fs::canonicalize(path).with_context(|| format!("cannot open the context {}", path.display()))?;
    let handle = rustix::fs::open(&real, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| anyhow!("cannot open the context {}: {errno}", path.display()))?;
    Ok(Context { path: real, handle })
}

/// Where the ignore file of a Dockerfile may be, the better place first.
enum IgnorePlace {
    /// In the context.
    Inside(Vec<String>),
    /// Beside a Dockerfile given by path, else in the context.
    Beside(PathBuf),
}

fn read_dockerfile(options: &Options, context: &Context) -> Result<(Dockerfile, IgnorePlace)> {
    let (bytes, name, place) = match &options.file {
        Some(path) if path.as_os_str() == "-" => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .take(LARGEST_FILE + 1)
                .read_to_end(&mut bytes)
                .context("cannot read the Dockerfile from stdin")?;
            (bytes, "<stdin>".to_owned(), IgnorePlace::Inside(vec![".dockerignore".to_owned()]))
        }
        Some(path) => {
            // Without waiting: nobody may ever write to a named pipe.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::empty())
                .map_err(std::io::Error::from)
                .with_context(|| format!("cannot open the Dockerfile {}", path.display()))?;
            let file = File::from(file);
            let bytes = read_regular(file, path)?;
            let mut beside = path.clone().into_os_string();
            beside.push(".dockerignore");
            (bytes, path.display().to_string(), IgnorePlace::Beside(beside.into()))
        }
        None => read_usual_dockerfile(context)?,
    };
    if bytes.len() as u64 > LARGEST_FILE {
        bail!("the Dockerfile {name} is larger than {} MiB", LARGEST_FILE >> 20);
    }
    let file = Dockerfile::parse_bytes(&bytes, &name).map_err(|errors| framed(&errors))?;
    Ok((file, place))
}

fn read_usual_dockerfile(context: &Context) -> Result<(Vec<u8>, String, IgnorePlace)> {
    for name in ["Dockerfile", "dockerfile"] {
        if let Some(bytes) = read_inside(context, name)? {
            let ignores = vec![format!("{name}.dockerignore"), ".dockerignore".to_owned()];
            return Ok((bytes, name.to_owned(), IgnorePlace::Inside(ignores)));
        }
    }
    bail!("there is no Dockerfile in {}: give one with -f FILE", context.path.display())
}

/// The ignore file decides what leaves this machine's disk, so it must be a plain file where it belongs: a link is
/// refused, even one that stays inside (CVE-2022-4122).
fn read_ignore(place: &IgnorePlace, context: &Context) -> Result<Matcher> {
    let usual = [".dockerignore".to_owned()];
    let names: &[String] = match place {
        IgnorePlace::Inside(names) => names,
        IgnorePlace::Beside(path) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(file) => {
                    let bytes = read_regular(File::from(file), path)?;
                    return parse_ignore(&bytes, &path.display().to_string());
                }
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => bail!("cannot read the ignore file {}: {errno}", path.display()),
            }
            &usual
        }
    };
    for name in names {
        let found = walk(context.handle.as_fd(), name.as_bytes(), Last::Keep, Missing::Report)
            .map_err(|errno| anyhow!("cannot read the ignore file {name}: {errno}"))?;
        if let Place::There(found) = found {
            if found.file_type() != FileType::RegularFile {
                bail!("the ignore file {name} must be a regular file");
            }
            let bytes = read_inside(context, name)?.unwrap_or_default();
            return parse_ignore(&bytes, name);
        }
    }
    Ok(Matcher::empty())
}

fn parse_ignore(bytes: &[u8], name: &str) -> Result<Matcher> {
    Matcher::parse_bytes(bytes, name).map_err(|errors| framed(&errors))
}

/// Reads a file of the context, links followed inside it; `None` if there is none.
fn read_inside(context: &Context, name: &str) -> Result<Option<Vec<u8>>> {
    let found = walk(context.handle.as_fd(), name.as_bytes(), Last::Follow, Missing::Report)
        .map_err(|errno| anyhow!("cannot look at {name} in the context: {errno}"))?;
    let Place::There(found) = found else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = crate::cache::tree::open_beneath(context.handle.as_fd(), &found.path, flags)
        .map_err(|errno| anyhow!("cannot open {name} in the context: {errno}"))?;
    read_regular(File::from(file), &context.path.join(name)).map(Some)
}

fn read_regular(file: File, path: &Path) -> Result<Vec<u8>> {
    let metadata = file.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    if metadata.len() > LARGEST_FILE {
        bail!("{} is larger than {} MiB", path.display(), LARGEST_FILE >> 20);
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(LARGEST_FILE)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// `SOURCE_DATE_EPOCH` of the command line, else of the environment.
fn epoch(options: &Options) -> Result<Option<Timestamp>> {
    let given =
        options.build_args.iter().rev().find(|(name, _)| name == EPOCH).map(|(_, value)| value.clone());
    let text = given.or_else(|| std::env::var(EPOCH).ok()).filter(|text| !text.is_empty());
    text.map(|text| {
        let seconds =
            text.parse::<i64>().with_context(|| format!("{EPOCH}={text} is not a number of seconds"))?;
        Ok(Timestamp::from_seconds(seconds))
    })
    .transpose()
}

fn framed(diagnostics: &[Diagnostic]) -> anyhow::Error {
    let style = style();
    Findings(diagnostics.iter().map(|diagnostic| diagnostic.render(style)).collect()).into()
}

/// The store as the plan sees it.
struct StoreImages<'a>(&'a Store);

impl Images for StoreImages<'_> {
    fn image(&self, name: &str) -> Result<BaseImage, image::error::Error> {
        let image = self.0.find(name)?;
        Ok(BaseImage { name: name.to_owned(), config: image.config, layers: image.layers })
    }

    fn names(&self) -> Vec<String> {
        let images = self.0.images().unwrap_or_default();
        // Each as people write it: the usual tag is left out.
        let names = images.iter().flat_map(|image| &image.names).map(image::reference::Reference::familiar);
        names.map(|name| name.strip_suffix(":latest").map_or(name.clone(), str::to_owned)).collect()
    }
}
