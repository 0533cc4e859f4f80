/*
 * virtio cryptodev: CPHASH, by which a session's hash goes on from another's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>

#include "internal.h"

/* What copying a state takes about, in ns */
#define CPHASH_NS       1500

static void cphash_work(struct vcd_request *req)
{
    /* A session that goes on from itself has nothing to do but wait [11]. */
    if (req->other) {
        req->error = req->queue->dev->backend->hash_copy(
            req->file->backend_file, req->session->backend_session,
            req->other->backend_session);
    }
}

static const struct vcd_kind cphash_kind = {
    .work = cphash_work,
};

int vcd_do_cphash(struct vcd_request *req, struct vcd_file *file)
{
    struct vcd_device *dev = req->queue->dev;
    struct virtio_cryptodev_cphash body;
    struct vcd_session *to, *from;

    if (!(dev->features >> VIRTIO_CRYPTODEV_F_CPHASH & 1) ||
        vcd_iov_read(req->out, req->out_num,
                     sizeof(struct virtio_cryptodev_request), &body,
                     sizeof(body)) != sizeof(body)) {
        return -EINVAL;
    }
    to = (struct vcd_session *)vcd_table_find(&file->sessions,
                                              body.to_session);
    from = (struct vcd_session *)vcd_table_find(&file->sessions,
                                                body.from_session);
    if (!to || !from || !to->mac || to->mac != from->mac) {
        return -EINVAL;
    }
    req->kind = &cphash_kind;
    req->cost = CPHASH_NS;
    vcd_request_use(req, file, to);
    if (from != to) {
        vcd_request_use_too(req, from);
    }
    vcd_request_begin(req);
    return 0;
}
