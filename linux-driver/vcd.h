/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest driver of the virtio cryptodev device (docs/virtio-cryptodev.md): what its files share.
 *
 * They read in the order of a request's life:
 *
 *	device.c	the device: its queues, and how it is started, stopped and started anew
 *	request.c	a request and its memory
 *	queue.c		a queue: putting requests on the ring, completing them, waiting for them
 *	algorithms.c	what is known of algorithms without asking the device
 *	calls.c		the ioctls as requests
 *	file.c		/dev/crypto as programs see it, and compat.c for 32-bit ones
 *	nodes.c		the nodes in /dev
 *	main.c		probe, remove, suspend, and the module
 */
#ifndef _VCD_H
#define _VCD_H

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "cryptodev_abi.h"
#include "virtio_cryptodev.h"

/* No algorithm of the ABI has more; sizes that the device names are held against these. */
#define VCD_IV_MAX	16
#define VCD_DIGEST_MAX	64

/*
 * The device
 */

struct vcd_device;

/* Queues share nothing on the way of a request: each has its own lock, waiters and interrupt. */
struct vcd_queue {
	struct vcd_device *dev;
	/* Protects all that follows but @room and @name */
	spinlock_t lock;
	/* NULL while there is none; callbacks may come before and after @alive */
	struct virtqueue *vq;
	/* Descriptors that the ring has: no request may need more */
	unsigned int size;
	bool alive;
	/* Changes when the device forgets its handles: they are good with their generation only */
	unsigned int generation;
	/* Requests that wait for their answer */
	struct list_head in_flight;
	/* Requests that nobody waits for (CLOSE, FSESSION), and that had no room on the ring yet */
	struct list_head to_send;
	/* Woken when the ring has room again, and when the device is gone */
	wait_queue_head_t room;
	char name[24];
} ____cacheline_aligned_in_smp;

struct vcd_device {
	struct kref ref;
	struct virtio_device *vdev;
	int id;
	u32 max_bytes;
	/* A power of two, so that segments of it never straddle a page */
	size_t max_segment;

	/* Held while the device is started or stopped; protects @stopped and @instance */
	struct mutex lifecycle;
	/* Suspended or removed: whatever the device says, it's not to be started anew */
	bool stopped;
	u32 instance;
	/* Looks whether the device has lost what was open */
	struct work_struct check;

	/* CLOSEs that have not been answered, and OPENs that will be followed by one */
	atomic_t closing;
	/* How many there have been: an OPEN that was refused is worth another try then */
	atomic_t closed;
	wait_queue_head_t closed_wait;

	/* Files are spread over the queues in turn */
	atomic_t next_queue;
	/* In use, 0 while the device is stopped; and allocated */
	unsigned int num_queues;
	unsigned int max_queues;
	struct vcd_queue *queues;
};

struct vcd_device *vcd_device_new(struct virtio_device *vdev);
void vcd_device_put(struct vcd_device *dev);
/* Reads the device's configuration and makes it ready */
int vcd_device_start(struct vcd_device *dev);
/* After it the device neither answers nor is started anew by itself; whoever waits gets -ENODEV. */
void vcd_device_stop(struct vcd_device *dev);
/* NULL while the device is stopped */
struct vcd_queue *vcd_device_pick_queue(struct vcd_device *dev);

/* Bytes of a request's side that make it a small one: one allocation, not three */
#define VCD_SMALL	256

/*
 * The request: owns its buffers until the device has given them back (requirement 3). It has two
 * owners, the caller and the ring; a caller that is killed leaves the rest to the ring.
 */

struct vcd_request {
	struct kref ref;
	/* In the queue's in_flight or to_send */
	struct list_head link;
	struct llist_node grave;
	unsigned int generation;
	/*
	 * What the device reads: struct virtio_cryptodev_request and what follows it. In the
	 * request itself where it fits
	 */
	void *out;
	size_t out_bytes;
	/* What the device writes: struct virtio_cryptodev_response and what follows it */
	void *in;
	size_t in_bytes;

	/* Set under the queue's lock, for good once @answered is */
	bool answered;
	int status;
	wait_queue_head_t wait;
	/* The response, read once: the device could go on writing to it. */
	u32 value;
	u32 iv_bytes;
	u32 mac_bytes;

	/* Nobody waits for the answer any more */
	bool abandoned;
	/* What is sent when this succeeds after it was abandoned (requirement 4) ... */
	struct vcd_request *undo;
	/* ... and where in an undo the number goes that the device gave */
	__le32 *number;
	/* Is counted in the device's @closing */
	bool closing;

