//! Mutations of real files with a fixed random sequence: no panic, places within the text, time linear in size.

use crate::dockerfile::{Dockerfile, fuzz, lint};

/// xorshift64*: fixed, so that a failure can be seen again.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(value).unwrap_or(0) % below.max(1)
    }
}

const PIECES: [&str; 48] = [
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "CMD ",
    "LABEL ",
    "SHELL ",
    "EXPOSE ",
    "\n",
    "\r\n",
    "\\\n",
    "\\",
    "`",
    "#",
    "# escape=`\n",
    "# check=",
    "\u{feff}",
    "<<EOF",
    "<<-\"E\"",
    "EOF\n",
    "E\n",
    "\t",
    " ",
    "--mount=type=",
    "--from=",
    "--",
    "=",
    ",",
    "\"",
    "'",
    "[\"a\"]",
    "[",
    "]",
    "${",
    "$",
    "}",
    ":-",
    "//",
    "%%",
    "ä",
    "\0",
    "\x1b",
    "\u{202e}",
    "*",
];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.next(6) {
        let at = random.next(bytes.len() + 1);
        match random.next(6) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(random.next(256)).unwrap_or(0),
            1 => {
                let end = (at + random.next(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let end = (at + random.next(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.next(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            3 => bytes.truncate(at),
            _ => {
                let piece = PIECES[random.next(PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/dockerfiles");
    let mut paths: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path.join("Dockerfile")).ok()).collect()
}

#[test]
fn mutated_files() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let seeds = seeds();
    for _ in 0..3_000 {
        let mut bytes = seeds[random.next(seeds.len())].clone();
        mutate(&mut random, &mut bytes);
        fuzz::dockerfile(&bytes);
    }
}

#[test]
fn mutated_patterns_and_words() {
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    let patterns =
        ["a/b/c\n*\n!a/**/c\n[a-z]?/*.go\n", "x/y\n**/y\n!**\n!x\n# c\n\\*\n", "a/bc\na**c\n!a*/?c\n"];
    let words = ["${v:-a$b}'c'\"d\\\"e\"", "${v##*/}${v%.*}${v//a*/b}", "${v:?m} \\$x ${w+${x}}"];
    for _ in 0..10_000 {
        let mut bytes = patterns[random.next(patterns.len())].as_bytes().to_vec();
        mutate(&mut random, &mut bytes);
        fuzz::ignore_file(&bytes);
        let mut bytes = words[random.next(words.len())].as_bytes().to_vec();
        mutate(&mut random, &mut bytes);
        fuzz::expansion(&bytes);
    }
}

/// Inputs that would be slow if anything in a parser were quadratic. No time is asserted: a quadratic parser would need
/// hours for these sizes, and the test runner tells.
#[test]
fn time_is_linear_in_size() {
    type Shape = (&'static str, fn(usize) -> String);
    let shapes: [Shape; 12] = [
        ("instructions", |n| format!("FROM a\n{}", "ENV a=b\n".repeat(n))),
        ("continuations", |n| format!("FROM a\nRUN x{}", " \\\n y".repeat(n))),
        ("comments inside", |n| format!("FROM a\nRUN x \\\n{} y", "# c\n".repeat(n))),
        ("empty lines inside", |n| format!("FROM a\nRUN x \\\n{} y", "\n".repeat(n))),
        ("heredoc", |n| format!("FROM a\nRUN <<E\n{}E\n", "x\n".repeat(n))),
        ("open heredocs", |n| format!("FROM a\n{}", "RUN <<E\n".repeat(n))),
        ("many heredocs", |n| format!("FROM a\n{}", "RUN <<E\nx\nE\n".repeat(n))),
        ("pairs", |n| format!("FROM a\nENV {}", "a=b \\\n".repeat(n))),
        ("quotes", |n| format!("FROM a\nENV a={}", "\"b\"'c'\\\n".repeat(n))),
        ("errors", |n| format!("FROM a\n{}", "FOO b\n".repeat(n))),
        ("stages", |n| format!("FROM a\n{}", "FROM b AS c\n".repeat(n))),
        ("flags", |n| format!("FROM a\nCOPY {} a b", "--exclude=x \\\n".repeat(n))),
    ];
    for (name, shape) in shapes {
        let text = shape(30_000);
        let stages = match Dockerfile::parse(&text, "Dockerfile") {
            Ok(file) => file.stages.len() + lint::check_alone(&file).len(),
            Err(errors) => errors.len(),
        };
        assert!(stages > 0, "{name}");
    }
}
