//! Which devices a container may open or make: from rules in order to a final list, and from that to v1 writes or
//! a v2 program.
//!
//! Nothing is allowed that no rule allows, even if the specification has no rules (GHSA-g54h-m393-cpwq), but for
//! the harmless devices that every container has. The kernel's v1 lists cannot express a hole in a wildcard and
//! silently ignore it; here it is an error, on v2 too, so that a specification means the same everywhere.

use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rustix::fs::{self, Mode, OFlags};

use super::Error;
use crate::security::Notice;
use crate::spec::defaults;
use crate::sys::bpf::{self, Instruction};

/// What is permitted, in the numbers of the kernel's device programs.
const MAKE: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const EVERYTHING: u8 = MAKE | READ | WRITE;

/// The rules of a container in their final form: a default and its exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRules {
    allow_by_default: bool,
    exceptions: Vec<Exception>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exception {
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeviceKind {
    Block,
    Character,
}

impl DeviceRules {
    /// Applies the specification's rules in order to "deny everything", then allows what every container has.
    pub fn new(rules: &[LinuxDeviceCgroup]) -> Result<DeviceRules, Error> {
        let mut result = DeviceRules { allow_by_default: false, exceptions: Vec::new() };
        for (index, rule) in rules.iter().enumerate() {
            result
                .apply(rule)
                .map_err(|reason| Error::Invalid { setting: format!("devices[{index}]"), reason })?;
        }
        if !result.allow_by_default {
            for rule in defaults::device_rules().iter().filter(|rule| rule.allow()) {
                result
                    .apply(rule)
                    .map_err(|reason| Error::Invalid { setting: "devices".to_owned(), reason })?;
            }
        }
        Ok(result)
    }

    fn apply(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), String> {
        let access = parse_access(rule.access().as_deref().unwrap_or_default())?;
        let (major, minor) = (parse_number(rule.major())?, parse_number(rule.minor())?);
        let kinds: &[DeviceKind] = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::C | LinuxDeviceType::U => &[DeviceKind::Character],
            LinuxDeviceType::B => &[DeviceKind::Block],
            LinuxDeviceType::A if access == EVERYTHING && major.is_none() && minor.is_none() => {
                *self = DeviceRules { allow_by_default: rule.allow(), exceptions: Vec::new() };
                return Ok(());
            }
            LinuxDeviceType::A => &[DeviceKind::Character, DeviceKind::Block],
            LinuxDeviceType::P => return Err("a FIFO is not a device".to_owned()),
        };
        kinds.iter().try_for_each(|kind| {
            let change = Exception { kind: *kind, major, minor, access };
            if rule.allow() == self.allow_by_default { self.withdraw(&change) } else { self.add(change) }
        })
    }

    fn add(&mut self, added: Exception) -> Result<(), String> {
        match self.exceptions.iter_mut().find(|known| known.covers(&added) && added.covers(known)) {
            Some(known) => known.access |= added.access,
            None => self.exceptions.push(added),
        }
        Ok(())
    }

    fn withdraw(&mut self, withdrawn: &Exception) -> Result<(), String> {
        for known in &mut self.exceptions {
            if withdrawn.covers(known) {
                known.access &= !withdrawn.access;
            } else if known.overlaps(withdrawn) && known.access & withdrawn.access != 0 {
                return Err(format!(
                    "{withdrawn} would make a hole in {known}, which cgroups cannot express"
                ));
            }
        }
        self.exceptions.retain(|exception| exception.access != 0);
        Ok(())
    }

    /// Writes the rules to a v1 devices cgroup.
    pub(super) fn write(&self, folder: &Path, group: &str) -> Result<(), Error> {
        let (reset, list) = match self.allow_by_default {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        let failed = |file: &str, value: &str, source| Error::Setting {
            file: file.to_owned(),
            group: group.to_owned(),
            value: value.to_owned(),
            source,
            hint: "; the parent cgroup may not grant it",
        };
        super::group::write_file(&folder.join(reset), b"a").map_err(|source| failed(reset, "a", source))?;
        if self.exceptions.is_empty() {
            return Ok(());
        }
        let file = fs::open(folder.join(list), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| failed(list, "", source))?;
        for exception in &self.exceptions {
            let value = exception.to_string();
            rustix::io::write(&file, value.as_bytes()).map_err(|source| failed(list, &value, source))?;
        }
        Ok(())
    }

    /// Loads the rules as a program and attaches it to a v2 cgroup.
    pub(super) fn attach(&self, folder: &Path, group: &str) -> Result<(), Error> {
        let failed =
            |operation| move |source| Error::DeviceProgram { operation, group: group.to_owned(), source };
        let cgroup = fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open the cgroup for"))?;
        let program = bpf::load_device_program(&self.program()).map_err(failed("load"))?;
        bpf::attach_device_program(cgroup.as_fd(), program.as_fd()).map_err(failed("attach"))
    }

    /// `struct bpf_cgroup_dev_ctx` is `access << 16 | type`, major, minor; the program returns 1 to allow.
    fn program(&self) -> Vec<Instruction> {
        let mut code = vec![
            load(KIND, 0),
            instruction(0xbc, ACCESS, KIND, 0, 0), // access = kind
            instruction(0x74, ACCESS, 0, 0, 16),   // access >>= 16
            instruction(0x54, KIND, 0, 0, 0xffff), // kind &= 0xffff
            load(MAJOR, 4),
            load(MINOR, 8),
        ];
        for exception in &self.exceptions {
            code.extend(exception.tests(!self.allow_by_default));
        }
        code.extend(give(self.allow_by_default));
        code
    }
}

// Registers: the context and result registers double as scratch once they are read.
const RESULT: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

impl Exception {
    /// If the request fits this exception, return its verdict; else go on behind.
    ///
    /// An allowing exception fits if it has everything that is asked for, a denying one if it has any of it.
    fn tests(&self, allow: bool) -> Vec<Instruction> {
        const JUMP_IF_EQUAL: u8 = 0x15;
        const JUMP_UNLESS_EQUAL: u8 = 0x55;
        const JUMP_UNLESS_SAME: u8 = 0x5d;
        let kind = if self.kind == DeviceKind::Block { 1 } else { 2 };
        let mut code = vec![instruction(JUMP_UNLESS_EQUAL, KIND, 0, 0, kind)];
        if self.access != EVERYTHING {
            code.push(instruction(0xbc, SCRATCH, ACCESS, 0, 0)); // scratch = access
            code.push(instruction(0x54, SCRATCH, 0, 0, i32::from(self.access))); // scratch &= ours
            code.push(if allow {
                instruction(JUMP_UNLESS_SAME, SCRATCH, ACCESS, 0, 0)
            } else {
                instruction(JUMP_IF_EQUAL, SCRATCH, 0, 0, 0)
            });
        }
        for (register, number) in [(MAJOR, self.major), (MINOR, self.minor)] {
            if let Some(number) = number {
                code.push(instruction(JUMP_UNLESS_EQUAL, register, 0, 0, number as i32));
            }
        }
        code.extend(give(allow));
        let length = code.len();
        for (at, instruction) in code.iter_mut().enumerate() {
            if matches!(instruction.code, JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL | JUMP_UNLESS_SAME) {
                instruction.offset = (length - at - 1) as i16;
            }
        }
        code
    }

    fn covers(&self, other: &Exception) -> bool {
        let covers = |ours: Option<u32>, theirs: Option<u32>| ours.is_none() || ours == theirs;
        self.kind == other.kind && covers(self.major, other.major) && covers(self.minor, other.minor)
    }

    fn overlaps(&self, other: &Exception) -> bool {
        let meets =
            |ours: Option<u32>, theirs: Option<u32>| ours.is_none() || theirs.is_none() || ours == theirs;
        self.kind == other.kind && meets(self.major, other.major) && meets(self.minor, other.minor)
    }
}

/// As the v1 files take it: `c 1:3 rwm`.
impl fmt::Display for Exception {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = if self.kind == DeviceKind::Block { 'b' } else { 'c' };
        write!(formatter, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MAKE, "m")] {
            if self.access & bit != 0 {
                formatter.write_str(letter)?;
            }
        }
        Ok(())
    }
}

