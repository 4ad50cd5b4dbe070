//! Modes as `--chmod` writes them: octal, or symbolic as chmod(1) has it.

/// A change of mode bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// These bits.
    Octal(u32),
    /// These changes in order.
    Symbolic(Vec<Clause>),
}

/// One part of a symbolic mode: `u=rwX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// Mask of the classes concerned, with their special bits.
    classes: u32,
    operations: Vec<(char, Permissions)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Permissions {
    /// `rwx` as bits of one class.
    bits: u32,
    /// `X`: execution only for directories and what somebody may execute already.
    conditional_execute: bool,
    set_id: bool,
    sticky: bool,
    /// `u`, `g` or `o`: copied from that class; the shift of its bits.
    copy_from: Option<u32>,
}

impl Mode {
    /// The mode bits of an entry that has `mode` now.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }
}

impl Clause {
    fn apply(&self, mut mode: u32, is_directory: bool) -> u32 {
        for (operator, permissions) in &self.operations {
            let mut bits = permissions.bits;
            if permissions.conditional_execute && (is_directory || mode & 0o111 != 0) {
                bits |= 1;
            }
            if let Some(shift) = permissions.copy_from {
                bits |= mode >> shift & 7;
            }
            let mut change = (bits << 6 | bits << 3 | bits) & self.classes;
            if permissions.set_id {
                change |= 0o6000 & self.classes;
            }
            if permissions.sticky {
                change |= 0o1000 & self.classes;
            }
            mode = match operator {
                '+' => mode | change,
                '-' => mode & !change,
                // Special bits of directories stay unless they are named, as chmod(1) does.
                _ if is_directory => mode & !(self.classes & 0o777) | change,
                _ => mode & !self.classes | change,
            };
        }
        mode
    }
}

/// Reads a mode after expansion; the error is a sentence that names the value.
pub fn parse(text: &str) -> Result<Mode, String> {
    let refuse =
        || format!("invalid mode {text}: write an octal number up to 7777 or changes like u=rwX,go=rX");
    if text.starts_with(|character: char| character.is_ascii_digit()) {
        let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
        return bits.filter(|bits| *bits <= 0o7777).map(Mode::Octal).ok_or_else(refuse);
    }
    let clauses: Option<Vec<Clause>> = text.split(',').map(clause).collect();
    clauses.map(Mode::Symbolic).ok_or_else(refuse)
}

fn clause(text: &str) -> Option<Clause> {
    let operator_at = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(operator_at);
    let mut classes = 0;
    for class in who.chars() {
        classes |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if who.is_empty() {
        classes = 0o7777;
    }
    let mut operations = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let length = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |length| length + 1);
        operations.push((operator, permissions(&rest[1..length])?));
        rest = &rest[length..];
    }
    Some(Clause { classes, operations })
}

fn permissions(text: &str) -> Option<Permissions> {
    let mut permissions =
        Permissions { bits: 0, conditional_execute: false, set_id: false, sticky: false, copy_from: None };
    for letter in text.chars() {
        match letter {
            'r' => permissions.bits |= 4,
            'w' => permissions.bits |= 2,
            'x' => permissions.bits |= 1,
            'X' => permissions.conditional_execute = true,
            's' => permissions.set_id = true,
            't' => permissions.sticky = true,
            'u' | 'g' | 'o' if text.len() == 1 => {
                permissions.copy_from = Some(match letter {
                    'u' => 6,
                    'g' => 3,
                    _ => 0,
                });
            }
            _ => return None,
        }
    }
    Some(permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, before, directory, after) in [
            ("755", 0o644, false, 0o755),
            ("0", 0o644, false, 0),
            ("4755", 0o644, false, 0o4755),
            ("0644", 0o777, true, 0o644),
            ("+x", 0o644, false, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("go-r", 0o644, false, 0o600),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o640, false, 0o660),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("=", 0o4755, false, 0),
            ("u=rw", 0o4755, false, 0o655),
            ("u=rwx", 0o4755, true, 0o4755),
            ("u+x-w", 0o644, false, 0o544),
        ] {
            assert_eq!(parse(text).unwrap().apply(before, directory), after, "{text} on {before:o}");
        }
        for text in ["", "8", "10000", "99", "0x1ff", "rwx", "u", "u=rz", "u+x,", "7a", "z+x", "u=ug"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
