//! SELinux and AppArmor: the label that the kernel gives the process when it executes its command.
//!
//! The file to write is opened while the host's /proc is still there: what a container shows at /proc is not believed
//! (CVE-2019-16884, CVE-2025-52881). Only the thread itself may write it, whoever holds it open.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// The labels of a process, where the machine has the security modules for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// The SELinux label.
    pub selinux: Option<String>,
}

/// Does the kernel enforce AppArmor profiles?
pub fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Does the kernel enforce SELinux labels?
pub fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/status").exists()
}

/// A label on its way: the file of the thread's next label, and the words.
#[derive(Debug)]
pub struct Pending {
    file: OwnedFd,
    text: String,
}

impl Labels {
    /// Opens the files of the calling thread, which is the one to execute the command.
    pub fn open(&self) -> Result<Vec<Pending>, Errno> {
        let mut pending = Vec::new();
        if let Some(profile) = &self.apparmor {
            let own = open("/proc/thread-self/attr/apparmor/exec");
            // Without stacking (kernel before 5.8) the module has the common file.
            let file = own.or_else(|_| open("/proc/thread-self/attr/exec"))?;
            pending.push(Pending { file, text: format!("exec {profile}") });
        }
        if let Some(label) = &self.selinux {
            pending.push(Pending { file: open("/proc/thread-self/attr/exec")?, text: label.clone() });
        }
        Ok(pending)
    }
}

impl Pending {
    /// Tells the kernel.
    pub fn write(&self) -> Result<(), Errno> {
        match rustix::io::write(&self.file, self.text.as_bytes())? {
            length if length == self.text.len() => Ok(()),
            _ => Err(Errno::IO),
        }
    }

    /// The file, to be kept open.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// What is written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}
