// SPDX-License-Identifier: MIT
/*
 * The cryptodev ioctls as plain functions for bun:ffi.
 *
 * Compiled at start-up by Bun's cc, on machines that have neither a compiler nor C headers: so
 * nothing of libc is included or linked. Every function returns 0 or a positive result, or
 * -errno. Numbers and layouts are those of the /dev/crypto ABI on 64-bit Linux, which
 * qemu-patch/headers.sh has made of the driver's header; test/abi.test.ts holds them together.
 */

#include "cryptodev_abi.h"

#define O_RDWR 2
#define O_CLOEXEC 02000000
#define PROT_READ_WRITE 3
#define MAP_SHARED 1
#define MADV_POPULATE_WRITE 23

#if defined(__x86_64__) && !defined(SHIM_USES_LIBC)

#define SYS_open 2
#define SYS_close 3
#define SYS_mmap 9
#define SYS_munmap 11
#define SYS_ioctl 16
#define SYS_madvise 28

static long syscall3(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

/* TinyCC knows no names for the registers of the last three, and puts them nowhere by itself. */
static long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	__asm__ volatile("movq %5, %%r10\n\tmovq %6, %%r8\n\tmovq %7, %%r9\n\tsyscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "m"(d), "m"(e), "m"(f)
			 : "rcx", "r8", "r9", "r10", "r11", "memory");
	return result;
}

void shim_bind(void **functions)
{
	(void)functions;
}

static long do_open(const char *path, int flags)
{
	return syscall3(SYS_open, (long)path, flags, 0);
}

static long do_close(int fd)
{
	return syscall3(SYS_close, fd, 0, 0);
}

static long do_ioctl(int fd, unsigned long request, void *argument)
{
	return syscall3(SYS_ioctl, fd, (long)request, (long)argument);
}

static long do_mmap(unsigned long bytes, int fd)
{
	return syscall6(SYS_mmap, 0, (long)bytes, PROT_READ_WRITE, MAP_SHARED, fd, 0);
}

static long do_munmap(unsigned long at, unsigned long bytes)
{
	return syscall3(SYS_munmap, (long)at, (long)bytes, 0);
}

static long do_madvise(unsigned long at, unsigned long bytes, int advice)
{
	return syscall3(SYS_madvise, (long)at, (long)bytes, advice);
}

#else /* TinyCC has no inline assembly here: libc's own functions are handed in. */

static int (*libc_open)(const char *, int, ...);
static int (*libc_close)(int);
static int (*libc_ioctl)(int, unsigned long, ...);
static void *(*libc_mmap)(void *, unsigned long, int, int, int, long);
static int (*libc_munmap)(void *, unsigned long);
static int (*libc_madvise)(void *, unsigned long, int);
static int *(*libc_errno)(void);

/* In the order in which shim.ts names them. */
void shim_bind(void **functions)
{
	libc_open = functions[0];
	libc_close = functions[1];
	libc_ioctl = functions[2];
	libc_mmap = functions[3];
	libc_munmap = functions[4];
	libc_madvise = functions[5];
	libc_errno = functions[6];
}

static long outcome(long result)
{
	return result == -1 ? -*libc_errno() : result;
}

static long do_open(const char *path, int flags)
{
	return outcome(libc_open(path, flags, 0));
}

static long do_close(int fd)
{
	return outcome(libc_close(fd));
}

static long do_ioctl(int fd, unsigned long request, void *argument)
{
	return outcome(libc_ioctl(fd, request, argument));
}

static long do_mmap(unsigned long bytes, int fd)
{
	return outcome((long)libc_mmap(0, bytes, PROT_READ_WRITE, MAP_SHARED, fd, 0));
}

static long do_munmap(unsigned long at, unsigned long bytes)
{
	return outcome(libc_munmap((void *)at, bytes));
}

static long do_madvise(unsigned long at, unsigned long bytes, int advice)
{
	return outcome(libc_madvise((void *)at, bytes, advice));
}

#endif

static void clear(void *at, unsigned long bytes)
{
	volatile u8 *p = at;

	while (bytes--)
		*p++ = 0;
}

/* Opens a crypto device: its descriptor. */
int shim_open(const char *path)
{
	return do_open(path, O_RDWR | O_CLOEXEC);
}

int shim_close(int fd)
{
	return do_close(fd);
}

/*
 * Maps memory of the open device; where it lies goes to *at. All of it is touched on the way, by the
 * kernel: memory that is not there, as behind the end of a file, is an error then and no SIGBUS.
 */
