// SPDX-License-Identifier: GPL-2.0
/*
 * AUTHCRYPT as a request, in its three forms (docs/virtio-cryptodev.md)
 */
#include <linux/math.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "vcd.h"

/* How far in front of its source what SRTP authenticates may begin */
#define VCD_SRTP_BEFORE	256

#define VCD_FORMS	(COP_FLAG_AEAD_TLS_TYPE | COP_FLAG_AEAD_SRTP_TYPE)

struct vcd_auth {
	struct vcd_file *file;
	struct vcd_session *session;
	struct crypt_auth_op *op;
	u32 form;
	bool decrypt;
	u32 tag;
	u32 result;
	/* Of associated data that goes along: in front of the source, or all; and behind it */
	u32 before;
	u32 behind;
	/* A tag that lies apart */
	u32 tag_in;
	u32 tag_out;
	u32 iv;
	u32 iv_back;
};

static bool vcd_is_cbc(u32 cipher)
{
	return vcd_is_chained(cipher) && vcd_block_bytes(cipher) > 1 && cipher != CRYPTO_AES_ECB;
}

static bool vcd_is_hmac(u32 mac)
{
	switch (mac) {
	case CRYPTO_MD5_HMAC:
	case CRYPTO_SHA1_HMAC:
	case CRYPTO_RIPEMD160_HMAC:
	case CRYPTO_SHA2_224_HMAC:
	case CRYPTO_SHA2_256_HMAC:
	case CRYPTO_SHA2_384_HMAC:
	case CRYPTO_SHA2_512_HMAC:
		return true;
	default:
		return false;
	}
}

static int vcd_auth_aead(struct vcd_auth *auth)
{
	struct crypt_auth_op *op = auth->op;

	if (!vcd_is_aead(auth->session->cipher) || auth->session->mac || !op->iv)
		return -EINVAL;
	auth->tag = op->tag_len ?: VCD_AEAD_TAG;
	if (auth->tag > VCD_AEAD_TAG || (auth->decrypt && op->len < auth->tag))
		return -EINVAL;
	auth->result = auth->decrypt ? op->len - auth->tag : op->len + auth->tag;
	auth->before = op->auth_len;
	return 0;
}

static int vcd_auth_tls(struct vcd_auth *auth)
{
	u32 block = vcd_block_bytes(auth->session->cipher);
	struct crypt_auth_op *op = auth->op;

	if (!vcd_is_cbc(auth->session->cipher) || !vcd_is_hmac(auth->session->mac) ||
	    op->src != op->dst)
		return -EINVAL;
	auth->tag = op->tag_len ?: auth->session->mac_bytes;
	if (auth->tag > auth->session->mac_bytes)
		return -EINVAL;
	/* No record is without a byte that says how much padding there is. */
	if (auth->decrypt && (op->len % block || op->len <= auth->tag))
		return -EINVAL;
	auth->result = auth->decrypt ? op->len : round_up(op->len + auth->tag + 1, block);
	auth->before = op->auth_len;
	return 0;
}

static int vcd_auth_srtp(struct vcd_auth *auth)
{
	const struct vcd_session *session = auth->session;
	struct crypt_auth_op *op = auth->op;

	if ((session->cipher != CRYPTO_AES_CTR && session->cipher != CRYPTO_NULL) ||
	    !vcd_is_hmac(session->mac) || op->src != op->dst || op->auth_src > op->src ||
	    op->src - op->auth_src > VCD_SRTP_BEFORE)
		return -EINVAL;
	auth->before = op->src - op->auth_src;
	if (op->auth_len < auth->before)
		return -EINVAL;
	auth->tag = op->tag_len ?: session->mac_bytes;
	if (auth->tag > session->mac_bytes)
		return -EINVAL;
	/* What is authenticated may end in the source, or go on behind it. */
	if (op->auth_len - auth->before > op->len)
		auth->behind = op->auth_len - auth->before - op->len;
	auth->result = op->len;
	auth->tag_in = auth->decrypt ? auth->tag : 0;
	auth->tag_out = auth->decrypt ? 0 : auth->tag;
	return 0;
}

/* Finds out what the call comes to. No length is over a few MiB, so sums of them don't overflow. */
static int vcd_auth_check(struct vcd_auth *auth)
{
	const struct vcd_device *dev = auth->file->queue->dev;
	struct crypt_auth_op *op = auth->op;
	u32 longest = READ_ONCE(dev->max_bytes);
	int err = -EINVAL;

	if (!dev->aead || op->op > COP_DECRYPT ||
	    (op->flags & ~(VCD_FORMS | COP_FLAG_WRITE_IV | COP_FLAG_NO_ZC)))
		return -EINVAL;
	auth->decrypt = op->op == COP_DECRYPT;
	auth->form = op->flags & VCD_FORMS;
	/* What is decrypted has a tag, and padding, besides. */
	if (auth->decrypt)
		longest += VCD_DIGEST_MAX + VCD_BLOCK_MAX;
	if (op->len > longest || op->auth_len > longest + VIRTIO_CRYPTODEV_MAX_AUTH)
		return -EINVAL;
	auth->iv = op->iv ? auth->session->iv_bytes : 0;
	auth->iv_back = op->flags & COP_FLAG_WRITE_IV ? auth->iv : 0;
	if (!auth->form)
		err = vcd_auth_aead(auth);
	else if (auth->form == COP_FLAG_AEAD_TLS_TYPE)
		err = vcd_auth_tls(auth);
	else if (auth->form == COP_FLAG_AEAD_SRTP_TYPE)
		err = vcd_auth_srtp(auth);
	if (!err && auth->before + auth->behind > VIRTIO_CRYPTODEV_MAX_AUTH)
		err = -EINVAL;
	return err;
}

