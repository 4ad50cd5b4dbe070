//! A world of its own for one test: store, state, temporary files and names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Command, Outcome, busybox_archive, leaks, program};

/// How long things that end on their own (a monitor that tidies up) may take before they count as leaked.
const SETTLE: Duration = Duration::from_secs(5);

/// A fresh `HULL_ROOT` and `HULL_STATE` below one temporary folder, and a prefix for names that live outside it.
///
/// Dropping it fails the test if a process, mount or cgroup of it is left, and removes what is left either way.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
    prefix: String,
    root: PathBuf,
    bridge: String,
    subnet: String,
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox::new()
    }
}

impl Sandbox {
    /// A sandbox in the machine's temporary folder.
    ///
    /// # Panics
    /// If that folder cannot be written.
    pub fn new() -> Sandbox {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let prefix = format!("hull-test-{process}-{count}");
        let folder = tempfile::Builder::new().prefix(&format!("{prefix}-")).tempdir();
        let folder = folder.expect("the temporary folder can be written");
        let root = folder.path().join("root");
        let (bridge, subnet) = (format!("hl{process}-{count}"), subnet(process, count));
        let sandbox = Sandbox { folder, prefix, root, bridge, subnet };
        sandbox.folder("tmp");
        sandbox
    }

    /// Puts the store elsewhere, as on a small or slow disk.
    pub fn set_root(&mut self, root: impl Into<PathBuf>) {
        self.root = root.into();
    }

    /// The temporary folder that holds everything.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `HULL_ROOT`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `HULL_STATE`.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// A name that no other test uses, for what lives outside the sandbox: container ids, cgroups, links.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    /// The bridge of the sandbox's own network, which is there once a container is on it.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The addresses of that network.
    pub fn subnet(&self) -> &str {
        &self.subnet
    }

    /// The address of that bridge: the host, as containers see it.
    pub fn gateway(&self) -> String {
        self.subnet.replace(".0/24", ".1")
    }

    /// Writes a file below the sandbox, with its parents.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(relative);
        self.folder(Path::new(relative).parent().unwrap_or(Path::new("")));
        std::fs::write(&path, content)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }

    /// A sandbox with the image `busybox`, and a folder `context` with these files.
    pub fn with_context(files: &[(&str, &str)]) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.import_busybox();
        sandbox.folder("context");
        for (name, content) in files {
            sandbox.write(&format!("context/{name}"), content);
        }
        sandbox
    }

    /// Makes a folder below the sandbox, with its parents.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn folder(&self, relative: impl AsRef<Path>) -> PathBuf {
        let path = self.path().join(relative);
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        path
    }

    /// `rrun` with these arguments.
    pub fn rrun<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        self.command(program("rrun")).args(arguments)
    }

    /// `rbuild` with these arguments.
    pub fn rbuild<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        self.command(program("rbuild")).args(arguments)
    }

    /// `roci` with these arguments.
    pub fn roci<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        self.command(program("roci")).args(arguments)
    }

    /// Any program, in the sandbox's environment and folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command::new(program)
            .env("HULL_ROOT", self.root())
            .env("HULL_STATE", self.state())
            .env("HULL_ROCI", crate::bin_dir().join("roci"))
            .env("HULL_BRIDGE_NAME", &self.bridge)
            .env("HULL_BRIDGE_SUBNET", &self.subnet)
            .env("HOME", self.path())
            .env("TMPDIR", self.path().join("tmp"))
            .current_dir(self.path())
    }

    /// Imports the base image `busybox`.
    ///
    /// # Panics
    /// If the import fails.
    pub fn import_busybox(&self) -> Outcome {
        let outcome =
            self.rrun([OsStr::new("import"), busybox_archive().as_os_str(), OsStr::new("busybox")]).run();
        outcome.succeeds();
        outcome
    }

    /// A busybox root file system as a plain folder below the sandbox, for bundles.
    ///
    /// # Panics
    /// If it cannot be unpacked.
    pub fn busybox_root(&self, relative: impl AsRef<Path>) -> PathBuf {
        let folder = self.folder(relative);
        let file = std::fs::File::open(busybox_archive()).expect("the archive was just made");
        let mut archive = tar::Archive::new(file);
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(true);
        archive
            .unpack(&folder)
            .unwrap_or_else(|error| panic!("cannot unpack to {}: {error}", folder.display()));
        folder
    }

    /// Asserts that the store finds nothing wrong with itself.
    #[track_caller]
    pub fn store_is_clean(&self) {
        self.rrun(["system", "check"]).run().succeeds();
    }

    /// Asserts that nothing which a command left behind is there any more: what dead ones leave, the next one frees.
    /// `ids` are containers that once were, whose cgroups must be gone too.
    #[track_caller]
    pub fn nothing_remains<'a>(&self, ids: impl IntoIterator<Item = &'a String>) {
        self.store_is_clean();
        let folders = [
            self.root().join("containers"),
            self.root().join("leases"),
            self.root().join("trash"),
            self.root().join("cni/results"),
            self.state().join("oci"),
            self.state().join("netns"),
            self.state().join("pods"),
            self.path().join("tmp"),
        ];
        for folder in folders {
            let left = leaks::names_in(&folder).collect::<Vec<_>>();
            assert!(left.is_empty(), "left in {}: {left:?}", folder.display());
        }
        let addresses = self.root().join("cni/networks").join(&self.bridge);
        let given = leaks::names_in(&addresses).filter(|name| name.starts_with("10.")).collect::<Vec<_>>();
        assert!(given.is_empty(), "addresses that are still given away: {given:?}");
        let snapshot = leaks::Snapshot::take().to_text();
        for id in ids {
            let leaked = snapshot.lines().find(|line| line.starts_with("cgroup") && line.contains(id));
            assert_eq!(leaked, None, "left of container {id}");
        }
    }

    /// Has `rrun` remove its containers, as far as that goes: only it knows all that their networks consist of.
    fn clear_containers(&self) {
        let script = "for container in $(rrun ps -aq); do rrun rm -f --cri $container; done";
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", crate::bin_dir().display());
        let mut clear = self.command("timeout").args(["30", "sh", "-c", script]).env("PATH", path);
        let _ = clear.inner().output();
    }

    /// What of this sandbox is alive or mounted now, in words.
    pub fn leaks(&self) -> Vec<String> {
        leaks::of_sandbox(self.path(), &self.prefix, &self.bridge)
    }
}

/// A network that no other sandbox has, also of other runs at the same time as far as that can be.
fn subnet(process: u32, count: u32) -> String {
    let number = process.wrapping_mul(61).wrapping_add(count) % (1 << 14);
    format!("10.{}.{}.0/24", 128 + (number >> 8), number & 0xff)
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let ends = Instant::now() + SETTLE;
        let mut leaked = self.leaks();
        while !leaked.is_empty() && Instant::now() < ends {
            std::thread::sleep(Duration::from_millis(10));
            leaked = self.leaks();
        }
        if !leaked.is_empty() {
            self.clear_containers();
            leaks::clear(self.path(), &self.prefix);
        }
        // The bridge stays when its last container is gone, as docker0 does.
        leaks::remove_link(&self.bridge);
        if leaked.is_empty() {
            return;
        }
        if !std::thread::panicking() {
            panic!("the test leaked:\n  {}", leaked.join("\n  "));
        }
    }
}
