/*
 * virtio cryptodev: a host's /dev/crypto for tests, behind ioctl(2)
 *
 * Does with libcrypto what the ABI says that a node does. Laid out by the
 * ABI's offsets, not by the backend's structures, which it is to test.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake-host.h"
#include "harness.h"

#define CIOCGSESSION    0xc0306366
#define CIOCFSESSION    0x40046367
#define CIOCCRYPT       0xc0306368
#define CIOCGSESSINFO   0xc10c636b
#define CIOCAUTHCRYPT   0xc048636d
#define CIOCCPHASH      0x40086370

#define SESSIONS        64

struct host_session {
    bool used;
    int fd;
    void *session;
    const struct vcd_algorithm *cipher, *mac;
    uint8_t iv[VCD_IV_MAX];
};

char fake_host_path[] = "/tmp/vcd-fake-host-XXXXXX";

static enum fake_host_kind kind;
static struct stat node;
static struct host_session sessions[SESSIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void fake_host_start(enum fake_host_kind host_kind)
{
    int fd;

    strcpy(fake_host_path + strlen(fake_host_path) - 6, "XXXXXX");
    fd = mkstemp(fake_host_path);
    CHECK(fd >= 0);
    CHECK(fstat(fd, &node) == 0);
    close(fd);
    kind = host_kind;
}

void fake_host_stop(void)
{
    unlink(fake_host_path);
    CHECK_EQUAL(fake_host_sessions(), 0);
    memset(&node, 0, sizeof(node));
}

unsigned fake_host_sessions(void)
{
    unsigned count = 0;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < SESSIONS; i++) {
        count += sessions[i].used;
    }
    pthread_mutex_unlock(&lock);
    return count;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static void *get_pointer(const uint8_t *at)
{
    void *value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static int gsession(int fd, uint8_t *op)
{
    uint32_t cipher = get32(op), mac = get32(op + 4);
    struct vcd_session_spec spec = {
        .cipher = cipher ? vcd_algorithm(cipher) : NULL,
        .mac = mac ? vcd_algorithm(mac) : NULL,
        .key_bytes = get32(op + 8), .key = get_pointer(op + 16),
        .mac_key_bytes = get32(op + 24), .mac_key = get_pointer(op + 32),
    };
    uint32_t number = 0;
    int error;

    if (kind == FAKE_HOST_REFUSES || (!spec.cipher && !spec.mac)) {
        return -EINVAL;
    }
    if (kind == FAKE_HOST_ODD_ERRNO) {
        return -524;
    }
    if (kind == FAKE_HOST_HASHES_ONLY && cipher) {
        return -ENOENT;
    }
    while (number < SESSIONS && sessions[number].used) {
        number++;
    }
    CHECK(number < SESSIONS);
    error = vcd_backend_libcrypto.session_new(NULL, &spec,
                                              &sessions[number].session);
    if (error) {
        return error;
    }
    sessions[number].used = true;
    sessions[number].fd = fd;
    sessions[number].cipher = spec.cipher;
    sessions[number].mac = spec.mac;
    number += 100;
    memcpy(op + 40, &number, sizeof(number));
    return 0;
}

static struct host_session *named(int fd, uint32_t number)
{
    struct host_session *session = &sessions[(number - 100) % SESSIONS];

    return number >= 100 && session->used && session->fd == fd ? session :
                                                                 NULL;
}

static int fsession(int fd, const uint8_t *number)
{
    struct host_session *session = named(fd, get32(number));

    if (!session) {
        return -EINVAL;
    }
    vcd_backend_libcrypto.session_free(NULL, session->session);
    session->used = false;
    return 0;
}

static int crypt_call(struct host_session *session, const uint8_t *host)
{
    uint8_t mac[VCD_DIGEST_MAX];
    uint16_t op = get32(host + 4) & 0xffff, flags = get32(host + 4) >> 16;
    uint32_t len = get32(host + 8);
    struct vcd_op call = {
        .decrypt = op, .flags = flags, .len = len,
        .start = !flags || (flags & VCD_RESET),
        .finish = (flags & VCD_FINAL) || !(flags & VCD_UPDATE) || !len,
        .src = get_pointer(host + 16), .dst = get_pointer(host + 24),
        .iv = get_pointer(host + 40), .mac = mac,
    };
    int error = 0;

    if (op > 1 || (flags & ~(VCD_UPDATE | VCD_FINAL | VCD_RESET)) ||
        (session->cipher && !call.iv != !session->cipher->iv_bytes)) {
        return -EINVAL;
    }
    if (session->mac && !(session->cipher && op)) {
        error = vcd_backend_libcrypto.digest(session->session, &call,
                                             call.src, len);
    }
    if (!error && session->cipher) {
        error = vcd_backend_libcrypto.cipher(session->session, &call);
    }
    if (!error && session->mac && session->cipher && op) {
        error = vcd_backend_libcrypto.digest(session->session, &call,
                                             call.dst, len);
    }
    if (!error && session->mac && call.finish) {
        memcpy(get_pointer(host + 32), mac, session->mac->digest_bytes);
    }
    return error;
}

/* The tag of what an AEAD encrypts is put behind it, as the ABI has it. */
static int authcrypt_call(struct host_session *session, uint8_t *host)
{
    uint16_t op = get32(host + 4) & 0xffff, flags = get32(host + 4) >> 16;
    uint32_t len = get32(host + 8), auth_len = get32(host + 12), value;
    uint32_t tag_bytes = get32(host + 48) ?: 16;
    const uint8_t *auth = get_pointer(host + 16);
    uint8_t tag[VCD_TAG_MAX] = { 0 };
    struct vcd_auth_op call = {
        .form = flags, .decrypt = op, .len = len, .tag_bytes = tag_bytes,
        .before = auth ?: tag, .before_bytes = auth_len, .after = tag,
        .src = get_pointer(host + 24), .dst = get_pointer(host + 32),
        .iv = get_pointer(host + 56), .result_bytes = len, .tag = tag,
    };
    int error;

    if (op > 1 || !call.iv || (flags && call.src != call.dst)) {
        return -EINVAL;
    }
    if (flags == VCD_FORM_SRTP) {
        call.before_bytes = call.src - auth;
        call.covered = auth_len - call.before_bytes;
        call.covered = call.covered < len ? call.covered : len;
        call.after = call.src + len;
        call.after_bytes = auth_len - call.before_bytes - call.covered;
        memcpy(tag, get_pointer(host + 40), op ? tag_bytes : 0);
    } else if (flags == VCD_FORM_TLS && !op) {
        size_t block = session->cipher->block_bytes;

        call.result_bytes = (len + tag_bytes + block) / block * block;
    } else if (!flags && op) {
        call.result_bytes = len - tag_bytes;
    }
    error = vcd_backend_libcrypto.authcrypt(NULL, session->session, &call);
    if (error) {
        /* As cryptodev-linux has it for some paddings, and not for others */
        return flags == VCD_FORM_TLS && len % 32 == 0 ? -EINVAL : error;
    }
    value = call.value;
    if (!flags && !op) {
        memcpy(call.dst + len, tag, tag_bytes);
        value += tag_bytes;
    } else if (flags == VCD_FORM_SRTP && !op) {
        memcpy(get_pointer(host + 40), tag, tag_bytes);
    }
    memcpy(host + 8, &value, sizeof(value));
    return 0;
}

