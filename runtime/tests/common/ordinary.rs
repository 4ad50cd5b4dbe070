//! A bundle of an ordinary user, and commands that he runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Bundle, Done, ROCI};

/// His number. Nobody else of the machine has it, and it needs no login.
pub const USER: u32 = 61_234;
/// The first of the ids that are lent to him where he has a login, and how many.
pub const LENT: (u32, u32) = (700_000, 65_536);

/// A bundle that belongs to an ordinary user, with what `roci spec --rootless` writes as its config.json, and a copy of the
/// program that belongs to him as well.
pub struct Ordinary {
    pub bundle: Bundle,
    /// He is in /etc/passwd, /etc/subuid and /etc/subgid: copies that only his commands see.
    login: Option<Login>,
}

struct Login {
    folder: tempfile::TempDir,
    hidden: &'static [&'static str],
}

impl Ordinary {
    /// A user without login, whose container runs `args`.
    pub fn new(args: &[&str]) -> Ordinary {
        let mut bundle = Bundle::new(args);
        // By a process of its own: one that another test starts meanwhile would hold the file open for writing.
        assert!(Command::new("cp").arg(ROCI).arg(bundle.path()).status().unwrap().success());
        own_all(bundle.path(), USER);
        let mut user = Ordinary { bundle, login: None };
        user.verb(&["spec", "--rootless"]).succeeded();
        bundle = user.bundle;
        let text = fs::read(bundle.path().join("config.json")).unwrap();
        bundle.config = serde_json::from_slice(&text).unwrap();
        bundle.set("/process/terminal", json!(false)).set("/root/readonly", json!(false)).args(args);
        user.bundle = bundle;
        user
    }

    /// A user with a login and lent ids, all of them mapped. Files that are `hidden` are none to his commands.
    pub fn with_lent_ids(args: &[&str], hidden: &'static [&'static str]) -> Ordinary {
        let mut user = Ordinary::new(args);
        let folder = tempfile::tempdir().unwrap();
        for name in ["passwd", "subuid", "subgid"] {
            let there = fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
            let line = match name {
                "passwd" => format!("lender:x:{USER}:{USER}::/:/bin/sh\n"),
                _ => format!("lender:{}:{}\n", LENT.0, LENT.1),
            };
            fs::write(folder.path().join(name), there + &line).unwrap();
        }
        user.login = Some(Login { folder, hidden });
        let mappings = json!([
            { "containerID": 0, "hostID": USER, "size": 1 },
            { "containerID": 1, "hostID": LENT.0, "size": LENT.1 - 1 }
        ]);
        user.set("/linux/uidMappings", mappings.clone()).set("/linux/gidMappings", mappings);
        user
    }

    /// As [`Bundle::set`].
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Ordinary {
        self.bundle.set(pointer, value);
        self
    }

    pub fn shell(&mut self, script: &str) -> &mut Ordinary {
        self.bundle.shell(script);
        self
    }

    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    pub fn program(&self) -> PathBuf {
        self.bundle.path().join("roci")
    }

    /// Any command, run by him in his bundle.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match &self.login {
            None => {
                let mut command = Command::new(program);
                command.uid(USER).gid(USER);
                command
            }
            Some(login) => {
                let mut script =
                    "for f in passwd subuid subgid; do mount --bind \"$0/$f\" /etc/$f || exit 99; done"
                        .to_owned();
                for path in login.hidden {
                    script += &format!("; [ ! -e {path} ] || mount --bind /dev/null {path} || exit 99");
                }
                let mut command = Command::new("unshare");
                command
                    .args(["--mount", "--propagation", "private", "sh", "-c"])
                    .arg(format!(
                        "{script}; exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\""
                    ))
                    .arg(login.folder.path())
                    .arg(program);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(self.bundle.path())
            .stdin(Stdio::null());
        command
    }

    /// `roci` with his state root.
    pub fn roci(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.program());
        command.arg("--root").arg(self.bundle.state_root()).args(arguments);
        command
    }

    /// Runs a verb to its end.
    pub fn verb(&self, arguments: &[&str]) -> Done {
        Done::from(self.roci(arguments).output().unwrap())
    }

    /// `roci run` to its end.
    pub fn run(&self) -> Done {
        self.bundle.write_config();
        self.verb(&["run", self.id()])
    }

    /// Creates and starts. The output is thrown away, because the container would hold our pipes.
    pub fn start(&self) {
        self.create().succeeded();
        self.verb(&["start", self.id()]).succeeded();
    }

    pub fn create(&self) -> Done {
        self.bundle.write_config();
        let errors = self.bundle.path().join("create.err");
        let mut command = self.roci(&["create", self.id()]);
        let status =
            command.stdout(Stdio::null()).stderr(fs::File::create(&errors).unwrap()).status().unwrap();
        Done {
            code: status.code().unwrap_or(-1),
            out: String::new(),
            err: fs::read_to_string(errors).unwrap(),
        }
    }

    pub fn exec(&self, arguments: &[&str]) -> Done {
        let mut all = vec!["exec", self.id()];
        all.extend(arguments);
        self.verb(&all)
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.verb(&["state", self.id()]).succeeded().out).unwrap()
    }

    /// Deletes it whatever it does, and proves that nothing is left.
    pub fn delete(&self) {
        self.verb(&["delete", "--force", self.id()]).succeeded();
        self.bundle.assert_nothing_left();
    }
}

/// Gives a tree, links themselves included, to a user.
pub fn own_all(path: &Path, user: u32) {
    lchown(path, Some(user), Some(user)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own_all(&entry.unwrap().path(), user);
        }
    }
}

/// A folder that everybody may enter.
pub fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}
