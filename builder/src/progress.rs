//! What a build shows while it runs: plain lines on stderr, one per event, each with the step it is about.
//!
//! ```text
//! [builder 2/4] RUN make  CACHED
//! [2/3] RUN echo hello
//! [2/3] | hello
//! [2/3] done in 0.2 s
//! ```
//! Nothing is drawn over: the same lines go to a terminal, a pipe and a log.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::dockerfile::diagnostic::escape_control;
use crate::dockerfile::{Diagnostic, Style};

/// Longest instruction shown in a progress line, in characters.
const LONGEST: usize = 160;

/// Where progress goes.
pub struct Progress {
    out: Mutex<Box<dyn Write + Send>>,
    quiet: bool,
    style: Style,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Progress").field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

/// A step as progress lines name it: `2/4`, with the stage's name in front where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub String);

impl Progress {
    /// Progress on stderr; a quiet one shows only warnings and errors.
    pub fn stderr(quiet: bool) -> Progress {
        let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let style = if width > 0 && wants_colours() { Style::Terminal { width } } else { Style::Plain };
        Progress { out: Mutex::new(Box::new(io::stderr())), quiet, style }
    }

    /// Progress to a writer, plain: for tests.
    pub fn to(out: Box<dyn Write + Send>) -> Progress {
        Progress { out: Mutex::new(out), quiet: false, style: Style::Plain }
    }

    /// How messages are drawn here.
    pub fn style(&self) -> Style {
        self.style
    }

    /// A step begins.
    pub fn step(&self, label: &Label, text: &str) {
        self.line(format_args!("[{}] {}", label.0, shorten(text)));
    }

    /// A step is known already.
    pub fn cached(&self, label: &Label, text: &str) {
        self.line(format_args!("[{}] {}  CACHED", label.0, shorten(text)));
    }

    /// The base of a stage.
    pub fn base(&self, label: &Label, text: &str) {
        self.line(format_args!("[{}] {}", label.0, shorten(text)));
    }

    /// A step ended well.
    pub fn done(&self, label: &Label, took: Duration) {
        self.line(format_args!("[{}] done in {:.1} s", label.0, took.as_secs_f64()));
    }

    /// A line that a step's program printed.
    pub fn output(&self, label: &Label, line: &[u8]) {
        self.line(format_args!("[{}] | {}", label.0, String::from_utf8_lossy(line)));
    }

    /// A fact about the result.
    pub fn note(&self, text: &str) {
        self.line(format_args!("{text}"));
    }

    /// A warning or error, also when quiet.
    pub fn diagnostic(&self, diagnostic: &Diagnostic) {
        let text = diagnostic.render(self.style);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads stderr any more: no reason to end the build.
        let _ = out.write_all(text.as_bytes());
    }

    fn line(&self, line: std::fmt::Arguments<'_>) {
        if self.quiet {
            return;
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(out, "{line}");
    }
}

/// Whether the user's variables leave a terminal its colours.
fn wants_colours() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// An instruction on one line of bearable length.
fn shorten(text: &str) -> String {
    let line = escape_control(text).replace('\n', "\\n");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_names_its_step() {
        let shared = Shared::default();
        let progress = Progress::to(Box::new(shared.clone()));
        let label = Label("2/3".into());
        progress.step(&label, &format!("RUN {}\u{1b}", "x".repeat(300)));
        progress.output(&label, b"hello");
        progress.cached(&label, "COPY a b");
        progress.done(&label, Duration::from_millis(1250));
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("[2/3] RUN xxx") && lines[0].ends_with("...") && lines[0].len() < 200);
        assert_eq!(lines[1..], ["[2/3] | hello", "[2/3] COPY a b  CACHED", "[2/3] done in 1.2 s"]);
    }
}
