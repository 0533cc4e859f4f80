/*
 * virtio cryptodev: AUTHCRYPT, checked and done
 *
 * What is decrypted is worked on a copy always: until tag or MAC have been
 * found right it is no plaintext, and not for the guest. What is encrypted
 * goes from guest memory to guest memory where each part is in one piece.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>

#include "internal.h"

/* What a tag costs beside its bytes, and a place where one may be (TLS), ns */
#define AEAD_NS         800
#define CANDIDATE_NS    1500

/* What tag and padding add to a source of max_bytes that is decrypted */
#define ROOM            (VCD_TAG_MAX + VCD_BLOCK_MAX)

#define CIPHER_CCM      51

/*
 * What the three forms check, each with its session: whether all of it fits,
 * and how long the result is. A tag that encrypting results in is apart from
 * that, so that the rest can be where the guest wants it.
 */

static bool aead_tag_valid(const struct vcd_algorithm *cipher, uint32_t bytes)
{
    if (cipher->id == CIPHER_CCM) {     /* RFC 3610, section 2 */
        return bytes >= 4 && bytes <= 16 && bytes % 2 == 0;
    }
    /* SP 800-38D, section 5.2.1.2 */
    return bytes == 4 || bytes == 8 || (bytes >= 12 && bytes <= 16);
}

static bool aead_valid(const struct vcd_session *session,
                       const struct virtio_cryptodev_authcrypt *body,
                       struct vcd_auth_op *op)
{
    const struct vcd_algorithm *cipher = session->cipher;

    op->result_bytes = op->decrypt ? op->len - op->tag_bytes : op->len;
    return cipher && cipher->mode == VCD_AEAD && !session->mac &&
           body->iv_bytes == cipher->iv_bytes &&
           body->auth_before == 0 && body->auth_len == 0 &&
           aead_tag_valid(cipher, body->tag_bytes) &&
           (!op->decrypt || op->len >= op->tag_bytes);
}

static bool is_hmac(const struct vcd_algorithm *mac)
{
    return mac && mac->keyed;
}

static bool mac_valid(const struct vcd_session *session, uint32_t tag_bytes)
{
    return is_hmac(session->mac) && tag_bytes >= 1 &&
           tag_bytes <= session->mac->digest_bytes;
}

static bool tls_valid(const struct vcd_session *session,
                      const struct virtio_cryptodev_authcrypt *body,
                      struct vcd_auth_op *op)
{
    const struct vcd_algorithm *cipher = session->cipher;
    size_t block, padded;

    if (!cipher || cipher->mode != VCD_CBC) {
        return false;
    }
    /* At least one byte, which says how much more of it there is */
    block = cipher->block_bytes;
    padded = op->len + op->tag_bytes + 1;
    op->result_bytes = op->decrypt ? op->len :
                                     (padded + block - 1) / block * block;
    return mac_valid(session, body->tag_bytes) &&
           body->auth_before == 0 && body->auth_len == 0 &&
           (!op->decrypt ||
            (op->len % block == 0 && op->len > op->tag_bytes));
}

static bool srtp_valid(const struct vcd_session *session,
                       const struct virtio_cryptodev_authcrypt *body,
                       struct vcd_auth_op *op)
{
    const struct vcd_algorithm *cipher = session->cipher;
    size_t covered;

    /* The null cipher is the one without a key. */
    if (!cipher || (cipher->mode != VCD_CTR && cipher->keyed) ||
        !mac_valid(session, body->tag_bytes) ||
        body->auth_before > body->auth_bytes ||
        body->auth_before > body->auth_len) {
        return false;
    }
    op->result_bytes = op->len;
    op->before_bytes = body->auth_before;
    op->after_bytes = body->auth_bytes - body->auth_before;
    covered = body->auth_len - body->auth_before;
    op->covered = covered < op->len ? covered : op->len;
    return op->after_bytes == covered - op->covered;
}

/* Bytes of a tag that is not in the result, but follows it */
static size_t tag_apart(const struct vcd_auth_op *op)
{
    return op->form != VCD_FORM_TLS && !op->decrypt ? op->tag_bytes : 0;
}

/* The tag of an AEAD is of the result, as the guest sees it. */
static size_t tag_in_result(const struct vcd_auth_op *op)
{
    return op->form == 0 ? tag_apart(op) : 0;
}

static bool form_valid(const struct vcd_session *session,
                       const struct virtio_cryptodev_authcrypt *body,
                       struct vcd_auth_op *op)
{
    switch (op->form) {
    case 0:
        return aead_valid(session, body, op);
    case VCD_FORM_TLS:
        return tls_valid(session, body, op);
    case VCD_FORM_SRTP:
        return srtp_valid(session, body, op);
    default:
        return false;
    }
}

static bool body_valid(const struct vcd_request *req,
                       const struct vcd_session *session,
                       const struct virtio_cryptodev_authcrypt *body,
                       struct vcd_auth_op *op)
{
    const uint16_t known = VCD_WRITE_IV | VCD_FORM_TLS | VCD_FORM_SRTP;
    size_t most = req->queue->dev->config.max_bytes;

