//! Mount option words: what each means to the kernel's mount calls.

use rustix::mount::MountAttrFlags;

use crate::spec::plan::Propagation;
use crate::sys::mount::MountAttributes;

/// The words that mean the same on every file system; all others go to the file system itself.
pub const WORDS: [&str; 61] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// The options of one mount, sorted by the call that takes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes of the mount itself.
    pub attributes: MountAttributes,
    /// Attributes of it and all mounts below (`rro`, `rnosuid`, ...).
    pub recursive_attributes: MountAttributes,
    /// How mounts travel.
    pub propagations: Vec<Propagation>,
    /// `bind`, or with `Some(true)` `rbind`.
    pub bind: Option<bool>,
    /// Whether there is a word for an attribute of the mount itself.
    pub names_flags: bool,
    /// Whether there is a word that asks for access times of some kind.
    pub names_times: bool,
    /// `idmap`, or with `Some(true)` `ridmap`.
    pub id_map: Option<bool>,
    /// `tmpcopyup`: what the place holds is copied into the tmpfs.
    pub copy_up: bool,
    /// Options of the file system: flags without value, and values.
    pub data: Vec<(String, Option<String>)>,
}

impl MountOptions {
    /// Read-only by an attribute of the mount?
    pub fn readonly(&self) -> bool {
        self.attributes.set & bits(MountAttrFlags::MOUNT_ATTR_RDONLY) != 0
    }
}

/// Reads option words. On failure: the index of the word and what is wrong with it.
pub fn parse(words: &[String]) -> Result<MountOptions, (usize, String)> {
    let mut options = MountOptions::default();
    for (index, word) in words.iter().enumerate() {
        apply(&mut options, word).map_err(|reason| (index, reason))?;
    }
    Ok(options)
}

fn apply(options: &mut MountOptions, word: &str) -> Result<(), String> {
    if attribute(&mut options.attributes, word) {
        options.names_flags = true;
        options.names_times |= matches!(word, "noatime" | "relatime" | "strictatime" | "nodiratime");
        return Ok(());
    }
    if let Some(single) = word.strip_prefix('r')
        && attribute(&mut options.recursive_attributes, recursive(single))
    {
        return Ok(());
    }
    if let Some(propagation) = propagation(word) {
        options.propagations.push(propagation);
        return Ok(());
    }
    match word {
        "defaults" | "async" | "loud" | "nomand" | "nolazytime" | "noiversion" => {}
        "bind" => options.bind = Some(options.bind.unwrap_or(false)),
        "rbind" => options.bind = Some(true),
        "sync" | "dirsync" | "mand" | "lazytime" | "iversion" | "silent" => {
            options.data.push((word.to_owned(), None));
        }
        "idmap" => options.id_map = Some(options.id_map.unwrap_or(false)),
        "ridmap" => options.id_map = Some(true),
        "tmpcopyup" => options.copy_up = true,
        "remount" => return Err(format!("mount option {word:?} is not supported")),
        "" => return Err("empty mount option".to_owned()),
        word if word.contains(['\0', '\n']) => return Err("control character in mount option".to_owned()),
        // One value is one call with at most 255 bytes; several layers of an overlay are several calls.
        word => match word.split_once('=') {
            Some(("lowerdir", layers)) => {
                for layer in layers.split(':') {
                    options.data.push(("lowerdir+".to_owned(), Some(value(layer)?)));
                }
            }
            Some((key, text)) => options.data.push((key.to_owned(), Some(value(text)?))),
            None => options.data.push((word.to_owned(), None)),
        },
    }
    Ok(())
}

/// Recursive words are made for `mount_setattr`, where to take an access time back means the kernel's usual one.
fn recursive(word: &str) -> &str {
    if matches!(word, "atime" | "norelatime" | "nostrictatime") { "relatime" } else { word }
}

/// The kernel takes no longer value by `fsconfig`.
fn value(text: &str) -> Result<String, String> {
    const LONGEST: usize = 255;
    if text.len() > LONGEST {
        return Err(format!("mount option value is longer than {LONGEST} bytes"));
    }
    Ok(text.to_owned())
}

