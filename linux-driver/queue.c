// SPDX-License-Identifier: GPL-2.0
/*
 * A queue: putting requests on the ring, completing them, waiting for them
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "vcd.h"

static unsigned int vcd_timeout = 60;
module_param_named(timeout, vcd_timeout, uint, 0644);
MODULE_PARM_DESC(timeout, "Seconds after which a call gives up its request; 0: never (default: 60)");

void vcd_queue_init(struct vcd_queue *queue, struct vcd_device *dev)
{
	queue->dev = dev;
	spin_lock_init(&queue->lock);
	init_waitqueue_head(&queue->room);
	INIT_LIST_HEAD(&queue->in_flight);
	INIT_LIST_HEAD(&queue->to_send);
}

/*
 * The ring. All of this under the queue's lock.
 */

/* 0, -ENOSPC while the ring is full, or another error. The ring gets the caller's reference. */
static int vcd_ring_add(struct vcd_queue *queue, struct vcd_request *req,
			struct scatterlist *out, struct scatterlist *in)
{
	struct scatterlist *sgs[] = { out, in };
	int err;

	/* To be told so by virtqueue_add_sgs() would notify the device. */
	if (!queue->vq->num_free)
		return -ENOSPC;
	err = virtqueue_add_sgs(queue->vq, sgs, 1, 1, req, GFP_ATOMIC);
	if (!err) {
		list_add_tail(&req->link, &queue->in_flight);
	} else if (virtqueue_is_broken(queue->vq)) {
		schedule_work(&queue->dev->check);
		err = -ENODEV;
	} else if ((err == -ENOMEM || err == -EIO) && !list_empty(&queue->in_flight)) {
		/* There is no more to bounce through, until there is an answer. */
		err = -ENOSPC;
	}
	return err;
}

/*
 * Sends what nobody waits for, as far as there is room. This is tried before anything else is put
 * on the ring and whenever something has come off it, so that it is overtaken by nothing and needs
 * no thread that waits. Returns whether the device is to be notified.
 */
static bool vcd_flush(struct vcd_queue *queue)
{
	struct vcd_request *req, *next;
	struct scatterlist out, in;
	bool added = false;

	list_for_each_entry_safe(req, next, &queue->to_send, link) {
		/* Both are smaller than a page, so kvmalloc() has given one piece for each. */
		sg_init_one(&out, req->out, req->out_bytes);
		sg_init_one(&in, req->in, req->in_bytes);
		list_del(&req->link);
		if (vcd_ring_add(queue, req, &out, &in)) {
			list_add(&req->link, &queue->to_send);
			break;
		}
		added = true;
	}
	return added && virtqueue_kick_prepare(queue->vq);
}

static void vcd_send_later(struct vcd_queue *queue, struct vcd_request *undo, u32 number)
{
	*undo->number = cpu_to_le32(number);
	if (undo->closing)
		atomic_inc(&queue->dev->closing);
	list_add_tail(&undo->link, &queue->to_send);
}

/*
 * Completion: the interrupt only takes finished requests off the ring and wakes their callers.
 */

static void vcd_closed(struct vcd_device *dev)
{
	atomic_inc(&dev->closed);
	/* In this order, for vcd_open_again(), which looks at them in the other */
	smp_mb__after_atomic();
	atomic_dec(&dev->closing);
	wake_up_all(&dev->closed_wait);
}

/* Under the queue's lock. The reference that the ring has is left to whoever takes it off. */
static void vcd_request_settle(struct vcd_queue *queue, struct vcd_request *req, int status)
{
	list_del_init(&req->link);
	if (req->abandoned && req->undo && !status) {
		vcd_send_later(queue, req->undo, req->value);
		req->undo = NULL;
	}
	if (req->closing)
		vcd_closed(queue->dev);
	req->status = status;
	/* The caller sees all of the answer when it sees this. */
	smp_store_release(&req->answered, true);
	wake_up(&req->wait);
	if (req->poll)
		wake_up_poll(req->poll, EPOLLIN | EPOLLRDNORM);
}

