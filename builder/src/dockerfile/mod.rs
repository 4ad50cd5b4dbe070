//! The Dockerfile language: text in, typed instructions with positions out. No I/O here.
//!
//! What always holds: no input makes this module panic; parsing takes time linear in the size of the text; every
//! span lies within the text; all errors of a file are reported, not just the first.

mod arguments;
mod command;
pub mod copy;
pub mod diagnostic;
pub mod directives;
mod duration;
pub mod expand;
mod flags;
pub mod fuzz;
mod healthcheck;
pub mod ignore;
pub mod instruction;
mod lexer;
pub mod lint;
pub mod mode;
pub mod mount;
mod parser;
pub mod path;
mod pattern;
pub mod platform;
pub mod port;
mod run;
pub mod signal;
pub mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod words;

pub use diagnostic::{Diagnostic, Severity, Style};
pub use expand::Lookup;
pub use ignore::Matcher;
pub use instruction::{Command, CommandLine, Dockerfile, Instruction, Stage};
pub use parser::parse_trigger;
pub use source::{Source, Span};
