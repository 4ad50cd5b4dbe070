//! The Dockerfile language: text in, typed instructions with positions out. No I/O here.
//!
//! What always holds: no input makes this module panic; parsing takes time linear in the size of the text; every
//! span lies within the text; all errors of a file are reported, not just the first.

pub mod diagnostic;
pub mod expand;
pub mod instruction;
pub mod mount;
pub mod source;
mod suggest;

pub use diagnostic::{Diagnostic, Severity, Style};
pub use expand::Lookup;
pub use instruction::{Command, CommandLine, Dockerfile, Instruction, Stage};
pub use source::{Source, Span};