/*
 * CCM's IV is a byte with the size of its length field, the nonce, and zeros. A program that gives
 * a size that is a nonce's has given the nonce alone.
 */
static bool vcd_auth_bare_nonce(const struct vcd_auth *auth)
{
	return auth->session->cipher == CRYPTO_AES_CCM && auth->op->iv_len >= 7 &&
	       auth->op->iv_len <= 13;
}

static int vcd_auth_take_iv(const struct vcd_auth *auth, u8 *iv)
{
	u32 nonce = auth->op->iv_len;

	if (!vcd_auth_bare_nonce(auth))
		return copy_from_user(iv, auth->op->iv, auth->iv) ? -EFAULT : 0;
	memset(iv, 0, auth->iv);
	iv[0] = 14 - nonce;
	return copy_from_user(iv + 1, auth->op->iv, nonce) ? -EFAULT : 0;
}

static void vcd_auth_describe(const struct vcd_auth *auth,
			      struct virtio_cryptodev_authcrypt *body)
{
	const struct crypt_auth_op *op = auth->op;
	bool srtp = auth->form == COP_FLAG_AEAD_SRTP_TYPE;

	*body = (struct virtio_cryptodev_authcrypt) {
		.session = cpu_to_le32(op->ses),
		.op = cpu_to_le16(op->op),
		.flags = cpu_to_le16(auth->form | (auth->iv_back ? COP_FLAG_WRITE_IV : 0)),
		.len = cpu_to_le32(op->len),
		.iv_bytes = cpu_to_le32(auth->iv),
		.auth_bytes = cpu_to_le32(auth->before + auth->behind),
		.auth_before = cpu_to_le32(srtp ? auth->before : 0),
		.auth_len = cpu_to_le32(srtp ? op->auth_len : 0),
		.tag_bytes = cpu_to_le32(auth->tag),
		.result_bytes = cpu_to_le32(auth->result),
	};
}

static int vcd_auth_fill(const struct vcd_auth *auth, struct vcd_request *req)
{
	struct virtio_cryptodev_authcrypt *body = vcd_out(req);
	const struct crypt_auth_op *op = auth->op;
	u8 *next = (u8 *)(body + 1);
	int err;

	vcd_auth_describe(auth, body);
	err = vcd_auth_take_iv(auth, next);
	if (err)
		return err;
	next += auth->iv;
	if (copy_from_user(next, op->auth_src, auth->before))
		return -EFAULT;
	next += auth->before;
	if (copy_from_user(next, op->src + op->len, auth->behind))
		return -EFAULT;
	next += auth->behind;
	if (copy_from_user(next, op->tag, auth->tag_in))
		return -EFAULT;
	return vcd_data_take(req, auth->file, op->src, op->len, op->dst, auth->result);
}

static int vcd_auth_give(const struct vcd_auth *auth, const struct vcd_request *req)
{
	struct crypt_auth_op *op = auth->op;
	const void *tail = vcd_data_tail(req);
	u32 bytes = req->value;
	bool shorter = auth->form == COP_FLAG_AEAD_TLS_TYPE && auth->decrypt;
	u32 iv_back = vcd_auth_bare_nonce(auth) ? 0 : auth->iv_back;

	/* Only what was padded may turn out to be shorter, by tag and padding. */
	if (shorter ? bytes > auth->result - auth->tag - 1 : bytes != auth->result)
		return -EIO;
	if (vcd_data_give(req, op->dst, bytes) ||
	    copy_to_user(op->tag, tail, auth->tag_out) ||
	    copy_to_user(op->iv, tail + auth->tag_out, iv_back))
		return -EFAULT;
	op->len = bytes;
	op->tag_len = auth->tag;
	return 0;
}

static int vcd_auth_do(const struct vcd_auth *auth)
{
	struct vcd_request *req;
	int err;

	req = vcd_request_new(auth->file, VIRTIO_CRYPTODEV_IOCTL, VIRTIO_CRYPTODEV_AUTHCRYPT,
			      sizeof(struct virtio_cryptodev_authcrypt) + auth->iv +
			      auth->before + auth->behind + auth->tag_in,
			      auth->tag_out + auth->iv_back);
	if (!req)
		return -ENOMEM;
	err = vcd_auth_fill(auth, req);
	err = err ?: vcd_session_call(auth->file, auth->session, req);
	err = err ?: vcd_auth_give(auth, req);
	vcd_data_keep(req, auth->file);
	vcd_request_put(req);
	return err;
}

long vcd_authcrypt(struct vcd_file *file, struct crypt_auth_op *op)
{
	struct vcd_auth auth = { .file = file, .op = op };
	int err;

	auth.session = vcd_session_get(file, op->ses);
	if (!auth.session)
		return -EINVAL;
	err = vcd_auth_check(&auth);
	err = err ?: vcd_auth_do(&auth);
	vcd_session_put(auth.session);
	return err;
}
