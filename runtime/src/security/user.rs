//! Who a container runs as: `USER` and `--user` strings against the user database of the image.
//!
//! The database is the image's, so hostile: it is opened inside the root by descriptor (a link leads nowhere else),
//! must be a regular file, and is read in a stream with limits. Numbers are numbers: what looks like one is never
//! looked up as a name and never wraps (CVE-2016-3697, CVE-2024-40635, CVE-2026-46680), neither in the request nor in
//! the database. The primary group is always among the supplementary ones, as a program is in its own group
//! (CVE-2022-36109: else a file's "not this group" permission is bypassed).

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::Kind;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// The largest id that Docker accepts, too; the kernel's own is a little more than twice that.
const LARGEST_ID: u32 = i32::MAX as u32;
/// A user database larger than this is an attack on our time. The real ones have kilobytes.
const LARGEST_FILE: u64 = 10 << 20;
/// A group may list thousands of members on its line.
const LONGEST_LINE: u64 = 1 << 20;
/// Most supplementary groups that the kernel takes (`NGROUPS_MAX`).
pub(crate) const MOST_GROUPS: usize = 65_536;
/// Attempts at a lookup that a concurrent rename disturbed.
const LOOKUP_ATTEMPTS: usize = 32;

/// The identity of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups: the primary first, then those of the database and those asked for, each once.
    pub additional_gids: Vec<u32>,
    /// The home directory of the database, or `/`.
    pub home: String,
}

/// A user or group that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not of the form `user[:group]`.
    #[error("invalid user {given:?}: {reason}")]
    Syntax {
        /// As given.
        given: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A number outside the range.
    #[error("id {given:?} is not within 0 to {LARGEST_ID}")]
    Range {
        /// As given, or as the database has it.
        given: String,
    },
    /// A name that the image does not have.
    #[error("unable to find {what} {name:?}: no matching entry in /{file} of the image")]
    Unknown {
        /// user or group.
        what: &'static str,
        /// The name.
        name: String,
        /// Where it was looked up.
        file: &'static str,
    },
    /// The database cannot be used.
    #[error("cannot use /{file} of the image: {reason}")]
    Database {
        /// The file.
        file: &'static str,
        /// Why.
        reason: String,
    },
    /// More groups than the kernel takes.
    #[error("the user is in more than {MOST_GROUPS} groups")]
    TooManyGroups,
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Unknown { .. } => Kind::NotFound,
            Error::Database { .. } => Kind::Io,
            Error::Syntax { .. } | Error::Range { .. } | Error::TooManyGroups => Kind::InvalidSpec,
        }
    }
}

/// Resolves `user[:group]`, each a name or a number, and additional groups, in the root file system `root`.
///
/// As Docker does: an empty user is 0; a number without entry is taken as it is, with group 0 and home `/`; with a
/// group given, the database's supplementary groups do not count.
pub fn resolve(root: BorrowedFd<'_>, user: &str, additional_groups: &[String]) -> Result<User, Error> {
    let (user, group) = split(user)?;
    let entry = find_user(root, user)?;
    let mut identity =
        User { uid: entry.uid, gid: entry.gid, additional_gids: Vec::new(), home: entry.home.clone() };
    let mut groups = Vec::new();
    if let Some(group) = group {
        identity.gid = group_ids(root, &[group])?[0];
    } else if let Some(name) = &entry.name {
        groups = groups_of_member(root, name)?;
    }
    let wanted =
        additional_groups.iter().map(|group| Word::parse(group, group)).collect::<Result<Vec<_>, _>>()?;
    if !wanted.is_empty() {
        groups.extend(group_ids(root, &wanted)?);
    }
    identity.additional_gids.push(identity.gid);
    for gid in groups {
        if !identity.additional_gids.contains(&gid) {
            identity.additional_gids.push(gid);
        }
        if identity.additional_gids.len() > MOST_GROUPS {
            return Err(Error::TooManyGroups);
        }
    }
    Ok(identity)
}

/// A user or group as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Word<'a> {
    fn parse(word: &'a str, whole: &str) -> Result<Word<'a>, Error> {
        let syntax = |reason| Error::Syntax { given: whole.chars().take(80).collect(), reason };
        if word.is_empty() {
            return Err(syntax("a name is empty"));
        }
        if word.chars().any(|letter| letter.is_control() || letter.is_whitespace() || letter == ':') {
            return Err(syntax("a name has spaces, colons or control characters"));
        }
        // A sign makes it no less a number: `-1` must not be looked up as a name either.
        let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return parse_id(word.as_bytes()).map(Word::Number);
        }
        Ok(Word::Name(word))
    }
}

