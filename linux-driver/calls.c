// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls as requests
 */
#include <linux/bits.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "vcd.h"

/* What is known of a session, as a value of the file's xarray */
#define VCD_HAS_CIPHER	BIT(16)

static void *vcd_session_pack(u32 iv_bytes, u32 mac_bytes, bool cipher)
{
	return xa_mk_value(iv_bytes | mac_bytes << 8 | (cipher ? VCD_HAS_CIPHER : 0));
}

/* The request for a session, with the one that would end it */
static struct vcd_request *vcd_gsession_request(const struct vcd_file *file,
						const struct session_op *session)
{
	u32 key_bytes = session->cipher ? session->keylen : 0;
	u32 mac_key_bytes = session->mac ? session->mackeylen : 0;
	struct virtio_cryptodev_gsession *body;
	struct vcd_request *req;
	long err = -ENOMEM;

	if (!session->cipher && !session->mac)
		return ERR_PTR(-EINVAL);
	if (key_bytes > CRYPTODEV_KEY_MAX || mac_key_bytes > CRYPTODEV_MAC_KEY_MAX)
		return ERR_PTR(-EINVAL);
	req = vcd_request_new(file, VIRTIO_CRYPTODEV_IOCTL, VIRTIO_CRYPTODEV_GSESSION,
			      sizeof(*body) + key_bytes + mac_key_bytes, 0);
	if (!req)
		return ERR_PTR(-ENOMEM);
	req->undo = vcd_request_new_fsession(file);
	if (!req->undo)
		goto put;
	body = vcd_out(req);
	body->cipher = cpu_to_le32(session->cipher);
	body->mac = cpu_to_le32(session->mac);
	body->key_bytes = cpu_to_le32(key_bytes);
	body->mac_key_bytes = cpu_to_le32(mac_key_bytes);
	err = -EFAULT;
	if (copy_from_user(body + 1, session->key, key_bytes) ||
	    copy_from_user((void *)(body + 1) + key_bytes, session->mackey, mac_key_bytes))
		goto put;
	return req;
put:
	vcd_request_put(req);
	return ERR_PTR(err);
}

/* Makes a session that the device has made the program's too */
static long vcd_session_add(struct vcd_file *file, const struct session_op *session,
			    const struct vcd_request *req, u32 __user *ses)
{
	void *sizes;

	if (!vcd_sizes_ok(session->cipher, session->mac, req->iv_bytes, req->mac_bytes))
		return -EIO;
	if (put_user(req->value, ses))
		return -EFAULT;
	sizes = vcd_session_pack(req->iv_bytes, req->mac_bytes, session->cipher);
	return xa_err(xa_store(&file->sessions, req->value, sizes, GFP_KERNEL));
}

long vcd_gsession(struct vcd_file *file, const struct session_op *session, u32 __user *ses)
{
	struct vcd_request *req = vcd_gsession_request(file, session);
	struct vcd_request *undo;
	long err;

	if (IS_ERR(req))
		return PTR_ERR(req);
	err = vcd_call(file->queue, req);
	if (err)
		goto put;
	err = vcd_session_add(file, session, req, ses);
	if (err) {
		undo = req->undo;
		req->undo = NULL;
		vcd_undo(file->queue, undo, req->value);
	}
put:
	vcd_request_put(req);
	return err;
}

long vcd_fsession(struct vcd_file *file, u32 ses)
{
	struct vcd_request *req = vcd_request_new_fsession(file);
	void *sizes;
	long err = -EINVAL;

	if (!req)
		return -ENOMEM;
	/* Before the device can give the number to a session that another thread makes */
	sizes = xa_erase(&file->sessions, ses);
	if (!sizes)
		goto put;
	*req->number = cpu_to_le32(ses);
	err = vcd_call(file->queue, req);
	/* Where the number has been given again already, that session stays. */
	if (err && err != -EINVAL && xa_insert(&file->sessions, ses, sizes, GFP_KERNEL) == -ENOMEM)
		err = -ENOMEM;
put:
	vcd_request_put(req);
	return err;
}

/* How the bytes of a CRYPT divide */
struct vcd_crypt_sizes {
	u32 iv;
	u32 result;
	u32 mac;
	u32 iv_back;
};

static struct vcd_crypt_sizes vcd_crypt_sizes(const struct crypt_op *op, unsigned long session)
{
	u32 iv = session & 0xff;
	u32 mac = (session >> 8) & 0xff;
	/* As the device has it: else the hash goes on with the next call. */
	bool finish = (op->flags & COP_FLAG_FINAL) || !(op->flags & COP_FLAG_UPDATE) || !op->len;

