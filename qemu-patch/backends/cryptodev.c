/*
 * virtio cryptodev: the backend that uses a node of the host's /dev/crypto
 *
 * One host file for each of the guest's, so that the host's kernel keeps the
 * guest's files apart as it keeps processes apart.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "backends.h"
#include "cryptodev_abi.h"
#include "virtio_cryptodev.h"

/* A node that takes longer to make a session is none to serve a guest with */
#define PROBE_SECONDS   5

struct host_session {
    uint32_t ses;
    size_t iv_bytes;
};

/* The last call's errno, negative, as far as a guest knows its number */
static int host_error(void)
{
    return errno >= 1 && errno <= 133 ? -errno : -EIO;
}

static int host_ioctl(int fd, unsigned long request, void *argument)
{
    int ret;

    do {
        ret = ioctl(fd, request, argument);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? host_error() : 0;
}

static int host_open_path(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    return fd < 0 ? host_error() : fd;
}

/* A file is its descriptor, in the pointer itself. */
static int fd_of(void *file)
{
    return (intptr_t)file;
}

/* Whether the process has descriptors left for its own ends behind @fd */
static bool leaves_some(int fd)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
           limit.rlim_cur == RLIM_INFINITY ||
           (rlim_t)fd < limit.rlim_cur - limit.rlim_cur / 4;
}

static int host_open(void *opaque, void **file)
{
    int fd = host_open_path(opaque);

    if (fd < 0) {
        return fd;
    }
    if (!leaves_some(fd)) {
        close(fd);
        return -EMFILE;
    }
    *file = (void *)(intptr_t)fd;
    return 0;
}

static void host_close(void *file)
{
    close(fd_of(file));
}

static int host_session_new(void *file, const struct vcd_session_spec *spec,
                            void **out)
{
    struct session_op op = {
        .cipher = spec->cipher ? spec->cipher->id : 0,
        .mac = spec->mac ? spec->mac->id : 0,
        .keylen = spec->key_bytes,
        .key = (uint8_t *)spec->key,
        .mackeylen = spec->mac_key_bytes,
        .mackey = (uint8_t *)spec->mac_key,
    };
    struct host_session *session = malloc(sizeof(*session));
    int error;

    if (!session) {
        return -ENOMEM;
    }
    error = host_ioctl(fd_of(file), CIOCGSESSION, &op);
    if (error) {
        free(session);
        return error;
    }
    session->ses = op.ses;
    session->iv_bytes = spec->cipher ? spec->cipher->iv_bytes : 0;
    *out = session;
    return 0;
}

static void host_session_free(void *file, void *opaque)
{
    struct host_session *session = opaque;

    host_ioctl(fd_of(file), CIOCFSESSION, &session->ses);
    free(session);
}

static int host_crypt(void *file, void *opaque, const struct vcd_op *op)
{
    struct host_session *session = opaque;
    /* A copy: the ABI lets the host write here. */
    uint8_t iv[VCD_IV_MAX];
    struct crypt_op host = {
        .ses = session->ses,
        .op = op->decrypt,
        .flags = op->flags & (VCD_UPDATE | VCD_FINAL | VCD_RESET),
        .len = op->len,
        .src = (uint8_t *)op->src,
        .dst = op->dst,
        .mac = op->mac,
    };

    if (op->iv) {
        memcpy(iv, op->iv, session->iv_bytes);
        host.iv = iv;
    }
    return host_ioctl(fd_of(file), CIOCCRYPT, &host);
}

/*
 * The core has put source and result into one buffer, with what SRTP
 * authenticates around them.
 */
static int host_authcrypt(void *file, void *opaque, struct vcd_auth_op *op)
{
    struct host_session *session = opaque;
    bool srtp = op->form == VCD_FORM_SRTP;
    uint8_t iv[VCD_IV_MAX];
    struct crypt_auth_op host = {
        .ses = session->ses,
        .op = op->decrypt,
        .flags = op->form,
        .len = op->len,
        .auth_len = srtp ? op->before_bytes + op->covered + op->after_bytes :
                           op->before_bytes,
        .auth_src = (uint8_t *)op->before,
        .src = (uint8_t *)op->src,
        .dst = op->dst,
        .tag = op->tag,
        .tag_len = op->tag_bytes,
        .iv_len = session->iv_bytes,
    };
    int error;

    /* cryptodev-linux cuts the data off where what is authenticated ends. */
    if (srtp && op->covered < op->len) {
        return -EINVAL;
    }
    if (op->iv) {
        memcpy(iv, op->iv, session->iv_bytes);
        host.iv = iv;
    }
    error = host_ioctl(fd_of(file), CIOCAUTHCRYPT, &host);
    /*
     * It has another error for padding that is right and leaves no room for
     * the MAC; the request was checked, so that EINVAL says nothing else.
     */
    if (error == -EINVAL && op->form == VCD_FORM_TLS && op->decrypt) {
        error = -EBADMSG;
    }
    if (error) {
        return error;
    }
    op->value = host.len;
    if (op->form == 0 && !op->decrypt) {
        /* It is behind the ciphertext. */
        memcpy(op->tag, op->dst + op->len, op->tag_bytes);
        op->value -= op->tag_bytes;
    }
    return 0;
}

