//! Our reader against others: what it accepts, they must read in the same way.

use std::io::Write;
use std::process::Stdio;

use super::*;
use crate::layers::tar::Reader;

/// Writers, and the formats that each one knows.
const WRITERS: [(&str, &[&str]); 8] = [
    ("tar", &["--format=gnu"]),
    ("tar", &["--format=posix"]),
    ("tar", &["--format=ustar"]),
    ("tar", &["--format=oldgnu"]),
    ("bsdtar", &["--format=pax"]),
    ("bsdtar", &["--format=gnutar"]),
    ("bsdtar", &["--format=ustar"]),
    ("python3", &[]),
];

/// Reads a tar from stdin, prints `type name` for each entry.
const PYTHON_LIST: &str = "
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode='r|', errors='surrogateescape') as tar:
    for member in tar:
        sys.stdout.buffer.write(member.name.encode('utf-8', 'surrogateescape') + b'\\n')
";

const PYTHON_WRITE: &str = "
import sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.PAX_FORMAT) as tar:
    tar.add('.')
";

fn is_there(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {tool} not found");
    }
    found
}

/// A folder with what all formats can say.
fn corpus_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("some/where/deep")).unwrap();
    fs::write(at("some/where/file"), "content").unwrap();
    fs::write(at("some/where/empty"), "").unwrap();
    fs::write(at("some/where/block"), [1; 512]).unwrap();
    fs::write(at("some/where/deep").join("n".repeat(60)), "long").unwrap();
    fs::hard_link(at("some/where/file"), at("hard")).unwrap();
    symlink("some/where", at("link")).unwrap();
    fs::set_permissions(at("some/where/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    folder
}

fn written_by(tool: &str, options: &[&str], folder: &Path) -> Vec<u8> {
    let mut command = Command::new(tool);
    match tool {
        "python3" => command.args(["-c", PYTHON_WRITE]),
        _ => command.args(options).args(["--numeric-owner", "-cf", "-", "."]),
    };
    let done = command.current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{tool} {options:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// The names as another reader sees them; nothing if it refuses the archive.
fn read_by(tool: &str, tar: &[u8]) -> Option<Vec<String>> {
    let mut command = Command::new(tool);
    match tool {
        "python3" => command.args(["-c", PYTHON_LIST]),
        "tar" => command.args(["--quoting-style=literal", "-tf", "-"]),
        _ => command.args(["-tf", "-"]),
    };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Readers stop at the end mark, or where they do not like it.
    let _ = child.stdin.take().unwrap().write_all(tar);
    let done = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    done.status.success().then(|| text.lines().map(clean).collect())
}

fn clean(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

/// The names as we see them; nothing if we refuse the archive.
fn read_by_us(tar: &[u8]) -> Option<Vec<String>> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut names = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => names.push(clean(&String::from_utf8_lossy(&entry.name))),
            Ok(None) => return Some(names),
            Err(_) => return None,
        }
    }
}

#[test]
fn tars_of_other_writers_unpack_to_the_same_folder() {
    let folder = corpus_folder();
    let ours = captured(folder.path());
    for (tool, options) in WRITERS {
        if !is_there(tool) {
            continue;
        }
        // The older formats know no pipes or drop what is below a second.
        let tar = written_by(tool, options, folder.path());
        let (again, result) = unpacked(&tar);
        result.unwrap_or_else(|error| panic!("{tool} {options:?}: {error}"));
        let theirs = captured(again.path());
        assert_eq!(read_by_us(&theirs), read_by_us(&ours), "{tool} {options:?}");
        assert_eq!(theirs, ours, "{tool} {options:?}");
    }
}

/// Every single broken byte in the headers of real archives, checksums made right again: where we still see entries,
/// the other readers see the same ones. What only we refuse is fine.
#[test]
fn what_we_accept_others_read_alike() {
    let folder = corpus_folder();
    let mut compared = 0;
    for (tool, options) in [WRITERS[0], WRITERS[1], WRITERS[5]] {
        if !is_there(tool) {
            continue;
        }
        let good = written_by(tool, options, folder.path());
        for round in 0..40_usize {
            let mut bad = good.clone();
            // Where the size, the type, the magic and the extension's length are.
            let block = (round * 3) % (good.len().min(16 << 10) / 512);
            let within = [124, 127, 134, 156, 157, 257, 262, 263, 345, 3, 100, 20][round % 12];
            let at = block * 512 + within;
            bad[at] = [b'0', b'1', b'5', b'/', 0, b'x', b'7', b' ', 0x80][(round * 5 + block) % 9];
            fix_checksum(&mut bad[block * 512..block * 512 + 512]);
            let Some(ours) = read_by_us(&bad) else { continue };
            if ours.iter().any(|name| name.chars().any(|letter| !letter.is_ascii_graphic())) {
                // Each lister escapes such names in its own way.
                continue;
            }
            for reader in ["tar", "bsdtar", "python3"] {
                // Python takes GNU's access time for a name prefix; GNU tar, libarchive and Go do not.
                if !is_there(reader)
                    || (reader == "python3" && within == 345 && bad[block * 512 + 263] == b' ')
                {
                    continue;
                }
                // One that refuses hides nothing either.
                if let Some(theirs) = read_by(reader, &bad) {
                    compared += 1;
                    let what = format!("{reader} on {tool} {options:?}, byte {at} is {:#x}", bad[at]);
                    assert_eq!(theirs, ours, "{what}");
                }
            }
        }
    }
    println!("compared {compared} archives");
}
