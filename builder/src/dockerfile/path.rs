//! Paths inside an image as text: cleaning and joining, without looking at any file system.

/// A path without `.`, empty parts and trailing `/`; `..` takes the part before it away, and at the root nothing.
/// A relative path stays relative and may begin with `..`; an empty one is `.`.
#[must_use]
pub fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            _ => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// `path` seen from `directory` (`/` if that is empty), absolute and clean: what WORKDIR stores.
#[must_use]
pub fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{directory}/{path}")) }
}

/// The destination of COPY and ADD: [`absolute`], and whether the text demands a directory (`/` or `/.` at its end).
#[must_use]
pub fn destination(directory: &str, path: &str) -> (String, bool) {
    let is_directory = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    (absolute(directory, path), is_directory)
}

/// The last part of a path; empty for `/` and an empty path.
#[must_use]
pub fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        for (path, expected) in [
            ("", "."),
            (".", "."),
            ("/", "/"),
            ("//", "/"),
            ("/a/", "/a"),
            ("/a//b/./c", "/a/b/c"),
            ("/a/../b", "/b"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("a/..", "."),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("../../b", "../../b"),
            ("~", "~"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn joining() {
        for (directory, path, expected) in [
            ("", "a", "/a"),
            ("/", "a", "/a"),
            ("/x", "a/b", "/x/a/b"),
            ("/x", "/a", "/a"),
            ("/x", "..", "/"),
            ("/x", "../../..", "/"),
            ("/x", ".", "/x"),
            ("/x", "", "/x"),
        ] {
            assert_eq!(absolute(directory, path), expected, "{directory} {path}");
        }
        for (path, expected) in
            [("d/", true), ("d/.", true), ("d", false), (".", true), ("/", true), ("d.", false), ("./", true)]
        {
            assert_eq!(destination("/x", path).1, expected, "{path}");
        }
        assert_eq!(base_name("/a/b/"), "b");
        assert_eq!(base_name("/"), "");
    }
}
