//! The disk with what is tested: test programs, `roci`, and the list of what to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The test programs, each with the cgroup driver and its arguments: those of containers and their cgroups. Left out are
/// parsers, the network, whose plugins need more of a machine, and races, volumes and thousands of rounds, which need more of
/// a processor and ask nothing of cgroups.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("runtime", "cgroupfs", "cgroup::"),
    ("confinement", "cgroupfs", "cgroups:: pause:: siblings::"),
    ("lifecycle", "cgroupfs", ""),
    ("exec", "cgroupfs", ""),
    ("cgroups", "cgroupfs", ""),
    ("namespaces", "cgroupfs", ""),
    ("specification", "cgroupfs", ""),
    ("hooks", "cgroupfs", ""),
    ("inherited", "cgroupfs", ""),
    ("notify", "cgroupfs", ""),
    (
        "monitor",
        "cgroupfs",
        "--skip many:: --skip readers::each_reader --skip readers::a_container_ends_although",
    ),
    ("attacks", "cgroupfs", ""),
    ("attacks_on_process", "cgroupfs", "--skip no_working_directory_leads_to_the_host"),
    ("systemd", "systemd", ""),
    ("lifecycle", "systemd", ""),
    ("exec", "systemd", ""),
    ("cgroups", "systemd", ""),
    ("namespaces", "systemd", "limits_are_seen the_cgroup_cannot_be_left"),
];

/// Which of them run.
#[derive(Debug)]
pub struct Chosen {
    /// Those whose `name,driver` contains this.
    pub program: String,
    /// Of their tests, those whose names contain this; otherwise what [`PROGRAMS`] says.
    pub case: Option<String>,
    /// How often, one after the other: for a test that fails now and then.
    pub times: usize,
}

impl Default for Chosen {
    fn default() -> Chosen {
        Chosen { program: String::new(), case: None, times: 1 }
    }
}

/// What cargo says about each thing that it built.
#[derive(Debug, Deserialize)]
struct Message {
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    /// Built to run its tests, as the program `roci` is too, beside the program itself.
    test: bool,
}

/// A program that cargo built.
#[derive(Debug)]
struct Built {
    name: String,
    is_test: bool,
    path: PathBuf,
}

/// Makes the disk.
pub fn disk(roci: &Path, chosen: &Chosen, scratch: &Path) -> anyhow::Result<PathBuf> {
    let folder = scratch.join("disk");
    fs::create_dir_all(folder.join("tests")).context("no folder for the disk")?;
    let copy = |from: &Path, name: &str| {
        fs::copy(from, folder.join(name)).with_context(|| format!("cannot copy {}", from.display()))
    };
    let is_wanted = |name: &str, driver: &str| format!("{name},{driver}").contains(&chosen.program);
    let built = build()?;
    let mut plan = String::new();
    let mut bytes = copy(roci, "roci")?;
    for (name, driver, arguments) in PROGRAMS.iter().filter(|(name, driver, _)| is_wanted(name, driver)) {
        let test = built.iter().find(|built| built.is_test && built.name == *name);
        let test = test.with_context(|| format!("cargo built no test program {name}"))?;
        let place = format!("tests/{name}");
        if !folder.join(&place).exists() {
            bytes += copy(&test.path, &place)?;
        }
        let arguments = chosen.case.as_deref().unwrap_or(arguments);
        plan.push_str(&format!("{driver} {name} {arguments}\n").repeat(chosen.times));
    }
    ensure!(!plan.is_empty(), "no test program is called like {:?}", chosen.program);
    let expected = built.iter().find(|built| !built.is_test && built.name == "roci");
    let expected = expected.context("cargo built no roci for the tests")?;
    fs::write(folder.join("roci-path"), expected.path.to_string_lossy().as_bytes()).context("no path")?;
    fs::write(folder.join("plan"), plan).context("no plan")?;
    copy(&::tests::project_dir().join("tests/machine/guest.sh"), "guest.sh")?;
    let disk = scratch.join("disk.img");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
        .args([&folder, &disk])
        // What is in it, and room for the file system's own.
        .arg(format!("{}k", bytes / 1024 * 5 / 4 + (16 << 10)))
        .output()
        .context("cannot run mke2fs")?;
    ensure!(made.status.success(), "mke2fs: {}", String::from_utf8_lossy(&made.stderr));
    fs::remove_dir_all(&folder).context("cannot remove what is on the disk now")?;
    Ok(disk)
}

/// Builds the tests of `runtime` and finds out where they are.
fn build() -> anyhow::Result<Vec<Built>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "-p", "runtime", "--no-run", "--message-format=json-render-diagnostics"])
        .current_dir(::tests::project_dir())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not compile");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are no text")?;
    let mut built = Vec::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line).context("cargo's message is not understood")?;
        if let (Some(target), Some(profile), Some(path)) =
            (message.target, message.profile, message.executable)
        {
            built.push(Built { name: target.name, is_test: profile.test, path });
        }
    }
    Ok(built)
}
