/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest driver of the virtio cryptodev device (docs/virtio-cryptodev.md): what its files share.
 *
 * They read in the order of a request's life:
 *
 *	device.c	the device: its queues, and how it is started, stopped and started anew
 *	request.c	a request and its memory
 *	data.c		the data of a request: a program's, as a copy or in mapped memory
 *	map.c		memory that programs map, and the device works in directly
 *	queue.c		a queue: putting requests on the ring, completing them, waiting for them
 *	algorithms.c	what is known of algorithms without asking the device
 *	session.c	GSESSION, FSESSION, GSESSINFO and CPHASH as requests
 *	crypt.c		CRYPT as one or more requests
 *	async.c		CRYPT that is not waited for
 *	authcrypt.c	AUTHCRYPT as a request
 *	file.c		/dev/crypto as programs see it, and compat.c for 32-bit ones
 *	nodes.c		the nodes in /dev
 *	main.c		probe, remove, suspend, and the module
 */
#ifndef _VCD_H
#define _VCD_H

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/sizes.h>
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
#define VCD_BLOCK_MAX	16
#define VCD_AEAD_TAG	16

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
	/* AUTHCRYPT and CPHASH were negotiated */
	bool aead;
	bool cphash;
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

/*
 * Mapped memory
 */

/* Of one file, in bytes; what a job that was unmapped still uses counts too */
#define VCD_MAPPED_MAX	SZ_64M

/* What the regions of a file take; outlives the file where a request still uses one */
struct vcd_quota {
	struct kref ref;
	atomic_long_t bytes;
};

/* Pages that the driver owns; a program's mapping and the requests in it hold a reference each. */
struct vcd_region {
	struct kref ref;
	struct vcd_quota *quota;
	unsigned long count;
	struct page *pages[];
};

struct vcd_file;

struct vcd_quota *vcd_quota_new(void);
void vcd_quota_put(struct vcd_quota *quota);
int vcd_mmap(struct file *filp, struct vm_area_struct *vma);
/*
 * The region of the file's that all of the caller's memory at @user lies in, with a reference, and
 * where in it; NULL where there is none. @write: the device is to write there
 */
struct vcd_region *vcd_region_find(struct vcd_file *file, const void __user *user, size_t bytes,
				   bool write, size_t *at);
void vcd_region_put(struct vcd_region *region);

/*
 * Bytes of either side of a request that fit in the request itself: one allocation for all of it,
 * and one descriptor a side
 */
#define VCD_SMALL	256

/*
 * The request: owns its buffers until the device has given them back (requirement 3). It has two
 * owners, the caller and the ring; a caller that is killed leaves the rest to the ring.
 */

/* A buffer for data. Its contents are a program's, and are seen by no other. */
struct vcd_bulk {
	void *buf;
	size_t bytes;
};

/* A part of a chain: a buffer of the request's, or from @at on in a region */
struct vcd_piece {
	void *buf;
	struct vcd_region *region;
	size_t at;
	size_t bytes;
};

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
	/* ... and what follows that, of a program's data, if it is not there */
	struct vcd_piece out_data;
	/*
	 * What the device writes: struct virtio_cryptodev_response, a result that is small, and
	 * what follows it
	 */
	void *in;
	size_t in_bytes;
	/* A result that is a large one: it comes between the response and the rest of @in ... */
	struct vcd_piece in_data;
	/* ... and how many bytes of a result are in @in, right behind the response */
	size_t in_inline;
	/* Memory for data, and another one where the result must not lie where the source does */
	struct vcd_bulk bulk, result;

	/* Set under the queue's lock, for good once @answered is */
	bool answered;
	/* By the device, which then does not touch the memory any more */
	bool returned;
	int status;
	wait_queue_head_t wait;
	/* Woken too, if not NULL; see async.c */
	wait_queue_head_t *poll;
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
/* Bytes that the device is to write */
size_t vcd_request_writable(const struct vcd_request *req);

/* Entries that most requests need no more of, on either side */
#define VCD_SG_FEW	4

/* A side of a chain; @few is taken where it is enough. */
struct vcd_sg {
	struct scatterlist few[VCD_SG_FEW];
	struct scatterlist *list;
};

int vcd_sg_out(struct vcd_sg *sg, const struct vcd_request *req, size_t max_segment);
int vcd_sg_in(struct vcd_sg *sg, const struct vcd_request *req, size_t max_segment);
void vcd_sg_free(struct vcd_sg *sg);

/*
 * Data
 */

/* Buffers that a file keeps for its next calls, so that neither allocating nor zeroing is theirs */
#define VCD_SPARES		4
#define VCD_SPARE_BYTES		SZ_256K

struct vcd_spares {
	/* Protects @bulk */
	spinlock_t lock;
	struct vcd_bulk bulk[VCD_SPARES];
};

void vcd_spares_init(struct vcd_spares *spares);
void vcd_spares_free(struct vcd_spares *spares);
void vcd_bulk_free(struct vcd_bulk *bulk);

/*
 * Gives a request @len bytes of the program's at @src for the device to read, and has it write
 * @result bytes, of which vcd_data_give() gives @dst what it is to have. The request must have been
 * made with as many in_extra bytes as it needs for what follows the result.
 */
int vcd_data_take(struct vcd_request *req, struct vcd_file *file, const u8 __user *src, u32 len,
		  const u8 __user *dst, u32 result);
