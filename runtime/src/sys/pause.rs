//! The program of a pod's pause process: a whole ELF executable of some 250 bytes, assembled into this one's data.
//!
//! It blocks all signals and waits for them: children that ended are reaped, SIGTERM and SIGINT end it, nothing else
//! matters. Without a C library, a heap or a second segment it costs its stack and one page.
#![allow(unsafe_code)]

/// The program; `None` on machines for which there is none.
#[cfg(not(target_arch = "x86_64"))]
pub fn program() -> Option<&'static [u8]> {
    None
}

/// The program; `None` on machines for which there is none.
#[cfg(target_arch = "x86_64")]
pub fn program() -> Option<&'static [u8]> {
    let (start, end) = (&raw const hull_pause_start, &raw const hull_pause_end);
    // SAFETY: both labels are in the block below, in this order, with nothing but initialised read-only bytes between.
    Some(unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) })
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    static hull_pause_start: u8;
    static hull_pause_end: u8;
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.hull_pause, \"a\", @progbits",
    ".balign 8",
    ".globl hull_pause_start",
    ".globl hull_pause_end",
    "hull_pause_start:",
    // Elf64_Ehdr: 64 bit, little-endian, System V; an executable for x86-64 with two program headers.
    ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    ".short 2, 62",
    ".long 1",
    ".quad 0x10000 + 2f - hull_pause_start",
    ".quad 64, 0",
    ".long 0",
    ".short 64, 56, 2, 0, 0, 0",
    // Elf64_Phdr: all of the file, readable and executable.
    ".long 1, 5",
    ".quad 0, 0x10000, 0x10000",
    ".quad hull_pause_end - hull_pause_start, hull_pause_end - hull_pause_start, 0x1000",
    // Elf64_Phdr: the stack is not executable.
    ".long 0x6474e551, 6",
    ".quad 0, 0, 0, 0, 0, 16",
    "2:",
    // rt_sigprocmask(SIG_BLOCK, &all, NULL, 8); the set stays on the stack.
    "push -1",
    "mov rsi, rsp",
    "xor edi, edi",
    "xor edx, edx",
    "push 8",
    "pop r10",
    "push 14",
    "pop rax",
    "syscall",
    "3:",
    // rt_sigtimedwait(&all, NULL, NULL, 8)
    "mov rdi, rsp",
    "xor esi, esi",
    "xor edx, edx",
    "push 8",
    "pop r10",
    "mov eax, 128",
    "syscall",
    "cmp eax, 17",
    "je 4f",
    "cmp eax, 15",
    "je 5f",
    "cmp eax, 2",
    "je 5f",
    "jmp 3b",
    "4:",
    // while wait4(-1, NULL, WNOHANG, NULL) > 0
    "push -1",
    "pop rdi",
    "xor esi, esi",
    "push 1",
    "pop rdx",
    "xor r10d, r10d",
    "push 61",
    "pop rax",
    "syscall",
    "test eax, eax",
    "jg 4b",
    "jmp 3b",
    "5:",
    // exit_group(0)
    "xor edi, edi",
    "mov eax, 231",
    "syscall",
    "hull_pause_end:",
    ".popsection",
);

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_is_a_tiny_executable() {
        let program = super::program().unwrap();
        assert_eq!(&program[..4], b"\x7fELF");
        assert!(program.len() < 400, "{}", program.len());
    }
}
