/*
 * virtio cryptodev: CRYPT, checked and done
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>

#include "internal.h"

/* What an operation takes besides what its bytes take, in ns */
#define CIPHER_NS       400
#define MAC_NS          1200

static void add_to_counter(uint8_t *counter, size_t blocks)
{
    for (int i = VCD_BLOCK_MAX - 1; i >= 0 && blocks > 0; i--) {
        blocks += counter[i];
        counter[i] = blocks;
        blocks >>= 8;
    }
}

void vcd_advance_iv(uint8_t *iv, const struct vcd_algorithm *cipher,
                    bool decrypt, size_t len, const uint8_t *src_tail,
                    const uint8_t *dst_tail)
{
    size_t n = cipher->iv_bytes;

    switch (cipher->mode) {
    case VCD_CTR:
        add_to_counter(iv, (len + VCD_BLOCK_MAX - 1) / VCD_BLOCK_MAX);
        break;
    case VCD_OFB:   /* the last block of the key stream */
        for (size_t i = 0; len >= n && i < n; i++) {
            iv[i] = src_tail[i] ^ dst_tail[i];
        }
        break;
    case VCD_CBC:
    case VCD_CFB:   /* the last block of ciphertext */
        if (len >= n) {
            memcpy(iv, decrypt ? src_tail : dst_tail, n);
        }
        break;
    default:        /* none, or XTS, whose IV names a sector, or an AEAD's */
        break;
    }
}

/* Only one request of a session is at work at a time: its IV needs no lock. */
const uint8_t *vcd_take_iv(struct vcd_request *req)
{
    const struct vcd_session *session = req->session;
    size_t n = session->cipher ? session->cipher->iv_bytes : 0;

    if (n == 0) {
        return NULL;
    }
    memcpy(req->next_iv, req->own_iv ? req->iv : session->iv, n);
    memcpy(req->iv, req->next_iv, n);
    return req->iv;
}

static int run_parts(struct vcd_request *req, const struct vcd_op *op)
{
    const struct vcd_backend *backend = req->queue->dev->backend;
    struct vcd_session *session = req->session;
    int error = 0;

    if (backend->crypt) {
        return backend->crypt(req->file->backend_file,
                              session->backend_session, op);
    }
    /* The MAC is over the plaintext: what goes in, or what comes out. */
    if (session->mac && (!session->cipher || !op->decrypt)) {
        error = backend->digest(session->backend_session, op, op->src,
                                op->len);
    }
    if (!error && session->cipher) {
        error = backend->cipher(session->backend_session, op);
    }
    if (!error && session->mac && session->cipher && op->decrypt) {
        error = backend->digest(session->backend_session, op, op->dst,
                                op->len);
    }
    return error;
}

static void crypt_work(struct vcd_request *req)
{
    struct vcd_session *session = req->session;
    const struct vcd_algorithm *cipher = session->cipher;
    struct vcd_op *op = &req->op;
    uint8_t src_tail[VCD_IV_MAX] = { 0 };
    size_t n = cipher ? cipher->iv_bytes : 0;

    op->iv = vcd_take_iv(req);
    if (op->len >= n) {
        /* It may be written over by the result. */
        memcpy(src_tail, op->src + op->len - n, n);
    }
    op->mac = req->mac;
    req->error = run_parts(req, op);
    if (req->error) {
        /* Nothing half done is to be seen [14] */
        if (op->dst) {
            memset(op->dst, 0, op->len);
        }
    } else if (n > 0) {
        vcd_advance_iv(req->next_iv, cipher, op->decrypt, op->len, src_tail,
                       op->len >= n ? op->dst + op->len - n : NULL);
        memcpy(session->iv, req->next_iv, n);
    }
}

static void count_algorithm(struct vcd_device *dev,
                            const struct vcd_algorithm *algorithm)
{
    if (algorithm) {
        atomic_fetch_add_explicit(&dev->by_algorithm[algorithm -
                                                     vcd_algorithms],
                                  1, memory_order_relaxed);
    }
}

void vcd_count_operation(struct vcd_request *req, size_t bytes)
{
    struct vcd_device *dev = req->queue->dev;

    vcd_count(dev, VCD_STAT_OPERATIONS, 1);
    vcd_count(dev, VCD_STAT_BYTES, bytes);
    count_algorithm(dev, req->session->cipher);
    count_algorithm(dev, req->session->mac);
}

static void crypt_load(struct vcd_request *req)
{
    vcd_iov_read(req->out, req->out_num, req->src_at, req->buffer,
                 req->op.len);
    req->op.src = req->buffer;
    if (req->op.dst) {
        req->op.dst = req->buffer;
    }
}

static void crypt_store(struct vcd_request *req)
{
    if (req->op.dst) {
        vcd_iov_write(req->in, req->in_num,
                      sizeof(struct virtio_cryptodev_response),
                      req->op.dst, req->op.len);
    }
}

