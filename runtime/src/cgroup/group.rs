//! A container's cgroup: the same path in every hierarchy, created, opened and entered as one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::freeze::is_frozen;
use super::mounts::read_whole;
use super::{CgroupPath, Error, Hierarchies, Hierarchy, Kind, Scope};

/// One path in every hierarchy of the machine.
#[derive(Debug)]
pub struct Cgroup {
    path: CgroupPath,
    places: Vec<Place>,
    unified: bool,
    /// Hierarchies are missing because its user may make nothing there.
    is_partial: bool,
    /// The scope that systemd made it for.
    unit: Option<String>,
}

/// The cgroup's folder in one hierarchy.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) hierarchy: Hierarchy,
    pub(super) folder: PathBuf,
}

/// Descriptors through which a new process gets into a cgroup; made before the clone, used in the child. Without any it stays
/// in its creator's.
#[derive(Debug, Default)]
pub struct Entrance {
    tasks: Vec<OwnedFd>,
    version2: Option<OwnedFd>,
}

/// Which of the hierarchies a process could not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnterFailure {
    /// Position among the v1 hierarchies of the cgroup, for [`Cgroup::enter_error`].
    pub position: usize,
    /// The cause.
    pub source: Errno,
}

impl Cgroup {
    /// Creates the cgroup in every hierarchy, with parents as needed.
    ///
    /// Folders that exist already are used if no process is in them. On failure, what was created here is removed.
    pub fn create(hierarchies: &Hierarchies, path: &CgroupPath) -> Result<Cgroup, Error> {
        Cgroup::at(hierarchies, path).make()
    }

    /// As [`Cgroup::create`], in those hierarchies where this user may: in none, perhaps ([`Cgroup::is_nowhere`]).
    pub fn create_where_allowed(hierarchies: &Hierarchies, path: &CgroupPath) -> Result<Cgroup, Error> {
        let mut cgroup = Cgroup::at(hierarchies, path);
        let all = cgroup.places.len();
        cgroup.places.retain(|place| place.is_allowed(path));
        cgroup.is_partial = cgroup.places.len() < all;
        cgroup.make()
    }

    fn make(self) -> Result<Cgroup, Error> {
        let (cgroup, path) = (&self, &self.path);
        let mut created = Vec::with_capacity(cgroup.places.len());
        let made = cgroup.places.iter().try_for_each(|place| place.create(path, &mut created));
        // Only one that was there before, or is below such a one, can be.
        let frozen = |file: &PathBuf| created.len() < cgroup.places.len() && is_frozen(file);
        let made = match cgroup.freezer_file().filter(frozen) {
            Some(path) => made.and(Err(Error::Frozen { path })),
            None => made,
        };
        let made = made.and_then(|()| if cgroup.unified { cgroup.enable_controllers() } else { Ok(()) });
        if let Err(error) = made {
            for folder in created {
                // Best effort: the error that stopped us is the one to report.
                let _ = fs::unlinkat(CWD, folder, AtFlags::REMOVEDIR);
            }
            return Err(error);
        }
        Ok(self)
    }

    /// Is there no folder of it at all?
    pub fn is_nowhere(&self) -> bool {
        self.places.is_empty()
    }

