// SPDX-License-Identifier: GPL-2.0
/*
 * CRYPT as one or more requests: what is longer than the device takes at once is done in parts,
 * each of which goes on from where the last one came to.
 */
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "vcd.h"

/* As the device has it: else the hash goes on with the next call. */
static bool vcd_crypt_finishes(const struct crypt_op *op)
{
	return (op->flags & COP_FLAG_FINAL) || !(op->flags & COP_FLAG_UPDATE) || !op->len;
}

/* How many bytes of a call one request may have; all of them, where the mode allows no parts. */
static int vcd_crypt_divide(struct vcd_crypt *crypt)
{
	u32 max_bytes = READ_ONCE(crypt->file->queue->dev->max_bytes);
	u32 cipher = crypt->session->cipher;
	u32 block = vcd_block_bytes(cipher);

	crypt->part_bytes = max_bytes;
	crypt->parts = 1;
	if (crypt->op.len <= max_bytes)
		return 0;
	if (max_bytes < VCD_BLOCK_MAX || (cipher && !vcd_is_chained(cipher)))
		return -EINVAL;
	/* Not found out by the device after it has done the rest */
	if (cipher && crypt->op.len % block)
		return -EINVAL;
	/* Whole pages, so that those of mapped memory are not cut */
	crypt->part_bytes = round_down(max_bytes,
				       max_bytes < PAGE_SIZE ? VCD_BLOCK_MAX : PAGE_SIZE);
	/* Rounded up so that no length overflows it */
	crypt->parts = (crypt->op.len - 1) / crypt->part_bytes + 1;
	return 0;
}

int vcd_crypt_begin(struct vcd_crypt *crypt, struct vcd_file *file, const struct crypt_op *op)
{
	int err;

	crypt->file = file;
	crypt->op = *op;
	crypt->session = vcd_session_get(file, op->ses);
	if (!crypt->session)
		return -EINVAL;
	err = op->op > COP_DECRYPT || vcd_is_aead(crypt->session->cipher) ? -EINVAL :
		vcd_crypt_divide(crypt);
	if (err)
		vcd_crypt_end(crypt);
	return err;
}

void vcd_crypt_end(struct vcd_crypt *crypt)
{
	vcd_session_put(crypt->session);
}

/* What one request is to do of a call */
struct vcd_crypt_part {
	u32 at;
	u32 len;
	u32 result;
	u32 iv;
	u32 mac;
	u32 iv_back;
	u16 flags;
};

static u16 vcd_part_flags(const struct vcd_crypt *crypt, bool first, bool last)
{
	const struct crypt_op *op = &crypt->op;
	u16 flags = op->flags & (COP_FLAG_UPDATE | COP_FLAG_FINAL | COP_FLAG_RESET);

	if (crypt->parts == 1)
		return flags;
	/* A hash starts anew with the first, if with any, and is finished with the last, if so. */
	return COP_FLAG_UPDATE |
	       (first && (!flags || (flags & COP_FLAG_RESET)) ? COP_FLAG_RESET : 0) |
	       (last && vcd_crypt_finishes(op) ? COP_FLAG_FINAL : 0);
}

static struct vcd_crypt_part vcd_crypt_part(const struct vcd_crypt *crypt, unsigned int part)
{
	const struct vcd_session *session = crypt->session;
	const struct crypt_op *op = &crypt->op;
	bool first = part == 0, last = part == crypt->parts - 1;
	struct vcd_crypt_part p = { .at = part * crypt->part_bytes };

	p.len = last ? op->len - p.at : crypt->part_bytes;
	p.result = session->cipher ? p.len : 0;
	p.iv = first && op->iv ? session->iv_bytes : 0;
	p.mac = last && vcd_crypt_finishes(op) ? session->mac_bytes : 0;
	p.iv_back = last && op->iv && (op->flags & COP_FLAG_WRITE_IV) ? session->iv_bytes : 0;
	p.flags = vcd_part_flags(crypt, first, last) | (p.iv_back ? COP_FLAG_WRITE_IV : 0);
	return p;
}

struct vcd_request *vcd_crypt_request(const struct vcd_crypt *crypt, unsigned int part)
{
	struct vcd_crypt_part p = vcd_crypt_part(crypt, part);
	const struct crypt_op *op = &crypt->op;
	struct virtio_cryptodev_crypt *body;
	struct vcd_request *req;
	int err = -EFAULT;

	req = vcd_request_new(crypt->file, VIRTIO_CRYPTODEV_IOCTL, VIRTIO_CRYPTODEV_CRYPT,
			      sizeof(*body) + p.iv, p.mac + p.iv_back);
	if (!req)
		return ERR_PTR(-ENOMEM);
	body = vcd_out(req);
	body->session = cpu_to_le32(op->ses);
	body->op = cpu_to_le16(op->op);
	body->flags = cpu_to_le16(p.flags);
	body->len = cpu_to_le32(p.len);
	body->iv_bytes = cpu_to_le32(p.iv);
	body->result_bytes = cpu_to_le32(p.result);
	body->mac_bytes = cpu_to_le32(p.mac);
	if (!copy_from_user(body + 1, op->iv, p.iv))
		err = vcd_data_take(req, crypt->file, op->src + p.at, p.len, op->dst + p.at,
				    p.result);
	if (err) {
		vcd_request_put(req);
		return ERR_PTR(err);
	}
	return req;
}

int vcd_crypt_give(const struct vcd_crypt *crypt, const struct vcd_request *req, unsigned int part)
{
	struct vcd_crypt_part p = vcd_crypt_part(crypt, part);
	const struct crypt_op *op = &crypt->op;
	const void *tail = vcd_data_tail(req);
	int err = vcd_data_give(req, op->dst + p.at, p.result);

	if (err)
		return err;
	if (copy_to_user(op->mac, tail, p.mac) || copy_to_user(op->iv, tail + p.mac, p.iv_back))
		return -EFAULT;
	return 0;
}

/* Leaves the session to others as soon as the last part is on the ring */
static int vcd_crypt_do(struct vcd_crypt *crypt, unsigned int part, bool *inside, long *left)
{
	struct vcd_request *req = vcd_crypt_request(crypt, part);
	struct vcd_queue *queue = crypt->file->queue;
	int err;

	if (IS_ERR(req))
		return PTR_ERR(req);
	err = vcd_submit(queue, req, left);
	if (part == crypt->parts - 1) {
		vcd_session_leave(crypt->session, crypt->parts > 1);
		*inside = false;
	}
	err = err ?: vcd_wait_answer(queue, req, left);
	err = err ?: vcd_crypt_give(crypt, req, part);
	vcd_data_keep(req, crypt->file);
	vcd_request_put(req);
	return err;
}

long vcd_crypt(struct vcd_file *file, const struct crypt_op *op)
{
	struct vcd_crypt crypt;
	long left = vcd_patience();
	unsigned int part;
	bool inside;
	int err;

	err = vcd_crypt_begin(&crypt, file, op);
	if (err)
		return err;
	err = vcd_session_enter(crypt.session, crypt.parts > 1, &left);
	inside = !err;
	for (part = 0; !err && part < crypt.parts; part++) {
		/* Each part may take as long as a call. */
		left = vcd_patience();
		err = vcd_crypt_do(&crypt, part, &inside, &left);
	}
	if (inside)
		vcd_session_leave(crypt.session, crypt.parts > 1);
	vcd_crypt_end(&crypt);
	return err;
}