int vcd_data_give(const struct vcd_request *req, u8 __user *dst, u32 bytes);
/* Whether a result in mapped memory is where the caller sees it at @dst, at the time of the call */
bool vcd_data_is_there(const struct vcd_request *req, struct vcd_file *file, u8 __user *dst);
/* What the device has written behind the result */
void *vcd_data_tail(const struct vcd_request *req);
/* The request is done with: the file may have its buffers for the next one. */
void vcd_data_keep(struct vcd_request *req, struct vcd_file *file);

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
/* Nobody waits for the request any more, nor is anybody to be woken. */
void vcd_queue_forget(struct vcd_queue *queue, struct vcd_request *req);

/* How long a call may take from now on, in jiffies */
long vcd_patience(void);
/* Sends a request and waits for its answer: 0 or the error that the caller shall see. */
int vcd_call(struct vcd_queue *queue, struct vcd_request *req);
/* The same, within @left jiffies, of which it leaves the rest */
int vcd_call_within(struct vcd_queue *queue, struct vcd_request *req, long *left);
/* The two halves of that: puts a request on the ring, waiting for room; and waits for its answer */
int vcd_submit(struct vcd_queue *queue, struct vcd_request *req, long *left);
int vcd_wait_answer(struct vcd_queue *queue, struct vcd_request *req, long *left);
/* Sends what undoes something on the device; takes over @undo, and never waits. */
void vcd_undo(struct vcd_queue *queue, struct vcd_request *undo, u32 number);

/*
 * The file: a handle of the device's, and what is known of its sessions
 */

/*
 * What is known of a session. Its calls are done in the order in which they are put on the ring;
 * one that takes several requests keeps others from getting between those.
 */
struct vcd_session {
	refcount_t ref;
	struct rcu_head rcu;
	u32 cipher;
	u32 mac;
	u8 iv_bytes;
	u8 mac_bytes;
	/* How many are putting one request on the ring; -1: one that puts several */
	atomic_t users;
	wait_queue_head_t idle;
};

struct vcd_file {
	/* The device knows the handle on the queue on which it was opened, and there only. */
	struct vcd_queue *queue;
	u32 handle;
	unsigned int generation;
	/* Made with the file, so that closing can't fail */
	struct vcd_request *close;
	/* struct vcd_session, by number */
	struct xarray sessions;
	struct vcd_spares spares;
	struct vcd_quota *quota;

	/* Protects the jobs: those that are queued or not fetched yet, in order; see async.c */
	spinlock_t jobs_lock;
	struct list_head jobs;
	unsigned int job_count;
	size_t job_bytes;
	wait_queue_head_t poll;
};

/* algorithms.c: of ciphers and MACs by the ABI's numbers */

/* Whether a session with @cipher and @mac, 0 for none, has an IV and a digest of these sizes */
bool vcd_sizes_ok(u32 cipher, u32 mac, u32 iv_bytes, u32 mac_bytes);
/* 0 where the cipher is not known */
u32 vcd_block_bytes(u32 cipher);
bool vcd_is_aead(u32 cipher);
/* Whether a message can be done in parts, each going on from the IV that the last one left */
bool vcd_is_chained(u32 cipher);

/* session.c */

long vcd_gsession(struct vcd_file *file, const struct session_op *session, u32 __user *ses);
long vcd_fsession(struct vcd_file *file, u32 ses);
long vcd_gsessinfo(struct vcd_file *file, struct session_info_op __user *user);
long vcd_cphash(struct vcd_file *file, const struct cphash_op *op);
/* With a reference; NULL where there is none */
struct vcd_session *vcd_session_get(struct vcd_file *file, u32 ses);
void vcd_session_put(struct vcd_session *session);
void vcd_sessions_free(struct vcd_file *file);
/* Around putting a call's requests on the ring: one, or @several. 0 or an error */
int vcd_session_enter(struct vcd_session *session, bool several, long *left);
void vcd_session_leave(struct vcd_session *session, bool several);
/* As vcd_call(), but not in the midst of a call that takes several requests */
int vcd_session_call(struct vcd_file *file, struct vcd_session *session, struct vcd_request *req);

/* crypt.c */

/* A CRYPT on its way */
struct vcd_crypt {
	struct vcd_file *file;
	struct vcd_session *session;
	struct crypt_op op;
	/* Bytes of each part but the last one */
	u32 part_bytes;
	unsigned int parts;
};

/* Checks a call, and finds its session. 0 or an error */
int vcd_crypt_begin(struct vcd_crypt *crypt, struct vcd_file *file, const struct crypt_op *op);
void vcd_crypt_end(struct vcd_crypt *crypt);
/* The request for a part, with its data, or an error */
struct vcd_request *vcd_crypt_request(const struct vcd_crypt *crypt, unsigned int part);
/* Gives the program what the request for a part was answered with */
int vcd_crypt_give(const struct vcd_crypt *crypt, const struct vcd_request *req, unsigned int part);

long vcd_crypt(struct vcd_file *file, const struct crypt_op *op);

/* async.c */

long vcd_async_crypt(struct vcd_file *file, const struct crypt_op *op);
/* Gives back the operation as it was queued */
long vcd_async_fetch(struct vcd_file *file, struct crypt_op *op);
__poll_t vcd_async_poll(struct file *filp, struct poll_table_struct *wait);
void vcd_async_free(struct vcd_file *file);

/* authcrypt.c: leaves in @op the lengths that it comes to */

long vcd_authcrypt(struct vcd_file *file, struct crypt_auth_op *op);

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