static int host_hash_copy(void *file, void *to, void *from)
{
    struct cphash_op host = {
        .dst_ses = ((struct host_session *)to)->ses,
        .src_ses = ((struct host_session *)from)->ses,
    };

    return host_ioctl(fd_of(file), CIOCCPHASH, &host);
}

/* The host's names may lack their NUL. */
static void copy_name(char *to, const char *from)
{
    snprintf(to, 64, "%.63s", from);
}

static int host_info(void *file, void *opaque, struct vcd_info *info)
{
    struct host_session *session = opaque;
    struct session_info_op host = { .ses = session->ses };
    int error = host_ioctl(fd_of(file), CIOCGSESSINFO, &host);

    if (error) {
        return error;
    }
    memset(info, 0, sizeof(*info));
    copy_name(info->cipher_name, host.cipher_info.cra_name);
    copy_name(info->cipher_driver, host.cipher_info.cra_driver_name);
    copy_name(info->hash_name, host.hash_info.cra_name);
    copy_name(info->hash_driver, host.hash_info.cra_driver_name);
    info->alignmask = host.alignmask;
    info->flags = host.flags;
    return 0;
}

/*
 * Probing: one known answer, so that neither a file that takes any ioctl nor a
 * host without a driver behind its node is found out by a guest only.
 */

/* One call of a session made for it: 0, or a negative errno */
static int probe_session(int fd, struct session_op *session,
                         struct crypt_op *crypt)
{
    int error = host_ioctl(fd, CIOCGSESSION, session);

    if (error) {
        return error;
    }
    crypt->ses = session->ses;
    error = host_ioctl(fd, CIOCCRYPT, crypt);
    if (error) {
        host_ioctl(fd, CIOCFSESSION, &session->ses);
        return error;
    }
    return host_ioctl(fd, CIOCFSESSION, &session->ses);
}

/* NIST SP 800-38A, F.2.1, the first block */
static int probe_aes_cbc(int fd)
{
    static const uint8_t key[16] =
        "\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c";
    static const uint8_t plain[16] =
        "\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a";
    static const uint8_t answer[16] =
        "\x76\x49\xab\xac\x81\x19\xb2\x46\xce\xe9\x8e\x9b\x12\xe9\x19\x7d";
    uint8_t iv[16] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    };
    uint8_t result[16] = { 0 };
    struct session_op session = {
        .cipher = CRYPTO_AES_CBC, .keylen = sizeof(key), .key = (uint8_t *)key,
    };
    struct crypt_op crypt = {
        .len = sizeof(plain), .src = (uint8_t *)plain, .dst = result, .iv = iv,
    };
    int error = probe_session(fd, &session, &crypt);

    return error ? error : memcmp(result, answer, 16) ? -EIO : 0;
}

/* FIPS 180-4's example, "abc" */
static const uint8_t sha256_abc[32] =
    "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23"
    "\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad";

static int probe_sha256(int fd)
{
    uint8_t mac[VCD_DIGEST_MAX] = { 0 };
    struct session_op session = { .mac = CRYPTO_SHA2_256 };
    struct crypt_op crypt = {
        .len = 3, .src = (uint8_t *)"abc", .mac = mac,
    };
    int error = probe_session(fd, &session, &crypt);

    return error ? error : memcmp(mac, sha256_abc, 32) ? -EIO : 0;
}

/*
 * What a host may lack. Its answers are looked at, so that one that takes any
 * call of these and does nothing is not believed.
 */

/* SP 800-38D's test case 2: AES-128-GCM of a block of zeros */
static bool has_authcrypt(int fd)
{
    static const uint8_t answer[32] =
        "\x03\x88\xda\xce\x60\xb6\xa3\x92\xf3\x28\xc2\xb9\x71\xb2\xfe\x78"
        "\xab\x6e\x47\xd4\x2c\xec\x13\xbd\xf5\x3a\x67\xb2\x12\x57\xbd\xdf";
    uint8_t key[16] = { 0 }, iv[VCD_IV_MAX] = { 0 }, data[32] = { 0 };
    struct session_op session = {
        .cipher = CRYPTO_AES_GCM, .keylen = sizeof(key), .key = key,
    };
    struct crypt_auth_op auth = {
        .len = 16, .src = data, .dst = data, .iv = iv, .iv_len = 12,
    };
    bool good;

    if (host_ioctl(fd, CIOCGSESSION, &session)) {
        return false;
    }
    auth.ses = session.ses;
    good = !host_ioctl(fd, CIOCAUTHCRYPT, &auth) && auth.len == 32 &&
           memcmp(data, answer, 32) == 0;
    host_ioctl(fd, CIOCFSESSION, &session.ses);
    return good;
}

