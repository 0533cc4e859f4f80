// SPDX-License-Identifier: GPL-2.0
/*
 * GSESSION, FSESSION, GSESSINFO and CPHASH as requests
 */
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "vcd.h"

struct vcd_session *vcd_session_get(struct vcd_file *file, u32 ses)
{
	struct vcd_session *session;

	rcu_read_lock();
	session = xa_load(&file->sessions, ses);
	if (session && !refcount_inc_not_zero(&session->ref))
		session = NULL;
	rcu_read_unlock();
	return session;
}

void vcd_session_put(struct vcd_session *session)
{
	if (refcount_dec_and_test(&session->ref))
		kfree_rcu(session, rcu);
}

void vcd_sessions_free(struct vcd_file *file)
{
	struct vcd_session *session;
	unsigned long ses;

	xa_for_each(&file->sessions, ses, session)
		vcd_session_put(session);
	xa_destroy(&file->sessions);
}

static bool vcd_session_try(struct vcd_session *session, bool several)
{
	if (!several)
		return atomic_inc_unless_negative(&session->users);
	return atomic_cmpxchg(&session->users, 0, -1) == 0;
}

int vcd_session_enter(struct vcd_session *session, bool several, long *left)
{
	if (vcd_session_try(session, several))
		return 0;
	*left = vcd_wait_event(session->idle, vcd_session_try(session, several), *left);
	if (*left > 0)
		return 0;
	return *left ? -EINTR : -ETIMEDOUT;
}

void vcd_session_leave(struct vcd_session *session, bool several)
{
	bool idle = true;

	if (several)
		atomic_set_release(&session->users, 0);
	else
		idle = atomic_dec_and_test(&session->users);
	if (idle && wq_has_sleeper(&session->idle))
		wake_up_all(&session->idle);
}

int vcd_session_call(struct vcd_file *file, struct vcd_session *session, struct vcd_request *req)
{
	long left = vcd_patience();
	int err = vcd_session_enter(session, false, &left);

	if (err)
		return err;
	err = vcd_submit(file->queue, req, &left);
	vcd_session_leave(session, false);
	return err ?: vcd_wait_answer(file->queue, req, &left);
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
static long vcd_session_add(struct vcd_file *file, const struct session_op *op,
			    const struct vcd_request *req, u32 __user *ses)
{
	struct vcd_session *session;
	int err;

	if (!vcd_sizes_ok(op->cipher, op->mac, req->iv_bytes, req->mac_bytes))
		return -EIO;
	if (put_user(req->value, ses))
		return -EFAULT;
	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session)
		return -ENOMEM;
	refcount_set(&session->ref, 1);
	init_waitqueue_head(&session->idle);
	session->cipher = op->cipher;
	session->mac = op->mac;
	session->iv_bytes = req->iv_bytes;
	session->mac_bytes = req->mac_bytes;
	/* A device that gives a number twice lies. */
	err = xa_insert(&file->sessions, req->value, session, GFP_KERNEL);
	if (err)
		vcd_session_put(session);
	return err == -EBUSY ? -EIO : err;
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
	struct vcd_session *session;
	long err;

	if (!req)
		return -ENOMEM;
	err = -EINVAL;
	/* Before the answer: its number may be that of another thread's session after it. */
	session = xa_erase(&file->sessions, ses);
	if (!session)
		goto put;
	*req->number = cpu_to_le32(ses);
	err = vcd_session_call(file, session, req);
	/* Where the number has been given again already, that session stays. */
	if (err && err != -EINVAL) {
		int back = xa_insert(&file->sessions, ses, session, GFP_KERNEL);

		if (!back)
			session = NULL;
		else if (back == -ENOMEM)
			err = -ENOMEM;
	}
	if (session)
		vcd_session_put(session);
put:
	vcd_request_put(req);
	return err;
}

/* Both keep others out meanwhile, so that neither is in the midst of a call. */
static int vcd_cphash_call(struct vcd_file *file, struct vcd_session *to,
			   struct vcd_session *from, struct vcd_request *req)
{
	long left = vcd_patience();
	int err = vcd_session_enter(from, false, &left);

	if (err)
		return err;
	err = vcd_session_enter(to, false, &left);
	if (!err) {
		err = vcd_submit(file->queue, req, &left);
		vcd_session_leave(to, false);
	}
	vcd_session_leave(from, false);
	return err ?: vcd_wait_answer(file->queue, req, &left);
}

long vcd_cphash(struct vcd_file *file, const struct cphash_op *op)
{
	struct vcd_session *to = vcd_session_get(file, op->dst_ses);
	struct vcd_session *from = vcd_session_get(file, op->src_ses);
	struct virtio_cryptodev_cphash *body;
	struct vcd_request *req;
	long err = -EINVAL;

	if (!to || !from || !file->queue->dev->cphash || !to->mac || to->mac != from->mac)
		goto put;
	err = -ENOMEM;
	req = vcd_request_new(file, VIRTIO_CRYPTODEV_IOCTL, VIRTIO_CRYPTODEV_CPHASH,
			      sizeof(*body), 0);
	if (!req)
		goto put;
	body = vcd_out(req);
	body->to_session = cpu_to_le32(op->dst_ses);
	body->from_session = cpu_to_le32(op->src_ses);
	err = vcd_cphash_call(file, to, from, req);
	vcd_request_put(req);
put:
	if (from)
		vcd_session_put(from);
	if (to)
		vcd_session_put(to);
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
