/*
 * virtio cryptodev: the backend that does nothing
 *
 * For measuring the path alone: what a guest gets from it is no secret.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>
#include "backends.h"
#include "virtio_cryptodev.h"

static int null_open(void *opaque, void **file)
{
    (void)opaque;
    *file = NULL;
    return 0;
}

static void null_close(void *file)
{
    (void)file;
}

static int null_session_new(void *file, const struct vcd_session_spec *spec,
                            void **session)
{
    (void)file;
    (void)spec;
    *session = NULL;
    return 0;
}

static void null_session_free(void *file, void *session)
{
    (void)file;
    (void)session;
}

static int null_cipher(void *session, const struct vcd_op *op)
{
    (void)session;
    if (op->dst != op->src) {
        memmove(op->dst, op->src, op->len);
    }
    return 0;
}

static int null_digest(void *session, const struct vcd_op *op,
                       const uint8_t *data, size_t len)
{
    (void)session;
    (void)data;
    (void)len;
    if (op->finish) {
        memset(op->mac, 0, VCD_DIGEST_MAX);
    }
    return 0;
}

static int null_info(void *file, void *session, struct vcd_info *info)
{
    (void)file;
    (void)session;
    *info = (struct vcd_info) {
        .cipher_name = "null", .cipher_driver = "null",
        .hash_name = "null", .hash_driver = "null",
    };
    return 0;
}

/* Tags, MACs and padding are zeros, and any are good. */
static int null_authcrypt(void *file, void *session, struct vcd_auth_op *op)
{
    size_t bytes = op->len < op->result_bytes ? op->len : op->result_bytes;

    (void)file;
    (void)session;
    if (op->dst != op->src) {
        memmove(op->dst, op->src, bytes);
    }
    memset(op->dst + bytes, 0, op->result_bytes - bytes);
    if (op->form != VCD_FORM_TLS && !op->decrypt) {
        memset(op->tag, 0, op->tag_bytes);
    }
    op->value = op->result_bytes;
    if (op->form == VCD_FORM_TLS && op->decrypt) {
        op->value -= op->tag_bytes + 1;
    }
    return 0;
}

static int null_hash_copy(void *file, void *to, void *from)
{
    (void)file;
    (void)to;
    (void)from;
    return 0;
}

const struct vcd_backend vcd_backend_null = {
    .name = "null",
    .id = VIRTIO_CRYPTODEV_BACKEND_NULL,
    .open = null_open,
    .close = null_close,
    .session_new = null_session_new,
    .session_free = null_session_free,
    .cipher = null_cipher,
    .digest = null_digest,
    .info = null_info,
    .authcrypt = null_authcrypt,
    .hash_copy = null_hash_copy,
};
