//! How results are printed: docker's tables, templates, sizes and ages.
//!
//! A template is the part of Go's template language that people type: text, `{{.Field}}`, `{{.Field.Inner}}`,
//! `{{json .Field}}`, `{{.}}`, and `table ` in front for aligned columns with heads. Everything else is refused.

use std::fmt::Write;

use anyhow::{Result, anyhow, bail};
use image::document::Timestamp;
use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    parts: Vec<Part>,
    table: bool,
    heads: Vec<(String, String)>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Field { path: Vec<String>, json: bool },
}

impl Template {
    /// Reads a template; `json` alone stands for `{{json .}}`.
    pub fn parse(text: &str) -> Result<Template> {
        let (table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest),
            None => (false, if text == "json" { "{{json .}}" } else { text }),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once("{{") {
            let (action, after) =
                inside.split_once("}}").ok_or_else(|| anyhow!("template {text:?}: {{{{ is not closed"))?;
            parts.push(Part::Text(unescape(before)));
            parts.push(parse_action(action)?);
            rest = after;
        }
        parts.push(Part::Text(unescape(rest)));
        Ok(Template { parts, table, heads: Vec::new() })
    }

    /// Sets the heads of columns that are not their field's name in capitals.
    pub fn with_heads(mut self, heads: &[(&str, &str)]) -> Template {
        self.heads = heads.iter().map(|(field, head)| (field.to_string(), head.to_string())).collect();
        self
    }

    /// One line per row, below the heads of a table.
    pub fn rows(&self, rows: &[Value]) -> Result<String> {
        let mut lines = Vec::new();
        if self.table {
            lines.push(self.head());
        }
        for row in rows {
            lines.push(self.row(row)?);
        }
        if self.table {
            return Ok(align(&lines));
        }
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }

    fn head(&self) -> String {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field { path, .. } => {
                    let field = path.last().map_or("", String::as_str);
                    let head =
                        self.heads.iter().find(|(name, _)| name == field).map(|(_, head)| head.clone());
                    line.push_str(&head.unwrap_or_else(|| in_capitals(field)));
                }
            }
        }
        line
    }

    fn row(&self, row: &Value) -> Result<String> {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field { path, json } => {
                    let mut value = row;
                    for field in path {
                        value = value
                            .get(field)
                            .ok_or_else(|| anyhow!("template: there is no field .{}", path.join(".")))?;
                    }
                    match json {
                        true => line.push_str(&value.to_string()),
                        false => plain(value, &mut line),
                    }
                }
            }
        }
        Ok(line)
    }
}

/// A size in powers of 1000 with three digits, as docker prints it: `4.26kB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    // 999.5 would round to four digits.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value >= 99.95 || unit == 0 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let mut number = format!("{value:.decimals$}");
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{number}{}", UNITS[unit])
}

/// An age in docker's words: `About an hour ago`.
pub fn since(time: Option<Timestamp>) -> String {
    match time.filter(|time| time.seconds > ZERO_TIME) {
        Some(time) => format!("{} ago", age(Some(time))),
        None => "N/A".into(),
    }
}

/// How long ago that was: `5 minutes`.
pub fn age(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "N/A".into(), |time| duration(Timestamp::now().seconds - time.seconds))
}

/// A point in time as docker prints it: `2026-11-21 01:33:45 +0000 UTC`.
pub fn moment(time: Option<Timestamp>) -> String {
    let Some(time) = time.filter(|time| time.seconds > ZERO_TIME) else { return "N/A".into() };
    let (year, month, day, hour, minute, second) = time.civil();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// Matches `*`, `?`, `[...]` and `\`; nothing but a slash matches a slash.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            // Several stars in a row are one; this keeps the search short.
            !rest.starts_with(b"*") && (0..=end).any(|from| glob(rest, &text[from..]))
                || rest.starts_with(b"*") && glob(rest, text)
        }
        [b'?', rest @ ..] => text.first().is_some_and(|byte| *byte != b'/') && glob(rest, &text[1..]),
        [b'[', rest @ ..] => match (rest.iter().position(|byte| *byte == b']'), text.first()) {
            (Some(end), Some(byte)) if *byte != b'/' => {
                in_class(&rest[..end], *byte) && glob(&rest[end + 1..], &text[1..])
            }
            _ => false,
        },
        [b'\\', literal, rest @ ..] => text.first() == Some(literal) && glob(rest, &text[1..]),
        [literal, rest @ ..] => text.first() == Some(literal) && glob(rest, &text[1..]),
    }
}

/// Go's zero time, which some tools write for "unknown", and anything before it.
const ZERO_TIME: i64 = -62_135_596_800;

