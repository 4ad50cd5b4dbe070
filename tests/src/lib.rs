//! The harness of the whole-program tests: real programs, run as root, each test in a world of its own.
//!
//! ```no_run
//! use tests::{Sandbox, needs};
//!
//! # fn example() {
//! needs!("root");
//! let sandbox = Sandbox::new();
//! sandbox.import_busybox();
//! sandbox.rrun(["run", "--rm", "--network", "none", "busybox", "echo", "hello"]).run().succeeds().stdout_is("hello\n");
//! # }
//! ```
//!
//! What always holds:
//! - a [`Sandbox`] has its own `HULL_ROOT`, `HULL_STATE`, `TMPDIR` and name prefix, so that tests run in parallel;
//! - a command's environment is clean: what the caller's shell exports never decides a test;
//! - every command has a deadline, and nobody may hold its output open after it ended;
//! - when a sandbox is dropped, no process, mount or cgroup of it is left: otherwise the test fails and says which;
//! - a test that cannot run here says so by the word that is missing ([`needs!`]), and an unknown word fails.
//!
//! Suites are files in `tests/tests/`; a fixed bug leaves a test there that names what broke.

mod busybox;
mod canary;
mod command;
pub mod cri;
mod disk;
pub mod http;
mod java;
pub mod leaks;
mod needs;
mod programs;
mod rcri;
mod sandbox;
mod terminal;

pub use busybox::busybox_archive;
pub use canary::Canary;
pub use command::{Command, Outcome, Running, eventually};
pub use disk::SmallDisk;
pub use java::{java_base, register_jar};
pub use needs::{cni_folder, missing_need, peer, report_skipped};
pub use programs::{bin_dir, fault_roci, program, project_dir};
pub use rcri::{Rcri, World, addresses_in_use, write_network};
pub use sandbox::Sandbox;
pub use terminal::OnTerminal;
