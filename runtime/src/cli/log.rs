//! `--log`, `--log-format`, `--debug`: where errors go besides standard error.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use runtime::container::{Created, now};

use super::output;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `time="..." level=error msg="..."`
    Text,
    /// `{"level":"error","msg":"...","time":"..."}`, which engines read back
    Json,
}

/// The log. Lines are written whole, so that several processes can share a file.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    format: LogFormat,
    debug: bool,
}

impl Log {
    /// Opens the log; engines expect the file to be there afterwards.
    pub fn open(path: Option<&Path>, format: LogFormat, debug: bool) -> anyhow::Result<Log> {
        let file = path
            .map(|path| {
                File::options()
                    .append(true)
                    .create(true)
                    .open(path)
                    .with_context(|| format!("cannot open log {}", path.display()))
            })
            .transpose()?;
        Ok(Log { file, format, debug })
    }

    /// The error that ends the program: once to standard error, once to the log.
    pub fn error(&self, error: &anyhow::Error) {
        let message = sentence(error);
        output::say(&format!("roci: error: {message}"));
        self.line("error", &message);
    }

    /// Something that did not stop the verb.
    pub fn warning(&self, message: &str) {
        output::say(&format!("roci: warning: {message}"));
        self.line("warning", message);
    }

    /// What the machine refused and nobody insisted on. Standard error may be the container's: there only without a log.
    pub fn clamped(&self, notes: &[String]) {
        for note in notes {
            match self.file {
                Some(_) => self.line("warning", note),
                None => output::say(&format!("roci: warning: {note}")),
            }
        }
    }

    /// What was made, for who looks for a fault.
    pub fn created(&self, created: &Created) {
        self.clamped(&created.clamped);
        if let Some(flags) = created.filter_flags {
            log::debug!("seccomp filter flags: {flags}");
        }
    }

    /// Becomes the log of the library as well: of its warnings, and of its steps where somebody asked for them.
    pub fn listen(log: &'static Log) {
        log::set_max_level(if log.debug { log::LevelFilter::Debug } else { log::LevelFilter::Warn });
        // Fails only the second time.
        let _ = log::set_logger(log);
    }

    fn debug(&self, message: &str) {
        match self.file {
            Some(_) => self.line("debug", message),
            None => output::say(self.text("debug", message).trim_end()),
        }
    }

    /// Writes a line to the log, if there is one.
    pub fn line(&self, level: &str, message: &str) {
        let Some(mut file) = self.file.as_ref() else { return };
        // A full disk must not change what the program does.
        let _ = file.write_all(self.text(level, message).as_bytes());
    }

    fn text(&self, level: &str, message: &str) -> String {
        let time = now();
        match self.format {
            LogFormat::Text => format!("time={time:?} level={level} msg={message:?}\n"),
            LogFormat::Json => {
                let line = serde_json::json!({ "level": level, "msg": message, "time": time });
                format!("{line}\n")
            }
        }
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = record.args().to_string();
        match record.level() {
            log::Level::Error | log::Level::Warn => self.clamped(&[message]),
            _ => self.debug(&message),
        }
    }

    fn flush(&self) {}
}

/// The error and its causes in one line, each said once: many of our messages end with their cause already.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.ends_with(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("no such thing");
        let told = anyhow::Error::new(cause).context("cannot read it: no such thing").context("cannot start");
        assert_eq!(sentence(&told), "cannot start: cannot read it: no such thing");
        let untold = anyhow::anyhow!("no such thing").context("cannot read it");
        assert_eq!(sentence(&untold), "cannot read it: no such thing");
    }
}
