// SPDX-License-Identifier: GPL-2.0
/*
 * Guest driver of the virtio cryptodev device (docs/virtio-cryptodev.md).
 *
 * Offers /dev/crypto and forwards open, close and every ioctl to the host as requests on a
 * virtqueue. Reads from top to bottom: device, request, completion, calls, file, probe, remove.
 */
#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/device.h>
#include <linux/idr.h>
#include <linux/kref.h>
#include <linux/kdev_t.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "cryptodev_abi.h"
#include "virtio_cryptodev.h"

/*
 * The device
 */

struct vcd_device {
	struct kref ref;
	struct virtio_device *vdev;
	struct virtqueue *vq;
	int id;
	u32 max_bytes;
	/* Changes when the device forgets its handles, at suspend */
	unsigned int generation;
	/* Protects the virtqueue and @gone */
	spinlock_t lock;
	/* Woken when the ring has room again, and when the device is gone */
	wait_queue_head_t room;
	/* All requests that the ring holds, so that a device that never answers can be given up */
	struct list_head in_flight;
	/* CLOSE requests that wait for @close_work to send them */
	struct list_head to_close;
	struct work_struct close_work;
	bool gone;
};

/* Minors 0 to 31 are /dev/cryptodev0 to 31; /dev/crypto stands for the first that there is. */
#define VCD_MAX_DEVICES	32
#define VCD_MINOR_FIRST	VCD_MAX_DEVICES

/* Protects vcd_devices and the nodes; nothing waits for a device while holding it */
static DEFINE_MUTEX(vcd_devices_lock);
static DEFINE_IDR(vcd_devices);
static struct class *vcd_class;
static struct cdev vcd_cdev;
static dev_t vcd_region;

static void vcd_device_free(struct kref *ref)
{
	kfree(container_of(ref, struct vcd_device, ref));
}

/*
 * The request: owns its buffers until the device has given them back (requirement 3). It has two
 * owners, the caller and the ring; a caller that is killed leaves the rest to the ring.
 */

struct vcd_request {
	struct kref ref;
	struct list_head link;
	struct completion done;
	int status;
	/* Nobody waits for the answer any more */
	bool abandoned;
	/* For an OPEN: what is sent when it succeeds after it was abandoned (requirement 4) */
	struct vcd_request *close;
	/* What the device reads: struct virtio_cryptodev_request and what follows it */
	void *out;
	size_t out_bytes;
	/* What the device writes: struct virtio_cryptodev_response and what follows it */
	void *in;
	size_t in_bytes;
};

static void vcd_request_free(struct kref *ref)
{
	struct vcd_request *req = container_of(ref, struct vcd_request, ref);

	if (req->close)
		kref_put(&req->close->ref, vcd_request_free);
	/* There may be keys and plaintext in both. */
	kvfree_sensitive(req->out, req->out_bytes);
	kvfree_sensitive(req->in, req->in_bytes);
	kfree(req);
}

static void vcd_request_put(struct vcd_request *req)
{
	kref_put(&req->ref, vcd_request_free);
}

static struct vcd_request *vcd_request_new(u32 type, u32 handle, u32 command,
					   size_t out_extra, size_t in_extra)
{
	struct virtio_cryptodev_request *head;
	struct vcd_request *req = kzalloc(sizeof(*req), GFP_KERNEL);

	if (!req)
		return NULL;
	kref_init(&req->ref);
	init_completion(&req->done);
	req->out_bytes = sizeof(struct virtio_cryptodev_request) + out_extra;
	req->in_bytes = sizeof(struct virtio_cryptodev_response) + in_extra;
	req->out = kvmalloc(req->out_bytes, GFP_KERNEL_ACCOUNT);
	req->in = kvmalloc(req->in_bytes, GFP_KERNEL_ACCOUNT);
	if (!req->out || !req->in) {
		vcd_request_put(req);
		return NULL;
	}
	head = req->out;
	head->type = cpu_to_le32(type);
	head->handle = cpu_to_le32(handle);
	head->command = cpu_to_le32(command);
	head->reserved = 0;
	return req;
}

static void *vcd_out(struct vcd_request *req)
{
	return req->out + sizeof(struct virtio_cryptodev_request);
}

static void *vcd_in(struct vcd_request *req)
{
	return req->in + sizeof(struct virtio_cryptodev_response);
}

