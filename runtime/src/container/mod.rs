//! The life cycle: one file per verb, the states and their rules, and the record on disk.
//!
//! ```text
//! <state root>/<id>/state.json    what the container is, written aside and renamed     (record)
//! <state root>/<id>/config.json   what it was created from, for further processes      (create, exec)
//! <state root>/<id>/exec.fifo     the gate: a FIFO that a created container reads      (create, start)
//! ```
//!
//! What must hold:
//! - nothing is created before config.json was checked as a whole;
//! - whatever a verb creates is reachable from the record before it exists, so that `delete --force` finds it after
//!   a crash at any point;
//! - the state of a container is observed, not remembered ([`Status`]).

mod cgroup;
mod console;
mod create;
mod delete;
mod exec;
mod home;
mod id;
mod kill;
mod list;
mod listener;
mod locate;
mod pause;
mod prepare;
mod record;
mod request;
mod rootless;
mod settings;
mod start;
mod state;
mod stats;
mod status;
pub(crate) mod timestamp;
mod update;
mod user_namespace;

pub(crate) use create::PATIENCE;
pub use create::{Created, create};
pub use delete::{delete, delete_abandoned};
pub use exec::{ExecRequest, ExecTarget, Executed, exec};
pub use id::Id;
pub use kill::{Target, kill};
pub use list::{ids, list};
pub use locate::roci_path;
pub use pause::{pause, resume};
pub use request::{CgroupDriver, Console, CreateRequest, Gate, Stdio};
pub(crate) use settings::set_oom_score_adj;
pub use start::start;
pub use state::{State, state};
pub use stats::{Event, Watched, processes};
pub use status::Status;
pub use timestamp::now;
pub use update::update;
pub(crate) use user_namespace::write_id_map;