    /// A cgroup that many processes share, made where it is missing.
    pub fn ensure(hierarchies: &Hierarchies, path: &CgroupPath) -> Result<Cgroup, Error> {
        let cgroup = Cgroup::at(hierarchies, path);
        let mut created = Vec::new();
        for place in &cgroup.places {
            match place.create(path, &mut created) {
                Ok(()) | Err(Error::Populated { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if cgroup.unified {
            cgroup.enable_controllers()?;
        }
        Ok(cgroup)
    }

    /// Moves the calling process, which has one thread, into the cgroup in every hierarchy.
    pub fn enter_self(&self) -> Result<(), Error> {
        for place in &self.places {
            let file = match place.hierarchy.kind() {
                Kind::V1(_) => "tasks",
                Kind::V2 => "cgroup.procs",
            };
            write_file(&place.folder.join(file), b"0").map_err(|source| Error::Join {
                process: 0,
                path: place.folder.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// The cgroup of a scope that systemd has just started.
    pub(super) fn of_scope(hierarchies: &Hierarchies, scope: &Scope) -> Result<Cgroup, Error> {
        let cgroup = Cgroup::at(hierarchies, scope.path());
        for place in &cgroup.places {
            fs::access(&place.folder, fs::Access::EXISTS).map_err(|source| Error::Folder {
                operation: "find systemd's",
                path: place.folder.clone(),
                source,
            })?;
        }
        // It hands down those that it has settings for; containers have limits for others, too.
        cgroup.enable_controllers()?;
        Ok(cgroup.of_unit(scope.unit()))
    }

    /// The same cgroup, which systemd made for a unit: that hears of its limits and goes with it.
    pub fn of_unit(self, unit: &str) -> Cgroup {
        Cgroup { unit: Some(unit.to_owned()), ..self }
    }

    /// The cgroup of an existing container: hierarchies in which its folder is missing are left out.
    pub fn open(hierarchies: &Hierarchies, path: &CgroupPath) -> Cgroup {
        let mut cgroup = Cgroup::at(hierarchies, path);
        cgroup.places.retain(|place| fs::access(&place.folder, fs::Access::EXISTS).is_ok());
        cgroup
    }

    /// The path in every hierarchy, whether there is such a cgroup or not.
    pub(super) fn at(hierarchies: &Hierarchies, path: &CgroupPath) -> Cgroup {
        let place = |hierarchy: &Hierarchy| Place {
            hierarchy: hierarchy.clone(),
            folder: hierarchy.mount().join(&path.as_str()[1..]),
        };
        Cgroup {
            path: path.clone(),
            places: hierarchies.all().iter().map(place).collect(),
            unified: hierarchies.is_unified(),
            is_partial: false,
            unit: None,
        }
    }

    /// The path below each hierarchy's mount point.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// The folder in the hierarchy of a v1 controller or named hierarchy (`memory`, `name=systemd`).
    pub fn folder_of(&self, controller: &str) -> Option<&Path> {
        self.places.iter().find(|place| place.hierarchy.controls(controller)).map(|place| &*place.folder)
    }

    /// The folder in the v2 hierarchy, if there is one.
    pub fn version2_folder(&self) -> Option<&Path> {
        self.places.iter().find(|place| *place.hierarchy.kind() == Kind::V2).map(|place| &*place.folder)
    }

    pub(super) fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Opens what a child needs to enter. The descriptors are close-on-exec.
    pub fn entrance(&self) -> Result<Entrance, Error> {
        self.entrance_at(|place| place.folder.clone())
    }

    /// As [`Cgroup::entrance`], into the folder that `of` names for each hierarchy.
    pub(super) fn entrance_at(&self, of: impl Fn(&Place) -> PathBuf) -> Result<Entrance, Error> {
        let mut entrance = Entrance { tasks: Vec::with_capacity(self.places.len()), version2: None };
        for place in &self.places {
            let open = |path: &Path, flags| {
                fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|source| Error::Folder {
                    operation: "open",
                    path: path.to_owned(),
                    source,
                })
            };
            let folder = of(place);
            match place.hierarchy.kind() {
                Kind::V1(_) => entrance.tasks.push(open(&folder.join("tasks"), OFlags::WRONLY)?),
                Kind::V2 => entrance.version2 = Some(open(&folder, OFlags::RDONLY | OFlags::DIRECTORY)?),
            }
        }
        Ok(entrance)
    }

    /// Names the folder behind a failed [`Entrance::enter`].
    pub fn enter_error(&self, process: i32, failure: EnterFailure) -> Error {
        let v1 = |place: &&Place| matches!(place.hierarchy.kind(), Kind::V1(_));
        let path = self.places.iter().filter(v1).nth(failure.position);
        let path = path.map_or_else(|| self.path.as_str().into(), |place| place.folder.clone());
        Error::Join { process, path, source: failure.source }
    }

    /// Moves a foreign process, all its threads, into the cgroup in every hierarchy.
    ///
    /// Costs up to 13 ms after an idle gap (see the module); processes of ours use [`Entrance`].
    pub fn join(&self, process: i32) -> Result<(), Error> {
        self.places.iter().try_for_each(|place| place.join(process))
    }

    /// True if the v2 hierarchy has the controller; on a hybrid machine it is handed down to us now.
    pub(super) fn has_version2_controller(&self, name: &str) -> Result<bool, Error> {
        let Some(place) = self.places.iter().find(|place| *place.hierarchy.kind() == Kind::V2) else {
            return Ok(false);
        };
        let listed = |folder: &Path| -> Result<bool, Error> {
            Ok(read_words(&folder.join("cgroup.controllers"))?.iter().any(|known| known == name))
        };
        if !listed(place.hierarchy.mount())? {
            return Ok(false);
        }
        if !listed(&place.folder)? {
            self.enable_controllers()?;
        }
        Ok(true)
    }

    /// On v2 a controller works in a cgroup only if every parent hands it down.
    fn enable_controllers(&self) -> Result<(), Error> {
        let Some(place) = self.places.iter().find(|place| *place.hierarchy.kind() == Kind::V2) else {
            return Ok(());
        };
        let root = place.hierarchy.mount();
        let available = read_words(&root.join("cgroup.controllers"))?;
        if read_words(&place.folder.join("cgroup.controllers"))? == available {
            return Ok(());
        }
        let mut folder = root.to_owned();
        let mut levels = self.path.levels();
        loop {
            for controller in &available {
                // One by one: a controller that cannot be had (cpu beside real-time tasks) is missed only by who
                // asks for it, and then the setting itself fails with the file's name.
                let _ =
                    write_file(&folder.join("cgroup.subtree_control"), format!("+{controller}").as_bytes());
            }
            match levels.next() {
                Some(level) if level != &self.path.as_str()[1..] => folder = root.join(level),
                _ => return Ok(()),
            }
        }
    }
}

impl Place {
    /// May this user make the folder, or use the one that is there?
    fn is_allowed(&self, path: &CgroupPath) -> bool {
        let mount = std::iter::once("");
        let levels: Vec<&str> = mount.chain(path.levels()).collect();
        for level in levels.into_iter().rev() {
            let folder = self.hierarchy.mount().join(level);
            let rights = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
            match fs::accessat(CWD, &folder, rights, AtFlags::EACCESS) {
                Err(Errno::NOENT) => {}
                // Into a cgroup of v2 comes only who may write this file of the one that both are in.
                Ok(()) if *self.hierarchy.kind() == Kind::V2 => {
                    let entrance = folder.join("cgroup.procs");
                    return fs::accessat(CWD, entrance, fs::Access::WRITE_OK, AtFlags::EACCESS).is_ok();
                }
                answer => return answer.is_ok(),
            }
        }
        false
    }

    /// Makes the folder ready for processes; adds it to `created` if it was not there.
    fn create<'a>(&'a self, path: &CgroupPath, created: &mut Vec<&'a Path>) -> Result<(), Error> {
        let failed = |source| Error::Folder { operation: "create", path: self.folder.clone(), source };
        match fs::mkdir(&self.folder, Mode::from_raw_mode(0o755)) {
            Ok(()) => created.push(&self.folder),
            Err(Errno::EXIST) => self.refuse_processes()?,
            Err(Errno::NOENT) => {
                self.create_with_parents(path).map_err(failed)?;
                created.push(&self.folder);
            }
            Err(source) => return Err(failed(source)),
        }
        if self.hierarchy.controls("cpuset") { self.inherit_cpuset(path) } else { Ok(()) }
    }

    fn create_with_parents(&self, path: &CgroupPath) -> Result<(), Errno> {
        for level in path.levels() {
            let folder = self.hierarchy.mount().join(level);
            match fs::mkdir(&folder, Mode::from_raw_mode(0o755)) {
                // So the kernel fills in cpus and memory nodes of every cgroup below, and we need not.
                Ok(()) if self.hierarchy.controls("cpuset") => {
                    write_file(&folder.join("cgroup.clone_children"), b"1")?;
                }
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn refuse_processes(&self) -> Result<(), Error> {
        let file = self.folder.join("cgroup.procs");
        match read_whole(&file) {
            Ok(processes) if processes.is_empty() => Ok(()),
            Ok(_) => Err(Error::Populated { path: self.folder.clone() }),
            Err(source) => Err(Error::Read { path: file, source }),
        }
    }

    /// A v1 cpuset without cpus or memory nodes takes no process (ENOSPC): copy the parents' from the outside in.
    fn inherit_cpuset(&self, path: &CgroupPath) -> Result<(), Error> {
        if !is_blank(&self.folder.join("cpuset.mems"))? {
            return Ok(());
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let mut parent = self.hierarchy.mount().to_owned();
            for level in path.levels() {
                let folder = self.hierarchy.mount().join(level);
                if is_blank(&folder.join(file))? {
                    let inherited = read(&parent.join(file))?;
                    write_file(&folder.join(file), inherited.trim_ascii()).map_err(|source| {
                        Error::Setting {
                            file: file.to_owned(),
                            group: format!("/{level}"),
                            value: String::from_utf8_lossy(inherited.trim_ascii()).into_owned(),
                            source,
                            hint: "",
                        }
                    })?;
                }
                parent = folder;
            }
        }
        Ok(())
    }

    fn join(&self, process: i32) -> Result<(), Error> {
        write_file(&self.folder.join("cgroup.procs"), process.to_string().as_bytes())
            .map_err(|source| Error::Join { process, path: self.folder.clone(), source })
    }
}

impl Entrance {
    /// The v2 cgroup to be born in (`CLONE_INTO_CGROUP`), where the machine has one.
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.version2.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process into the v1 hierarchies. For a single-threaded child, before it unshares its
    /// cgroup namespace; does not allocate.
    pub fn enter(&self) -> Result<(), EnterFailure> {
        for (position, tasks) in self.tasks.iter().enumerate() {
            rustix::io::write(tasks, b"0").map_err(|source| EnterFailure { position, source })?;
        }
        Ok(())
    }
}

/// Writes a control file in one call, as the kernel demands.
pub(super) fn write_file(path: &Path, value: &[u8]) -> Result<(), Errno> {
    let file = fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::retry_on_intr(|| rustix::io::write(&file, value)).map(drop)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_whole(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn is_blank(path: &Path) -> Result<bool, Error> {
    Ok(read(path)?.trim_ascii().is_empty())
}

fn read_words(path: &Path) -> Result<Vec<String>, Error> {
    let content = read(path)?;
    Ok(String::from_utf8_lossy(&content).split_ascii_whitespace().map(str::to_owned).collect())
}