/*
 * Describes a buffer that kvmalloc() gave: with @one where it is contiguous, else with an array of
 * one entry a page, which vcd_sg_free() frees.
 */
static struct scatterlist *vcd_sg(struct scatterlist *one, void *buf, size_t bytes)
{
	unsigned int entries, i;
	struct scatterlist *sg;

	if (!is_vmalloc_addr(buf)) {
		sg_init_one(one, buf, bytes);
		return one;
	}
	entries = DIV_ROUND_UP(bytes, PAGE_SIZE);
	sg = kmalloc_array(entries, sizeof(*sg), GFP_KERNEL);
	if (!sg)
		return NULL;
	sg_init_table(sg, entries);
	for (i = 0; i < entries; i++) {
		size_t chunk = min_t(size_t, bytes, PAGE_SIZE);

		sg_set_page(&sg[i], vmalloc_to_page(buf), chunk, 0);
		buf += chunk;
		bytes -= chunk;
	}
	return sg;
}

static void vcd_sg_free(struct scatterlist *one, struct scatterlist *sg)
{
	if (sg != one)
		kfree(sg);
}

/*
 * Completion: the interrupt only takes finished requests off the ring and wakes their callers.
 */

static u32 vcd_value(struct vcd_request *req)
{
	struct virtio_cryptodev_response *response = req->in;

	return le32_to_cpu(response->value);
}

/* Has a worker send a CLOSE: neither an exiting process nor an interrupt may wait for room. */
static void vcd_queue_close(struct vcd_device *dev, struct vcd_request *close, u32 handle)
{
	struct virtio_cryptodev_request *head = close->out;

	lockdep_assert_held(&dev->lock);
	head->handle = cpu_to_le32(handle);
	if (dev->gone) {
		vcd_request_put(close);
		return;
	}
	list_add_tail(&close->link, &dev->to_close);
	schedule_work(&dev->close_work);
}

static void vcd_request_finish(struct vcd_device *dev, struct vcd_request *req, int status)
{
	lockdep_assert_held(&dev->lock);
	req->status = status;
	list_del(&req->link);
	if (req->close && req->abandoned && !status) {
		vcd_queue_close(dev, req->close, vcd_value(req));
		req->close = NULL;
	}
	complete(&req->done);
	vcd_request_put(req);
}

static int vcd_status(struct vcd_request *req, unsigned int written)
{
	struct virtio_cryptodev_response *response = req->in;
	u32 error = le32_to_cpu(response->error);

	/* Nothing is zeroed beforehand: what was not written must not be read. */
	if (written < sizeof(*response) || written > req->in_bytes)
		return -EIO;
	if (!response->error && written != req->in_bytes)
		return -EIO;
	/* What the device calls an error must be one to the caller too. */
	return error <= 133 ? -(int)error : -EIO;
}

static void vcd_done(struct virtqueue *vq)
{
	struct vcd_device *dev = vq->vdev->priv;
	struct vcd_request *req;
	unsigned int written;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	do {
		virtqueue_disable_cb(vq);
		while ((req = virtqueue_get_buf(vq, &written)))
			vcd_request_finish(dev, req, vcd_status(req, written));
	} while (!virtqueue_enable_cb(vq));
	spin_unlock_irqrestore(&dev->lock, flags);
	wake_up_all(&dev->room);
}

/*
 * Calls: putting a request on the ring, and waiting for it.
 */

/* 0, -ENOSPC while the ring is full, or another error. Takes a reference when it succeeds. */
static int vcd_try_add(struct vcd_device *dev, struct vcd_request *req,
		       struct scatterlist *out, struct scatterlist *in)
{
	struct scatterlist *sgs[] = { out, in };
	unsigned long flags;
	bool kick = false;
	int err = -ENODEV;

	spin_lock_irqsave(&dev->lock, flags);
	if (!dev->gone) {
		err = virtqueue_add_sgs(dev->vq, sgs, 1, 1, req, GFP_ATOMIC);
		if (!err) {
			kref_get(&req->ref);
			list_add_tail(&req->link, &dev->in_flight);
			kick = virtqueue_kick_prepare(dev->vq);
		}
	}
	spin_unlock_irqrestore(&dev->lock, flags);
	if (kick)
		virtqueue_notify(dev->vq);
	return err;
}