static int cphash_call(int fd, const uint8_t *host)
{
    struct host_session *to = named(fd, get32(host));
    struct host_session *from = named(fd, get32(host + 4));

    return to && from && to->mac == from->mac ?
        vcd_backend_libcrypto.hash_copy(NULL, to->session, from->session) :
        -EINVAL;
}

/* Names without a NUL, as long as there is room for them */
static int info(const struct host_session *session, uint8_t *host)
{
    memset(host + 4, session->cipher ? 'c' : 0, 128);
    memset(host + 132, session->mac ? 'h' : 0, 128);
    host[260] = 15;
    host[264] = 1;
    return 0;
}

static int call(int fd, unsigned long request, void *argument)
{
    struct host_session *session;

    if (kind == FAKE_HOST_LIES) {
        return 0;
    }
    switch ((uint32_t)request) {
    case CIOCGSESSION:
        return gsession(fd, argument);
    case CIOCFSESSION:
        return fsession(fd, argument);
    case CIOCCRYPT:
        session = named(fd, get32(argument));
        return session ? crypt_call(session, argument) : -EINVAL;
    case CIOCAUTHCRYPT:
        session = named(fd, get32(argument));
        return session ? authcrypt_call(session, argument) : -EINVAL;
    case CIOCCPHASH:
        return cphash_call(fd, argument);
    case CIOCGSESSINFO:
        session = named(fd, get32(argument));
        return session ? info(session, argument) : -EINVAL;
    default:
        return -EINVAL;
    }
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    struct stat stat;
    void *argument;
    va_list list;
    int error;

    va_start(list, request);
    argument = va_arg(list, void *);
    va_end(list);
    if (fstat(fd, &stat) < 0 || !node.st_ino || stat.st_ino != node.st_ino ||
        stat.st_dev != node.st_dev) {
        return __real_ioctl(fd, request, argument);
    }
    pthread_mutex_lock(&lock);
    error = call(fd, request, argument);
    pthread_mutex_unlock(&lock);
    if (error) {
        errno = -error;
        return -1;
    }
    return 0;
}

int __real_close(int fd);
int __wrap_close(int fd);

/* The end of a file ends its sessions. */
int __wrap_close(int fd)
{
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        uint32_t number = i + 100;

        if (named(fd, number)) {
            fsession(fd, (const uint8_t *)&number);
        }
    }
    pthread_mutex_unlock(&lock);
    return __real_close(fd);
}
