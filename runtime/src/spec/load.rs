//! Reads config.json, with a limit, into the specification's types.

use std::path::Path;

use oci_spec::runtime::{Process, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::json_place::path_at;
use crate::error::{Error, Result};

/// More than any real document has, and little enough to hold.
const LARGEST: u64 = 16 << 20;

/// Loads `config.json` of a bundle.
pub fn load(bundle: &Path) -> Result<Spec> {
    parse(&read(&bundle.join("config.json"))?)
}

/// Parses the bytes of a `config.json`.
pub fn parse_spec(text: &[u8]) -> Result<Spec> {
    parse(text)
}

/// Loads the process of `exec --process`.
pub fn parse_process(file: &Path) -> Result<Process> {
    parse(&read(file)?)
}

/// Reads a document of bounded size; anything but a regular file (a FIFO would block) is refused.
fn read(path: &Path) -> Result<Vec<u8>> {
    let fail = |source| Error::SpecFile { path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(fail)?;
    let stat = rustix::fs::fstat(&file).map_err(fail)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(fail(Errno::INVAL));
    }
    if stat.st_size as u64 > LARGEST {
        return Err(fail(Errno::FBIG));
    }
    let mut text = vec![0; stat.st_size as usize];
    let mut length = 0;
    while length < text.len() {
        match rustix::io::read(&file, &mut text[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(source) => return Err(fail(source)),
        }
    }
    text.truncate(length);
    Ok(text)
}

/// Parses a document; a failure names the field.
fn parse<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| Error::Spec {
        path: path_at(text, error.line(), error.column()),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse::<Spec>(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_type_names_its_field() {
        let message = refused(r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":-1,"gid":0}}}"#);
        assert!(message.starts_with("config.json: process.user.uid: "), "{message}");
        let message = refused(
            r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":0,"gid":0},
                "capabilities":{"bounding":["CAP_KILL","CAP_NOPE"]}}}"#,
        );
        assert!(message.starts_with("config.json: process.capabilities.bounding[1]: "), "{message}");
    }

    #[test]
    fn only_regular_files_of_sane_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| load(path).unwrap_err().kind();
        assert_eq!(kind(folder.path()), crate::error::Kind::NotFound);
        rustix::fs::mkfifoat(CWD, folder.path().join("config.json"), Mode::RUSR).unwrap();
        assert_eq!(kind(folder.path()), crate::error::Kind::Io);
    }
}
