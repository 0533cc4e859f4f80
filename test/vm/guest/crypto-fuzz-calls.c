// SPDX-License-Identifier: MIT
/*
 * Random calls that know the ABI: right ones, ones that are nearly right, and nonsense, in files and
 * sessions that threads share. What is written to a thread's own memory is checked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "crypto-fuzz.h"

#define FILES		8
#define SESSIONS	24

static const struct kind {
	uint32_t cipher, keylen, mac, mackeylen, block;
} kinds[] = {
	{ 11, 16, 0, 0, 16 },	{ 11, 32, 0, 0, 16 },
	{ 21, 16, 0, 0, 1 },		{ 22, 32, 0, 0, 16 },
	{ 22, 64, 0, 0, 16 },	{ 23, 24, 0, 0, 16 },
	{ 24, 16, 0, 0, 1 },		{ 25, 16, 0, 0, 1 },
	{ 2, 24, 0, 0, 8 },		{ 16, 0, 0, 0, 1 },
	{ 50, 16, 0, 0, 1 },		{ 50, 32, 0, 0, 1 },
	{ 51, 16, 0, 0, 1 },		{ 0, 0, 14, 0, 1 },
	{ 0, 0, 104, 0, 1 },	{ 0, 0, 106, 0, 1 },
	{ 0, 0, 13, 0, 1 },		{ 0, 0, 7, 20, 1 },
	{ 0, 0, 18, 32, 1 },	{ 0, 0, 20, 512, 1 },
	{ 11, 16, 7, 20, 16 },	{ 11, 32, 18, 32, 16 },
	{ 21, 16, 7, 20, 1 },	{ 16, 0, 7, 20, 1 },
	{ 2, 24, 20, 64, 8 },
};

#define KINDS (sizeof(kinds) / sizeof(*kinds))

/* Both are written and read by all threads as they come to it. */
static int files[FILES];
static uint64_t sessions[SESSIONS];

void calls_init(void)
{
	for (int i = 0; i < FILES; i++)
		files[i] = -1;
	memset(sessions, 0, sizeof(sessions));
}

static int any_file(struct thread *t)
{
	int fd = -1;

	for (int i = 0; i < 4 && fd < 0; i++)
		fd = __atomic_load_n(&files[random_below(t, FILES)], __ATOMIC_RELAXED);
	return fd;
}

/* The file that is in its place goes: one that others work with, it may be. */
static void put_file(struct thread *t, int fd)
{
	int old = __atomic_exchange_n(&files[random_below(t, FILES)], fd, __ATOMIC_RELAXED);

	if (old < 0)
		return;
	/* Some sessions are forgotten with it, others go on being asked for. */
	for (int i = 0; i < SESSIONS; i++)
		if ((sessions[i] >> 32 & 0xffff) == (uint32_t)old && random_below(t, 16))
			__atomic_store_n(&sessions[i], 0, __ATOMIC_RELAXED);
	close(old);
}

struct use {
	int fd;
	uint32_t ses;
	const struct kind *kind;
};

static void put_session(struct thread *t, struct use use)
{
	uint64_t packed = (uint64_t)(use.kind - kinds + 1) << 48 | (uint64_t)(use.fd & 0xffff) << 32 |
			  use.ses;

	__atomic_store_n(&sessions[random_below(t, SESSIONS)], packed, __ATOMIC_RELAXED);
}

static int is_open(int fd)
{
	for (int i = 0; i < FILES; i++)
		if (__atomic_load_n(&files[i], __ATOMIC_RELAXED) == fd)
			return 1;
	return 0;
}

/* One that there is, mostly; it may have ended by the time that it's used. */
static struct use any_session(struct thread *t)
{
	uint64_t packed;

	for (int i = 0; i < 16; i++) {
		packed = __atomic_load_n(&sessions[random_below(t, SESSIONS)], __ATOMIC_RELAXED);
		if (packed && (is_open(packed >> 32 & 0xffff) || !random_below(t, 64)))
			break;
	}
	if (!packed || !random_below(t, 64))
		return (struct use){ any_file(t), random_below(t, 8), &kinds[random_below(t, KINDS)] };
	return (struct use){ packed >> 32 & 0xffff, packed, &kinds[(packed >> 48) - 1] };
}