int shim_map(int fd, u32 bytes, unsigned long *at)
{
	long where = do_mmap(bytes, fd);
	long result;

	if (where < 0)
		return where;
	result = do_madvise(where, bytes, MADV_POPULATE_WRITE);
	if (result < 0) {
		do_munmap(where, bytes);
		return result;
	}
	*at = where;
	return 0;
}

/* Gives it back. Nothing may be left that could still touch it. */
int shim_unmap(unsigned long at, u32 bytes)
{
	return do_munmap(at, bytes);
}

static int make_session(int fd, struct session_op *session, u32 *ses)
{
	long result = do_ioctl(fd, CIOCGSESSION, session);

	if (result >= 0)
		*ses = session->ses;
	/* The stack keeps no pointers to keys. */
	clear(session, sizeof(*session));
	return result;
}

/* Makes a cipher session; its number goes to *ses. */
int shim_cipher_session(int fd, u32 cipher, u8 *key, u32 keylen, u32 *ses)
{
	struct session_op session;

	clear(&session, sizeof(session));
	session.cipher = cipher;
	session.keylen = keylen;
	session.key = key;
	return make_session(fd, &session, ses);
}

/* Makes a MAC session; its number goes to *ses. */
int shim_mac_session(int fd, u32 mac, u8 *key, u32 keylen, u32 *ses)
{
	struct session_op session;

	clear(&session, sizeof(session));
	session.mac = mac;
	session.mackeylen = keylen;
	session.mackey = key;
	return make_session(fd, &session, ses);
}

int shim_end_session(int fd, u32 ses)
{
	return do_ioctl(fd, CIOCFSESSION, &ses);
}

static void copy_name(char *to, const char *from)
{
	int i;

	for (i = 0; i < CRYPTODEV_MAX_ALG_NAME - 1 && from[i]; i++)
		to[i] = from[i];
	to[i] = 0;
}

/* Writes the names of a session's cipher and hash drivers, 64 bytes each, zero-terminated. */
int shim_session_info(int fd, u32 ses, char *cipher_driver, char *hash_driver)
{
	struct session_info_op info;
	long result;

	clear(&info, sizeof(info));
	info.ses = ses;
	result = do_ioctl(fd, CIOCGSESSINFO, &info);
	if (result < 0)
		return result;
	copy_name(cipher_driver, info.cipher_info.cra_driver_name);
	copy_name(hash_driver, info.hash_info.cra_driver_name);
	return 0;
}

/* Encrypts (op 0) or decrypts (op 1) `len` bytes at `buffer + at` in place, IV at `buffer + iv_at`. */
int shim_crypt(int fd, u32 ses, u32 op, u8 *buffer, u32 at, u32 len, u32 iv_at)
{
	struct crypt_op crypt;

	clear(&crypt, sizeof(crypt));
	crypt.ses = ses;
	crypt.op = op;
	crypt.len = len;
	crypt.src = buffer + at;
	crypt.dst = buffer + at;
	crypt.iv = buffer + iv_at;
	return do_ioctl(fd, CIOCCRYPT, &crypt);
}

/* Writes the MAC of `len` bytes at `buffer + at` to `mac`, which holds the longest digest, 64. */
int shim_mac(int fd, u32 ses, u8 *buffer, u32 at, u32 len, u8 *mac)
{
	struct crypt_op crypt;

	clear(&crypt, sizeof(crypt));
	crypt.ses = ses;
	crypt.len = len;
	crypt.src = buffer + at;
	crypt.mac = mac;
	return do_ioctl(fd, CIOCCRYPT, &crypt);
}

/* Sizes and offsets as this compiler sees them, for the test that compares compilers. */
int shim_layout(u32 *out, int capacity)
{
	static const u32 layout[] = {
		sizeof(struct session_op),
		__builtin_offsetof(struct session_op, key),
		__builtin_offsetof(struct session_op, mackeylen),
		__builtin_offsetof(struct session_op, mackey),
		__builtin_offsetof(struct session_op, ses),
		sizeof(struct crypt_op),
		__builtin_offsetof(struct crypt_op, op),
		__builtin_offsetof(struct crypt_op, flags),
		__builtin_offsetof(struct crypt_op, len),
		__builtin_offsetof(struct crypt_op, src),
		__builtin_offsetof(struct crypt_op, dst),
		__builtin_offsetof(struct crypt_op, mac),
		__builtin_offsetof(struct crypt_op, iv),
		sizeof(struct session_info_op),
		__builtin_offsetof(struct session_info_op, hash_info),
		__builtin_offsetof(struct session_info_op, alignmask),
		__builtin_offsetof(struct session_info_op, flags),
	};
	int count = sizeof(layout) / sizeof(layout[0]);
	int i;

	for (i = 0; i < count && i < capacity; i++)
		out[i] = layout[i];
	return count;
}
