//! An engine in a world of its own.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use tests::{Command, Running, Sandbox, eventually, leaks, peer, program};

/// How long what was killed may take to leave its cgroup.
const SETTLE: Duration = Duration::from_secs(5);

/// The runtime that the engines are to use.
pub fn runtime() -> PathBuf {
    std::env::var_os("HULL_ENGINES_RUNTIME").map_or_else(|| program("roci"), PathBuf::from)
}

/// Where Debian puts a program, else where `PATH` has it: a file of the same name may come first there.
pub fn packaged(name: &str) -> PathBuf {
    let debian = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(name));
    let found = debian.into_iter().find(|path| path.is_file()).or_else(|| peer(name));
    found.unwrap_or_else(|| panic!("{name} was found before"))
}

/// The top-level cgroup of an engine in this sandbox, which only its containers are in.
pub fn cgroup_parent(sandbox: &Sandbox) -> String {
    sandbox.name("engine")
}

/// An engine whose containers, daemon, cgroups and mounts go when it is dropped.
pub struct Engine {
    /// The program, the options that come before its verbs, and variables.
    pub client: Vec<OsString>,
    pub environment: Vec<(&'static str, PathBuf)>,
    /// Options of every `run`.
    pub run: Vec<String>,
    pub daemon: Option<Running>,
    /// Removes all containers, as far as that goes.
    pub clear: fn(&Engine),
    /// Dropped last, since it looks for what is left.
    pub sandbox: Sandbox,
}

impl Engine {
    /// The engine's command line program with these arguments.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        let command = self.sandbox.command(&self.client[0]).args(&self.client[1..]).args(arguments);
        self.environment.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// Waits until the daemon answers this command.
    pub fn answers(&self, arguments: &[&str]) {
        let patience = Duration::from_secs(30);
        let ends = Instant::now() + patience;
        while self.command(arguments).run().code() != 0 {
            let words = || self.daemon.as_ref().map(Running::stderr_so_far).unwrap_or_default();
            assert!(Instant::now() < ends, "the daemon does not answer; it says:\n{}", words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `run` of `busybox` without network.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Command {
        self.command(["run"]).args(&self.run).args(options).arg("busybox").args(command)
    }

    /// A detached container that goes on until it is ended.
    pub fn start(&self, name: &str, options: &[&str]) {
        self.run(&[&["-d", "--name", name, "--stop-timeout", "0"], options].concat(), &["sleep", "1000"])
            .run()
            .succeeds();
    }

    /// A field of a container, by its template.
    pub fn inspect(&self, name: &str, template: &str) -> String {
        let outcome = self.command(["inspect", "-f", template, name]).run();
        outcome.succeeds().stdout().trim().to_owned()
    }

    /// The container's first process, as the host numbers it.
    pub fn pid(&self, name: &str) -> String {
        self.inspect(name, "{{.State.Pid}}")
    }

    /// Waits until `ps` lists the container with `status`.
    pub fn has_status(&self, name: &str, status: &str) {
        let filter = format!("name={name}");
        eventually(&format!("{name} is {status}"), || {
            let listed = self
                .command(["ps", "-a", "--filter", &filter, "--filter", &format!("status={status}"), "-q"])
                .run();
            !listed.succeeds().stdout().is_empty()
        });
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        (self.clear)(self);
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::TERM);
            daemon.wait();
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| Path::new(point).starts_with(self.sandbox.path())) {
            let _ = unmount(point, UnmountFlags::DETACH);
        }
        remove_cgroups(&cgroup_parent(&self.sandbox));
    }
}

/// A file of a cgroup v1 controller, for the process with this number.
pub fn setting(pid: &str, controller: &str, file: &str) -> String {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process lives");
    let line = cgroups.lines().find(|line| line.split(':').nth(1) == Some(controller));
    let path = line.and_then(|line| line.splitn(3, ':').nth(2)).expect("the controller is there");
    let file = format!("/sys/fs/cgroup/{controller}{path}/{file}");
    let value = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("cannot read {file}: {error}"));
    value.trim().to_owned()
}

/// Asserts that what `run` makes of a script has a terminal, of its caller's size, in both directions.
pub fn on_terminal(engine: &Engine, run: impl Fn(&str) -> Command) {
    // Docker sends the size after the start. The end waits for a line, since podman may lose what comes just before it.
    let mut command =
        run("until [ \"$(stty size)\" = '33 99' ]; do sleep 0.1; done; tty; read line; exit ${#line}");
    let inner = command.inner();
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")));
    let line = format!("stty rows 33 cols 99; exec {}", quoted.collect::<Vec<_>>().join(" "));
    let terminal = engine.sandbox.command("script").args(["-qec", &line, "/dev/null"]);
    let terminal =
        engine.environment.iter().fold(terminal, |command, (name, value)| command.env(name, value));
    let mut running = terminal.spawn_interactive();
    running.wait_for_stdout("/dev/pts/0");
    running.send(b"four\n");
    running.wait().exits(4);
}

/// Removes a top-level cgroup of every hierarchy, with what is below. The sandbox tells what cannot be removed.
fn remove_cgroups(name: &str) {
    let ends = Instant::now() + SETTLE;
    let root = Path::new("/sys/fs/cgroup");
    // Podman makes one for controllers too that no hierarchy has.
    let folders = leaks::names_in(root).map(|hierarchy| root.join(hierarchy).join(name));
    for folder in folders.filter(|folder| folder.is_dir()) {
        while !remove(&folder) && Instant::now() < ends {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn remove(folder: &Path) -> bool {
    for path in leaks::names_in(folder).map(|name| folder.join(name)).collect::<Vec<_>>() {
        // Where no hierarchy is, podman's are plain files; the kernel's refuse.
        if path.is_dir() {
            remove(&path)
        } else {
            std::fs::remove_file(path).is_ok()
        };
    }
    std::fs::remove_dir(folder).is_ok()
}
