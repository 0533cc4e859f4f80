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

#if defined(__x86_64__)

#define SYS_open 2
#define SYS_close 3
#define SYS_ioctl 16

static long syscall3(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

void shim_bind(void *open_fn, void *close_fn, void *ioctl_fn, void *errno_fn)
{
	(void)open_fn;
	(void)close_fn;
	(void)ioctl_fn;
	(void)errno_fn;
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

#else /* TinyCC has no inline assembly here: libc's own functions are handed in. */

static int (*libc_open)(const char *, int, ...);
static int (*libc_close)(int);
static int (*libc_ioctl)(int, unsigned long, ...);
static int *(*libc_errno)(void);

void shim_bind(void *open_fn, void *close_fn, void *ioctl_fn, void *errno_fn)
{
	libc_open = open_fn;
	libc_close = close_fn;
	libc_ioctl = ioctl_fn;
	libc_errno = errno_fn;
}

static long outcome(int result)
{
	return result < 0 ? -*libc_errno() : result;
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