    op->form = body->flags & (VCD_FORM_TLS | VCD_FORM_SRTP);
    op->decrypt = body->op == 1;
    op->len = body->len;
    op->tag_bytes = body->tag_bytes;
    op->before_bytes = body->auth_bytes;
    /* The forms reckon with sizes that are known to be small. */
    return body->op <= 1 && !(body->flags & ~known) && body->reserved == 0 &&
           body->len <= most + (op->decrypt ? ROOM : 0) &&
           body->auth_bytes <= VIRTIO_CRYPTODEV_MAX_AUTH &&
           body->tag_bytes >= 1 && body->tag_bytes <= VCD_TAG_MAX &&
           form_valid(session, body, op) &&
           (body->iv_bytes == 0 ||
            body->iv_bytes == session->cipher->iv_bytes) &&
           body->result_bytes == op->result_bytes + tag_in_result(op);
}

/*
 * CCM's IV: how many bytes count the message's, less 1 (1 to 7), the nonce,
 * which has what is left of 15, and zeros. The message must not be longer than
 * can be counted.
 */
static bool ccm_iv_valid(const uint8_t *iv, size_t message_bytes)
{
    uint8_t less = iv[0];

    if (less < 1 || less > 7) {
        return false;
    }
    for (size_t i = VCD_IV_MAX - 1 - less; i < VCD_IV_MAX; i++) {
        if (iv[i] != 0) {
            return false;
        }
    }
    return less > 1 || message_bytes <= 0xffff;
}

static bool iv_valid(const struct vcd_request *req,
                     const struct vcd_session *session)
{
    const struct vcd_auth_op *op = &req->auth;

    return session->cipher->id != CIPHER_CCM ||
           ccm_iv_valid(req->iv, op->decrypt ? op->result_bytes : op->len);
}

/*
 * Doing it
 */

/*
 * What the data has of the buffer, between what is authenticated around it. A
 * host's call puts an AEAD's tag there first.
 */
static size_t room(const struct vcd_auth_op *op)
{
    size_t result = op->result_bytes + tag_in_result(op);

    return op->len > result ? op->len : result;
}

static void authcrypt_load(struct vcd_request *req)
{
    struct vcd_auth_op *op = &req->auth;
    uint8_t *data = req->buffer + op->before_bytes;
    uint8_t *after = data + room(op);

    vcd_iov_read(req->out, req->out_num, req->auth_at, req->buffer,
                 op->before_bytes);
    vcd_iov_read(req->out, req->out_num, req->auth_at + op->before_bytes,
                 after, op->after_bytes);
    vcd_iov_read(req->out, req->out_num, req->src_at, data, op->len);
    /* A host may say that it wrote there. */
    memset(data + op->len, 0, room(op) - op->len);
    op->before = req->buffer;
    op->after = after;
    op->src = data;
    op->dst = data;
}

static void authcrypt_store(struct vcd_request *req)
{
    vcd_iov_write(req->in, req->in_num,
                  sizeof(struct virtio_cryptodev_response),
                  req->auth.dst, req->auth.result_bytes);
}

/* Whether the backend's value is one that this operation can have */
static bool value_valid(const struct vcd_auth_op *op)
{
    if (op->form == VCD_FORM_TLS && op->decrypt) {
        return op->value < op->result_bytes - op->tag_bytes;
    }
    return op->value == op->result_bytes;
}

/* TLS has the last block of a whole record go before the next one's first. */
static void go_on(struct vcd_request *req, const uint8_t *src_tail)
{
    struct vcd_auth_op *op = &req->auth;
    struct vcd_session *session = req->session;
    const struct vcd_algorithm *cipher = session->cipher;
    size_t len = op->form == VCD_FORM_TLS ? op->result_bytes : op->len;

    vcd_advance_iv(req->next_iv, cipher, op->decrypt, len, src_tail,
                   cipher->mode == VCD_CBC ?
                   op->dst + len - cipher->iv_bytes : NULL);
    memcpy(session->iv, req->next_iv, cipher->iv_bytes);
}

static void authcrypt_work(struct vcd_request *req)
{
    const struct vcd_backend *backend = req->queue->dev->backend;
    struct vcd_session *session = req->session;
    struct vcd_auth_op *op = &req->auth;
    uint8_t src_tail[VCD_IV_MAX] = { 0 };
    size_t n = session->cipher->iv_bytes;

    op->iv = vcd_take_iv(req);
    op->tag = req->mac;
    if (op->form == VCD_FORM_TLS && op->decrypt) {
        /* It is going to be written over. */
        memcpy(src_tail, op->src + op->len - n, n);
    }
    req->error = backend->authcrypt(req->file->backend_file,
                                    session->backend_session, op);
    if (!req->error && !value_valid(op)) {
        req->error = -EIO;
    }
    if (req->error) {
        /* Nothing half done is to be seen [14] */
        op->value = 0;
    } else {
        go_on(req, src_tail);
    }
    memset(op->dst + op->value, 0, op->result_bytes - op->value);
}