/* Memory of any kind for a pointer of a call; what a job uses is written when others fetch it. */
static uint8_t *any_memory(struct thread *t, size_t bytes, int is_job)
{
	uint32_t choice = random_below(t, 100);

	if (choice < 6)
		return bad_memory(t, bytes);
	if (choice < 26)
		return mapped_memory(t, bytes);
	return is_job ? common_memory(t, bytes) : own_memory(t, bytes);
}

static uint8_t *any_small(struct thread *t, unsigned int n, size_t bytes, int is_job)
{
	if (!random_below(t, 24))
		return bad_memory(t, bytes);
	if (!random_below(t, 24))
		return mapped_memory(t, bytes);
	return is_job ? common_memory(t, bytes) : own_small(t, n);
}

static uint32_t any_length(struct thread *t, uint32_t block)
{
	uint32_t length;

	switch (random_below(t, 600)) {
	case 0:
		length = random_below(t, LONGEST - 64);
		break;
	case 1:
		length = (1u << 20) - 32 + random_below(t, 64);
		break;
	case 2 ... 39:
		length = random_below(t, 70000);
		break;
	case 40 ... 99:
		length = PAGE * (random_below(t, 3) + 1) - 8 + random_below(t, 16);
		break;
	default:
		length = random_below(t, 600);
	}
	return random_below(t, 16) ? length - length % block : length;
}

static uint16_t any_flags(struct thread *t)
{
	static const uint8_t usual[] = { 0, 0, 0, 4, 1, 65, 2, 3, 8 };

	if (!random_below(t, 50))
		return random_below(t, 65536);
	return usual[random_below(t, sizeof(usual))];
}

