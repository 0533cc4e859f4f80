/*
 * virtio cryptodev: sessions, from GSESSION to FSESSION
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* What making, describing and freeing a session take about, in ns */
#define GSESSION_NS         4000
#define GSESSINFO_NS        500
#define FSESSION_NS         800

/*
 * GSESSION
 */

static int admit_session(struct vcd_request *req)
{
    struct vcd_device *dev = req->queue->dev;
    struct vcd_file *file = req->file;
    int error = 0;

    if (file->session_count >= dev->config.max_sessions) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&dev->lock);
    if (dev->sessions >= dev->config.max_device_sessions) {
        /* A file that is to end would wait for itself. */
        error = dev->sessions_ending > 0 && !file->doomed ? -EAGAIN : -ENOMEM;
    } else {
        dev->sessions++;
        /* A file that is to end has its sessions counted among those too. */
        dev->sessions_ending += file->doomed;
        file->session_count++;
    }
    dev->waiting += error == -EAGAIN;
    pthread_mutex_unlock(&dev->lock);
    return error;
}

void vcd_session_gone(struct vcd_file *file)
{
    struct vcd_device *dev = file->queue->dev;

    file->session_count--;
    pthread_mutex_lock(&dev->lock);
    dev->sessions--;
    dev->sessions_ending -= file->doomed;
    vcd_wake_waiting(dev);
    pthread_mutex_unlock(&dev->lock);
}

static void forget_keys(struct vcd_request *req)
{
    explicit_bzero(req->keys, req->spec.key_bytes + req->spec.mac_key_bytes);
    free(req->keys);
    req->keys = NULL;
}

static void gsession_work(struct vcd_request *req)
{
    req->error = req->queue->dev->backend->session_new(
        req->file->backend_file, &req->spec, &req->coming->backend_session);
}

static void gsession_undo(struct vcd_request *req)
{
    forget_keys(req);
    free(req->coming);
    if (req->admitted) {
        vcd_session_gone(req->file);
    }
}

static void gsession_book(struct vcd_request *req)
{
    struct vcd_file *file = req->file;
    struct vcd_session *session = req->coming;

    if (req->error) {
        gsession_undo(req);
        return;
    }
    forget_keys(req);
    if (!req->attached) {
        /* Nobody will ever use it, nor end it. */
        pthread_mutex_unlock(&req->queue->lock);
        req->queue->dev->backend->session_free(file->backend_file,
                                               session->backend_session);
        pthread_mutex_lock(&req->queue->lock);
        free(session);
        vcd_session_gone(file);
        return;
    }
    vcd_table_add(&file->sessions, &session->node);
    TAILQ_INSERT_TAIL(&file->all, session, link);
    req->value = session->node.number;
    req->iv_bytes = session->cipher ? session->cipher->iv_bytes : 0;
    req->mac_bytes = session->mac ? session->mac->digest_bytes : 0;
}

static const struct vcd_kind gsession_kind = {
    .admit = admit_session,
    .work = gsession_work,
    .book = gsession_book,
    .undo = gsession_undo,
};

static bool spec_valid(const struct vcd_session_spec *spec,
                       const struct virtio_cryptodev_gsession *body)
{
    return (spec->cipher || spec->mac) &&
           (!body->cipher || (spec->cipher && !spec->cipher->is_mac)) &&
           (!body->mac || (spec->mac && spec->mac->is_mac)) &&
           spec->key_bytes <= VCD_KEY_MAX &&
           spec->mac_key_bytes <= VCD_MAC_KEY_MAX &&
           (!spec->cipher || !spec->cipher->keyed || spec->key_bytes > 0);
}

/* An AEAD cipher has its MAC with it, and is for AUTHCRYPT, if that is there */
static bool mode_valid(const struct vcd_session_spec *spec,
                       const struct vcd_device *dev)
{
    return !spec->cipher || spec->cipher->mode != VCD_AEAD ||
           (!spec->mac && dev->features >> VIRTIO_CRYPTODEV_F_AEAD & 1);
}

