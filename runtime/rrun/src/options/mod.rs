//! Values of `run`'s options, from what was typed to checked plain data. Nothing here touches a file except
//! [`environment`], which reads the files that `--env-file` names.

pub mod moment;
pub mod publish;
pub mod settings;

use std::path::{Component, Path, PathBuf};

use engine::NetworkMode;
use runtime::spec::from_image::Bind;

/// The smallest memory limit in bytes: below it not even the set-up of a container fits.
const LEAST_MEMORY: u64 = 6 << 20;

/// Longest file of variables in bytes.
const LARGEST_ENV_FILE: u64 = 1 << 20;

/// A memory limit: `64m`, `1.5g`, `8388608`, `512kb`.
pub fn memory(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    if bytes < LEAST_MEMORY { Err("the minimum is 6m".to_owned()) } else { Ok(bytes) }
}

/// A number of bytes with an optional unit.
fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match lower[number.len()..].trim_end_matches('b') {
        "" => 0,
        "k" | "ki" => 10,
        "m" | "mi" => 20,
        "g" | "gi" => 30,
        "t" | "ti" => 40,
        _ => return Err("expected a number with an optional unit b, k, m, g or t".to_owned()),
    };
    let value: f64 = number.parse().map_err(|_| "expected a number like 64m or 1.5g".to_owned())?;
    let bytes = value * (1u64 << shift) as f64;
    if !(0.0..i64::MAX as f64).contains(&bytes) {
        return Err("no number of bytes that any machine has".to_owned());
    }
    Ok(bytes as u64)
}

/// A number of CPUs as billionths: `1.5`.
pub fn cpus(text: &str) -> Result<u64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number like 1.5".to_owned())?;
    let most = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    if !(0.01..=most).contains(&value) {
        return Err(format!("expected between 0.01 and {most}, the CPUs of this machine"));
    }
    Ok((value * 1e9).round() as u64)
}

/// `--network`.
pub fn network(text: &str) -> Result<NetworkMode, String> {
    match text {
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        "bridge" | "default" => Ok(NetworkMode::Bridge),
        _ => Err("expected bridge, none or host: others are not available yet".to_owned()),
    }
}

/// `--volume`: `/source:/destination[:ro|rw]`.
pub fn volume(text: &str) -> Result<Bind, String> {
    let mut parts = text.split(':');
    let (source, destination, options) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(destination), options, None) => (source, destination, options),
        (Some(_), None, ..) => {
            return Err("volumes without a source are not available yet: use /source:/destination".to_owned());
        }
        _ => return Err("expected /source:/destination[:ro]".to_owned()),
    };
    let source = host_path(source)?;
    let destination = container_path(destination)?;
    let mut read_only = false;
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        match option {
            "ro" => read_only = true,
            "rw" | "rprivate" => {}
            "z" | "Z" => return Err(format!("{option}: relabelling for SELinux is not available")),
            other => return Err(format!("{other:?} is not a known or available volume option")),
        }
    }
    Ok(Bind { source, destination, read_only })
}

/// `--workdir`.
pub fn working_directory(text: &str) -> Result<PathBuf, String> {
    if Path::new(text).is_absolute() {
        Ok(PathBuf::from(text))
    } else {
        Err("the working directory must be an absolute path".to_owned())
    }
}

/// `--name`.
pub fn container_name(text: &str) -> Result<String, String> {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    match first && rest && (2..=128).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => {
            Err("expected 2 to 128 letters, digits and _ . -, starting with a letter or digit".to_owned())
        }
    }
}

/// `--hostname`: it becomes a line of /etc/hosts, so nothing but a name (CVE-2022-4318 is about such lines).
pub fn hostname(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['-', '.']) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 63 letters, digits and _ . -".to_owned()),
    }
}