fn parse_access(access: &str) -> Result<u8, String> {
    if access.is_empty() {
        return Err("access is missing".to_owned());
    }
    match access.chars().filter_map(access_bit).fold(0, |bits, bit| bits | bit) {
        0 => Err(format!("access {access:?} has none of the letters r, w and m")),
        bits => Ok(bits),
    }
}

fn access_bit(letter: char) -> Option<u8> {
    match letter {
        'r' => Some(READ),
        'w' => Some(WRITE),
        'm' => Some(MAKE),
        _ => None,
    }
}

/// What is said of letters that mean no access: like runc, such rules are taken without them.
pub(super) fn notices(rules: &[LinuxDeviceCgroup]) -> impl Iterator<Item = Notice> + '_ {
    rules.iter().enumerate().filter_map(|(index, rule)| {
        let access = rule.access().as_deref().unwrap_or_default();
        let other = access.chars().find(|letter| access_bit(*letter).is_none())?;
        Some(Notice {
            setting: format!("linux.resources.devices[{index}].access"),
            reason: format!("{other:?} left out, it is none of r, w and m"),
        })
    })
}

/// -1 and absence are the wildcard. The kernel has 12 bits for majors and 20 for minors.
fn parse_number(number: Option<i64>) -> Result<Option<u32>, String> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) if number < 1 << 20 => Ok(Some(number)),
            _ => Err(format!("{number} is not a device number")),
        },
    }
}