fn parse_action(action: &str) -> Result<Part> {
    let action = action.trim().trim_matches('-').trim();
    let (json, field) = match action.strip_prefix("json ") {
        Some(field) => (true, field.trim()),
        None => (false, action),
    };
    let word = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match field.strip_prefix('.') {
        Some("") => Ok(Part::Field { path: Vec::new(), json }),
        Some(path) if path.split('.').all(word) => {
            Ok(Part::Field { path: path.split('.').map(str::to_string).collect(), json })
        }
        _ => bail!(
            "template action {{{{{action}}}}} is not supported (there are {{{{.Field}}}} and {{{{json .Field}}}})"
        ),
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// As Go prints it: `[a b]`, `map[key:value]`.
fn plain(value: &Value, line: &mut String) {
    match value {
        Value::String(text) => line.push_str(text),
        Value::Null => {}
        Value::Array(values) => {
            line.push('[');
            for (index, value) in values.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { " " });
                plain(value, line);
            }
            line.push(']');
        }
        Value::Object(fields) => {
            line.push_str("map[");
            for (index, (key, value)) in fields.iter().enumerate() {
                let _ = write!(line, "{}{key}:", if index == 0 { "" } else { " " });
                plain(value, line);
            }
            line.push(']');
        }
        Value::Bool(_) | Value::Number(_) => line.push_str(&value.to_string()),
    }
}

/// `CreatedSince` to `CREATED SINCE`.
fn in_capitals(field: &str) -> String {
    let mut head = String::new();
    let mut previous_is_small = false;
    for letter in field.chars() {
        if letter.is_uppercase() && previous_is_small {
            head.push(' ');
        }
        previous_is_small = letter.is_lowercase();
        head.extend(letter.to_uppercase());
    }
    head
}

/// Columns are at least ten wide and three apart, as docker's are.
fn align(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let longest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        (longest.unwrap_or(0) + 3).max(10)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 == row.len() { 0 } else { widths[column] };
            let _ = write!(line, "{cell:width$}");
        }
        text.push_str(line.trim_end_matches(' '));
        text.push('\n');
    }
    text
}

fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class {
        [b'^', rest @ ..] => (true, rest),
        class => (false, class),
    };
    let mut rest = class;
    let mut found = false;
    while let [first, more @ ..] = rest {
        rest = match more {
            [b'-', last, after @ ..] => {
                found |= (*first..=*last).contains(&byte);
                after
            }
            _ => {
                found |= *first == byte;
                more
            }
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_print_fields_text_and_json() {
        let row = json!({"Name": "x", "Config": {"Cmd": ["a", "b"], "Labels": {"k": "v"}}, "Size": 5, "None": null});
        for (template, expected) in [
            ("{{.Name}}:{{ .Size }}", "x:5\n"),
            ("{{.Config.Cmd}}\\t{{.Config.Labels}}", "[a b]\tmap[k:v]\n"),
            ("{{json .Config.Cmd}}", "[\"a\",\"b\"]\n"),
            ("{{.None}}|", "|\n"),
        ] {
            assert_eq!(
                Template::parse(template).unwrap().rows(std::slice::from_ref(&row)).unwrap(),
                expected
            );
        }
        assert_eq!(Template::parse("json").unwrap().rows(&[json!({"a": 1})]).unwrap(), "{\"a\":1}\n");
        assert!(Template::parse("{{.Nothing}}").unwrap().rows(&[row]).is_err());
        for refused in ["{{range .X}}", "{{.X", "{{index .X 0}}", "{{}}"] {
            assert!(Template::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn tables_are_aligned_as_dockers() {
        let template = Template::parse("table {{.Repository}}\\t{{.Tag}}\\t{{.CreatedSince}}").unwrap();
        let text = template
            .rows(&[json!({"Repository": "busybox", "Tag": "latest", "CreatedSince": "now"})])
            .unwrap();
        assert_eq!(text, "REPOSITORY   TAG       CREATED SINCE\nbusybox      latest    now\n");
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4262, "4.26kB"),
            (77_820_000, "77.8MB"),
            (999_600, "1MB"),
            (133_000_000, "133MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_are_in_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (600, "10 minutes"),
            (3600, "About an hour"),
            (86_400, "24 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 20, "2 weeks"),
            (86_400 * 100, "3 months"),
            (86_400 * 800, "2 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(since(None), "N/A");
    }

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, text, expected) in [
            ("busy*", "busybox", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?x", "box", true),
            ("[a-c]x", "bx", true),
            ("[^a]x", "ax", false),
            ("**x", "x", true),
            ("x", "xy", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