/* Whether there was room on the ring, or a better reason not to try again: see @err */
static bool vcd_tried(struct vcd_device *dev, struct vcd_request *req,
		      struct scatterlist *out, struct scatterlist *in, int *err)
{
	*err = vcd_try_add(dev, req, out, in);
	return *err != -ENOSPC;
}

/* Puts a request on the ring, waiting for room; a fatal signal ends the wait. */
static int vcd_submit(struct vcd_device *dev, struct vcd_request *req)
{
	struct scatterlist out_one, in_one;
	struct scatterlist *out = vcd_sg(&out_one, req->out, req->out_bytes);
	struct scatterlist *in = vcd_sg(&in_one, req->in, req->in_bytes);
	int err = -ENOMEM;

	if (out && in && wait_event_killable(dev->room, vcd_tried(dev, req, out, in, &err)))
		err = -EINTR;
	/* The ring has the addresses; what described them is not needed any more. */
	vcd_sg_free(&in_one, in);
	vcd_sg_free(&out_one, out);
	return err;
}

/* Sends a request and waits for its answer: 0 or the error that the caller shall see. */
static int vcd_call(struct vcd_device *dev, struct vcd_request *req)
{
	int err;

	err = vcd_submit(dev, req);
	if (err)
		return err;
	if (wait_for_completion_killable(&req->done)) {
		spin_lock_irq(&dev->lock);
		req->abandoned = !completion_done(&req->done);
		spin_unlock_irq(&dev->lock);
		if (req->abandoned)
			return -EINTR;
	}
	return req->status;
}

static void vcd_close_work(struct work_struct *work)
{
	struct vcd_device *dev = container_of(work, struct vcd_device, close_work);
	struct scatterlist out, in;
	struct vcd_request *req;

	for (;;) {
		spin_lock_irq(&dev->lock);
		req = list_first_entry_or_null(&dev->to_close, struct vcd_request, link);
		if (req)
			list_del(&req->link);
		spin_unlock_irq(&dev->lock);
		if (!req)
			return;
		sg_init_one(&out, req->out, req->out_bytes);
		sg_init_one(&in, req->in, req->in_bytes);
		wait_event(dev->room, vcd_try_add(dev, req, &out, &in) != -ENOSPC);
		vcd_request_put(req);
	}
}

/*
 * The file: a handle of the device's, and what is known of its sessions.
 */

struct vcd_file {
	struct vcd_device *dev;
	u32 handle;
	unsigned int generation;
	/* Made with the file, so that closing can't fail */
	struct vcd_request *close;
	/* By session: sizes packed by vcd_session_pack() */
	struct xarray sessions;
};

/* The device has forgotten handles of before a suspend; it may have given their numbers again. */
static int vcd_file_call(struct vcd_file *file, struct vcd_request *req)
{
	if (file->generation != READ_ONCE(file->dev->generation))
		return -ENODEV;
	return vcd_call(file->dev, req);
}

#define VCD_HAS_CIPHER	BIT(16)

static void *vcd_session_pack(u32 iv_bytes, u32 mac_bytes, bool cipher)
{
	return xa_mk_value(iv_bytes | mac_bytes << 8 | (cipher ? VCD_HAS_CIPHER : 0));
}

static long vcd_gsession(struct vcd_file *file, struct session_op *session)
{
	struct virtio_cryptodev_response *response;
	struct virtio_cryptodev_gsession *body;
	struct vcd_request *req;
	u32 key_bytes = session->cipher ? session->keylen : 0;
	u32 mac_key_bytes = session->mac ? session->mackeylen : 0;
	u32 ses, iv_bytes, mac_bytes;
	long err;

	if (!session->cipher && !session->mac)
		return -EINVAL;
	if (key_bytes > CRYPTODEV_KEY_MAX || mac_key_bytes > CRYPTODEV_MAC_KEY_MAX)
		return -EINVAL;
	req = vcd_request_new(VIRTIO_CRYPTODEV_IOCTL, file->handle, VIRTIO_CRYPTODEV_GSESSION,
			      sizeof(*body) + key_bytes + mac_key_bytes, 0);
	if (!req)
		return -ENOMEM;
	body = vcd_out(req);
	body->cipher = cpu_to_le32(session->cipher);
	body->mac = cpu_to_le32(session->mac);
	body->key_bytes = cpu_to_le32(key_bytes);
	body->mac_key_bytes = cpu_to_le32(mac_key_bytes);
	err = -EFAULT;
	if (copy_from_user(body + 1, session->key, key_bytes) ||
	    copy_from_user((void *)(body + 1) + key_bytes, session->mackey, mac_key_bytes))
		goto put;
	err = vcd_file_call(file, req);
	if (err)
		goto put;
	response = req->in;
	ses = vcd_value(req);
	iv_bytes = le32_to_cpu(response->iv_bytes);
	mac_bytes = le32_to_cpu(response->mac_bytes);
	err = -EIO;
	if (iv_bytes > 255 || mac_bytes > 64)
		goto put;
	err = xa_err(xa_store(&file->sessions, ses,
			      vcd_session_pack(iv_bytes, mac_bytes, session->cipher), GFP_KERNEL));
	session->ses = ses;
put:
	vcd_request_put(req);
	return err;
}

