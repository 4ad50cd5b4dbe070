//! `machine --roci PATH [--only PROGRAM,DRIVER] [--case TEXT] [--repeat N]`: the tests of `roci` on a machine with cgroup v2
//! alone and systemd, in qemu without hardware help, so that it runs anywhere. With `--case` and `--repeat` one that fails now
//! and then is run until it does.
//!
//! ```text
//! base.sh    kernel, initrd and root file system from Debian packages, kept in the cache
//! build      the test programs, as cargo builds them here, and a second disk with them and the roci that is tested
//! qemu       one start of the machine: guest.sh runs them all and says how it ended
//! ```
//! What cannot be had here (qemu, the packages) is named as skipped; everything else that goes wrong is a failure.

mod build;
mod qemu;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use ::tests::{peer, project_dir};
use anyhow::{Context, bail, ensure};

/// What `base.sh` ends with where the packages cannot be had.
const NOT_TO_BE_HAD: i32 = 3;

#[derive(Debug, Default)]
struct Options {
    roci: Option<PathBuf>,
    chosen: build::Chosen,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = options(std::env::args().skip(1))?;
    let roci = options.roci.context("which roci? --roci PATH")?;
    for program in [qemu::PROGRAM, "debootstrap", "mke2fs"] {
        if peer(program).is_none() {
            println!("skipped: {program} not found");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let Some(base) = base()? else {
        println!("skipped: Debian packages for the machine not found");
        return Ok(ExitCode::SUCCESS);
    };
    let scratch = tempfile::Builder::new().prefix("hull-machine-").tempdir().context("no folder")?;
    let disk = build::disk(&roci, &options.chosen, scratch.path())?;
    let ended = qemu::run(&base, &disk, scratch.path())?;
    Ok(if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder with kernel, initrd and root file system; `None` where they cannot be downloaded.
fn base() -> anyhow::Result<Option<PathBuf>> {
    let script = project_dir().join("tests/machine/base.sh");
    // Its words go where ours go.
    let output = Command::new(&script).stderr(std::process::Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    if output.status.code() == Some(NOT_TO_BE_HAD) {
        return Ok(None);
    }
    ensure!(output.status.success(), "{}: {}", script.display(), output.status);
    let folder = String::from_utf8(output.stdout).context("base.sh prints no path")?;
    Ok(Some(Path::new(folder.trim_end()).to_owned()))
}

fn options(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--roci" => options.roci = Some(value()?.into()),
            "--only" => options.chosen.program = value()?,
            "--case" => options.chosen.case = Some(value()?),
            "--repeat" => options.chosen.times = value()?.parse().context("--repeat takes a number")?,
            other => bail!("no option {other}: there are --roci, --only, --case and --repeat"),
        }
    }
    Ok(options)
}
