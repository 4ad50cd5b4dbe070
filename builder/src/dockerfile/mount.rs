//! `RUN --mount`: one CSV record of keys and values.
//!
//! Values may hold variables, so there are two steps: the parser reads the record and checks what it can
//! ([`MountOption`]); with the stage's variables [`MountOption::resolve`] gives the typed [`Mount`].

use super::source::Span;

/// A `--mount` as written: keys known, values not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// Keys in their main spelling (`dst` is `target`) with their values; `None` for a bare key.
    pub fields: Vec<MountField>,
    /// Where the flag stands.
    pub span: Span,
    /// The escape character of the file, for expanding values.
    pub escape: char,
}

/// One key of a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountField {
    /// The key in its main spelling: `type`, `target`, `source`, `from`, `readonly`, `readwrite`, `id`, `sharing`,
    /// `mode`, `uid`, `gid`, `size`, `env`, `required`.
    pub key: &'static str,
    /// The value, unexpanded.
    pub value: Option<String>,
}

/// A mount with all values known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A part of the context, a stage or an image.
    Bind {
        /// Where it appears; relative to WORKDIR.
        target: String,
        /// Path inside `from`; `/` by default.
        source: String,
        /// Stage, named context or image; the build context if `None`.
        from: Option<String>,
        /// Writes are possible, seen by this RUN only and dropped.
        read_write: bool,
    },
    /// A directory that stays between builds.
    Cache {
        /// Its name in the store; the target if it was not given.
        id: String,
        /// Where it appears.
        target: String,
        /// Not writable.
        read_only: bool,
        /// Who may use it at the same time.
        sharing: CacheSharing,
        /// Where the initial content comes from.
        from: Option<String>,
        /// Path inside `from`.
        source: String,
        /// Mode of a new one.
        mode: u32,
        /// Owner of a new one.
        uid: u32,
        /// Group of a new one.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Most bytes it may hold.
        size: Option<u64>,
    },
    /// A secret file or variable.
    Secret {
        /// Its name on the command line.
        id: String,
        /// The file; `None` if it is only a variable.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Fail if it is missing.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// An agent's socket.
    Ssh {
        /// Its name on the command line.
        id: String,
        /// The socket's path; `None` for the next `/run/buildkit/ssh_agent.N`.
        target: Option<String>,
        /// Fail if it is missing.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// `sharing=` of a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheSharing {
    /// All at once.
    #[default]
    Shared,
    /// Each its own copy while it is in use.
    Private,
    /// One after the other.
    Locked,
}
