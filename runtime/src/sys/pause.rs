//! The program that holds a pod's namespaces: a whole executable file, assembled into this one.
//!
//! It blocks all signals and takes them one at a time, so none is missed and no handler is needed: SIGCHLD reaps every
//! child that has ended (orphans of the pod, when it is PID 1 of their namespace), SIGTERM and SIGINT end it. It has
//! no data, opens nothing and never allocates: one page of code and the page of stack that the kernel fills.
#![allow(unsafe_code)]

/// The program as a file; `None` on processors that it is not written for.
pub fn program() -> Option<&'static [u8]> {
    #[cfg(target_arch = "x86_64")]
    return Some(x86_64::program());
    #[cfg(not(target_arch = "x86_64"))]
    return None;
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    // Fields in the order of elf(5): header, one loaded segment with the whole file, and a stack that is not executable.
    std::arch::global_asm!(
        r#"
        .pushsection .rodata.hull_pause, "a", @progbits
        .balign 16
        .globl hull_pause_start
        .hidden hull_pause_start
        .globl hull_pause_end
        .hidden hull_pause_end
        .set BASE, 0x400000

    hull_pause_start:
        .byte   0x7f, 0x45, 0x4c, 0x46      # magic
        .byte   2, 1, 1, 0                  # 64 bits, little endian, version 1, System V
        .quad   0
        .short  2, 62                       # an executable, for x86-64
        .long   1
        .quad   BASE + (10f - hull_pause_start)
        .quad   64, 0                       # program headers follow, no section headers
        .long   0
        .short  64, 56, 2, 0, 0, 0          # size of this header, size and number of program headers

        .long   1, 5                        # loaded, readable and executable
        .quad   0, BASE, BASE
        .quad   hull_pause_end - hull_pause_start
        .quad   hull_pause_end - hull_pause_start
        .quad   0x1000

        .long   0x6474e551, 6               # the stack, readable and writable
        .quad   0, 0, 0, 0, 0, 16

    10: mov     eax, 14                     # rt_sigprocmask(SIG_SETMASK, all, 0, 8)
        mov     edi, 2
        lea     rsi, [rip + 18f]
        xor     edx, edx
        mov     r10d, 8
        syscall
        mov     eax, 157                    # prctl(PR_SET_NAME, "pause")
        mov     edi, 15
        lea     rsi, [rip + 19f]
        syscall

    12: mov     eax, 128                    # rt_sigtimedwait(all, 0, 0, 8)
        lea     rdi, [rip + 18f]
        xor     esi, esi
        xor     edx, edx
        mov     r10d, 8
        syscall
        cmp     eax, 17                     # SIGCHLD
        je      14f
        cmp     eax, 15                     # SIGTERM
        je      16f
        cmp     eax, 2                      # SIGINT
        jne     12b

    16: mov     eax, 231                    # exit_group(0)
        xor     edi, edi
        syscall

    14: mov     eax, 61                     # wait4(-1, 0, WNOHANG | __WALL, 0)
        mov     rdi, -1
        xor     esi, esi
        mov     edx, 0x40000001
        xor     r10d, r10d
        syscall
        test    rax, rax
        jg      14b
        jmp     12b

        .balign 8
    18: .quad   -1
    19: .asciz  "pause"
    hull_pause_end:
        .popsection
        "#
    );

    unsafe extern "C" {
        static hull_pause_start: u8;
        static hull_pause_end: u8;
    }

    pub(super) fn program() -> &'static [u8] {
        let (start, end) = (&raw const hull_pause_start, &raw const hull_pause_end);
        // SAFETY: both symbols are labels of the one block of constant data above, which the linker keeps in one piece
        // and nobody writes; every byte between them is initialised.
        unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_program_is_a_small_executable() {
        let program = super::program().unwrap();
        assert!(program.starts_with(b"\x7fELF\x02\x01\x01"));
        assert!(program.len() < 512, "{}", program.len());
        let number = |at: usize| u64::from_le_bytes(program[at..at + 8].try_into().unwrap());
        // The entry lies in the segment, and the segment is the file.
        assert!((0x400000 + 176..0x400000 + program.len() as u64).contains(&number(24)));
        assert_eq!((number(64 + 32), number(64 + 40)), (program.len() as u64, program.len() as u64));
        assert!(program.ends_with(b"pause\0"));
    }
}
