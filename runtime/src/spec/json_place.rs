//! Where in a JSON document a parser stopped, as a path that a person can follow.

/// The path of the value at a line and column (both from 1, as serde reports them): `linux.namespaces[2].type`.
pub fn path_at(text: &[u8], line: usize, column: usize) -> String {
    let start: usize =
        text.split_inclusive(|&byte| byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    path_before(&text[..text.len().min(start + column)])
}

/// One level of nesting.
enum Level {
    /// An object and the key whose value is being read.
    Object(Option<String>),
    /// An array and the index being read.
    Array(usize),
}

/// Follows the document up to its end; the levels still open there are the path.
fn path_before(text: &[u8]) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let mut last_string: Option<String> = None;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => last_string = string(&mut bytes),
            b'{' => levels.push(Level::Object(None)),
            b'[' => levels.push(Level::Array(0)),
            b':' => {
                if let Some(Level::Object(key)) = levels.last_mut() {
                    *key = last_string.take();
                }
            }
            // The parser reports the place after the value, which may be the one that ends it: only a separator
            // that something follows starts the next element.
            b',' if !bytes.as_slice().is_empty() => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(key)) => *key = None,
                None => {}
            },
            b'}' | b']' if !bytes.as_slice().iter().all(u8::is_ascii_whitespace) => {
                levels.pop();
            }
            _ => {}
        }
    }
    render(&levels)
}

/// The content of a string whose opening quote was read; `None` if the text ends inside.
fn string(bytes: &mut std::slice::Iter<'_, u8>) -> Option<String> {
    let mut content = Vec::new();
    loop {
        match bytes.next()? {
            b'"' => return Some(String::from_utf8_lossy(&content).into_owned()),
            b'\\' => content.extend(bytes.next()),
            &byte => content.push(byte),
        }
    }
}

fn render(levels: &[Level]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object(Some(key)) if path.is_empty() => path.push_str(key),
            Level::Object(Some(key)) => {
                path.push('.');
                path.push_str(key);
            }
            Level::Object(None) => {}
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    if path.is_empty() { "(document)".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_where_serde_stopped() {
        #[derive(serde::Deserialize)]
        #[allow(dead_code)]
        struct Inner {
            number: u32,
            list: Vec<u8>,
        }
        #[derive(serde::Deserialize)]
        #[allow(dead_code)]
        struct Outer {
            items: Vec<Inner>,
        }
        for (text, expected) in [
            (r#"{"items":[{"number":1,"list":[]},{"number":"x","list":[]}]}"#, "items[1].number"),
            (r#"{"items":[{"number":1,"list":[1,2,"x\"],:"]}]}"#, "items[0].list[2]"),
            ("{\"items\":[\n {\"number\":1,\n  \"list\":[1,\n 300,4]}]}", "items[0].list[1]"),
            (r#"{"items":7}"#, "items"),
            ("[", "[0]"),
            ("", "(document)"),
        ] {
            let error = serde_json::from_str::<Outer>(text).err().unwrap();
            assert_eq!(path_at(text.as_bytes(), error.line(), error.column()), expected, "{text}: {error}");
        }
    }

    #[test]
    fn any_bytes_give_some_path() {
        for text in [&b"\"\\"[..], b"{{{{", b"]]]]", b",,,:::", b"\xff{\"\xff\":", b"{\"a\":[[[1,"] {
            for column in 0..20 {
                path_at(text, 1, column);
            }
        }
    }
}