fn split(user: &str) -> Result<(Word<'_>, Option<Word<'_>>), Error> {
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    // `:group` is root in that group, `user:` is `user`.
    let name = if name.is_empty() { Word::Number(0) } else { Word::parse(name, user)? };
    let group = group.filter(|group| !group.is_empty()).map(|group| Word::parse(group, user)).transpose()?;
    Ok((name, group))
}

/// What the user database says about one user.
struct Entry {
    name: Option<Vec<u8>>,
    uid: u32,
    gid: u32,
    home: String,
}

fn find_user(root: BorrowedFd<'_>, wanted: Word<'_>) -> Result<Entry, Error> {
    let mut found = None;
    each_line(root, PASSWD, &mut |fields| {
        // name:password:uid:gid:comment:home:shell
        let [name, _, uid, gid, rest @ ..] = fields else { return Ok(true) };
        let matches = match wanted {
            Word::Name(wanted) => *name == wanted.as_bytes(),
            Word::Number(wanted) => parse_id(uid).is_ok_and(|uid| uid == wanted),
        };
        if matches {
            found = Some(Entry {
                name: Some(name.to_vec()),
                // Of the entry that counts every number must be one; "0" for what cannot be read would be root.
                uid: parse_id(uid)?,
                gid: parse_id(gid)?,
                home: home(rest.get(1).copied().unwrap_or_default()),
            });
        }
        Ok(found.is_none())
    })?;
    match (found, wanted) {
        (Some(entry), _) => Ok(entry),
        (None, Word::Number(uid)) => Ok(Entry { name: None, uid, gid: 0, home: "/".to_owned() }),
        (None, Word::Name(name)) => Err(Error::Unknown { what: "user", name: name.to_owned(), file: PASSWD }),
    }
}

/// Ids of groups; a number needs no entry.
fn group_ids(root: BorrowedFd<'_>, wanted: &[Word<'_>]) -> Result<Vec<u32>, Error> {
    let mut ids: Vec<Option<u32>> = wanted
        .iter()
        .map(|word| match word {
            Word::Number(gid) => Some(*gid),
            Word::Name(_) => None,
        })
        .collect();
    if ids.contains(&None) {
        each_line(root, GROUP, &mut |fields| {
            let [name, _, gid, ..] = fields else { return Ok(true) };
            for (word, id) in wanted.iter().zip(&mut ids) {
                if id.is_none() && matches!(word, Word::Name(wanted) if *name == wanted.as_bytes()) {
                    *id = Some(parse_id(gid)?);
                }
            }
            Ok(ids.contains(&None))
        })?;
    }
    wanted
        .iter()
        .copied()
        .zip(ids)
        .map(|(word, id)| match (word, id) {
            (_, Some(id)) | (Word::Number(id), None) => Ok(id),
            (Word::Name(name), None) => {
                Err(Error::Unknown { what: "group", name: name.to_owned(), file: GROUP })
            }
        })
        .collect()
}

fn groups_of_member(root: BorrowedFd<'_>, member: &[u8]) -> Result<Vec<u32>, Error> {
    let mut groups = Vec::new();
    each_line(root, GROUP, &mut |fields| {
        // name:password:gid:member,member
        let [_, _, gid, members, ..] = fields else { return Ok(true) };
        if members.split(|byte| *byte == b',').any(|name| name.trim_ascii() == member) {
            groups.push(parse_id(gid)?);
        }
        Ok(groups.len() <= MOST_GROUPS)
    })?;
    Ok(groups)
}

/// What looks at the fields of a line, and says whether it wants another.
type Visit<'a> = dyn FnMut(&[&[u8]]) -> Result<bool, Error> + 'a;

/// Calls `visit` with the fields of each line until it returns false. A file that is not there has no lines.
fn each_line(root: BorrowedFd<'_>, file: &'static str, visit: &mut Visit<'_>) -> Result<(), Error> {
    let refused = |reason: String| Error::Database { file, reason };
    let Some(opened) = open_regular(root, file).map_err(refused)? else { return Ok(()) };
    let mut reader = BufReader::new(opened.take(LARGEST_FILE + 1));
    let (mut line, mut total) = (Vec::new(), 0u64);
    loop {
        line.clear();
        let read = (&mut reader).take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|error| refused(error.to_string()))? as u64;
        total += read;
        if read == 0 {
            return Ok(());
        }
        if total > LARGEST_FILE || read > LONGEST_LINE {
            return Err(refused(format!(
                "it has more than {LARGEST_FILE} bytes, or a line more than {LONGEST_LINE}"
            )));
        }
        let fields: Vec<&[u8]> = line.trim_ascii().splitn(8, |byte| *byte == b':').collect();
        if !visit(&fields)? {
            return Ok(());
        }
    }
}