	return (struct vcd_crypt_sizes) {
		.iv = op->iv ? iv : 0,
		.result = session & VCD_HAS_CIPHER ? op->len : 0,
		.mac = finish ? mac : 0,
		.iv_back = op->iv && (op->flags & COP_FLAG_WRITE_IV) ? iv : 0,
	};
}

static long vcd_crypt_fill(struct vcd_request *req, const struct crypt_op *op,
			   const struct vcd_crypt_sizes *sizes)
{
	struct virtio_cryptodev_crypt *body = vcd_out(req);
	u16 flags = op->flags & (COP_FLAG_UPDATE | COP_FLAG_FINAL | COP_FLAG_RESET);

	if (sizes->iv_back)
		flags |= COP_FLAG_WRITE_IV;
	body->session = cpu_to_le32(op->ses);
	body->op = cpu_to_le16(op->op);
	body->flags = cpu_to_le16(flags);
	body->len = cpu_to_le32(op->len);
	body->iv_bytes = cpu_to_le32(sizes->iv);
	body->result_bytes = cpu_to_le32(sizes->result);
	body->mac_bytes = cpu_to_le32(sizes->mac);
	if (copy_from_user(body + 1, op->iv, sizes->iv) ||
	    copy_from_user((void *)(body + 1) + sizes->iv, op->src, op->len))
		return -EFAULT;
	return 0;
}

static long vcd_crypt_give(struct vcd_request *req, const struct crypt_op *op,
			   const struct vcd_crypt_sizes *sizes)
{
	void *result = vcd_in(req);
	void *mac = result + sizes->result;

	if (copy_to_user(op->dst, result, sizes->result) ||
	    copy_to_user(op->mac, mac, sizes->mac) ||
	    copy_to_user(op->iv, mac + sizes->mac, sizes->iv_back))
		return -EFAULT;
	return 0;
}

long vcd_crypt(struct vcd_file *file, const struct crypt_op *op)
{
	void *session = xa_load(&file->sessions, op->ses);
	struct vcd_crypt_sizes sizes;
	struct vcd_request *req;
	long err;

	if (!session || op->op > 1)
		return -EINVAL;
	if (op->len > READ_ONCE(file->queue->dev->max_bytes))
		return -EINVAL;
	sizes = vcd_crypt_sizes(op, xa_to_value(session));
	req = vcd_request_new(file, VIRTIO_CRYPTODEV_IOCTL, VIRTIO_CRYPTODEV_CRYPT,
			      sizeof(struct virtio_cryptodev_crypt) + sizes.iv + op->len,
			      sizes.result + sizes.mac + sizes.iv_back);
	if (!req)
		return -ENOMEM;
	err = vcd_crypt_fill(req, op, &sizes);
	if (!err)
		err = vcd_call(file->queue, req);
	if (!err)
		err = vcd_crypt_give(req, op, &sizes);
	vcd_request_put(req);
	return err;
}

static void vcd_copy_name(char *to, const u8 *from)
{
	memcpy(to, from, 63);
	to[63] = 0;
}

long vcd_gsessinfo(struct vcd_file *file, struct session_info_op __user *user)
{
	struct virtio_cryptodev_gsessinfo *got;
	struct session_info_op *info;
	struct vcd_request *req;
	__le32 *body;
	long err;

	req = vcd_request_new(file, VIRTIO_CRYPTODEV_IOCTL, VIRTIO_CRYPTODEV_GSESSINFO,
			      sizeof(*body), sizeof(*got));
	info = kzalloc(sizeof(*info), GFP_KERNEL);
	err = -ENOMEM;
	if (!req || !info)
		goto put;
	err = -EFAULT;
	if (get_user(info->ses, &user->ses))
		goto put;
	body = vcd_out(req);
	*body = cpu_to_le32(info->ses);
	err = vcd_call(file->queue, req);
	if (err)
		goto put;
	got = vcd_in(req);
	vcd_copy_name(info->cipher_info.cra_name, got->cipher_name);
	vcd_copy_name(info->cipher_info.cra_driver_name, got->cipher_driver);
	vcd_copy_name(info->hash_info.cra_name, got->hash_name);
	vcd_copy_name(info->hash_info.cra_driver_name, got->hash_driver);
	info->alignmask = le32_to_cpu(got->alignmask);
	info->flags = le32_to_cpu(got->flags);
	if (copy_to_user(user, info, sizeof(*info)))
		err = -EFAULT;
put:
	kfree(info);
	if (req)
		vcd_request_put(req);
	return err;
}
