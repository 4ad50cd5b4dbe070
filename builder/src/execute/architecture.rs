//! Whose machine a program is for: the fact behind a bare "exec format error".

use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;

use super::rooted::{Last, Missing, Place, walk};
use crate::cache::tree::open_beneath;
use crate::dockerfile::path;
use crate::plan::{RunCommand, RunStep};

/// Bytes of an ELF header up to the machine, which is at 18.
const HEADER: usize = 20;

/// The architecture that a step's program is for, as images name it, if it is another one than this machine's.
pub(super) fn foreign(root: BorrowedFd<'_>, step: &RunStep) -> Option<&'static str> {
    let RunCommand::Arguments { list, .. } = &step.command else { return None };
    let program = list.first()?;
    let folders = step.env.iter().find_map(|entry| entry.strip_prefix("PATH="));
    let candidates: Vec<String> = if program.contains('/') {
        vec![path::absolute(&step.cwd, program)]
    } else {
        folders?.split(':').map(|folder| path::absolute(folder, program)).collect()
    };
    let header = candidates.iter().find_map(|candidate| header(root, candidate))?;
    machine(&header).filter(|name| *name != ours())
}

/// The first bytes of a file in the image.
fn header(root: BorrowedFd<'_>, path: &str) -> Option<[u8; HEADER]> {
    let Ok(Place::There(found)) = walk(root, path.as_bytes(), Last::Follow, Missing::Report) else {
        return None;
    };
    let file = open_beneath(root, &found.path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    let mut header = [0; HEADER];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut header)).ok()?;
    (count == HEADER).then_some(header)
}

/// The machine of an ELF header, as images name it.
fn machine(header: &[u8; HEADER]) -> Option<&'static str> {
    let [0x7f, b'E', b'L', b'F', class, order, .., low, high] = *header else { return None };
    let little = order == 1;
    let number = if little { u16::from_le_bytes([low, high]) } else { u16::from_be_bytes([low, high]) };
    Some(match (number, class) {
        (3, _) => "386",
        (8, _) => "mips",
        (21, _) if little => "ppc64le",
        (21, _) => "ppc64",
        (22, _) => "s390x",
        (40, _) => "arm",
        (62, _) => "amd64",
        (183, _) => "arm64",
        (243, 2) => "riscv64",
        (258, _) => "loong64",
        _ => return None,
    })
}

/// This machine as images name it.
pub(super) fn ours() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_by_their_header() {
        for (order, number, class, expected) in [
            (1, [62, 0], 2, Some("amd64")),
            (1, [183, 0], 2, Some("arm64")),
            (1, [40, 0], 1, Some("arm")),
            (2, [0, 22], 2, Some("s390x")),
            (1, [21, 0], 2, Some("ppc64le")),
            (1, [243, 0], 2, Some("riscv64")),
            (1, [255, 255], 2, None),
        ] {
            let mut header = [0; HEADER];
            header[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
            header[18..].copy_from_slice(&number);
            assert_eq!(machine(&header), expected, "{number:?}");
        }
        assert_eq!(machine(b"#!/bin/sh -e\nexit 1\n"), None);
    }
}