/// Opens a regular file inside the root, or tells why it is none. Nothing but a regular file is ever opened for
/// reading: opening alone can block on a FIFO or act on a device.
fn open_regular(root: BorrowedFd<'_>, file: &str) -> Result<Option<std::fs::File>, String> {
    let handle = match lookup(root, file) {
        Ok(handle) => handle,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let status = fs::fstat(&handle).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err("it is not a regular file".to_owned());
    }
    // The same file, as the handle is the file and not its name.
    let path = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = fs::open(path, flags, Mode::empty()).map_err(|error| error.to_string())?;
    Ok(Some(opened.into()))
}

fn lookup(root: BorrowedFd<'_>, file: &str) -> Result<std::os::fd::OwnedFd, Errno> {
    for _ in 0..LOOKUP_ATTEMPTS {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(root, file, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename elsewhere meanwhile made `..` ambiguous.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Decimal digits within the range, nothing else.
fn parse_id(digits: &[u8]) -> Result<u32, Error> {
    let range =
        || Error::Range { given: String::from_utf8_lossy(&digits[..digits.len().min(40)]).into_owned() };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(range());
    }
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    number.and_then(|number| u32::try_from(number).ok()).filter(|id| *id <= LARGEST_ID).ok_or_else(range)
}

/// A home directory that can be one: absolute, without NUL. Whoever enters it resolves it in the root.
fn home(field: &[u8]) -> String {
    match std::str::from_utf8(field) {
        Ok(home) if home.starts_with('/') && !home.contains('\0') => home.to_owned(),
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\n\
        0:x:5:5::/five:/bin/sh\n4294967296:x:0:0::/:/bin/sh\nevil:x:4294967296:0::/:\nneg:x:-1:0::/:\n\
        void:x::0::/:\nshort:x:7\nbob:x:1002:100::relative:/bin/sh\nalice:x:0:0::/root:\n";
    const GROUPS: &str = "root:x:0:\nwheel:x:10:root,alice\nstaff:x:20:bob, alice ,carol\nalice:x:1001:\n\
        1234:x:0:\nbad:x:99999999999:\n";

    fn image(users: &str, groups: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join(PASSWD), users).unwrap();
        std::fs::write(root.path().join(GROUP), groups).unwrap();
        root
    }

    fn resolve_in(root: &Path, user: &str, groups: &[&str]) -> Result<User, Error> {
        let root = std::fs::File::open(root).unwrap();
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        resolve(root.as_fd(), user, &groups)
    }

    #[test]
    fn names_and_numbers_resolve_as_docker_does() {
        let root = image(USERS, GROUPS);
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, vec![0, 10], "/root"),
            ("root", 0, 0, vec![0, 10], "/root"),
            ("0", 0, 0, vec![0, 10], "/root"),
            ("alice", 1000, 1001, vec![1001, 10, 20], "/home/alice"),
            ("1000", 1000, 1001, vec![1001, 10, 20], "/home/alice"),
            ("01000", 1000, 1001, vec![1001, 10, 20], "/home/alice"),
            ("alice:", 1000, 1001, vec![1001, 10, 20], "/home/alice"),
            ("alice:staff", 1000, 20, vec![20], "/home/alice"),
            ("alice:7", 1000, 7, vec![7], "/home/alice"),
            (":wheel", 0, 10, vec![10], "/root"),
            ("4711", 4711, 0, vec![0], "/"),
            ("4711:4712", 4711, 4712, vec![4712], "/"),
            ("bob", 1002, 100, vec![100, 20], "/"),
            ("2147483647", 2_147_483_647, 0, vec![0], "/"),
            // A number is a number, although the database has a group and users of that name.
            ("5:1234", 5, 1234, vec![1234], "/five"),
        ] {
            let expected = User { uid, gid, additional_gids: groups, home: home.to_owned() };
            assert_eq!(resolve_in(root.path(), user, &[]).unwrap(), expected, "{user:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_errors_and_never_names() {
        let root = image(USERS, GROUPS);
        for user in [
            "4294967296",
            "4294967295",
            "2147483648",
            "-1",
            "+0",
            "99999999999999999999",
            "1000:4294967296",
            "0:-1",
            // Entries whose own numbers are wrong.
            "evil",
            "neg",
            "void",
            "alice:bad",
        ] {
            assert!(matches!(resolve_in(root.path(), user, &[]), Err(Error::Range { .. })), "{user:?}");
        }
    }

    #[test]
    fn unknown_names_and_odd_syntax_are_errors() {
        let root = image(USERS, GROUPS);
        for user in ["nobody", "alice:nogroup", "short", "0x0", "1e3", "root\u{0}", "rootx", "Root"] {
            assert!(resolve_in(root.path(), user, &[]).is_err(), "{user:?}");
        }
        for user in ["a:b:c", "root:0:", " root", "root ", "root\n", "alice :staff", "::"] {
            assert!(matches!(resolve_in(root.path(), user, &[]), Err(Error::Syntax { .. })), "{user:?}");
        }
        assert_eq!(
            resolve_in(root.path(), "nobody", &[]).unwrap_err().to_string(),
            "unable to find user \"nobody\": no matching entry in /etc/passwd of the image"
        );
    }

    #[test]
    fn additional_groups_come_once_and_after_the_primary() {
        let root = image(USERS, GROUPS);
        let user = resolve_in(root.path(), "alice", &["staff", "4000", "1001", "root"]).unwrap();
        assert_eq!(user.additional_gids, [1001, 10, 20, 4000, 0]);
        assert!(resolve_in(root.path(), "alice", &["nogroup"]).is_err());
        assert!(resolve_in(root.path(), "alice", &[""]).is_err());
    }

    #[test]
    fn an_image_without_database_takes_numbers_only() {
        let root = tempfile::tempdir().unwrap();
        let user = resolve_in(root.path(), "12:13", &["14"]).unwrap();
        assert_eq!((user.uid, user.gid, user.additional_gids), (12, 13, vec![13, 14]));
        assert_eq!(resolve_in(root.path(), "", &[]).unwrap().home, "/");
        assert!(resolve_in(root.path(), "root", &[]).is_err());
    }

    #[test]
    fn links_stay_in_the_image() {
        let outside = image("eve:x:0:0::/:\n", "");
        for (link, target) in [
            (PASSWD, outside.path().join(PASSWD)),
            (
                PASSWD,
                Path::new("../../../../../../../../..")
                    .join(outside.path().join(PASSWD).strip_prefix("/").unwrap()),
            ),
            ("etc", outside.path().join("etc")),
            (PASSWD, "/proc/self/environ".into()),
        ] {
            let root = tempfile::tempdir().unwrap();
            if link != "etc" {
                std::fs::create_dir(root.path().join("etc")).unwrap();
            }
            std::os::unix::fs::symlink(target, root.path().join(link)).unwrap();
            assert!(matches!(resolve_in(root.path(), "eve", &[]), Err(Error::Unknown { .. })));
        }
        // A link within the image is followed, absolute or not.
        let root = image("", "");
        std::fs::remove_file(root.path().join(PASSWD)).unwrap();
        std::fs::write(root.path().join("users"), "eve:x:3:4::/:\n").unwrap();
        std::os::unix::fs::symlink("/users", root.path().join(PASSWD)).unwrap();
        assert_eq!(resolve_in(root.path(), "eve", &[]).unwrap().uid, 3);
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_blocks() {
        let root = image("", "");
        let path = root.path().join(PASSWD);
        std::fs::remove_file(&path).unwrap();
        fs::mknodat(fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        assert!(matches!(resolve_in(root.path(), "root", &[]), Err(Error::Database { .. })));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(resolve_in(root.path(), "0", &[]), Err(Error::Database { .. })));
    }

    #[test]
    fn giant_databases_are_refused_with_little_memory() {
        let root = image("", "");
        let file = std::fs::File::create(root.path().join(PASSWD)).unwrap();
        // Sparse: one line of zeros.
        file.set_len(1 << 40).unwrap();
        assert!(matches!(resolve_in(root.path(), "root", &[]), Err(Error::Database { .. })));
        let lines = "x:x:1:1::/:\n".repeat(1 << 20);
        std::fs::write(root.path().join(PASSWD), &lines).unwrap();
        assert!(matches!(resolve_in(root.path(), "root", &[]), Err(Error::Database { .. })));
        // What is found before the limit counts.
        assert_eq!(resolve_in(root.path(), "x:0", &[]).unwrap().uid, 1);
    }
}