/* Reads the answer's head, once: nothing keeps the device from writing to it afterwards. */
static int vcd_answer(struct vcd_request *req, unsigned int written)
{
	const struct virtio_cryptodev_response *response = req->in;
	u32 error = le32_to_cpu(READ_ONCE(response->error));

	req->value = le32_to_cpu(READ_ONCE(response->value));
	req->iv_bytes = le32_to_cpu(READ_ONCE(response->iv_bytes));
	req->mac_bytes = le32_to_cpu(READ_ONCE(response->mac_bytes));
	if (written < sizeof(*response) || written > vcd_request_writable(req))
		return -EIO;
	if (!error && written != vcd_request_writable(req))
		return -EIO;
	/* What the device calls an error must be one to the caller too. */
	return error <= 133 ? -(int)error : -EIO;
}

static void vcd_take_answers(struct vcd_queue *queue)
{
	struct vcd_request *req;
	unsigned int written;

	do {
		virtqueue_disable_cb(queue->vq);
		while ((req = virtqueue_get_buf(queue->vq, &written))) {
			req->returned = true;
			vcd_request_settle(queue, req, vcd_answer(req, written));
			vcd_request_put_atomic(req);
		}
	} while (!virtqueue_enable_cb(queue->vq));
	/* An answer to nothing that was asked breaks the queue. */
	if (virtqueue_is_broken(queue->vq))
		schedule_work(&queue->dev->check);
}