int vcd_do_gsession(struct vcd_request *req, struct vcd_file *file)
{
    struct virtio_cryptodev_gsession body;
    struct vcd_session_spec *spec = &req->spec;
    size_t at = sizeof(struct virtio_cryptodev_request) + sizeof(body);
    size_t bytes;

    if (vcd_iov_read(req->out, req->out_num, at - sizeof(body),
                     &body, sizeof(body)) != sizeof(body)) {
        return -EINVAL;
    }
    spec->cipher = body.cipher ? vcd_algorithm(body.cipher) : NULL;
    spec->mac = body.mac ? vcd_algorithm(body.mac) : NULL;
    spec->key_bytes = body.key_bytes;
    spec->mac_key_bytes = body.mac_key_bytes;
    if (!spec_valid(spec, &body) || !mode_valid(spec, req->queue->dev)) {
        return -EINVAL;
    }
    bytes = spec->key_bytes + spec->mac_key_bytes;
    if (vcd_iov_size(req->out, req->out_num) < at + bytes) {
        return -EINVAL;
    }
    req->coming = calloc(1, sizeof(*req->coming));
    req->keys = malloc(bytes + 1);
    if (!req->coming || !req->keys) {
        free(req->coming);
        free(req->keys);
        return -ENOMEM;
    }
    vcd_iov_read(req->out, req->out_num, at, req->keys, bytes);
    spec->key = req->keys;
    spec->mac_key = req->keys + spec->key_bytes;
    req->coming->cipher = spec->cipher;
    req->coming->mac = spec->mac;
    TAILQ_INIT(&req->coming->turns);
    req->kind = &gsession_kind;
    req->cost = GSESSION_NS;
    vcd_request_use(req, file, NULL);
    vcd_request_begin(req);
    return 0;
}

struct vcd_session *vcd_named_session(struct vcd_request *req,
                                      struct vcd_file *file)
{
    uint32_t number;

    if (vcd_iov_read(req->out, req->out_num,
                     sizeof(struct virtio_cryptodev_request),
                     &number, sizeof(number)) != sizeof(number)) {
        return NULL;
    }
    return (struct vcd_session *)vcd_table_find(&file->sessions, number);
}

/*
 * FSESSION: the session has no number from now on, and is freed after what
 * it was asked before [11].
 */

static void fsession_work(struct vcd_request *req)
{
    req->queue->dev->backend->session_free(req->file->backend_file,
                                           req->session->backend_session);
}

static void fsession_book(struct vcd_request *req)
{
    struct vcd_session *session = req->session;

    req->session = NULL;
    TAILQ_REMOVE(&req->file->all, session, link);
    vcd_session_gone(req->file);
    free(session);
}

/* Where it isn't done the number is lost all the same; the file's end frees. */
static const struct vcd_kind fsession_kind = {
    .work = fsession_work,
    .book = fsession_book,
};

int vcd_do_fsession(struct vcd_request *req, struct vcd_file *file)
{
    struct vcd_session *session = vcd_named_session(req, file);

    if (!session) {
        return -EINVAL;
    }
    vcd_table_remove(&file->sessions, &session->node);
    req->kind = &fsession_kind;
    req->cost = FSESSION_NS;
    vcd_request_use(req, file, session);
    vcd_request_begin(req);
    return 0;
}

/*
 * GSESSINFO
 */

static void gsessinfo_work(struct vcd_request *req)
{
    req->error = req->queue->dev->backend->info(
        req->file->backend_file, req->session->backend_session, req->info);
}

static void gsessinfo_book(struct vcd_request *req)
{
    req->written = sizeof(struct virtio_cryptodev_gsessinfo);
}

static void gsessinfo_answer(struct vcd_request *req)
{
    struct virtio_cryptodev_gsessinfo info = {
        .alignmask = req->info->alignmask,
        .flags = req->info->flags,
    };

    memcpy(info.cipher_name, req->info->cipher_name, 64);
    memcpy(info.cipher_driver, req->info->cipher_driver, 64);
    memcpy(info.hash_name, req->info->hash_name, 64);
    memcpy(info.hash_driver, req->info->hash_driver, 64);
    vcd_iov_write(req->in, req->in_num,
                  sizeof(struct virtio_cryptodev_response),
                  &info, sizeof(info));
}

static const struct vcd_kind gsessinfo_kind = {
    .work = gsessinfo_work,
    .book = gsessinfo_book,
    .answer = gsessinfo_answer,
};

int vcd_do_gsessinfo(struct vcd_request *req, struct vcd_file *file)
{
    struct vcd_session *session = vcd_named_session(req, file);

    if (!session ||
        vcd_iov_size(req->in, req->in_num) <
        sizeof(struct virtio_cryptodev_response) +
        sizeof(struct virtio_cryptodev_gsessinfo)) {
        return -EINVAL;
    }
    req->info = calloc(1, sizeof(*req->info));
    if (!req->info) {
        return -ENOMEM;
    }
    req->kind = &gsessinfo_kind;
    req->cost = GSESSINFO_NS;
    vcd_request_use(req, file, session);
    vcd_request_begin(req);
    return 0;
}
