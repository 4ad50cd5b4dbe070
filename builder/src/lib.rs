//! Hull's image builder: a Dockerfile becomes an OCI image in the store.
//!
//! The way through it: [`dockerfile`] turns text into typed instructions with positions and does no I/O; `plan`
//! turns the stages that the target needs into steps; `execute` runs the steps that `cache` does not know;
//! `export` writes the result. [`program`] is `rbuild` from command line to exit code.

pub mod cache;
pub mod cli;
pub mod dockerfile;
pub mod execute;
pub mod export;
pub mod plan;
pub mod program;
pub mod progress;