/* Whether the second of two sessions goes on from where the first one is */
static bool copies_hash(int fd, uint32_t from, uint32_t to)
{
    uint8_t macs[2][VCD_DIGEST_MAX] = { { 0 } };
    struct cphash_op copy = { .dst_ses = to, .src_ses = from };
    struct crypt_op begin = {
        .ses = from, .flags = COP_FLAG_UPDATE | COP_FLAG_RESET,
        .len = 3, .src = (uint8_t *)"abc", .mac = macs[0],
    };
    struct crypt_op end = {
        .ses = from, .flags = COP_FLAG_FINAL, .src = macs[1], .mac = macs[0],
    };

    if (host_ioctl(fd, CIOCCRYPT, &begin) ||
        host_ioctl(fd, CIOCCPHASH, &copy) ||
        host_ioctl(fd, CIOCCRYPT, &end)) {
        return false;
    }
    end.ses = to;
    end.mac = macs[1];
    return !host_ioctl(fd, CIOCCRYPT, &end) &&
           memcmp(macs[0], sha256_abc, 32) == 0 &&
           memcmp(macs[1], sha256_abc, 32) == 0;
}

static bool has_cphash(int fd)
{
    struct session_op from = { .mac = CRYPTO_SHA2_256 };
    struct session_op to = { .mac = CRYPTO_SHA2_256 };
    bool good;

    if (host_ioctl(fd, CIOCGSESSION, &from)) {
        return false;
    }
    if (host_ioctl(fd, CIOCGSESSION, &to)) {
        host_ioctl(fd, CIOCFSESSION, &from.ses);
        return false;
    }
    good = copies_hash(fd, from.ses, to.ses);
    host_ioctl(fd, CIOCFSESSION, &to.ses);
    host_ioctl(fd, CIOCFSESSION, &from.ses);
    return good;
}

static uint64_t lacking_features(int fd)
{
    uint64_t aead = UINT64_C(1) << VIRTIO_CRYPTODEV_F_AEAD;
    uint64_t cphash = UINT64_C(1) << VIRTIO_CRYPTODEV_F_CPHASH;

    return (has_authcrypt(fd) ? 0 : aead) | (has_cphash(fd) ? 0 : cphash);
}

static int probe(const char *path, uint64_t *without)
{
    int fd = host_open_path(path);
    int error;

    *without = 0;
    if (fd < 0) {
        return fd;
    }
    error = probe_aes_cbc(fd);
    /* A host may have no cipher, but hashes. */
    if (error == -EINVAL || error == -ENOENT) {
        error = probe_sha256(fd);
    }
    *without = error ? 0 : lacking_features(fd);
    close(fd);
    return error;
}

/* A probe that is waited for, or not any more; whoever is last frees it */
struct waiting_probe {
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool finished, given_up;
    int error;
    uint64_t without;
    char path[];
};

static void waiting_probe_free(struct waiting_probe *waiting)
{
    pthread_cond_destroy(&waiting->done);
    pthread_mutex_destroy(&waiting->lock);
    free(waiting);
}

static void *probe_thread(void *opaque)
{
    struct waiting_probe *waiting = opaque;
    uint64_t without;
    int error = probe(waiting->path, &without);
    bool given_up;

    pthread_mutex_lock(&waiting->lock);
    waiting->error = error;
    waiting->without = without;
    waiting->finished = true;
    given_up = waiting->given_up;
    pthread_cond_signal(&waiting->done);
    pthread_mutex_unlock(&waiting->lock);
    if (given_up) {
        waiting_probe_free(waiting);
    }
    return NULL;
}

static int wait_for_probe(struct waiting_probe *waiting, uint64_t *without)
{
    struct timespec end;
    bool finished;
    int error = 0;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PROBE_SECONDS;
    pthread_mutex_lock(&waiting->lock);
    while (!waiting->finished && error != ETIMEDOUT) {
        error = pthread_cond_timedwait(&waiting->done, &waiting->lock, &end);
    }
    finished = waiting->finished;
    error = finished ? waiting->error : -ETIMEDOUT;
    *without = finished ? waiting->without : 0;
    waiting->given_up = true;
    pthread_mutex_unlock(&waiting->lock);
    if (finished) {
        waiting_probe_free(waiting);
    }
    return error;
}

int vcd_cryptodev_probe(const char *path, uint64_t *without)
{
    struct waiting_probe *waiting = calloc(1, sizeof(*waiting) +
                                              strlen(path) + 1);
    pthread_t thread;
    int error;

    if (!waiting) {
        return -ENOMEM;
    }
    strcpy(waiting->path, path);
    pthread_mutex_init(&waiting->lock, NULL);
    pthread_cond_init(&waiting->done, NULL);
    error = pthread_create(&thread, NULL, probe_thread, waiting);
    if (error) {
        waiting_probe_free(waiting);
        return -error;
    }
    pthread_detach(thread);
    return wait_for_probe(waiting, without);
}

const struct vcd_backend vcd_backend_cryptodev = {
    .name = "cryptodev",
    .id = VIRTIO_CRYPTODEV_BACKEND_CRYPTODEV,
    .may_block = true,
    .open = host_open,
    .close = host_close,
    .session_new = host_session_new,
    .session_free = host_session_free,
    .crypt = host_crypt,
    .info = host_info,
    .authcrypt = host_authcrypt,
    .hash_copy = host_hash_copy,
};