static long vcd_fsession(struct vcd_file *file, u32 ses)
{
	struct vcd_request *req;
	__le32 *body;
	long err;

	req = vcd_request_new(VIRTIO_CRYPTODEV_IOCTL, file->handle, VIRTIO_CRYPTODEV_FSESSION,
			      sizeof(*body), 0);
	if (!req)
		return -ENOMEM;
	body = vcd_out(req);
	*body = cpu_to_le32(ses);
	err = vcd_file_call(file, req);
	if (!err)
		xa_erase(&file->sessions, ses);
	vcd_request_put(req);
	return err;
}

static long vcd_crypt(struct vcd_file *file, struct crypt_op *op)
{
	struct virtio_cryptodev_crypt *body;
	struct vcd_request *req;
	void *known = xa_load(&file->sessions, op->ses);
	u32 sizes, iv_size, iv_bytes, iv_back, mac_bytes, result_bytes;
	void *result;
	long err;

	if (!known || op->op > 1)
		return -EINVAL;
	if (op->len > file->dev->max_bytes)
		return -EINVAL;
	sizes = xa_to_value(known);
	iv_size = sizes & 0xff;
	iv_bytes = op->iv ? iv_size : 0;
	iv_back = op->iv && (op->flags & COP_FLAG_WRITE_IV) ? iv_size : 0;
	result_bytes = sizes & VCD_HAS_CIPHER ? op->len : 0;
	/* The digest of what is hashed in parts comes with the last part. */
	mac_bytes = (sizes >> 8) & 0xff;
	if ((op->flags & COP_FLAG_UPDATE) && !(op->flags & COP_FLAG_FINAL))
		mac_bytes = 0;
	req = vcd_request_new(VIRTIO_CRYPTODEV_IOCTL, file->handle, VIRTIO_CRYPTODEV_CRYPT,
			      sizeof(*body) + iv_bytes + op->len,
			      result_bytes + mac_bytes + iv_back);
	if (!req)
		return -ENOMEM;
	body = vcd_out(req);
	body->session = cpu_to_le32(op->ses);
	body->op = cpu_to_le16(op->op);
	body->flags = cpu_to_le16(op->flags & (COP_FLAG_UPDATE | COP_FLAG_FINAL | COP_FLAG_RESET |
					       (iv_back ? COP_FLAG_WRITE_IV : 0)));
	body->len = cpu_to_le32(op->len);
	body->iv_bytes = cpu_to_le32(iv_bytes);
	body->result_bytes = cpu_to_le32(result_bytes);
	body->mac_bytes = cpu_to_le32(mac_bytes);
	err = -EFAULT;
	if (copy_from_user(body + 1, op->iv, iv_bytes) ||
	    copy_from_user((void *)(body + 1) + iv_bytes, op->src, op->len))
		goto put;
	err = vcd_file_call(file, req);
	if (err)
		goto put;
	result = vcd_in(req);
	if (copy_to_user(op->dst, result, result_bytes) ||
	    copy_to_user(op->mac, result + result_bytes, mac_bytes) ||
	    copy_to_user(op->iv, result + result_bytes + mac_bytes, iv_back))
		err = -EFAULT;
put:
	vcd_request_put(req);
	return err;
}

static void vcd_copy_name(char *to, const u8 *from)
{
	memcpy(to, from, 63);
	to[63] = 0;
}

