//! What `roci` does before the C library has begun: it executes itself from a place that no container can write.
//!
//! [`own_executable`](runtime::security::own_executable) says why and how, makes sure that it was done, and does it where this
//! here could not. But by then the C library has looked at the processor, which takes a fifth of a millisecond on a virtual
//! machine, where each of some eighty CPUID instructions is the hypervisor's to answer; and the program that is executed does so
//! again. So the likely way is gone here, first of all. Whatever does not succeed is left to the other, which knows the words for
//! it.
//!
//! What must hold: nothing here may need the C library, not even its memcpy, whose address is not known yet. So memory is read
//! and written byte by byte and `volatile`, which no compiler turns into a call, and the kernel is called directly. Nothing may
//! panic.

use std::arch::{asm, global_asm};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

// The kernel begins here, with the arguments on the stack and, in a dynamic program, the C library's own word in rdx.
global_asm!(
    ".globl roci_start",
    "roci_start:",
    "mov rdi, rsp",
    "push rdx",
    "sub rsp, 8",
    "call {execute_protected}",
    "add rsp, 8",
    "pop rdx",
    "jmp _start",
    execute_protected = sym execute_protected,
);

/// Verbs that put a process of this program into a container. A container that has the name of one costs an exec, no more.
const ENTERING: [&CStr; 4] = [c"run", c"create", c"exec", c"monitor"];

const OWN_EXECUTABLE: &CStr = c"/proc/self/exe";
/// As in `own_executable`.
const OTHER_LAYER: &CStr = c"/sys/fs";
const OVERLAY_MAGIC: u64 = 0x794c_7630;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Longest path that is understood.
const PATH_SIZE: usize = 512;

/// Returns only where nothing was executed.
///
/// # Safety
/// `stack` is what the kernel left there: the number of arguments, they, a null, the environment, a null.
unsafe extern "C" fn execute_protected(stack: *const usize) {
    // SAFETY: as above.
    let (arguments, environment) = unsafe { (stack.add(1), stack.add(1 + *stack + 1)) };
    // SAFETY: the arguments are C strings and end with a null.
    if cfg!(feature = "fault-injection") || !unsafe { enters_container(arguments) } {
        return;
    }
    let mut path = OwnPath(MaybeUninit::uninit());
    let name = path.read();
    if name == 0 {
        return;
    }
    let name = path.from(name);
    let directory = open(path.from(0));
    let other = open(OTHER_LAYER.as_ptr());
    let image = if is_ours(directory, name) { overlay_of(directory, other) } else { -1 };
    if image >= 0 {
        call(
            libc::SYS_execveat,
            [image as usize, name as usize, arguments as usize, environment as usize, 0],
        );
    }
    for descriptor in [image, other, directory] {
        if descriptor >= 0 {
            call(libc::SYS_close, [descriptor as usize, 0, 0, 0, 0]);
        }
    }
}

/// # Safety
/// As for [`execute_protected`].
unsafe fn enters_container(mut arguments: *const usize) -> bool {
    loop {
        // SAFETY: the list ends with a null, and is left there.
        let argument = unsafe { arguments.read_volatile() } as *const c_char;
        if argument.is_null() {
            return false;
        }
        // SAFETY: each is a C string.
        if ENTERING.iter().any(|verb| unsafe { same_text(argument, verb.as_ptr()) }) {
            return true;
        }
        // SAFETY: it was not the last.
        arguments = unsafe { arguments.add(1) };
    }
}

/// # Safety
/// Both are C strings.
unsafe fn same_text(mut one: *const c_char, mut other: *const c_char) -> bool {
    loop {
        // SAFETY: neither has ended before.
        let (left, right) = unsafe { (one.read_volatile(), other.read_volatile()) };
        if left != right || left == 0 {
            return left == right;
        }
        // SAFETY: both have a further character, or their null.
        (one, other) = unsafe { (one.add(1), other.add(1)) };
    }
}

/// Where this program's file is, as folder and name: two C strings in one buffer. Of one field, as a second one that is set
/// would have the buffer set too, by a call of memset.
struct OwnPath(MaybeUninit<[u8; PATH_SIZE]>);

impl OwnPath {
    /// Where the name begins; 0 where the file is protected already, or where it cannot be found out.
    fn read(&mut self) -> usize {
        // struct statfs begins with the type.
        let mut status = MaybeUninit::<[u64; 32]>::uninit();
        let asked = [OWN_EXECUTABLE.as_ptr() as usize, status.as_mut_ptr() as usize, 0, 0, 0];
        if call(libc::SYS_statfs, asked) != 0 {
            return 0;
        }
        // SAFETY: the kernel has written it.
        let kind = unsafe { status.as_ptr().cast::<u64>().read_volatile() };
        if kind == OVERLAY_MAGIC || kind == TMPFS_MAGIC {
            return 0;
        }
        let text = self.0.as_mut_ptr().cast::<u8>();
        let asked = [OWN_EXECUTABLE.as_ptr() as usize, text as usize, PATH_SIZE, 0, 0];
        let length = call(libc::SYS_readlink, asked);
        if length < 0 || length as usize >= PATH_SIZE {
            return 0;
        }
        let mut slash = length as usize;
        // SAFETY: all that is read was written by the kernel, and what is written is within the buffer.
        unsafe {
            text.add(slash).write_volatile(0);
            while slash > 0 && text.add(slash).read_volatile() != b'/' {
                slash -= 1;
            }
            text.add(slash).write_volatile(0);
        }
        // Not for a file in the root folder: its folder's name would be empty.
        if slash == 0 { 0 } else { slash + 1 }
    }