fn load(register: u8, offset: i16) -> Instruction {
    instruction(0x61, register, SCRATCH, offset, 0)
}

fn give(verdict: bool) -> [Instruction; 2] {
    [instruction(0xb4, RESULT, 0, 0, i32::from(verdict)), instruction(0x95, 0, 0, 0, 0)]
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn rules(json: &str) -> Result<DeviceRules, Error> {
        DeviceRules::new(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap())
    }

    fn list(rules: &DeviceRules) -> Vec<String> {
        rules.exceptions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_rules_only_the_harmless_devices_are_allowed() {
        let rules = DeviceRules::new(&[]).unwrap();
        assert!(!rules.allow_by_default);
        assert_eq!(
            list(&rules),
            [
                "c *:* m",
                "b *:* m",
                "c 1:3 rwm",
                "c 1:5 rwm",
                "c 1:7 rwm",
                "c 1:8 rwm",
                "c 1:9 rwm",
                "c 5:0 rwm",
                "c 5:2 rwm",
                "c 136:* rwm"
            ]
        );
    }

    #[test]
    fn rules_apply_in_order() {
        let rules = rules(
            r#"[{"allow": true, "type": "a", "access": "rwm"},
                {"allow": false, "type": "b", "access": "w"},
                {"allow": false, "type": "c", "major": 1, "minor": 1, "access": "rw"},
                {"allow": true, "type": "c", "major": 1, "minor": -1, "access": "r"}]"#,
        )
        .unwrap();
        assert!(rules.allow_by_default);
        assert_eq!(list(&rules), ["b *:* w", "c 1:1 w"]);
    }

    #[test]
    fn holes_and_nonsense_are_errors() {
        for (json, reason) in [
            (
                r#"[{"allow": true, "type": "c", "major": 1, "access": "rwm"},
                    {"allow": false, "type": "c", "minor": 3, "access": "r"}]"#,
                "would make a hole",
            ),
            (r#"[{"allow": true, "type": "c", "major": 1}]"#, "access is missing"),
            (r#"[{"allow": true, "type": "p", "access": "r"}]"#, "a FIFO is not a device"),
            (r#"[{"allow": true, "type": "c", "major": -2, "access": "r"}]"#, "-2 is not a device number"),
            (
                r#"[{"allow": true, "type": "c", "major": 4294967297, "access": "r"}]"#,
                "is not a device number",
            ),
        ] {
            let error = rules(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    /// A v2 cgroup of this test, even where v1 has the devices controller: the kernel asks both.
    struct Group(PathBuf);

    impl Group {
        fn new(name: &str) -> Option<Group> {
            let hierarchies = super::super::Hierarchies::discover().ok()?;
            let root =
                hierarchies.all().iter().find(|hierarchy| *hierarchy.kind() == super::super::Kind::V2)?;
            let folder = root.mount().join(format!("hull-test-{}-{name}", std::process::id()));
            std::fs::create_dir(&folder).ok()?;
            Some(Group(folder))
        }

        /// Whether `cat` in the cgroup can open each device.
        fn opens(&self, devices: &[&str]) -> Vec<bool> {
            let script = format!("echo $$ > {}/cgroup.procs && exec head -c0 \"$0\"", self.0.display());
            let open = |device: &&str| {
                Command::new("sh").args(["-c", &script, device]).output().unwrap().status.success()
            };
            devices.iter().map(open).collect()
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn the_program_decides_as_the_list_does() {
        const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/kmsg", "/dev/full"];
        if !rustix::process::geteuid().is_root() {
            println!("skipped: root");
            return;
        }
        for (name, json, expected) in [
            ("none", "[]", [true, true, false, true]),
            (
                "all",
                r#"[{"allow": true, "access": "rwm"},
                    {"allow": false, "type": "c", "major": 1, "minor": 5, "access": "r"}]"#,
                [true, false, true, true],
            ),
            (
                "write",
                r#"[{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]"#,
                [true, true, false, true],
            ),
            (
                "read",
                r#"[{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#,
                [true, true, true, true],
            ),
        ] {
            let Some(group) = Group::new(name) else {
                println!("skipped: cgroup v2");
                return;
            };
            rules(json).unwrap().attach(&group.0, name).unwrap();
            assert_eq!(group.opens(DEVICES), expected, "{name}");
        }
    }
}