/// The variables of `--env-file` and `--env`, in this order. One without a value is taken from our own environment,
/// and left out where that has none.
pub fn environment(files: &[PathBuf], given: &[String]) -> Result<Vec<String>, String> {
    let mut entries = Vec::new();
    for path in files {
        let text = read_limited(path).map_err(|reason| format!("--env-file {}: {reason}", path.display()))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = variable(line)
                .map_err(|reason| format!("--env-file {}:{}: {reason}", path.display(), number + 1))?;
            entries.extend(entry);
        }
    }
    for text in given {
        entries.extend(variable(text).map_err(|reason| format!("--env {text:?}: {reason}"))?);
    }
    Ok(entries)
}

fn variable(text: &str) -> Result<Option<String>, String> {
    let key = text.split_once('=').map_or(text, |(key, _)| key);
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err("the name of a variable is empty or has white space".to_owned());
    }
    if text.contains('\0') {
        return Err("a variable contains a zero byte".to_owned());
    }
    Ok(match text.contains('=') {
        true => Some(text.to_owned()),
        false => std::env::var(key).ok().map(|value| format!("{key}={value}")),
    })
}

fn read_limited(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let length =
        file.take(LARGEST_ENV_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if length as u64 > LARGEST_ENV_FILE {
        return Err("larger than 1 MiB".to_owned());
    }
    Ok(text)
}

/// A path on the host; what starts with a dot is below the current folder, any other relative one would be the
/// name of a volume.
fn host_path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') {
        return Ok(PathBuf::from(text));
    }
    if text.starts_with('.') {
        return std::env::current_dir().map(|folder| folder.join(text)).map_err(|error| error.to_string());
    }
    Err(format!("named volumes are not available yet: use an absolute path instead of {text:?}"))
}

/// An absolute path in the container without `..`; the root itself cannot be covered.
fn container_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!("the destination {text:?} must be an absolute path"));
    }
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => return Err(format!("the destination {text:?} must not contain ..")),
            _ => {}
        }
    }
    if clean.parent().is_none() {
        return Err("the destination must not be /".to_owned());
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_bounds() {
        for (text, bytes) in [("64m", 64 << 20), ("8388608", 8 << 20), ("1.5G", 3 << 29), ("8192kb", 8 << 20)]
        {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for bad in ["", "m", "5m", "-64m", "64q", "1e30g", "nan", "inf", "64 m b"] {
            assert!(memory(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cpus_are_bounded_by_the_machine() {
        assert_eq!(cpus("0.5"), Ok(500_000_000));
        for bad in ["0", "-1", "0.001", "100000", "x", "NaN"] {
            assert!(cpus(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn volumes_are_absolute_on_both_sides() {
        let bind = volume("/a/b:/c//d/:ro").unwrap();
        assert_eq!(bind.destination, Path::new("/c/d"));
        assert!(bind.read_only);
        assert!(!volume("/a:/c").unwrap().read_only);
        assert!(volume("./here:/c").unwrap().source.is_absolute());
        for bad in [
            "/a",
            "data:/c",
            "/a:c",
            "/a:/",
            "/a:/x/../y",
            "/a:/c:z",
            "/a:/c:ro:x",
            "/a:/c:shared",
            ":/c",
            "",
        ] {
            assert!(volume(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_file_names_and_hosts_are_one_line() {
        assert!(container_name("web-1.x_y").is_ok());
        for bad in ["", "a", "-web", "a/b", "a b", "ä1"] {
            assert!(container_name(bad).is_err(), "{bad:?}");
        }
        assert!(hostname("db.example").is_ok());
        for bad in ["", "-x", "a\nb", "a b", &"a".repeat(64)] {
            assert!(hostname(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn variables_come_from_files_then_options() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        std::fs::write(&file, "# comment\n\nA=1\n  B=two words\nHULL_SURELY_UNSET\n").unwrap();
        let entries = environment(std::slice::from_ref(&file), &["A=2".into(), "PATH".into()]).unwrap();
        assert_eq!(entries[..3], ["A=1", "B=two words", "A=2"]);
        assert!(entries[3].starts_with("PATH=/"));
        std::fs::write(&file, "GOOD=1\nBAD NAME=1\n").unwrap();
        assert!(environment(&[file], &[]).unwrap_err().contains("env:2"));
        assert!(environment(&[], &["=x".into()]).is_err());
    }
}
