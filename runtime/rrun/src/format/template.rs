//! The part of Go's template language that people type: text, `{{.Field}}`, `{{.Field.Inner}}`, `{{json .Field}}`, `{{.}}`,
//! and `table ` in front for aligned columns with heads. Everything else is refused.

use std::fmt::Write;

use anyhow::{Result, anyhow, bail};
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
}