	/* The device writes to one and reads the other; they share no cache line with the rest. */
	u8 small_out[VCD_SMALL] ____cacheline_aligned;
	u8 small_in[VCD_SMALL] ____cacheline_aligned;
};

struct vcd_file;

int vcd_requests_init(void);
/* After all requests of all devices have been put; waits for those that are being freed */
void vcd_requests_exit(void);

struct vcd_request *vcd_request_new(const struct vcd_file *file, u32 type, u32 command,
				    size_t out_extra, size_t in_extra);
/* CLOSE, and FSESSION, of a number that only the device's answer will tell */
struct vcd_request *vcd_request_new_close(const struct vcd_file *file);
struct vcd_request *vcd_request_new_fsession(const struct vcd_file *file);
/* Not under a lock, nor in an interrupt: freeing takes a while, and may sleep. */
void vcd_request_put(struct vcd_request *req);
/* Anywhere */
void vcd_request_put_atomic(struct vcd_request *req);

void *vcd_out(struct vcd_request *req);
void *vcd_in(struct vcd_request *req);

/* @one is taken where one entry is enough. NULL for want of memory */
struct scatterlist *vcd_sg(struct scatterlist *one, void *buf, size_t bytes, size_t max_segment);
void vcd_sg_free(struct scatterlist *one, struct scatterlist *sg);

/*
 * The queue
 */

/* As wait_event_killable_timeout(), but lets the system suspend meanwhile */
#define vcd_wait_event(wq_head, condition, timeout)				\
	___wait_event(wq_head, ___wait_cond_timeout(condition),			\
		      (TASK_KILLABLE | TASK_FREEZABLE), 0, timeout,		\
		      __ret = schedule_timeout(__ret))

void vcd_queue_init(struct vcd_queue *queue, struct vcd_device *dev);
void vcd_queue_start(struct vcd_queue *queue);
/* Everything that waits gets -ENODEV; the ring keeps the memory until it's emptied. */
void vcd_queue_lose(struct vcd_queue *queue);
/* The device has been reset: it touches nothing any more */
void vcd_queue_empty(struct vcd_queue *queue);
void vcd_queue_done(struct virtqueue *vq);

/* How long a call may take from now on, in jiffies */
long vcd_patience(void);
/* Sends a request and waits for its answer: 0 or the error that the caller shall see. */
int vcd_call(struct vcd_queue *queue, struct vcd_request *req);
/* The same, within @left jiffies, of which it leaves the rest */
int vcd_call_within(struct vcd_queue *queue, struct vcd_request *req, long *left);
/* Sends what undoes something on the device; takes over @undo, and never waits. */
void vcd_undo(struct vcd_queue *queue, struct vcd_request *undo, u32 number);

/*
 * The file: a handle of the device's, and what is known of its sessions
 */

struct vcd_file {
	/* The device knows the handle on the queue on which it was opened, and there only. */
	struct vcd_queue *queue;
	u32 handle;
	unsigned int generation;
	/* Made with the file, so that closing can't fail */
	struct vcd_request *close;
	/* By session: sizes, see calls.c */
	struct xarray sessions;
};

/* Whether a session with @cipher and @mac, 0 for none, has an IV and a digest of these sizes */
bool vcd_sizes_ok(u32 cipher, u32 mac, u32 iv_bytes, u32 mac_bytes);

long vcd_gsession(struct vcd_file *file, const struct session_op *session, u32 __user *ses);
long vcd_fsession(struct vcd_file *file, u32 ses);
long vcd_crypt(struct vcd_file *file, const struct crypt_op *op);
long vcd_gsessinfo(struct vcd_file *file, struct session_info_op __user *user);

extern const struct file_operations vcd_fops;
long vcd_ioctl(struct file *filp, unsigned int command, unsigned long argument);
#ifdef CONFIG_COMPAT
long vcd_compat_ioctl(struct file *filp, unsigned int command, unsigned long argument);
#endif

/*
 * The nodes
 */

int vcd_nodes_init(void);
void vcd_nodes_exit(void);
bool vcd_nodes_empty(void);
/* Gives a device its number and its node, and makes /dev/crypto with the first one. */
int vcd_node_add(struct vcd_device *dev);
void vcd_node_del(struct vcd_device *dev);
/* The device behind a minor, with a reference; NULL when it is gone. */
struct vcd_device *vcd_node_device(unsigned int minor);

#endif /* _VCD_H */
