// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/crypto as programs see it
 */
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vcd.h"

/* CRIOGET: another descriptor of the same open file, which exec() keeps as it does others' */
static long vcd_clone_fd(struct file *filp, u32 __user *user)
{
	int fd = get_unused_fd_flags(0);

	if (fd < 0)
		return fd;
	if (put_user(fd, user)) {
		put_unused_fd(fd);
		return -EFAULT;
	}
	fd_install(fd, get_file(filp));
	return 0;
}

static long vcd_authcrypt_user(struct vcd_file *file, struct crypt_auth_op __user *user)
{
	struct crypt_auth_op op;
	long err;

	if (copy_from_user(&op, user, sizeof(op)))
		return -EFAULT;
	err = vcd_authcrypt(file, &op);
	if (err)
		return err;
	if (put_user(op.len, &user->len) || put_user(op.tag_len, &user->tag_len))
		return -EFAULT;
	return 0;
}

static long vcd_async_fetch_user(struct vcd_file *file, struct crypt_op __user *user)
{
	struct crypt_op op;
	long err = vcd_async_fetch(file, &op);

	if (err)
		return err;
	return copy_to_user(user, &op, sizeof(op)) ? -EFAULT : 0;
}

long vcd_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	struct vcd_file *file = filp->private_data;
	void __user *user = (void __user *)argument;
	struct session_op __user *user_session = user;
	struct session_op session;
	struct cphash_op cphash;
	struct crypt_op crypt;
	u32 number;

	switch (command) {
	case CRIOGET:
		return vcd_clone_fd(filp, user);
	case CIOCGSESSION:
		if (copy_from_user(&session, user, sizeof(session)))
			return -EFAULT;
		return vcd_gsession(file, &session, &user_session->ses);
	case CIOCFSESSION:
		if (get_user(number, (u32 __user *)user))
			return -EFAULT;
		return vcd_fsession(file, number);
	case CIOCCRYPT:
		if (copy_from_user(&crypt, user, sizeof(crypt)))
			return -EFAULT;
		return vcd_crypt(file, &crypt);
	case CIOCAUTHCRYPT:
		return vcd_authcrypt_user(file, user);
	case CIOCASYNCCRYPT:
		if (copy_from_user(&crypt, user, sizeof(crypt)))
			return -EFAULT;
		return vcd_async_crypt(file, &crypt);
	case CIOCASYNCFETCH:
		return vcd_async_fetch_user(file, user);
	case CIOCCPHASH:
		if (copy_from_user(&cphash, user, sizeof(cphash)))
			return -EFAULT;
		return vcd_cphash(file, &cphash);
	case CIOCGSESSINFO:
		return vcd_gsessinfo(file, user);
	case CIOCASYMFEAT:
		return put_user(0, (u32 __user *)user);
	default:
		return -EINVAL;
	}
}

static int vcd_open_once(struct vcd_file *file, long *left)
{
	struct vcd_request *req = vcd_request_new(file, VIRTIO_CRYPTODEV_OPEN, 0, 0, 0);
	int err = -ENOMEM;

	if (!req)
		return err;
	req->undo = vcd_request_new_close(file);
	if (req->undo)
		err = vcd_call_within(file->queue, req, left);
	if (!err) {
		file->handle = req->value;
		file->close = req->undo;
		req->undo = NULL;
	}
	vcd_request_put(req);
	return err;
}

/* Whether an OPEN that was sent after @closed CLOSEs, and refused, is worth another one */
static bool vcd_open_again(struct vcd_device *dev, int closed)
{
	bool closing = atomic_read(&dev->closing);

	/* In this order: what isn't closing any more has been counted as closed. */
	smp_rmb();
	return closing || atomic_read(&dev->closed) != closed;
}

/*
 * close() doesn't wait for the device, but who opens a file after it counts on its effect: with as
 * many files as the device allows an OPEN waits for the CLOSEs that are under way.
 */
static int vcd_open_handle(struct vcd_file *file)
{
	struct vcd_device *dev = file->queue->dev;
	long left = vcd_patience();
	unsigned long end = jiffies + left;
	int closed, err;

	for (;;) {
		closed = atomic_read(&dev->closed);
		err = vcd_open_once(file, &left);
		if (err != -EMFILE || left <= 0 || !vcd_open_again(dev, closed))
			return err;
		/* With a host that answers at once, and others who close, no wait may be one. */
		if (fatal_signal_pending(current))
			return -EINTR;
		if (left != MAX_SCHEDULE_TIMEOUT)
			left = max(0L, (long)(end - jiffies));
		if (!left)
			return -EMFILE;
		left = vcd_wait_event(dev->closed_wait, atomic_read(&dev->closed) != closed, left);
		if (left <= 0)
			return left ? -EINTR : -EMFILE;
	}
}

static void vcd_file_free(struct vcd_file *file)
{
	vcd_sessions_free(file);
	vcd_spares_free(&file->spares);
	if (file->quota)
		vcd_quota_put(file->quota);
	kfree(file);
}

static struct vcd_file *vcd_file_new(void)
{
	struct vcd_file *file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);

	if (!file)
		return NULL;
	xa_init_flags(&file->sessions, XA_FLAGS_ACCOUNT);
	vcd_spares_init(&file->spares);
	spin_lock_init(&file->jobs_lock);
	INIT_LIST_HEAD(&file->jobs);
	init_waitqueue_head(&file->poll);
	file->quota = vcd_quota_new();
	if (!file->quota) {
		vcd_file_free(file);
		return NULL;
	}
	return file;
}

static int vcd_open(struct inode *inode, struct file *filp)
{
	struct vcd_device *dev = vcd_node_device(iminor(inode));
	struct vcd_file *file;
	int err = -ENOMEM;

	if (!dev)
		return -ENODEV;
	file = vcd_file_new();
	if (!file)
		goto put;
	err = -ENODEV;
	file->queue = vcd_device_pick_queue(dev);
	if (!file->queue)
		goto free;
	file->generation = READ_ONCE(file->queue->generation);
	err = vcd_open_handle(file);
	if (err)
		goto free;
	filp->private_data = file;
	return nonseekable_open(inode, filp);
free:
	vcd_file_free(file);
put:
	vcd_device_put(dev);
	return err;
}

static int vcd_release(struct inode *inode, struct file *filp)
{
	struct vcd_file *file = filp->private_data;
	struct vcd_device *dev = file->queue->dev;

	vcd_async_free(file);
	vcd_undo(file->queue, file->close, file->handle);
	vcd_file_free(file);
	vcd_device_put(dev);
	return 0;
}

const struct file_operations vcd_fops = {
	.owner = THIS_MODULE,
	.open = vcd_open,
	.release = vcd_release,
	.unlocked_ioctl = vcd_ioctl,
#ifdef CONFIG_COMPAT
	.compat_ioctl = vcd_compat_ioctl,
#endif
	.mmap = vcd_mmap,
	.poll = vcd_async_poll,
};