static long vcd_gsessinfo(struct vcd_file *file, struct session_info_op __user *user)
{
	struct virtio_cryptodev_gsessinfo *got;
	struct session_info_op *info;
	struct vcd_request *req;
	__le32 *body;
	long err;

	req = vcd_request_new(VIRTIO_CRYPTODEV_IOCTL, file->handle, VIRTIO_CRYPTODEV_GSESSINFO,
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
	err = vcd_file_call(file, req);
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

/* CRIOGET: another descriptor of the same open file */
static long vcd_clone_fd(struct file *filp, u32 __user *user)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd < 0)
		return fd;
	if (put_user(fd, user)) {
		put_unused_fd(fd);
		return -EFAULT;
	}
	fd_install(fd, get_file(filp));
	return 0;
}

static long vcd_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	struct vcd_file *file = filp->private_data;
	void __user *user = (void __user *)argument;
	struct session_op session;
	struct crypt_op crypt;
	u32 number;
	long err;

	switch (command) {
	case CRIOGET:
		return vcd_clone_fd(filp, user);
	case CIOCGSESSION:
		if (copy_from_user(&session, user, sizeof(session)))
			return -EFAULT;
		err = vcd_gsession(file, &session);
		if (err)
			return err;
		if (copy_to_user(user, &session, sizeof(session))) {
			vcd_fsession(file, session.ses);
			return -EFAULT;
		}
		return 0;
	case CIOCFSESSION:
		if (get_user(number, (u32 __user *)user))
			return -EFAULT;
		return vcd_fsession(file, number);
	case CIOCCRYPT:
		if (copy_from_user(&crypt, user, sizeof(crypt)))
			return -EFAULT;
		return vcd_crypt(file, &crypt);
	case CIOCGSESSINFO:
		return vcd_gsessinfo(file, user);
	case CIOCASYMFEAT:
		return put_user(0, (u32 __user *)user);
	default:
		return -EINVAL;
	}
}

#ifdef CONFIG_COMPAT
static long vcd_compat_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	struct vcd_file *file = filp->private_data;
	void __user *user = compat_ptr(argument);
	struct compat_session_op session32;
	struct compat_crypt_op crypt32;
	struct session_op session;
	struct crypt_op crypt;
	long err;

	switch (command) {
	case COMPAT_CIOCGSESSION:
		if (copy_from_user(&session32, user, sizeof(session32)))
			return -EFAULT;
		session = (struct session_op) {
			.cipher = session32.cipher,
			.mac = session32.mac,
			.keylen = session32.keylen,
			.key = compat_ptr(session32.key),
			.mackeylen = session32.mackeylen,
			.mackey = compat_ptr(session32.mackey),
		};
		err = vcd_gsession(file, &session);
		if (err)
			return err;
		session32.ses = session.ses;
		if (copy_to_user(user, &session32, sizeof(session32))) {
			vcd_fsession(file, session.ses);
			return -EFAULT;
		}
		return 0;
	case COMPAT_CIOCCRYPT:
		if (copy_from_user(&crypt32, user, sizeof(crypt32)))
			return -EFAULT;
		crypt = (struct crypt_op) {
			.ses = crypt32.ses,
			.op = crypt32.op,
			.flags = crypt32.flags,
			.len = crypt32.len,
			.src = compat_ptr(crypt32.src),
			.dst = compat_ptr(crypt32.dst),
			.mac = compat_ptr(crypt32.mac),
			.iv = compat_ptr(crypt32.iv),
		};
		return vcd_crypt(file, &crypt);
	default:
		return vcd_ioctl(filp, command, (unsigned long)user);
	}
}
#endif

/* The device behind a minor, with a reference; NULL when it is gone. */
static struct vcd_device *vcd_device_get(unsigned int minor)
{
	struct vcd_device *dev;
	int id = minor;

	mutex_lock(&vcd_devices_lock);
	if (minor == VCD_MINOR_FIRST) {
		id = 0;
		dev = idr_get_next(&vcd_devices, &id);
	} else {
		dev = idr_find(&vcd_devices, id);
	}
	if (dev)
		kref_get(&dev->ref);
	mutex_unlock(&vcd_devices_lock);
	return dev;
}