    /// What begins at `start`: 0, or what [`OwnPath::read`] has returned.
    fn from(&self, start: usize) -> *const c_char {
        // SAFETY: it is within the buffer.
        unsafe { self.0.as_ptr().cast::<c_char>().add(start) }
    }
}

/// Whether the file of this name in the folder is the one that runs: it may have been replaced.
fn is_ours(directory: isize, name: *const c_char) -> bool {
    let identity = |directory: isize, path: *const c_char, flags: libc::c_int| {
        // struct stat begins with device and inode.
        let mut status = MaybeUninit::<[u64; 32]>::uninit();
        let asked = [directory as usize, path as usize, status.as_mut_ptr() as usize, flags as usize, 0];
        let done = call(libc::SYS_newfstatat, asked) == 0;
        let status = status.as_ptr().cast::<u64>();
        // SAFETY: the kernel has written more than two numbers if it says so.
        done.then(|| unsafe { (status.read_volatile(), status.add(1).read_volatile()) })
    };
    let running = identity(libc::AT_FDCWD as isize, OWN_EXECUTABLE.as_ptr(), 0);
    let found = identity(directory, name, libc::AT_SYMLINK_NOFOLLOW);
    match (running, found) {
        (Some((device, inode)), Some(found)) => device == found.0 && inode == found.1,
        _ => false,
    }
}

fn open(path: *const c_char) -> isize {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    call(libc::SYS_open, [path as usize, flags as usize, 0, 0, 0])
}

/// A detached overlay that nobody can write, or a negative number.
fn overlay_of(directory: isize, other: isize) -> isize {
    const FSCONFIG_SET_FD: usize = 5;
    const FSCONFIG_CMD_CREATE: usize = 6;
    /// `FSOPEN_CLOEXEC`, `FSMOUNT_CLOEXEC`.
    const CLOEXEC: usize = 1;
    /// `MOUNT_ATTR_RDONLY`, `MOUNT_ATTR_NOSUID`, `MOUNT_ATTR_NODEV`.
    const SEALED: usize = 1 | 2 | 4;
    if directory < 0 || other < 0 {
        return -1;
    }
    let context = call(libc::SYS_fsopen, [c"overlay".as_ptr() as usize, CLOEXEC, 0, 0, 0]);
    if context < 0 {
        return context;
    }
    let configure = |command: usize, key: usize, descriptor: isize| {
        call(libc::SYS_fsconfig, [context as usize, command, key, 0, descriptor as usize]) == 0
    };
    let lower = c"lowerdir+".as_ptr() as usize;
    let made = configure(FSCONFIG_SET_FD, lower, directory)
        && configure(FSCONFIG_SET_FD, lower, other)
        && configure(FSCONFIG_CMD_CREATE, 0, 0);
    let image = if made { call(libc::SYS_fsmount, [context as usize, CLOEXEC, SEALED, 0, 0]) } else { -1 };
    call(libc::SYS_close, [context as usize, 0, 0, 0, 0]);
    image
}

/// A system call: its result, or the negated errno.
#[inline(always)]
fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the callers above pass pointers to C strings, to the kernel's own lists and to buffers that are large enough. The
    // kernel changes rax, rcx and r11, and memory only where it is told to.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn what_is_protected_early_is_what_is_protected_later() {
        for verb in ENTERING {
            let verb = OsString::from(verb.to_str().unwrap_or_default());
            assert!(crate::cli::enters_containers(std::iter::once(verb.clone())), "{}", verb.display());
        }
    }

    #[test]
    fn only_whole_words_are_verbs() {
        let enters = |words: &[&CStr]| {
            let mut list: Vec<usize> = words.iter().map(|word| word.as_ptr() as usize).collect();
            list.push(0);
            // SAFETY: a list of C strings that ends with a null, as the kernel makes it.
            unsafe { enters_container(list.as_ptr()) }
        };
        assert!(enters(&[c"roci", c"--root", c"/r", c"exec", c"x"]));
        for words in [[c"roci", c"running"], [c"roci", c"ru"], [c"roci", c""], [c"roci", c"state"]] {
            assert!(!enters(&words), "{words:?}");
        }
    }
}
