//! Reads config.json, with a limit, into the specification's types.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use oci_spec::runtime::{LinuxResources, Process, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::json_place::path_at;
use crate::error::{Error, Result};
use crate::security::capabilities::parse_name;

/// More than any real document has, and little enough to hold.
const LARGEST: u64 = 16 << 20;

/// The file of a bundle that describes its container.
pub const FILE_NAME: &str = "config.json";

/// A `config.json`.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// What was left out of it, in words.
    pub notes: Vec<String>,
    /// The document itself.
    pub text: Vec<u8>,
}

/// Loads `config.json` of a folder.
pub fn load(folder: &Path) -> Result<Loaded> {
    let text = read(&folder.join(FILE_NAME))?;
    let (mut spec, notes): (Spec, _) = forgiving(&text, Some("process"))?;
    if let Some(resources) = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        forget_empty_pids(resources, &text, "/linux/resources");
    }
    Ok(Loaded { spec, notes, text })
}

/// Parses `linux.resources`, as a document of its own.
pub fn parse_resources(text: &[u8]) -> serde_json::Result<LinuxResources> {
    let mut resources = serde_json::from_slice(text)?;
    forget_empty_pids(&mut resources, text, "");
    Ok(resources)
}

/// `pids` without a limit asks for nothing (runtime-spec 1.3), where our types have a limit of 0. Looked at again only then;
/// `place` is the resources' in the document.
fn forget_empty_pids(resources: &mut LinuxResources, text: &[u8], place: &str) {
    if resources.pids().is_some_and(|pids| pids.limit() == 0)
        && let Ok(document) = serde_json::from_slice::<Value>(text)
        && document.pointer(&format!("{place}/pids/limit")).is_none()
    {
        resources.set_pids(None);
    }
}

/// Loads the process of `exec --process`, which may be a pipe, with what was left out of it.
pub fn parse_process(file: &Path) -> Result<(Process, Vec<String>)> {
    let fail = |source| Error::SpecFile { path: file.to_owned(), source };
    let mut text = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text))
        .map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    if text.len() as u64 > LARGEST {
        return Err(fail(Errno::FBIG));
    }
    forgiving(&text, None).map_err(|error| match error {
        Error::Spec { path, reason } => {
            Error::Argument { argument: format!("{}: {path}", file.display()), reason }
        }
        error => error,
    })
}

/// Parses a document; where that fails, once more with its process mended as the specification wants or engines rely on:
/// capabilities that nobody knows are left out, and without a user it is the first. The detour is for those few. `place` is
/// the process in the document, if that is not the process itself.
fn forgiving<T: serde::de::DeserializeOwned>(text: &[u8], place: Option<&str>) -> Result<(T, Vec<String>)> {
    let failure = match parse(text) {
        Ok(document) => return Ok((document, Vec::new())),
        Err(failure) => failure,
    };
    let mut notes = Vec::new();
    let mended = serde_json::from_slice(text).ok().and_then(|mut document: Value| {
        match place {
            Some(place) => mend(document.get_mut(place)?, &format!("{place}."), &mut notes),
            None => mend(&mut document, "", &mut notes),
        }
        serde_json::from_value(document).ok()
    });
    mended.map(|document| (document, notes)).ok_or(failure)
}

fn mend(process: &mut Value, place: &str, notes: &mut Vec<String>) {
    let Value::Object(process) = process else { return };
    process.entry("user").or_insert_with(|| json!({ "uid": 0, "gid": 0 }));
    let flags = process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        // The specification's word, where our types have the kernel's.
        if *flag == json!("SCHED_FLAG_RESET_ON_FORK") {
            *flag = json!("SCHED_RESET_ON_FORK");
        }
    }
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for (set, names) in sets.into_iter().flatten() {
        let Value::Array(names) = names else { continue };
        let unknown = |name: &Value| name.as_str().is_some_and(|name| parse_name(name).is_err());
        let left_out: Vec<Value> = names.extract_if(.., |name| unknown(name)).collect();
        if !left_out.is_empty() {
            // Each once, in runc's words.
            let left_out: BTreeSet<_> = left_out.iter().filter_map(Value::as_str).collect();
            let left_out = left_out.into_iter().collect::<Vec<_>>().join(" ");
            notes.push(format!(
                "{place}capabilities.{set}: ignoring unknown or unavailable capabilities: [{left_out}]"
            ));
        }
    }
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
    serde_json::from_slice(text).map_err(|error| {
        let path = path_at(text, error.line(), error.column());
        // Engines know these words of runc's.
        let words = match path.strip_prefix("linux.memoryPolicy") {
            Some(field) if field.starts_with(".flags") => "invalid memory policy flag: ",
            Some(_) => "invalid memory policy mode: ",
            None => "",
        };
        Error::Spec { reason: format!("{words}{error}"), path }
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
    fn a_process_is_mended_as_engines_rely_on() {
        let text = r#"{"ociVersion":"1.0.2","process":{"cwd":"/","args":["a"],
            "capabilities":{"bounding":["CAP_KILL","CAP_NOPE"]}}}"#;
        let (spec, notes): (Spec, _) = forgiving(text.as_bytes(), Some("process")).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
        let note = "process.capabilities.bounding: ignoring unknown or unavailable capabilities: [CAP_NOPE]";
        assert_eq!(notes, [note]);
        // What is wrong beyond that is still named.
        let text = r#"{"ociVersion":"1.0.2","process":{"cwd":7,"args":["a"]}}"#;
        let failed: Result<(Spec, _)> = forgiving(text.as_bytes(), Some("process"));
        assert!(failed.unwrap_err().to_string().contains("process.cwd"));
    }

    #[test]
    fn a_limit_of_processes_that_is_missing_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let limit = |pids: &str| {
            let resources = format!(r#"{{"pids":{pids}}}"#);
            let text = format!(r#"{{"ociVersion":"1.0.2","linux":{{"resources":{resources}}}}}"#);
            std::fs::write(folder.path().join("config.json"), text).unwrap();
            let spec = load(folder.path()).unwrap().spec;
            let of_config = spec.linux().as_ref().unwrap().resources().as_ref().unwrap().pids();
            assert_eq!(of_config, parse_resources(resources.as_bytes()).unwrap().pids());
            of_config.map(|pids| pids.limit())
        };
        assert_eq!([limit("{}"), limit(r#"{"limit":0}"#), limit(r#"{"limit":7}"#)], [None, Some(0), Some(7)]);
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
