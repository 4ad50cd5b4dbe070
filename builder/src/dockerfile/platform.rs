//! Platforms as `--platform` writes them: `os[/arch[/variant]]`.

/// A platform in its normal spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// Architecture as images name it (`amd64`, `arm64`); empty if not given.
    pub architecture: String,
    /// Variant (`v7`); often empty.
    pub variant: String,
}

/// Operating systems that may stand alone.
const SYSTEMS: [&str; 8] =
    ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "wasip1"];

/// Reads a platform after expansion; the error is a sentence that names the value.
pub fn parse(text: &str) -> Result<Platform, String> {
    let refuse = || format!("invalid platform {text}: write OS[/ARCH[/VARIANT]] such as linux/amd64");
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    let valid = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    if parts.len() > 3 || !parts.iter().all(valid) {
        return Err(refuse());
    }
    let (os, architecture, variant) = match parts.as_slice() {
        [os] if SYSTEMS.contains(os) => (*os, "", ""),
        [architecture] if normal(architecture, "").is_some() => ("linux", *architecture, ""),
        [os, architecture] => (*os, *architecture, ""),
        [os, architecture, variant] => (*os, *architecture, *variant),
        _ => return Err(refuse()),
    };
    let (architecture, variant) = normal(architecture, variant).unwrap_or((architecture, variant));
    let owned = |part: &str| part.to_owned();
    Ok(Platform { os: owned(os), architecture: owned(architecture), variant: owned(variant) })
}

/// The usual spelling of a known architecture.
fn normal<'a>(architecture: &'a str, variant: &'a str) -> Option<(&'a str, &'a str)> {
    Some(match (architecture, variant) {
        ("amd64" | "x86_64" | "x86-64", "v1" | "") => ("amd64", ""),
        ("amd64" | "x86_64" | "x86-64", _) => ("amd64", variant),
        ("386" | "i386", _) => ("386", ""),
        ("arm64" | "aarch64", "8" | "v8" | "") => ("arm64", ""),
        ("arm64" | "aarch64", _) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm" | "riscv64" | "s390x" | "ppc64le" | "loong64" | "mips64le", _) => (architecture, variant),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        for (text, expected) in [
            ("linux", Some(("linux", "", ""))),
            ("linux/amd64", Some(("linux", "amd64", ""))),
            ("Linux/x86_64", Some(("linux", "amd64", ""))),
            ("linux/arm64/v8", Some(("linux", "arm64", ""))),
            ("linux/arm/v7", Some(("linux", "arm", "v7"))),
            ("linux/armhf", Some(("linux", "arm", "v7"))),
            ("amd64", Some(("linux", "amd64", ""))),
            ("windows/amd64", Some(("windows", "amd64", ""))),
            ("", None),
            ("linux/", None),
            ("a/b/c/d", None),
            ("lin ux", None),
            ("nonsense", None),
        ] {
            let expected = expected.map(|(os, architecture, variant)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
            });
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