static void crypt_book(struct vcd_request *req)
{
    if (!req->error) {
        vcd_count_operation(req, req->op.len);
    }
    req->written = (req->session->cipher ? req->op.len : 0) +
                   req->digest_bytes + req->iv_back;
}

/* The result is there; the digest and the IV follow it. */
static void crypt_answer(struct vcd_request *req)
{
    size_t at = sizeof(struct virtio_cryptodev_response) + req->written -
                req->digest_bytes - req->iv_back;

    vcd_iov_write(req->in, req->in_num, at, req->mac, req->digest_bytes);
    vcd_iov_write(req->in, req->in_num, at + req->digest_bytes,
                  req->next_iv, req->iv_back);
}

static const struct vcd_kind crypt_kind = {
    .moves_data = true,
    .load = crypt_load,
    .store = crypt_store,
    .work = crypt_work,
    .book = crypt_book,
    .answer = crypt_answer,
};

uint64_t vcd_crypt_cost(const struct vcd_session *session, size_t len,
                        size_t mac_len)
{
    uint64_t ns = 0;

    if (session->cipher) {
        ns += CIPHER_NS + (uint64_t)len * session->cipher->cost / 1024;
    }
    if (session->mac) {
        ns += MAC_NS + (uint64_t)mac_len * session->mac->cost / 1024;
    }
    return ns;
}

/* Where it is worked: in the guest's memory, or on a copy of it */
static void place(struct vcd_request *req, const struct vcd_session *session)
{
    struct vcd_op *op = &req->op;
    static uint8_t nothing;

    op->src = op->len == 0 ? &nothing :
        vcd_iov_piece(req->out, req->out_num, req->src_at, op->len);
    if (session->cipher) {
        op->dst = op->len == 0 ? &nothing :
            vcd_iov_piece(req->in, req->in_num,
                          sizeof(struct virtio_cryptodev_response), op->len);
    }
    /* Plaintext that may yet turn out to be none is not for the guest. */
    req->on_copy = !op->src || (session->cipher && !op->dst) ||
                   (session->cipher && session->mac && op->decrypt);
    if (req->on_copy && session->cipher) {
        op->dst = &nothing;
    }
    req->buffer_bytes = op->len;
}

int vcd_do_crypt(struct vcd_request *req, struct vcd_file *file)
{
    const uint16_t known = VCD_UPDATE | VCD_FINAL | VCD_WRITE_IV | VCD_RESET;
    struct vcd_device *dev = req->queue->dev;
    struct virtio_cryptodev_crypt body;
    const struct vcd_algorithm *cipher, *mac;
    struct vcd_session *session = vcd_named_session(req, file);
    struct vcd_op *op = &req->op;
    size_t at = sizeof(struct virtio_cryptodev_request);
    size_t iv_bytes;

    if (!session || vcd_iov_read(req->out, req->out_num, at, &body,
                                 sizeof(body)) != sizeof(body)) {
        return -EINVAL;
    }
    at += sizeof(body);
    cipher = session->cipher;
    mac = session->mac;
    iv_bytes = cipher ? cipher->iv_bytes : 0;
    op->decrypt = body.op == 1;
    op->flags = body.flags & ~VCD_WRITE_IV;
    op->len = body.len;
    op->start = op->flags == 0 || (op->flags & VCD_RESET);
    op->finish = (op->flags & VCD_FINAL) || !(op->flags & VCD_UPDATE) ||
                 op->len == 0;
    req->digest_bytes = mac && op->finish ? mac->digest_bytes : 0;
    req->iv_back = body.flags & VCD_WRITE_IV ? iv_bytes : 0;
    req->own_iv = body.iv_bytes > 0;
    req->src_at = at + body.iv_bytes;
    if (body.op > 1 || (body.flags & ~known) ||
        (cipher && cipher->mode == VCD_AEAD) ||
        body.len > dev->config.max_bytes ||
        (cipher && body.len % cipher->block_bytes) ||
        (body.iv_bytes != 0 && body.iv_bytes != iv_bytes) ||
        body.result_bytes != (cipher ? body.len : 0) ||
        body.mac_bytes != req->digest_bytes) {
        return -EINVAL;
    }
    if (vcd_iov_size(req->out, req->out_num) < req->src_at + op->len ||
        vcd_iov_size(req->in, req->in_num) <
        sizeof(struct virtio_cryptodev_response) + body.result_bytes +
        req->digest_bytes + req->iv_back) {
        return -EINVAL;
    }
    vcd_iov_read(req->out, req->out_num, at, req->iv, body.iv_bytes);
    place(req, session);
    req->kind = &crypt_kind;
    req->cost = vcd_crypt_cost(session, op->len, op->len);
    vcd_request_use(req, file, session);
    vcd_request_begin(req);
    return 0;
}
