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

static void vcd_piece_put(struct vcd_piece *piece)
{
	if (piece->region)
		vcd_region_put(piece->region);
}

static void vcd_request_free(struct vcd_request *req)
{
	vcd_piece_put(&req->out_data);
	vcd_piece_put(&req->in_data);
	vcd_bulk_free(&req->bulk);
	vcd_bulk_free(&req->result);
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

size_t vcd_request_writable(const struct vcd_request *req)
{
	return req->in_bytes + req->in_data.bytes;
}

/*
 * Chains: memory is cut where it does not lie in one piece, or where a segment would be too long
 * for the device.
 */

struct vcd_walk {
	/* NULL: only count */
	struct scatterlist *list;
	unsigned int entries;
	size_t max_segment;
	/* Where the last entry ends, and how long it is */
	phys_addr_t end;
	size_t length;
};

static void vcd_walk_page(struct vcd_walk *walk, struct page *page, size_t offset, size_t bytes)
{
	phys_addr_t start = page_to_phys(page) + offset;

	if (walk->entries && walk->end == start && walk->length + bytes <= walk->max_segment) {
		walk->length += bytes;
		if (walk->list)
			walk->list[walk->entries - 1].length = walk->length;
	} else {
		if (walk->list)
			sg_set_page(&walk->list[walk->entries], page, bytes, offset);
		walk->entries++;
		walk->length = bytes;
	}
	walk->end = start + bytes;
}

static struct page *vcd_piece_page(const struct vcd_piece *piece, size_t at)
{
	if (piece->region)
		return piece->region->pages[(piece->at + at) >> PAGE_SHIFT];
	if (is_vmalloc_addr(piece->buf))
		return vmalloc_to_page(piece->buf + at);
	return virt_to_page(piece->buf + at);
}

static void vcd_walk_piece(struct vcd_walk *walk, const struct vcd_piece *piece)
{
	size_t at, bytes;

	for (at = 0; at < piece->bytes; at += bytes) {
		size_t offset = piece->region ? offset_in_page(piece->at + at) :
						offset_in_page(piece->buf + at);

		bytes = min3(piece->bytes - at, PAGE_SIZE - offset, walk->max_segment);
		vcd_walk_page(walk, vcd_piece_page(piece, at), offset, bytes);
	}
}

static unsigned int vcd_walk_all(struct scatterlist *list, const struct vcd_piece *pieces,
				 unsigned int count, size_t max_segment)
{
	struct vcd_walk walk = { .list = list, .max_segment = max_segment };
	unsigned int i;

	for (i = 0; i < count; i++)
		vcd_walk_piece(&walk, &pieces[i]);
	return walk.entries;
}

static int vcd_sg_init(struct vcd_sg *sg, const struct vcd_piece *pieces, unsigned int count,
		       size_t max_segment)
{
	unsigned int entries = vcd_walk_all(NULL, pieces, count, max_segment);

	sg->list = sg->few;
	if (entries > VCD_SG_FEW)
		sg->list = kmalloc_array(entries, sizeof(*sg->list), GFP_KERNEL);
	if (!sg->list)
		return -ENOMEM;
	sg_init_table(sg->list, entries);
	vcd_walk_all(sg->list, pieces, count, max_segment);
	return 0;
}

int vcd_sg_out(struct vcd_sg *sg, const struct vcd_request *req, size_t max_segment)
{
	const struct vcd_piece pieces[] = {
		{ .buf = req->out, .bytes = req->out_bytes },
		req->out_data,
	};

	return vcd_sg_init(sg, pieces, ARRAY_SIZE(pieces), max_segment);
}

int vcd_sg_in(struct vcd_sg *sg, const struct vcd_request *req, size_t max_segment)
{
	size_t first = req->in_data.bytes ? sizeof(struct virtio_cryptodev_response) :
					    req->in_bytes;
	const struct vcd_piece pieces[] = {
		{ .buf = req->in, .bytes = first },
		req->in_data,
		{ .buf = req->in + first, .bytes = req->in_bytes - first },
	};

	return vcd_sg_init(sg, pieces, ARRAY_SIZE(pieces), max_segment);
}

void vcd_sg_free(struct vcd_sg *sg)
{
	if (sg->list != sg->few)
		kfree(sg->list);
}
