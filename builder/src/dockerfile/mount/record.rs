//! One record of comma-separated values: fields may be in double quotes, in which `""` is a quote.

use super::MountError;

/// Splits a record into its fields, none of them empty.
pub(super) fn record(text: &str) -> Result<Vec<String>, MountError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err(MountError::new("a quote in the middle of a mount value")
                        .help("put the whole KEY=VALUE into quotes"));
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    if fields.iter().any(|field| field.trim().is_empty()) {
        return Err(MountError::new("empty key in --mount").help("write --mount=type=TYPE,target=PATH"));
    }
    Ok(fields)
}

/// Reads a quoted field behind its first quote; gives what follows it.
fn quoted_field(text: &str) -> Result<(String, &str), MountError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or_else(|| MountError::new("unterminated quote in --mount"))?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if rest.is_empty() || rest.starts_with(',') => return Ok((field, rest)),
            None => return Err(MountError::new("text behind the closing quote of a mount value")),
        }
    }
}
