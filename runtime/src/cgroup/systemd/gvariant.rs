//! Values in GVariant's text format (GLib, "GVariant Text Format"), as annotations have them: the part that unit properties need,
//! which is booleans, numbers with or without their type, texts, byte strings, and arrays of these.
//!
//! ```text
//! true   5 (an int32)   uint64 90000000   0.5   'text'   "text"   ['a.service', 'b.service']   @as []   b'bytes'
//! ```

use super::message::Value;

/// Arrays in arrays: no property has more than two.
const DEEPEST: usize = 4;
/// Longest text that is read, in bytes.
const LONGEST: usize = 64 << 10;

/// Reads one value.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.len() > LONGEST {
        return Err(format!("it has {} bytes, more than {LONGEST}", text.len()));
    }
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(None, 0)?;
    reader.blanks();
    match reader.rest() {
        "" => Ok(value),
        _ => Err(reader.here("something follows the value")),
    }
}

/// The types that a number may be said to have, and D-Bus's code for each.
const NUMBERS: [(&str, u8); 8] = [
    ("byte", b'y'),
    ("int16", b'n'),
    ("uint16", b'q'),
    ("int32", b'i'),
    ("uint32", b'u'),
    ("int64", b'x'),
    ("uint64", b't'),
    ("double", b'd'),
];

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn here(&self, what: &str) -> String {
        format!("{what}, at byte {}", self.at)
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Goes on behind `mark` if it comes next.
    fn takes(&mut self, mark: &str) -> bool {
        self.blanks();
        let there = self.rest().starts_with(mark);
        self.at += if there { mark.len() } else { 0 };
        there
    }

    /// A value, of this type if one was named before it.
    fn value(&mut self, kind: Option<&str>, depth: usize) -> Result<Value, String> {
        self.blanks();
        match self.rest().bytes().next() {
            None => Err(self.here("a value is missing")),
            Some(b'@') if kind.is_none() => {
                self.at += 1;
                let named = self.word(|byte| byte.is_ascii_alphabetic());
                if !is_known(named) {
                    return Err(self.here(&format!("no type {named:?} is known here")));
                }
                self.value(Some(named), depth)
            }
            Some(b'[') => self.array(kind, depth),
            Some(b'\'' | b'"') => match kind {
                None | Some("s") => Ok(Value::Text(self.quoted()?)),
                Some(kind) => Err(self.here(&format!("a text is no value of type {kind:?}"))),
            },
            Some(b'b') if self.rest()[1..].starts_with(['\'', '"']) => self.bytes(kind),
            Some(_) => self.word_or_number(kind),
        }
    }

    fn word(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !belongs(byte)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn word_or_number(&mut self, kind: Option<&str>) -> Result<Value, String> {
        let start = self.at;
        let word = self.word(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let wrong = |what: String| Err(format!("{what}, at byte {start}"));
        match (word, kind) {
            ("true" | "false", None | Some("b")) => return Ok(Value::Flag(word == "true")),
            ("true" | "false", Some(kind)) => return wrong(format!("{word} is no value of type {kind:?}")),
            _ => {}
        }
        if let Some((_, code)) = NUMBERS.iter().find(|(name, _)| *name == word) {
            if kind.is_some() {
                return wrong("the type is named twice".to_owned());
            }
            self.blanks();
            let word = self.word(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
            return number(word, *code).or_else(wrong);
        }
        if !word.starts_with(|letter: char| letter.is_ascii_digit() || "+-.".contains(letter)) {
            return wrong("neither true, false, a number nor a type; a text needs quotes".to_owned());
        }
        let code = match kind {
            Some(kind) => kind.as_bytes()[0],
            None if word.contains('.') || (word.contains(['e', 'E']) && !word.contains('x')) => b'd',
            None => b'i',
        };
        number(word, code).or_else(wrong)
    }

    fn array(&mut self, kind: Option<&str>, depth: usize) -> Result<Value, String> {
        if depth == DEEPEST {
            return Err(self.here("too many arrays in arrays"));
        }
        let mut element = match kind {
            None => None,
            Some(kind) => match kind.strip_prefix('a') {
                Some(element) => Some(element.to_owned()),
                None => return Err(self.here(&format!("an array is no value of type {kind:?}"))),
            },
        };
        self.at += 1;
        let mut values = Vec::new();
        while !self.takes("]") {
            if !values.is_empty() && !self.takes(",") {
                return Err(self.here("an array goes on without a comma"));
            }
            self.blanks();
            let start = self.at;
            // The first one says what the others are.
            let value =
                self.value(element.as_deref().filter(|_| !self.rest().starts_with(is_type_mark)), depth + 1)?;
            let signature = value.signature();
            match &element {
                Some(expected) if *expected != signature => {
                    return Err(format!("an array has values of different types, at byte {start}"));
                }
                Some(_) => {}
                None => element = Some(signature),
            }
            values.push(value);
        }
        match element {
            Some(element) => Ok(Value::Array(element, values)),
            None => Err(self.here("an empty array does not say of what: write @as []")),
        }
    }

    fn bytes(&mut self, kind: Option<&str>) -> Result<Value, String> {
        if kind.is_some_and(|kind| kind != "ay") {
            return Err(self.here("a byte string is of type ay"));
        }
        self.at += 1;
        // As a C string: with the NUL at its end.
        let mut bytes = self.quoted()?.into_bytes();
        bytes.push(0);
        Ok(Value::Bytes(bytes))
    }

    /// A text in quotes of either kind.
    fn quoted(&mut self) -> Result<String, String> {
        let start = self.at;
        let mut letters = self.rest().chars();
        let quote = letters.next();
        let mut text = String::new();
        loop {
            let letter = letters.next();
            match letter {
                None => return Err(format!("a text has no end, at byte {start}")),
                Some('\0') => return Err(format!("a text has a NUL, at byte {start}")),
                Some('\\') => text.push(escaped(&mut letters).ok_or_else(|| {
                    format!("a text has an escape that is not understood, at byte {start}")
                })?),
                letter if letter == quote => break,
                Some(letter) => text.push(letter),
            }
        }
        self.at = self.text.len() - letters.as_str().len();
        Ok(text)
    }
}

/// Begins a value that says its own type.
fn is_type_mark(letter: char) -> bool {
    letter == '@' || letter.is_ascii_lowercase()
}

/// What a backslash and the letters after it stand for.
fn escaped(letters: &mut std::str::Chars<'_>) -> Option<char> {
    let letter = match letters.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'u' => numbered(letters, 4)?,
        'U' => numbered(letters, 8)?,
        // Anything else stands for itself.
        letter => letter,
    };
    (letter != '\0').then_some(letter)
}

fn numbered(letters: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let text = letters.as_str().get(..digits)?;
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    *letters = letters.as_str()[digits..].chars();
    char::from_u32(u32::from_str_radix(text, 16).ok()?)
}

/// A type that a value here can have: a basic one, or an array of it.
fn is_known(kind: &str) -> bool {
    let element = kind.trim_start_matches('a');
    kind.len() - element.len() <= DEEPEST && element.len() == 1 && "bynqiuxtds".contains(element)
}

/// A number of the type with this code of D-Bus.
fn number(word: &str, code: u8) -> Result<Value, String> {
    let wrong = || match word {
        "" => "a number is missing".to_owned(),
        _ => format!("{word:?} is no value of this type"),
    };
    if code == b'd' {
        // Rust knows more words than C does.
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let number = word.parse().ok().filter(|number: &f64| is_number && number.is_finite());
        return number.map(Value::Double).ok_or_else(wrong);
    }
    let number = integer(word).ok_or_else(wrong)?;
    let value = match code {
        b'y' => number.try_into().ok().map(Value::Byte),
        b'n' => number.try_into().ok().map(Value::Int16),
        b'q' => number.try_into().ok().map(Value::Uint16),
        b'i' => number.try_into().ok().map(Value::Int32),
        b'u' => number.try_into().ok().map(Value::Uint32),
        b'x' => number.try_into().ok().map(Value::Int64),
        b't' => number.try_into().ok().map(Value::Number),
        _ => None,
    };
    value.ok_or_else(wrong)
}

/// Decimal, hexadecimal after `0x`, octal after another zero, as strtoull(3) reads it.
fn integer(word: &str) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, base) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    // A second sign would be taken.
    let magnitude = u64::from_str_radix(digits, base).ok().filter(|_| !digits.starts_with(['+', '-']))?;
    Some(if negative { -i128::from(magnitude) } else { i128::from(magnitude) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Value {
        Value::Array("s".to_owned(), texts.iter().map(|text| Value::Text((*text).to_owned())).collect())
    }

    #[test]
    fn values_have_the_types_of_the_format() {
        for (text, expected) in [
            ("true", Value::Flag(true)),
            (" false\t", Value::Flag(false)),
            ("@b true", Value::Flag(true)),
            ("5", Value::Int32(5)),
            ("-2147483648", Value::Int32(i32::MIN)),
            ("0x1F", Value::Int32(31)),
            ("010", Value::Int32(8)),
            ("0", Value::Int32(0)),
            ("byte 255", Value::Byte(255)),
            ("int16 -3", Value::Int16(-3)),
            ("uint16 65535", Value::Uint16(65535)),
            ("int32 7", Value::Int32(7)),
            ("uint32 7", Value::Uint32(7)),
            ("int64 -7", Value::Int64(-7)),
            ("uint64 18446744073709551615", Value::Number(u64::MAX)),
            ("@t 9", Value::Number(9)),
            ("1.5", Value::Double(1.5)),
            ("1e3", Value::Double(1000.0)),
            ("double 2", Value::Double(2.0)),
            ("'inactive-or-failed'", Value::Text("inactive-or-failed".to_owned())),
            (r#""a'b""#, Value::Text("a'b".to_owned())),
            (r"'a\'b\\c\n\u00e4'", Value::Text("a'b\\c\nä".to_owned())),
            ("@s 'x'", Value::Text("x".to_owned())),
            ("''", Value::Text(String::new())),
            ("['crio.service']", texts(&["crio.service"])),
            ("[ 'a' , \"b\" ]", texts(&["a", "b"])),
            ("@as []", texts(&[])),
            ("@as ['a']", texts(&["a"])),
            ("[uint32 1, 2]", Value::Array("u".to_owned(), vec![Value::Uint32(1), Value::Uint32(2)])),
            ("@au [1, 2]", Value::Array("u".to_owned(), vec![Value::Uint32(1), Value::Uint32(2)])),
            ("[true, false]", Value::Array("b".to_owned(), vec![Value::Flag(true), Value::Flag(false)])),
            ("[['a'], @as []]", Value::Array("as".to_owned(), vec![texts(&["a"]), texts(&[])])),
            ("b'ab'", Value::Bytes(b"ab\0".to_vec())),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let deep = "[".repeat(100_000);
        let long = format!("'{}'", "x".repeat(LONGEST));
        for text in [
            "",
            " ",
            "invalid-value",
            "True",
            "5 6",
            "5,",
            "'a",
            "'a\\",
            "'a\\u12",
            "'\\u0000'",
            "'\0'",
            "\"a'",
            "uint64",
            "uint64 -1",
            "uint64 18446744073709551616",
            "byte 256",
            "int16 40000",
            "99999999999",
            "uint64 'x'",
            "uint64 uint64 5",
            "@t uint64 5",
            "uint32 1.5",
            "--5",
            "+-5",
            "0x",
            "0x-5",
            "08",
            "nan",
            "inf",
            "double nan",
            "1e999",
            "[",
            "[1",
            "[1,",
            "[1 2]",
            "[,]",
            "[1,]",
            "[]",
            "[1, 'a']",
            "@as [1]",
            "@as 'a'",
            "@s ['a']",
            "@",
            "@z 5",
            "@a []",
            "@as",
            "@t @t 5",
            "@u true",
            "@b 5",
            "@ay 'x'",
            "@as b'x'",
            "{'a': 1}",
            "<5>",
            "(1, 2)",
            "nothing",
            "just 5",
            "b'",
            "ä",
            "[@as [], @au []]",
            &deep,
            &long,
        ] {
            let shown: String = text.chars().take(40).collect();
            assert!(parse(text).is_err(), "{shown:?}: {:?}", parse(text));
        }
        assert_eq!(
            parse("['a', uint32 5]").unwrap_err(),
            "an array has values of different types, at byte 6"
        );
    }
}