static int do_open(struct thread *t)
{
	int fd = open(fuzz_path, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		put_file(t, fd);
	return fd < 0 ? -1 : 0;
}

static int do_close(struct thread *t)
{
	put_file(t, -1);
	return 0;
}

static int do_dup(struct thread *t)
{
	int fd = dup(any_file(t));

	if (fd >= 0)
		put_file(t, fd);
	return fd < 0 ? -1 : 0;
}

static int do_clone(struct thread *t)
{
	uint32_t fd = 0;

	/* To a place that can't be written a number goes that is no descriptor then. */
	if (!random_below(t, 8))
		return ioctl(any_file(t), CRIOGET, t->own);
	if (ioctl(any_file(t), CRIOGET, &fd))
		return -1;
	put_file(t, fd);
	return 0;
}

static int do_gsession(struct thread *t)
{
	const struct kind *kind = &kinds[random_below(t, KINDS)];
	struct session_op s = { .cipher = kind->cipher, .keylen = kind->keylen, .mac = kind->mac,
				.mackeylen = kind->mackeylen };
	uint8_t *keys = own_memory(t, 1024);
	int fd = any_file(t);

	s.key = keys;
	s.mackey = keys + 512;
	/* Some keys are the same, so that copies of hashes come about. */
	memset(keys, random_below(t, 3), 1024);
	switch (random_below(t, 40)) {
	case 0:
		s.cipher = random_below(t, 130);
		break;
	case 1:
		s.mac = random_below(t, 130);
		break;
	case 2:
		s.keylen = random_below(t, 80);
		break;
	case 3:
		s.mackeylen = random_below(t, 600);
		break;
	case 4:
		s.key = bad_memory(t, s.keylen);
		break;
	case 5:
		s.mackey = bad_memory(t, s.mackeylen);
		break;
	case 6:
		/* Made, but nobody can be told */
		return ioctl(fd, CIOCGSESSION, bad_memory(t, sizeof(s)));
	case 7:
		s.keylen = random_below(t, 1 << 30) * 4;
		break;
	}
	if (ioctl(fd, CIOCGSESSION, &s))
		return -1;
	if (s.cipher == kind->cipher && s.mac == kind->mac)
		put_session(t, (struct use){ fd, s.ses, kind });
	return 0;
}

static int do_fsession(struct thread *t)
{
	struct use use = any_session(t);

	if (!random_below(t, 16))
		return ioctl(use.fd, CIOCFSESSION, bad_memory(t, 4));
	return ioctl(use.fd, CIOCFSESSION, &use.ses);
}

static void fill_source(struct thread *t, uint8_t *at, size_t bytes)
{
	if (is_own(t, at))
		memset(at, t->fill, bytes < 8192 ? bytes : 8192);
}

/* A crypt_op, whose memory is common if it is for a job */
static struct crypt_op any_crypt(struct thread *t, struct use use, int is_job, uint8_t **checked)
{
	struct crypt_op c = { .ses = use.ses, .op = random_below(t, 2), .flags = any_flags(t) };

	c.len = any_length(t, use.kind->block);
	*checked = is_job ? NULL : own_memory(t, c.len);
	c.dst = random_below(t, 100) < 70 && *checked ? *checked : any_memory(t, c.len, is_job);
	c.src = random_below(t, 3) ? c.dst : any_memory(t, c.len, is_job);
	if (random_below(t, 16) == 0)
		c.src = c.dst + random_below(t, 64);
	c.mac = any_small(t, 0, 64, is_job);
	c.iv = random_below(t, 4) ? any_small(t, 1, 16, is_job) : NULL;
	if (!random_below(t, 200))
		c.len = random_below(t, 1 << 30) * 4 + random_below(t, 4);
	if (!random_below(t, 64))
		c.op = random_below(t, 65536);
	return c;
}

static int do_crypt(struct thread *t)
{
	struct use use = any_session(t);
	uint8_t *checked, *mac = own_small(t, 0), *iv = own_small(t, 1);
	struct crypt_op c = any_crypt(t, use, 0, &checked);
	int is_dst = c.len <= LONGEST && c.dst == checked;
	int err, was;

	memset(mac, t->fill, 64);
	/* With a source that is elsewhere it may be that its guards are in it: they are set first. */
	if (c.len <= LONGEST && c.src == c.dst && is_dst)
		fill_source(t, c.src, c.len);
	guard_set(mac, 64);
	guard_set(iv, 16);
	if (is_dst)
		guard_set(checked, c.len);
	if (!random_below(t, 50))
		return ioctl(use.fd, CIOCCRYPT, bad_memory(t, sizeof(c)));
	err = ioctl(use.fd, CIOCCRYPT, &c);
	was = errno;
	if (is_dst) {
		guard_check(checked, c.len, "CRYPT's dst");
		leak_check(t, checked, c.len, "CRYPT's dst");
	}
	/* Whatever the session's digest: by now the number may be another one's. */
	guard_check(mac, 64, "CRYPT's mac");
	guard_check(iv, 16, "CRYPT's iv");
	leak_check(t, mac, 64, "CRYPT's mac");
	errno = was;
	return err;
}

/* dst's room: what is appended at most is a digest and padding. */
#define APPENDED 96

static int do_authcrypt(struct thread *t)
{
	struct use use = any_session(t);
	uint32_t form = random_below(t, 3);
	struct crypt_auth_op a = { .ses = use.ses, .op = random_below(t, 2) };
	uint8_t *checked, *tag = own_small(t, 2), *iv = own_small(t, 3);
	int is_dst, err, was;
	size_t room;

	/* Mostly one that there is a form for */
	for (int i = 0; i < 6 && !(use.kind->cipher && (use.kind->cipher >= 50 || use.kind->mac)); i++)
		use = any_session(t);
	if (random_below(t, 8))
		form = use.kind->cipher >= 50 ? 0 : use.kind->block > 1 ? 1 : 2;
	a.ses = use.ses;
	a.flags = form * 16 | (random_below(t, 3) ? 0 : COP_FLAG_WRITE_IV);
	if (!random_below(t, 50))
		a.flags = random_below(t, 65536);
	a.len = any_length(t, a.op ? use.kind->block : 1);
	a.auth_len = random_below(t, random_below(t, 8) ? 64 : 5000);
	a.tag_len = random_below(t, 2) ? 0 : random_below(t, random_below(t, 8) ? 17 : 70);
	if (a.len > LONGEST - 8192)
		a.len = LONGEST - 8192;
	checked = own_memory(t, a.len + APPENDED + 8192) + 4096;
	a.dst = random_below(t, 100) < 70 ? checked : any_memory(t, a.len + APPENDED, 0);
	a.src = random_below(t, 8) ? a.dst : any_memory(t, a.len, 0);
	a.auth_src = any_memory(t, a.auth_len, 0);
	if (form == 2 && random_below(t, 8)) {
		uint32_t before = random_below(t, 280);

		a.auth_src = a.src - before;
		a.auth_len = before + (random_below(t, 4) ? a.len : random_below(t, 5000));
	}
	a.tag = any_small(t, 2, 64, 0);
	a.iv = random_below(t, 16) ? any_small(t, 3, 16, 0) : NULL;
	a.iv_len = random_below(t, 4) ? (use.kind->cipher == 50 ? 12 : 16) : random_below(t, 20);
	if (!random_below(t, 200))
		a.len = random_below(t, 1 << 30) * 4;
	if (!random_below(t, 200))
		a.auth_len = random_below(t, 1 << 30) * 4;
	if (!random_below(t, 200))
		a.tag_len = random_below(t, 1 << 30) * 4;
	is_dst = a.dst == checked && a.len <= LONGEST;
	if (is_dst) {
		memset(checked, t->fill, (a.len < 8192 ? a.len : 8192) + APPENDED);
		guard_set(checked, a.len + APPENDED);
	}
	guard_set(tag, 64);
	guard_set(iv, 16);
	if (!random_below(t, 50))
		return ioctl(use.fd, CIOCAUTHCRYPT, bad_memory(t, sizeof(a)));
	room = (size_t)a.len + APPENDED;
	err = ioctl(use.fd, CIOCAUTHCRYPT, &a);
	was = errno;
	if (is_dst) {
		guard_check(checked, room, "AUTHCRYPT's dst");
		leak_check(t, checked, room, "AUTHCRYPT's dst");
		if (!err && a.len > room)
			fault("AUTHCRYPT says %u bytes of %zu", a.len, room);
	}
	guard_check(tag, 64, "AUTHCRYPT's tag");
	guard_check(iv, 16, "AUTHCRYPT's iv");
	errno = was;
	return err;
}

static int do_cphash(struct thread *t)
{
	struct use to = any_session(t), from = any_session(t);
	struct cphash_op c;

	/* Mostly of the same hash in the same file */
	for (int i = 0; i < 12 && (from.fd != to.fd || from.kind != to.kind || !to.kind->mac); i++) {
		from = any_session(t);
		if (!to.kind->mac)
			to = any_session(t);
	}
	c = (struct cphash_op){ to.ses, random_below(t, 16) ? from.ses : to.ses };
	if (!random_below(t, 32))
		return ioctl(to.fd, CIOCCPHASH, bad_memory(t, sizeof(c)));
	return ioctl(to.fd, CIOCCPHASH, &c);
}

static int do_queue(struct thread *t)
{
	struct use use = any_session(t);
	uint8_t *checked;
	struct crypt_op c = any_crypt(t, use, 1, &checked);

	if (!random_below(t, 50))
		return ioctl(use.fd, CIOCASYNCCRYPT, bad_memory(t, sizeof(c)));
	return ioctl(use.fd, CIOCASYNCCRYPT, &c);
}

static int do_fetch(struct thread *t)
{
	struct crypt_op c;
	int fd = any_session(t).fd;

	if (!random_below(t, 50))
		return ioctl(fd, CIOCASYNCFETCH, bad_memory(t, sizeof(c)));
	if (!random_below(t, 4)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		poll(&p, 1, random_below(t, 8));
	}
	return ioctl(fd, CIOCASYNCFETCH, &c);
}

static int do_poll(struct thread *t)
{
	struct pollfd p[FILES];

	for (int i = 0; i < FILES; i++)
		p[i] = (struct pollfd){ .fd = any_file(t),
					.events = random_below(t, 2) ? POLLIN : POLLIN | POLLOUT };
	return poll(p, FILES, random_below(t, 8)) < 0 ? -1 : 0;
}

static int do_info(struct thread *t)
{
	struct use use = any_session(t);
	struct session_info_op *info = (void *)own_small(t, 4);

	if (!random_below(t, 16))
		return ioctl(use.fd, CIOCGSESSINFO, bad_memory(t, sizeof(*info)));
	memset(info, t->fill, sizeof(*info));
	guard_set((void *)info, sizeof(*info));
	info->ses = use.ses;
	if (ioctl(use.fd, CIOCGSESSINFO, info))
		return -1;
	guard_check((void *)info, sizeof(*info), "GSESSINFO");
	leak_check(t, (void *)info, sizeof(*info), "GSESSINFO");
	if (memchr(info->cipher, 0, 64) == NULL || memchr(info->hash_driver, 0, 64) == NULL)
		fault("GSESSINFO gives a name without an end");
	return 0;
}

static int do_nonsense(struct thread *t)
{
	uint32_t command = random_below(t, 4) ?
			   _IOWR('c', 95 + random_below(t, 25), struct crypt_op) :
			   random_below(t, 1u << 31);
	uint32_t features;

	if (random_below(t, 2))
		return ioctl(any_file(t), CIOCASYMFEAT,
			     random_below(t, 4) ? (uint8_t *)&features : bad_memory(t, 4));
	return ioctl(any_file(t), command, bad_memory(t, 64));
}

static int do_map(struct thread *t)
{
	return memory_map(t, any_file(t));
}

const char *const call_names[] = {
	"open", "close", "dup", "clone", "gsession", "fsession", "crypt", "authcrypt", "cphash",
	"async", "fetch", "poll", "info", "nonsense", "map", "unmap", "move", "protect", "splice",
	NULL,
};

static const struct {
	int (*call)(struct thread *t);
	/* Of so many in all */
	uint32_t weight;
	/* Of the driver's: its errors are looked at. */
	int is_ours;
} calls[] = {
	{ do_open, 30, 1 },	{ do_close, 10, 0 },	{ do_dup, 8, 1 },
	{ do_clone, 10, 1 },	{ do_gsession, 120, 1 }, { do_fsession, 30, 1 },
	{ do_crypt, 330, 1 },	{ do_authcrypt, 180, 1 }, { do_cphash, 30, 1 },
	{ do_queue, 70, 1 },	{ do_fetch, 70, 1 },	{ do_poll, 10, 1 },
	{ do_info, 20, 1 },	{ do_nonsense, 10, 0 },	{ do_map, 32, 0 },
	{ memory_unmap, 15, 0 }, { memory_move, 8, 0 },	{ memory_protect, 8, 0 },
	{ memory_splice, 8, 0 },
};

static int is_sane(int error)
{
	switch (error) {
	case EINVAL:
	case EFAULT:
	case ENOMEM:
	case EBUSY:
	case EBADMSG:
	case EBADF:
	case EMFILE:
	case ENODEV:
	case ENOENT:
	case EIO:
	case ETIMEDOUT:
	case ENXIO:
		return 1;
	}
	/* A device that lies may lie about its errors. */
	return fuzz_lying && error > 0 && error < 256;
}

void call(struct thread *t)
{
	uint32_t all = 0, choice, i;

	for (i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		all += calls[i].weight;
	choice = random_below(t, all);
	for (i = 0; choice >= calls[i].weight; i++)
		choice -= calls[i].weight;
	__atomic_add_fetch(&shared->tried[i], 1, __ATOMIC_RELAXED);
	if (!calls[i].call(t)) {
		__atomic_add_fetch(&shared->worked[i], 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&shared->succeeded, 1, __ATOMIC_RELAXED);
		return;
	}
	if (errno > 0 && errno < 256)
		__atomic_add_fetch(&shared->errors[errno], 1, __ATOMIC_RELAXED);
	if (calls[i].is_ours && !is_sane(errno))
		fault("%s says %s (%d)", call_names[i], strerror(errno), errno);
}
