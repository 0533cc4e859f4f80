// SPDX-License-Identifier: GPL-2.0
/*
 * The data of a request. A program's memory is never given to the device: its data is copied, into
 * a buffer in which the device works in place, or lies in memory that the program has mapped of us.
 *
 * In place is also how nothing need be zeroed before a device that can say that it wrote what it
 * didn't: what a program would get to see then is what it has just sent.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vcd.h"

void vcd_bulk_free(struct vcd_bulk *bulk)
{
	kvfree_sensitive(bulk->buf, bulk->bytes);
	*bulk = (struct vcd_bulk) { };
}

void vcd_spares_init(struct vcd_spares *spares)
{
	spin_lock_init(&spares->lock);
}

void vcd_spares_free(struct vcd_spares *spares)
{
	unsigned int i;

	for (i = 0; i < VCD_SPARES; i++)
		vcd_bulk_free(&spares->bulk[i]);
}

/* The smallest spare buffer that is large enough; none: buf is NULL */
static struct vcd_bulk vcd_spare_take(struct vcd_spares *spares, size_t bytes)
{
	struct vcd_bulk *best = NULL, taken = { };
	unsigned int i;

	spin_lock(&spares->lock);
	for (i = 0; i < VCD_SPARES; i++) {
		struct vcd_bulk *bulk = &spares->bulk[i];

		if (bulk->bytes >= bytes && (!best || bulk->bytes < best->bytes))
			best = bulk;
	}
	if (best)
		swap(*best, taken);
	spin_unlock(&spares->lock);
	return taken;
}

/* Keeps a buffer in the place of the smallest one; whichever that leaves is freed. */
static void vcd_spare_put(struct vcd_spares *spares, struct vcd_bulk *bulk)
{
	struct vcd_bulk *least = &spares->bulk[0];
	unsigned int i;

	if (!bulk->buf)
		return;
	if (bulk->bytes <= VCD_SPARE_BYTES) {
		spin_lock(&spares->lock);
		for (i = 1; i < VCD_SPARES; i++)
			if (spares->bulk[i].bytes < least->bytes)
				least = &spares->bulk[i];
		if (least->bytes < bulk->bytes)
			swap(*least, *bulk);
		spin_unlock(&spares->lock);
	}
	vcd_bulk_free(bulk);
}

/* Not zeroed: it is to be overwritten. */
static int vcd_bulk_new(struct vcd_bulk *bulk, struct vcd_file *file, size_t bytes)
{
	*bulk = vcd_spare_take(&file->spares, bytes);
	if (bulk->buf)
		return 0;
	/* As large as the allocator makes it anyway, so that it serves more calls */
	bulk->bytes = bytes <= SZ_64K ? roundup_pow_of_two(bytes) : PAGE_ALIGN(bytes);
	bulk->buf = kvmalloc(bulk->bytes, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	return bulk->buf ? 0 : -ENOMEM;
}

/* Small data lies in the request: one descriptor a side, and no buffer. */
static bool vcd_data_is_small(const struct vcd_request *req, u32 len, u32 result)
{
	return req->out == req->small_out && req->out_bytes + (size_t)len <= VCD_SMALL &&
	       req->in == req->small_in && req->in_bytes + (size_t)result <= VCD_SMALL;
}

static int vcd_data_take_small(struct vcd_request *req, const u8 __user *src, u32 len, u32 result)
{
	if (copy_from_user(req->out + req->out_bytes, src, len))
		return -EFAULT;
	req->out_bytes += len;
	req->in_bytes += result;
	req->in_inline = result;
	return 0;
}

/* Whether the device would read what it has already written */
static bool vcd_data_overlaps(const struct vcd_piece *out, const struct vcd_piece *in)
{
	return out->region && out->region == in->region && out->at != in->at &&
	       out->at < in->at + in->bytes && in->at < out->at + out->bytes;
}

static void vcd_data_map(struct vcd_request *req, struct vcd_file *file, const u8 __user *src,
			 const u8 __user *dst)
{
	struct vcd_piece *out = &req->out_data, *in = &req->in_data;

	if (!atomic_long_read(&file->quota->bytes))
		return;
	if (out->bytes)
		out->region = vcd_region_find(file, src, out->bytes, false, &out->at);
	if (in->bytes)
		in->region = vcd_region_find(file, dst, in->bytes, true, &in->at);
	if (vcd_data_overlaps(out, in)) {
		vcd_region_put(out->region);
		out->region = NULL;
	}
}

int vcd_data_take(struct vcd_request *req, struct vcd_file *file, const u8 __user *src, u32 len,
		  const u8 __user *dst, u32 result)
{
	struct vcd_piece *out = &req->out_data, *in = &req->in_data;
	int err;

	if (vcd_data_is_small(req, len, result))
		return vcd_data_take_small(req, src, len, result);
	out->bytes = len;
	in->bytes = min(len, result);
	/* What a result is longer than its source, which is a tag and padding at most */
	req->in_inline = result - in->bytes;
	if (WARN_ON_ONCE(req->in != req->small_in || req->in_bytes + req->in_inline > VCD_SMALL))
		return -EINVAL;
	req->in_bytes += req->in_inline;
	vcd_data_map(req, file, src, dst);
	if (!out->region && len) {
		err = vcd_bulk_new(&req->bulk, file, len);
		if (err)
			return err;
		out->buf = req->bulk.buf;
		if (copy_from_user(out->buf, src, len))
			return -EFAULT;
	}
	if (in->region || !in->bytes)
		return 0;
	in->buf = out->buf;
	if (out->region) {
		/* The source is to stay what it is. */
		err = vcd_bulk_new(&req->result, file, in->bytes);
		if (err)
			return err;
		in->buf = req->result.buf;
		memset(in->buf, 0, in->bytes);
	}
	return 0;
}

int vcd_data_give(const struct vcd_request *req, u8 __user *dst, u32 bytes)
{
	const struct vcd_piece *in = &req->in_data;
	u32 large = min_t(size_t, bytes, in->bytes);
	const void *small = req->in + sizeof(struct virtio_cryptodev_response);

	if (!in->region && copy_to_user(dst, in->buf, large))
		return -EFAULT;
	return copy_to_user(dst + large, small, bytes - large) ? -EFAULT : 0;
}

bool vcd_data_is_there(const struct vcd_request *req, struct vcd_file *file, u8 __user *dst)
{
	const struct vcd_piece *in = &req->in_data;
	struct vcd_region *region;
	size_t at;

	if (!in->region)
		return true;
	region = vcd_region_find(file, dst, in->bytes, true, &at);
	if (region)
		vcd_region_put(region);
	return region == in->region && at == in->at;
}

void *vcd_data_tail(const struct vcd_request *req)
{
	return req->in + sizeof(struct virtio_cryptodev_response) + req->in_inline;
}

void vcd_data_keep(struct vcd_request *req, struct vcd_file *file)
{
	/* Else the ring has them still. */
	if (!req->returned)
		return;
	vcd_spare_put(&file->spares, &req->bulk);
	vcd_spare_put(&file->spares, &req->result);
	/* Nothing may be seen of them where they are another request's. */
	req->out_data.buf = NULL;
	req->in_data.buf = NULL;
}
