// SPDX-License-Identifier: GPL-2.0
/*
 * A request and its memory
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "vcd.h"

/* Requests whose last owner could not free them: the ring, in an interrupt */
static LLIST_HEAD(vcd_graves);

static struct kmem_cache *vcd_cache;

/* There may be keys and plaintext in it. */
static void vcd_buffer_free(void *buffer, size_t bytes, u8 *small)
{
	if (buffer == small)
		memzero_explicit(small, bytes);
	else
		kvfree_sensitive(buffer, bytes);
}

static void vcd_request_free(struct vcd_request *req)
{
	if (req->undo)
		vcd_request_put(req->undo);
	vcd_buffer_free(req->out, req->out_bytes, req->small_out);
	vcd_buffer_free(req->in, req->in_bytes, req->small_in);
	kmem_cache_free(vcd_cache, req);
}

static void vcd_bury_all(struct work_struct *work)
{
	struct vcd_request *req, *next;

	llist_for_each_entry_safe(req, next, llist_del_all(&vcd_graves), grave)
		vcd_request_free(req);
}

static DECLARE_WORK(vcd_burial, vcd_bury_all);

static void vcd_request_release(struct kref *ref)
{
	vcd_request_free(container_of(ref, struct vcd_request, ref));
}

static void vcd_request_release_atomic(struct kref *ref)
{
	struct vcd_request *req = container_of(ref, struct vcd_request, ref);

	if (llist_add(&req->grave, &vcd_graves))
		schedule_work(&vcd_burial);
}

void vcd_request_put(struct vcd_request *req)
{
	kref_put(&req->ref, vcd_request_release);
}

void vcd_request_put_atomic(struct vcd_request *req)
{
	kref_put(&req->ref, vcd_request_release_atomic);
}

int vcd_requests_init(void)
{
	size_t from = offsetof(struct vcd_request, small_out);

	/* Programs' data is copied to and from where the small buffers are, and nowhere else. */
	vcd_cache = kmem_cache_create_usercopy("vcd_request", sizeof(struct vcd_request), 0,
					       SLAB_HWCACHE_ALIGN | SLAB_ACCOUNT, from,
					       sizeof(struct vcd_request) - from, NULL);
	return vcd_cache ? 0 : -ENOMEM;
}

void vcd_requests_exit(void)
{
	flush_work(&vcd_burial);
	kmem_cache_destroy(vcd_cache);
}

/* Not zeroed, unless it is a small one, which is with the request */
static void *vcd_buffer_new(size_t bytes, u8 *small)
{
	return bytes <= VCD_SMALL ? small : kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
}

struct vcd_request *vcd_request_new(const struct vcd_file *file, u32 type, u32 command,
				    size_t out_extra, size_t in_extra)
{
	struct virtio_cryptodev_request *head;
	struct vcd_request *req = kmem_cache_zalloc(vcd_cache, GFP_KERNEL);

	if (!req)
		return NULL;
	kref_init(&req->ref);
	INIT_LIST_HEAD(&req->link);
	init_waitqueue_head(&req->wait);
	req->generation = file->generation;
	req->out_bytes = sizeof(struct virtio_cryptodev_request) + out_extra;
	req->in_bytes = sizeof(struct virtio_cryptodev_response) + in_extra;
	req->out = vcd_buffer_new(req->out_bytes, req->small_out);
	req->in = vcd_buffer_new(req->in_bytes, req->small_in);
	if (!req->out || !req->in) {
		vcd_request_put(req);
		return NULL;
	}
	/*
	 * A device can say that it wrote what it didn't, and programs get to see that. Here, not
	 * by the allocator: emulated machines clear pages several times slower than memory.
	 */
	if (req->in != req->small_in)
		memset(req->in, 0, req->in_bytes);
	head = req->out;
	head->type = cpu_to_le32(type);
	head->handle = cpu_to_le32(file->handle);
	head->command = cpu_to_le32(command);
	head->reserved = 0;
	return req;
}

struct vcd_request *vcd_request_new_close(const struct vcd_file *file)
{
	struct vcd_request *req = vcd_request_new(file, VIRTIO_CRYPTODEV_CLOSE, 0, 0, 0);

	if (req) {
		struct virtio_cryptodev_request *head = req->out;

		req->number = &head->handle;
		req->closing = true;
	}
	return req;
}

struct vcd_request *vcd_request_new_fsession(const struct vcd_file *file)
{
	struct vcd_request *req = vcd_request_new(file, VIRTIO_CRYPTODEV_IOCTL,
						  VIRTIO_CRYPTODEV_FSESSION, sizeof(__le32), 0);

	if (req)
		req->number = vcd_out(req);
	return req;
}

void *vcd_out(struct vcd_request *req)
{
	return req->out + sizeof(struct virtio_cryptodev_request);
}

void *vcd_in(struct vcd_request *req)
{
	return req->in + sizeof(struct virtio_cryptodev_response);
}

struct scatterlist *vcd_sg(struct scatterlist *one, void *buf, size_t bytes, size_t max_segment)
{
	bool paged = is_vmalloc_addr(buf);
	size_t segment = paged ? min_t(size_t, max_segment, PAGE_SIZE) : max_segment;
	unsigned int entries = DIV_ROUND_UP(bytes, segment), i;
	struct scatterlist *sg = one;

	if (entries > 1)
		sg = kmalloc_array(entries, sizeof(*sg), GFP_KERNEL);
	if (!sg)
		return NULL;
	sg_init_table(sg, entries);
	for (i = 0; i < entries; i++) {
		struct page *page = paged ? vmalloc_to_page(buf) : virt_to_page(buf);
		size_t chunk = min(bytes, segment);

		sg_set_page(&sg[i], page, chunk, offset_in_page(buf));
		buf += chunk;
		bytes -= chunk;
	}
	return sg;
}

void vcd_sg_free(struct scatterlist *one, struct scatterlist *sg)
{
	if (sg != one)
		kfree(sg);
}