static int vcd_open(struct inode *inode, struct file *filp)
{
	struct vcd_device *dev = vcd_device_get(iminor(inode));
	struct vcd_request *req;
	struct vcd_file *file;
	int err = -ENOMEM;

	if (!dev)
		return -ENODEV;
	file = kzalloc(sizeof(*file), GFP_KERNEL);
	req = vcd_request_new(VIRTIO_CRYPTODEV_OPEN, 0, 0, 0, 0);
	if (!file || !req)
		goto free;
	req->close = vcd_request_new(VIRTIO_CRYPTODEV_CLOSE, 0, 0, 0, 0);
	if (!req->close)
		goto free;
	file->dev = dev;
	file->generation = READ_ONCE(dev->generation);
	xa_init(&file->sessions);
	err = vcd_call(dev, req);
	if (err)
		goto free;
	file->handle = vcd_value(req);
	file->close = req->close;
	req->close = NULL;
	vcd_request_put(req);
	filp->private_data = file;
	return nonseekable_open(inode, filp);
free:
	if (req)
		vcd_request_put(req);
	kfree(file);
	kref_put(&dev->ref, vcd_device_free);
	return err;
}

static int vcd_release(struct inode *inode, struct file *filp)
{
	struct vcd_file *file = filp->private_data;
	struct vcd_device *dev = file->dev;

	spin_lock_irq(&dev->lock);
	if (file->generation == dev->generation)
		vcd_queue_close(dev, file->close, file->handle);
	else
		vcd_request_put(file->close);
	spin_unlock_irq(&dev->lock);
	xa_destroy(&file->sessions);
	kfree(file);
	kref_put(&dev->ref, vcd_device_free);
	return 0;
}

static const struct file_operations vcd_fops = {
	.owner = THIS_MODULE,
	.open = vcd_open,
	.release = vcd_release,
	.unlocked_ioctl = vcd_ioctl,
#ifdef CONFIG_COMPAT
	.compat_ioctl = vcd_compat_ioctl,
#endif
};

/*
 * Probe and remove, and the same for suspend
 */

static int vcd_start(struct vcd_device *dev)
{
	struct virtqueue *vq = virtio_find_single_vq(dev->vdev, vcd_done, "requestq");

	if (IS_ERR(vq))
		return PTR_ERR(vq);
	spin_lock_irq(&dev->lock);
	dev->vq = vq;
	dev->gone = false;
	spin_unlock_irq(&dev->lock);
	virtio_device_ready(dev->vdev);
	return 0;
}

/* Takes the ring away: whoever waits for an answer gets -ENODEV. */
static void vcd_stop(struct vcd_device *dev)
{
	struct vcd_request *req, *next;

	spin_lock_irq(&dev->lock);
	dev->gone = true;
	dev->generation++;
	list_for_each_entry_safe(req, next, &dev->to_close, link) {
		list_del(&req->link);
		vcd_request_put(req);
	}
	spin_unlock_irq(&dev->lock);
	wake_up_all(&dev->room);
	cancel_work_sync(&dev->close_work);
	virtio_reset_device(dev->vdev);
	spin_lock_irq(&dev->lock);
	list_for_each_entry_safe(req, next, &dev->in_flight, link)
		vcd_request_finish(dev, req, -ENODEV);
	spin_unlock_irq(&dev->lock);
	dev->vdev->config->del_vqs(dev->vdev);
}

/* Gives a device its number and its node, and makes /dev/crypto with the first one. */
static int vcd_add(struct vcd_device *dev)
{
	struct device *node;
	bool first;
	int id;

	mutex_lock(&vcd_devices_lock);
	first = idr_is_empty(&vcd_devices);
	id = idr_alloc(&vcd_devices, dev, 0, VCD_MAX_DEVICES, GFP_KERNEL);
	if (id < 0)
		goto unlock;
	dev->id = id;
	node = device_create(vcd_class, &dev->vdev->dev, MKDEV(MAJOR(vcd_region), id), NULL,
			     "cryptodev%d", id);
	if (IS_ERR(node))
		goto remove;
	if (!first)
		goto unlock;
	/* It stands for whatever device is there, so it has no parent. */
	node = device_create(vcd_class, NULL, MKDEV(MAJOR(vcd_region), VCD_MINOR_FIRST), NULL,
			     "crypto");
	if (!IS_ERR(node))
		goto unlock;
	device_destroy(vcd_class, MKDEV(MAJOR(vcd_region), id));
remove:
	idr_remove(&vcd_devices, id);
	id = PTR_ERR(node);
unlock:
	mutex_unlock(&vcd_devices_lock);
	return id < 0 ? id : 0;
}