/// Sets or clears an attribute; `false` if the word is none.
fn attribute(attributes: &mut MountAttributes, word: &str) -> bool {
    const ACCESS_TIME: u64 = bits(MountAttrFlags::MOUNT_ATTR__ATIME);
    let (flag, set) = match word {
        "ro" => (MountAttrFlags::MOUNT_ATTR_RDONLY, true),
        "rw" => (MountAttrFlags::MOUNT_ATTR_RDONLY, false),
        "nosuid" => (MountAttrFlags::MOUNT_ATTR_NOSUID, true),
        "suid" => (MountAttrFlags::MOUNT_ATTR_NOSUID, false),
        "nodev" => (MountAttrFlags::MOUNT_ATTR_NODEV, true),
        "dev" => (MountAttrFlags::MOUNT_ATTR_NODEV, false),
        "noexec" => (MountAttrFlags::MOUNT_ATTR_NOEXEC, true),
        "exec" => (MountAttrFlags::MOUNT_ATTR_NOEXEC, false),
        "nodiratime" => (MountAttrFlags::MOUNT_ATTR_NODIRATIME, true),
        "diratime" => (MountAttrFlags::MOUNT_ATTR_NODIRATIME, false),
        "nosymfollow" => (MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW, true),
        "symfollow" => (MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW, false),
        // Access times are one field of several bits: clear it, then set the value. Relative is zero.
        "relatime" => {
            (attributes.set, attributes.clear) =
                (attributes.set & !ACCESS_TIME, attributes.clear | ACCESS_TIME);
            return true;
        }
        // These take an earlier word back and ask for nothing: what the source has stays.
        "atime" | "norelatime" | "nostrictatime" => {
            (attributes.set, attributes.clear) =
                (attributes.set & !ACCESS_TIME, attributes.clear & !ACCESS_TIME);
            return true;
        }
        "noatime" | "strictatime" => {
            let value = if word == "noatime" {
                MountAttrFlags::MOUNT_ATTR_NOATIME
            } else {
                MountAttrFlags::MOUNT_ATTR_STRICTATIME
            };
            attributes.set = (attributes.set & !ACCESS_TIME) | bits(value);
            attributes.clear |= ACCESS_TIME;
            return true;
        }
        _ => return false,
    };
    // The last word of a contradicting pair wins, as in mount(8).
    let (into, out_of) = if set {
        (&mut attributes.set, &mut attributes.clear)
    } else {
        (&mut attributes.clear, &mut attributes.set)
    };
    *into |= bits(flag);
    *out_of &= !bits(flag);
    true
}

/// Reads `shared`, `rslave` and the like.
pub fn propagation(word: &str) -> Option<Propagation> {
    let (kind, recursive) = match word {
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "private" => (libc::MS_PRIVATE, false),
        "rprivate" => (libc::MS_PRIVATE, true),
        "unbindable" => (libc::MS_UNBINDABLE, false),
        "runbindable" => (libc::MS_UNBINDABLE, true),
        _ => return None,
    };
    Some(Propagation { kind, recursive })
}

const fn bits(flag: MountAttrFlags) -> u64 {
    flag.bits() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> MountOptions {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_become_attributes_and_data() {
        let options = parsed(&["nosuid", "strictatime", "mode=755", "size=65536k", "ro", "rw"]);
        let expected = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
        assert_eq!(options.attributes.set, bits(expected));
        assert!(!options.readonly());
        assert_eq!(options.data[1], ("size".to_owned(), Some("65536k".to_owned())));
    }

    #[test]
    fn recursive_words_do_not_shadow_relatime_and_rbind() {
        let options = parsed(&["relatime", "rbind", "rro", "rslave"]);
        assert_eq!(options.attributes.set, 0);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.recursive_attributes.set, bits(MountAttrFlags::MOUNT_ATTR_RDONLY));
        assert_eq!(options.propagations, [Propagation { kind: libc::MS_SLAVE, recursive: true }]);
        assert!(options.data.is_empty());
    }

    #[test]
    fn every_word_is_known() {
        for word in WORDS {
            let options = parsed(&[word]);
            let flag = matches!(word, "sync" | "dirsync" | "mand" | "lazytime" | "iversion" | "silent");
            assert_eq!(options.data.is_empty(), !flag, "{word}");
        }
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn layers_are_given_one_by_one() {
        let options = parsed(&["lowerdir=/a:/b", "upperdir=/u"]);
        assert_eq!(options.data.len(), 3);
        assert_eq!(options.data[1], ("lowerdir+".to_owned(), Some("/b".to_owned())));
    }

    #[test]
    fn what_is_not_done_is_refused_with_its_place() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(parse(&words(&["ro", "remount"])).unwrap_err().0, 1);
        assert!(parse(&words(&[""])).is_err());
        assert!(parse(&words(&[&format!("context={}", "a".repeat(256))])).is_err());
    }
}