void vcd_queue_done(struct virtqueue *vq)
{
	struct vcd_device *dev = vq->vdev->priv;
	struct vcd_queue *queue = &dev->queues[vq->index];
	unsigned long flags;
	bool kick = false;

	rcu_read_lock();
	spin_lock_irqsave(&queue->lock, flags);
	/* While it's not alive what the ring holds is left to vcd_queue_empty(). */
	if (queue->alive) {
		vcd_take_answers(queue);
		kick = vcd_flush(queue);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	if (kick)
		virtqueue_notify(vq);
	rcu_read_unlock();
	if (wq_has_sleeper(&queue->room))
		wake_up_all(&queue->room);
}

/*
 * Start and end
 */

void vcd_queue_start(struct vcd_queue *queue)
{
	spin_lock_irq(&queue->lock);
	queue->alive = true;
	spin_unlock_irq(&queue->lock);
}

void vcd_queue_lose(struct vcd_queue *queue)
{
	struct vcd_request *req, *next;
	LIST_HEAD(unsent);

	spin_lock_irq(&queue->lock);
	queue->alive = false;
	WRITE_ONCE(queue->generation, queue->generation + 1);
	list_for_each_entry_safe(req, next, &queue->in_flight, link)
		vcd_request_settle(queue, req, -ENODEV);
	list_for_each_entry_safe(req, next, &queue->to_send, link) {
		vcd_request_settle(queue, req, -ENODEV);
		list_add(&req->link, &unsent);
	}
	spin_unlock_irq(&queue->lock);
	wake_up_all(&queue->room);
	list_for_each_entry_safe(req, next, &unsent, link)
		vcd_request_put(req);
}

void vcd_queue_empty(struct vcd_queue *queue)
{
	struct vcd_request *req;

	/* Also ends the mappings, and so the last writes to the buffers. */
	while ((req = virtqueue_detach_unused_buf(queue->vq)))
		vcd_request_put(req);
	queue->vq = NULL;
}

/*
 * Calls: putting a request on the ring, and waiting for it
 */

/* Whether the device still knows the handle that is in the request */
static bool vcd_is_known(const struct vcd_queue *queue, const struct vcd_request *req)
{
	return queue->alive && queue->generation == req->generation;
}

/* As vcd_ring_add(), but takes a reference of its own, and notifies the device. */
static int vcd_try_add(struct vcd_queue *queue, struct vcd_request *req,
		       struct scatterlist *out, struct scatterlist *in)
{
	unsigned int entries = sg_nents(out) + sg_nents(in);
	bool kick = false;
	int err = -ENODEV;

	/* Keeps the queue from being deleted before it has been notified */
	rcu_read_lock();
	spin_lock_irq(&queue->lock);
	if (vcd_is_known(queue, req)) {
		kick = vcd_flush(queue);
		/* It would wait for ever. */
		err = entries > queue->size ? -EINVAL : vcd_ring_add(queue, req, out, in);
		if (!err) {
			kref_get(&req->ref);
			kick |= virtqueue_kick_prepare(queue->vq);
		}
	}
	spin_unlock_irq(&queue->lock);
	if (kick)
		virtqueue_notify(queue->vq);
	rcu_read_unlock();
	return err;
}

int vcd_submit(struct vcd_queue *queue, struct vcd_request *req, long *left)
{
	size_t max_segment = queue->dev->max_segment;
	struct vcd_sg out, in;
	int err;

	err = vcd_sg_out(&out, req, max_segment);
	if (err)
		return err;
	err = vcd_sg_in(&in, req, max_segment);
	if (err)
		goto free_out;
	err = vcd_try_add(queue, req, out.list, in.list);
	if (err != -ENOSPC)
		goto free_in;
	*left = vcd_wait_event(queue->room,
			       (err = vcd_try_add(queue, req, out.list, in.list)) != -ENOSPC,
			       *left);
	if (*left <= 0)
		err = *left ? -EINTR : -ETIMEDOUT;
free_in:
	/* The ring has the addresses; what described them is not needed any more. */
	vcd_sg_free(&in);
free_out:
	vcd_sg_free(&out);
	return err;
}

/* Leaves a request to the ring; false when it has been answered in the meantime. */
static bool vcd_abandon(struct vcd_queue *queue, struct vcd_request *req)
{
	bool kick = false;

	rcu_read_lock();
	spin_lock_irq(&queue->lock);
	/* An interrupt may have been lost; one that comes now would find nothing to do. */
	if (queue->alive && !req->answered) {
		vcd_take_answers(queue);
		kick = vcd_flush(queue);
	}
	if (!req->answered) {
		req->abandoned = true;
		/* What undoes an OPEN is a CLOSE, which the next OPEN may have to wait for. */
		if (req->undo && req->undo->closing) {
			req->closing = true;
			atomic_inc(&queue->dev->closing);
		}
	}
	spin_unlock_irq(&queue->lock);
	if (kick)
		virtqueue_notify(queue->vq);
	rcu_read_unlock();
	if (wq_has_sleeper(&queue->room))
		wake_up_all(&queue->room);
	return req->abandoned;
}

void vcd_queue_forget(struct vcd_queue *queue, struct vcd_request *req)
{
	spin_lock_irq(&queue->lock);
	req->poll = NULL;
	req->abandoned = true;
	spin_unlock_irq(&queue->lock);
}

long vcd_patience(void)
{
	unsigned int seconds = READ_ONCE(vcd_timeout);

	if (!seconds || seconds > MAX_SCHEDULE_TIMEOUT / HZ)
		return MAX_SCHEDULE_TIMEOUT;
	return (long)seconds * HZ;
}

int vcd_wait_answer(struct vcd_queue *queue, struct vcd_request *req, long *left)
{
	/* Pairs with vcd_request_settle() */
	*left = vcd_wait_event(req->wait, smp_load_acquire(&req->answered), *left);
	if (*left <= 0 && vcd_abandon(queue, req))
		return *left ? -EINTR : -ETIMEDOUT;
	return req->status;
}

int vcd_call_within(struct vcd_queue *queue, struct vcd_request *req, long *left)
{
	return vcd_submit(queue, req, left) ?: vcd_wait_answer(queue, req, left);
}

int vcd_call(struct vcd_queue *queue, struct vcd_request *req)
{
	long left = vcd_patience();

	return vcd_call_within(queue, req, &left);
}

void vcd_undo(struct vcd_queue *queue, struct vcd_request *undo, u32 number)
{
	bool known, kick = false;

	rcu_read_lock();
	spin_lock_irq(&queue->lock);
	known = vcd_is_known(queue, undo);
	if (known) {
		vcd_send_later(queue, undo, number);
		kick = vcd_flush(queue);
	}
	spin_unlock_irq(&queue->lock);
	if (kick)
		virtqueue_notify(queue->vq);
	rcu_read_unlock();
	if (!known)
		vcd_request_put(undo);
}
