//! Image names as Docker writes them, parsed once.
//!
//! `register:0.0.1` is `docker.io/library/register:0.0.1`; a name with neither tag nor digest means the tag
//! `latest`. The first component is a registry only if it could not be a user name: it contains a dot, a colon or
//! an upper-case letter, or is `localhost`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A checked image name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry host with its port if any: `docker.io`, `localhost:5000`.
    pub domain: String,
    /// Repository in it: `library/register`.
    pub path: String,
    /// Tag; absent only when there is a digest.
    pub tag: Option<String>,
    /// Manifest digest, when the name pins one.
    pub digest: Option<Digest>,
}

/// A name that Docker would refuse too.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{text:?} is not an image name: {reason}")]
pub struct ReferenceError {
    /// What was given, shortened.
    pub text: String,
    /// Why it is none.
    pub reason: &'static str,
}

impl Reference {
    /// The name as Docker shows it: without the default registry and namespace.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_repository(), self.suffix())
    }

    /// [`Reference::familiar`] without tag and digest.
    pub fn familiar_repository(&self) -> String {
        match self.domain == DEFAULT_DOMAIN {
            true => self.path.strip_prefix(DEFAULT_NAMESPACE).unwrap_or(&self.path).to_string(),
            false => self.repository(),
        }
    }

    /// Registry and repository, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        check_tag(tag).map_err(|reason| ReferenceError { text: shorten(tag), reason })?;
        Ok(Reference { tag: Some(tag.to_string()), digest: None, ..self.clone() })
    }

    fn suffix(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).collect()
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: shorten(text), reason })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if Digest::from_hex(text).is_ok() {
        return Err("64 hexadecimal digits are an image id");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(digest.parse().map_err(|_| "after @ comes a digest, sha256:<64 hexadecimal digits>")?),
        ),
        None => (text, None),
    };
    // A colon after the last slash starts a tag; one before it belongs to the registry's port.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_end..].split_once(':') {
        Some((last, tag)) => (&rest[..name_end + last.len()], Some(tag)),
        None => (rest, None),
    };
    tag.map_or(Ok(()), check_tag)?;
    let (domain, path) = split_domain(name);
    check_domain(&domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > LONGEST_NAME {
        return Err("it is longer than 255 characters");
    }
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None }).map(str::to_string);
    Ok(Reference { domain, path, tag, digest })
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    match domain == DEFAULT_DOMAIN && !path.contains('/') {
        true => (domain.to_string(), format!("{DEFAULT_NAMESPACE}{path}")),
        false => (domain.to_string(), path.to_string()),
    }
}

fn is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("the registry's IPv6 address is not closed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("the registry's IPv6 address is malformed");
            }
            return match port.strip_prefix(':') {
                None if port.is_empty() => Ok(()),
                Some(port) => check_port(port),
                None => Err("the registry's port is malformed"),
            };
        }
        None => domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !host.split('.').all(label) {
        return Err("the registry's host name is malformed");
    }
    port.map_or(Ok(()), check_port)
}

fn check_port(port: &str) -> Result<(), &'static str> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if digits && port.parse::<u16>().is_ok() { Ok(()) } else { Err("the registry's port is malformed") }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository name is lower case");
    }
    match path.split('/').all(is_component) {
        true => Ok(()),
        false => Err(
            "its parts are lower-case letters and digits, joined by single dots, one or two underscores, or hyphens",
        ),
    }
}

/// Runs of lower-case letters and digits with `.`, `_`, `__` or any number of `-` between two runs.
fn is_component(component: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let mut separators = bytes.split(|byte| word(*byte)).filter(|run| !run.is_empty());
    word(*first)
        && word(*last)
        && separators
            .all(|run| run == b"." || run == b"_" || run == b"__" || run.iter().all(|byte| *byte == b'-'))
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    let first = bytes.next().is_some_and(word);
    if first && tag.len() <= LONGEST_TAG && bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-') {
        return Ok(());
    }
    Err(
        "a tag is up to 128 letters, digits, underscores, dots and hyphens, and starts with neither dot nor hyphen",
    )
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_docker_does() {
        for (text, full, familiar) in [
            ("register:0.0.1", "docker.io/library/register:0.0.1", "register:0.0.1"),
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("some/thing", "docker.io/some/thing:latest", "some/thing:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1", "busybox:1"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x/y:t", "localhost:5000/x/y:t", "localhost:5000/x/y:t"),
            ("quay.io/a/b", "quay.io/a/b:latest", "quay.io/a/b:latest"),
            ("Host/a", "Host/a:latest", "Host/a:latest"),
            ("[::1]:5000/a:b", "[::1]:5000/a:b", "[::1]:5000/a:b"),
            ("a__b.c---d:_X.-", "docker.io/library/a__b.c---d:_X.-", "a__b.c---d:_X.-"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar));
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_default_tag() {
        let digest = Digest::of(b"");
        let pinned: Reference = format!("busybox@{digest}").parse().unwrap();
        assert_eq!((pinned.tag.as_deref(), pinned.digest), (None, Some(digest)));
        let both: Reference = format!("busybox:1@{digest}").parse().unwrap();
        assert_eq!(both.familiar(), format!("busybox:1@{digest}"));
    }

    #[test]
    fn malformed_names_are_refused() {
        let hex = "0".repeat(64);
        let long = "a".repeat(256);
        for text in [
            "",
            ":",
            ":tag",
            "/",
            "/a",
            "a/",
            "a//b",
            "a:",
            "a:b:c",
            "A",
            "a/B",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a b",
            "a:.x",
            "a:-x",
            "a@",
            "a@sha256:12",
            "a@md5:00",
            "../a",
            "a/../b",
            "a\n",
            "é",
            "http://a/b",
            "a.b:x/c",
            "a.b:99999/c",
            "[::1/a",
            "[zz]/a",
            "a.-b.c/d",
            &hex,
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
        assert!(format!("a:{}", "t".repeat(128)).parse::<Reference>().is_ok());
    }
}
