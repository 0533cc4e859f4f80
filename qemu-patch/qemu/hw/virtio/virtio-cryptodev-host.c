/*
 * virtio cryptodev device: the backend that uses the host's /dev/crypto
 *
 * One host file for each of the guest's, so that the host's kernel keeps the
 * guest's files apart as it keeps processes apart.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qemu/cutils.h"
#include "hw/virtio/virtio-cryptodev.h"

/* The ABI of /dev/crypto, as the host's kernel has it */

struct host_session_op {
    uint32_t cipher;
    uint32_t mac;
    uint32_t keylen;
    const uint8_t *key;
    uint32_t mackeylen;
    const uint8_t *mackey;
    uint32_t ses;
};

struct host_crypt_op {
    uint32_t ses;
    uint16_t op;
    uint16_t flags;
    uint32_t len;
    const uint8_t *src;
    uint8_t *dst;
    uint8_t *mac;
    uint8_t *iv;
};

struct host_alg_info {
    char cra_name[64];
    char cra_driver_name[64];
};

struct host_session_info_op {
    uint32_t ses;
    struct host_alg_info cipher_info;
    struct host_alg_info hash_info;
    uint16_t alignmask;
    uint32_t flags;
};

#define HOST_CIOCGSESSION   _IOWR('c', 102, struct host_session_op)
#define HOST_CIOCFSESSION   _IOW('c', 103, uint32_t)
#define HOST_CIOCCRYPT      _IOWR('c', 104, struct host_crypt_op)
#define HOST_CIOCGSESSINFO  _IOWR('c', 107, struct host_session_info_op)

typedef struct HostSession {
    uint32_t ses;
    size_t iv_bytes;
} HostSession;

static int fd_of(void *file)
{
    return GPOINTER_TO_INT(file);
}

/* 0 or the host's errno, negative, as far as a guest knows it */
static int host_ioctl(void *file, unsigned long request, void *argument)
{
    int ret = RETRY_ON_EINTR(ioctl(fd_of(file), request, argument));

    if (ret >= 0) {
        return 0;
    }
    return errno >= 1 && errno <= 133 ? -errno : -EIO;
}

static int host_open(const char *path, void **file)
{
    int fd = qemu_open_old(path, O_RDWR);

    if (fd < 0) {
        return -errno;
    }
    *file = GINT_TO_POINTER(fd);
    return 0;
}

static void host_close(void *file)
{
    qemu_close(fd_of(file));
}

static int host_session_new(void *file, const CryptodevSessionSpec *spec,
                            void **out)
{
    struct host_session_op op = {
        .cipher = spec->cipher ? spec->cipher->id : 0,
        .mac = spec->mac ? spec->mac->id : 0,
        .keylen = spec->key_bytes,
        .key = spec->key,
        .mackeylen = spec->mac_key_bytes,
        .mackey = spec->mac_key,
    };
    HostSession *session;
    int error = host_ioctl(file, HOST_CIOCGSESSION, &op);

    if (error) {
        return error;
    }
    session = g_new0(HostSession, 1);
    session->ses = op.ses;
    session->iv_bytes = spec->cipher ? spec->cipher->iv_bytes : 0;
    *out = session;
    return 0;
}

static void host_session_free(void *file, void *opaque)
{
    HostSession *session = opaque;

    host_ioctl(file, HOST_CIOCFSESSION, &session->ses);
    g_free(session);
}

static int host_crypt(void *file, void *opaque, CryptodevOp *op)
{
    HostSession *session = opaque;
    struct host_crypt_op host = {
        .ses = session->ses,
        .op = op->op,
        .flags = op->flags,
        .len = op->len,
        .src = op->src,
        .dst = op->dst,
        .mac = op->mac,
    };

    if (op->iv) {
        memcpy(op->next_iv, op->iv, session->iv_bytes);
    }
    /* With WRITE_IV alone the host writes the next IV where it finds one. */
    if (op->iv || (op->flags & COP_FLAG_WRITE_IV)) {
        host.iv = op->next_iv;
    }
    return host_ioctl(file, HOST_CIOCCRYPT, &host);
}

static int host_info(void *file, void *opaque,
                     struct virtio_cryptodev_gsessinfo *info)
{
    HostSession *session = opaque;
    struct host_session_info_op host = { .ses = session->ses };
    int error = host_ioctl(file, HOST_CIOCGSESSINFO, &host);

    if (error) {
        return error;
    }
    memcpy(info->cipher_name, host.cipher_info.cra_name, 64);
    memcpy(info->cipher_driver, host.cipher_info.cra_driver_name, 64);
    memcpy(info->hash_name, host.hash_info.cra_name, 64);
    memcpy(info->hash_driver, host.hash_info.cra_driver_name, 64);
    info->alignmask = cpu_to_le32(host.alignmask);
    info->flags = cpu_to_le32(host.flags);
    return 0;
}

const CryptodevBackend cryptodev_backend_host = {
    .name = "cryptodev",
    .config_id = 1,
    .may_block = true,
    .open = host_open,
    .close = host_close,
    .session_new = host_session_new,
    .session_free = host_session_free,
    .crypt = host_crypt,
    .info = host_info,
};