static void vcd_del(struct vcd_device *dev)
{
	mutex_lock(&vcd_devices_lock);
	device_destroy(vcd_class, MKDEV(MAJOR(vcd_region), dev->id));
	idr_remove(&vcd_devices, dev->id);
	if (idr_is_empty(&vcd_devices))
		device_destroy(vcd_class, MKDEV(MAJOR(vcd_region), VCD_MINOR_FIRST));
	mutex_unlock(&vcd_devices_lock);
}

static int vcd_probe(struct virtio_device *vdev)
{
	struct vcd_device *dev;
	int err;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;
	kref_init(&dev->ref);
	spin_lock_init(&dev->lock);
	init_waitqueue_head(&dev->room);
	INIT_LIST_HEAD(&dev->in_flight);
	INIT_LIST_HEAD(&dev->to_close);
	INIT_WORK(&dev->close_work, vcd_close_work);
	dev->vdev = vdev;
	vdev->priv = dev;
	virtio_cread_le(vdev, struct virtio_cryptodev_config, max_bytes, &dev->max_bytes);
	dev->max_bytes = min_t(u32, dev->max_bytes, VIRTIO_CRYPTODEV_MAX_BYTES);
	err = vcd_start(dev);
	if (err)
		goto put;
	err = vcd_add(dev);
	if (err)
		goto stop;
	return 0;

stop:
	vcd_stop(dev);
put:
	kref_put(&dev->ref, vcd_device_free);
	return err;
}

static void vcd_remove(struct virtio_device *vdev)
{
	struct vcd_device *dev = vdev->priv;

	vcd_del(dev);
	vcd_stop(dev);
	/* Open files keep the rest; all that they ask for is -ENODEV from now on. */
	kref_put(&dev->ref, vcd_device_free);
}

#ifdef CONFIG_PM_SLEEP
/* The device forgets its files at suspend: those that are open then give -ENODEV afterwards. */
static int vcd_freeze(struct virtio_device *vdev)
{
	vcd_stop(vdev->priv);
	return 0;
}

static int vcd_restore(struct virtio_device *vdev)
{
	return vcd_start(vdev->priv);
}
#endif

static const struct virtio_device_id vcd_id_table[] = {
	{ VIRTIO_ID_CRYPTODEV, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, vcd_id_table);

static struct virtio_driver vcd_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = vcd_id_table,
	.probe = vcd_probe,
	.remove = vcd_remove,
#ifdef CONFIG_PM_SLEEP
	.freeze = vcd_freeze,
	.restore = vcd_restore,
#endif
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
static char *vcd_devnode(const struct device *node, umode_t *mode)
#else
static char *vcd_devnode(struct device *node, umode_t *mode)
#endif
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static int __init vcd_init(void)
{
	int err;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	vcd_class = class_create("cryptodev");
#else
	vcd_class = class_create(THIS_MODULE, "cryptodev");
#endif
	if (IS_ERR(vcd_class))
		return PTR_ERR(vcd_class);
	vcd_class->devnode = vcd_devnode;
	err = alloc_chrdev_region(&vcd_region, 0, VCD_MAX_DEVICES + 1, "cryptodev");
	if (err)
		goto destroy_class;
	cdev_init(&vcd_cdev, &vcd_fops);
	vcd_cdev.owner = THIS_MODULE;
	err = cdev_add(&vcd_cdev, vcd_region, VCD_MAX_DEVICES + 1);
	if (err)
		goto unregister;
	err = register_virtio_driver(&vcd_driver);
	if (err)
		goto del_cdev;
	return 0;

del_cdev:
	cdev_del(&vcd_cdev);
unregister:
	unregister_chrdev_region(vcd_region, VCD_MAX_DEVICES + 1);
destroy_class:
	class_destroy(vcd_class);
	return err;
}
module_init(vcd_init);

static void __exit vcd_exit(void)
{
	unregister_virtio_driver(&vcd_driver);
	cdev_del(&vcd_cdev);
	unregister_chrdev_region(vcd_region, VCD_MAX_DEVICES + 1);
	class_destroy(vcd_class);
	idr_destroy(&vcd_devices);
}
module_exit(vcd_exit);

MODULE_DESCRIPTION("virtio cryptodev: /dev/crypto by the host");
MODULE_LICENSE("GPL");
