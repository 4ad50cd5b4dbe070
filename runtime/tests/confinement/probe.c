/* Tries to get a socket of the family AF_ALG in ways that a filter may overlook. Exits with 0 or the errno. */

static long native(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

/* The system call gate of 32-bit programs; takes the lower halves of the registers. */
static int compat(int number, int a, int b, int c)
{
	int result;
	__asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c) : "r8", "r9", "r10", "r11", "memory");
	return result;
}

static long attack(const char *way)
{
	const long family = 38, type = 5;
	/* Below 4 GiB, as the address of a 32-bit program's arguments must be; mmap with MAP_32BIT would do, too. */
	static unsigned arguments[3];
	switch (way[0]) {
	case 'w': /* wide: bits above the 32 that the kernel reads */
		return native(41, family | 1L << 32, type, 0);
	case 'd': /* direct: socket as a 32-bit program calls it since 4.3 */
		return compat(359, family, type, 0);
	case 'm': /* multiplexed: socketcall(SYS_SOCKET) */
		arguments[0] = family;
		arguments[1] = type;
		return compat(102, 1, (int)(long)arguments, 0);
	case 'n':
		return native(41, family, type, 0);
	case 'x': /* x32: getpid under its own number */
		return native(0x40000000 | 39, 0, 0, 0);
	}
	return -22;
}

__attribute__((used)) static void start(long *stack)
{
	long result = attack(((char **)(stack + 1))[1]);
	native(231, result < 0 ? -result : 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall start\n");