static void authcrypt_book(struct vcd_request *req)
{
    struct vcd_auth_op *op = &req->auth;

    if (!req->error) {
        vcd_count_operation(req, op->len);
        req->value = op->value + tag_in_result(op);
    }
    req->written = op->result_bytes + req->digest_bytes + req->iv_back;
}

static void authcrypt_answer(struct vcd_request *req)
{
    size_t at = sizeof(struct virtio_cryptodev_response) +
                req->auth.result_bytes;

    vcd_iov_write(req->in, req->in_num, at, req->mac, req->digest_bytes);
    vcd_iov_write(req->in, req->in_num, at + req->digest_bytes,
                  req->next_iv, req->iv_back);
}

static const struct vcd_kind authcrypt_kind = {
    .moves_data = true,
    .load = authcrypt_load,
    .store = authcrypt_store,
    .work = authcrypt_work,
    .book = authcrypt_book,
    .answer = authcrypt_answer,
};

/*
 * Beginning it
 */

/* Where @bytes are in one piece, or something for none; else NULL */
static void *piece(const struct iovec *iov, unsigned num, size_t at,
                   size_t bytes)
{
    static uint8_t nothing;

    return bytes == 0 ? &nothing : vcd_iov_piece(iov, num, at, bytes);
}

static void place(struct vcd_request *req)
{
    struct vcd_auth_op *op = &req->auth;

    op->before = piece(req->out, req->out_num, req->auth_at,
                       op->before_bytes);
    op->after = piece(req->out, req->out_num, req->auth_at + op->before_bytes,
                      op->after_bytes);
    op->src = piece(req->out, req->out_num, req->src_at, op->len);
    op->dst = piece(req->in, req->in_num,
                    sizeof(struct virtio_cryptodev_response),
                    op->result_bytes);
    req->on_copy = op->decrypt || !op->before || !op->after || !op->src ||
                   !op->dst;
    req->buffer_bytes = op->before_bytes + room(op) + op->after_bytes;
}

static uint64_t estimate(const struct vcd_session *session,
                         const struct vcd_auth_op *op)
{
    size_t beside = op->before_bytes + op->after_bytes;
    uint64_t ns;

    if (op->form == 0) {
        return AEAD_NS + vcd_crypt_cost(session, op->len + beside, 0);
    }
    ns = vcd_crypt_cost(session, op->len, op->len + beside);
    if (op->form == VCD_FORM_TLS && op->decrypt) {
        size_t candidates = op->len - op->tag_bytes;

        ns += (candidates < 256 ? candidates : 256) * CANDIDATE_NS;
    }
    return ns;
}

/* Finds out where everything is in the chain; false where it isn't there */
static bool find_parts(struct vcd_request *req,
                       const struct vcd_session *session,
                       const struct virtio_cryptodev_authcrypt *body)
{
    const struct vcd_auth_op *op = &req->auth;
    size_t iv_at = sizeof(struct virtio_cryptodev_request) + sizeof(*body);
    bool brings_tag = op->form == VCD_FORM_SRTP && op->decrypt;
    size_t tag_at, tag_in = brings_tag ? op->tag_bytes : 0;

    req->own_iv = body->iv_bytes > 0;
    req->iv_back = body->flags & VCD_WRITE_IV ? session->cipher->iv_bytes : 0;
    req->digest_bytes = tag_apart(op);
    req->auth_at = iv_at + body->iv_bytes;
    tag_at = req->auth_at + body->auth_bytes;
    req->src_at = tag_at + tag_in;
    if (vcd_iov_size(req->out, req->out_num) < req->src_at + op->len ||
        vcd_iov_size(req->in, req->in_num) <
        sizeof(struct virtio_cryptodev_response) + op->result_bytes +
        req->digest_bytes + req->iv_back) {
        return false;
    }
    vcd_iov_read(req->out, req->out_num, iv_at, req->iv, body->iv_bytes);
    vcd_iov_read(req->out, req->out_num, tag_at, req->mac, tag_in);
    return true;
}

int vcd_do_authcrypt(struct vcd_request *req, struct vcd_file *file)
{
    struct vcd_device *dev = req->queue->dev;
    struct virtio_cryptodev_authcrypt body;
    struct vcd_session *session = vcd_named_session(req, file);

    if (!(dev->features >> VIRTIO_CRYPTODEV_F_AEAD & 1) || !session ||
        vcd_iov_read(req->out, req->out_num,
                     sizeof(struct virtio_cryptodev_request), &body,
                     sizeof(body)) != sizeof(body) ||
        !body_valid(req, session, &body, &req->auth) ||
        !find_parts(req, session, &body) || !iv_valid(req, session)) {
        return -EINVAL;
    }
    place(req);
    req->kind = &authcrypt_kind;
    req->cost = estimate(session, &req->auth);
    vcd_request_use(req, file, session);
    vcd_request_begin(req);
    return 0;
}
