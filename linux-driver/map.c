// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that programs map: mmap() of the open file gives pages of the driver's own. A call whose
 * source and destination lie in them has the device work there, and copies nothing.
 *
 * No page of a program's is ever pinned. Each of these pages lives as long as anybody has it mapped
 * or the device works in it, whoever unmaps, forks, exits or unplugs meanwhile.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "vcd.h"

/* Pieces of at most 1 MiB, which the device then gets as one */
#define VCD_ORDER_MAX	(20 - PAGE_SHIFT)

struct vcd_quota *vcd_quota_new(void)
{
	struct vcd_quota *quota = kzalloc(sizeof(*quota), GFP_KERNEL_ACCOUNT);

	if (quota)
		kref_init(&quota->ref);
	return quota;
}

static void vcd_quota_free(struct kref *ref)
{
	kfree(container_of(ref, struct vcd_quota, ref));
}

void vcd_quota_put(struct vcd_quota *quota)
{
	kref_put(&quota->ref, vcd_quota_free);
}

static void vcd_region_free(struct kref *ref)
{
	struct vcd_region *region = container_of(ref, struct vcd_region, ref);
	unsigned long i;

	/* Who has got hold of a page by other ways, by splice() say, keeps that one. */
	for (i = 0; i < region->count; i++)
		put_page(region->pages[i]);
	atomic_long_sub(region->count << PAGE_SHIFT, &region->quota->bytes);
	vcd_quota_put(region->quota);
	kvfree(region);
}

void vcd_region_put(struct vcd_region *region)
{
	kref_put(&region->ref, vcd_region_free);
}

/* Adds 2^order pages that lie side by side, of the highest order up to @order that there is */
static int vcd_region_grow(struct vcd_region *region, unsigned int order)
{
	gfp_t flags = GFP_KERNEL_ACCOUNT | __GFP_ZERO;
	struct page *page;
	unsigned long i;

	for (;;) {
		page = alloc_pages(order ? flags | __GFP_NOWARN | __GFP_NORETRY : flags, order);
		if (page)
			break;
		if (!order--)
			return -ENOMEM;
	}
	/* Each is mapped, and freed, by itself. */
	split_page(page, order);
	for (i = 0; i < 1UL << order; i++)
		region->pages[region->count++] = page + i;
	return 0;
}

static struct vcd_region *vcd_region_new(struct vcd_quota *quota, unsigned long count)
{
	struct vcd_region *region;
	unsigned long left;

	if (count > VCD_MAPPED_MAX >> PAGE_SHIFT)
		return NULL;
	region = kvzalloc(struct_size(region, pages, count), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!region)
		return NULL;
	kref_init(&region->ref);
	kref_get(&quota->ref);
	region->quota = quota;
	/* What is counted goes by what there is: freed as far as it came */
	while ((left = count - region->count)) {
		unsigned int order = min_t(unsigned int, ilog2(left), VCD_ORDER_MAX);
		unsigned long before = region->count;
		int err = fatal_signal_pending(current) ? -EINTR : vcd_region_grow(region, order);
		long added = (region->count - before) << PAGE_SHIFT;

		if (atomic_long_add_return(added, &quota->bytes) > VCD_MAPPED_MAX || err) {
			vcd_region_put(region);
			return NULL;
		}
	}
	return region;
}

static void vcd_vm_open(struct vm_area_struct *vma)
{
	struct vcd_region *region = vma->vm_private_data;

	kref_get(&region->ref);
}

static void vcd_vm_close(struct vm_area_struct *vma)
{
	vcd_region_put(vma->vm_private_data);
}

static vm_fault_t vcd_vm_fault(struct vm_fault *vmf)
{
	struct vcd_region *region = vmf->vma->vm_private_data;

	if (vmf->pgoff >= region->count)
		return VM_FAULT_SIGBUS;
	vmf->page = region->pages[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct vcd_vm_ops = {
	.open = vcd_vm_open,
	.close = vcd_vm_close,
	.fault = vcd_vm_fault,
};

static void vcd_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

int vcd_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct vcd_file *file = filp->private_data;
	struct vcd_region *region;

	/* A private mapping would be another memory than the device's. */
	if (vma->vm_pgoff || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	region = vcd_region_new(file->quota, vma_pages(vma));
	if (!region)
		return -ENOMEM;
	vcd_vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = region;
	vma->vm_ops = &vcd_vm_ops;
	return 0;
}

static bool vcd_vma_serves(const struct vm_area_struct *vma, const struct vcd_file *file,
			   unsigned long start, size_t bytes, bool write)
{
	return vma && vma->vm_ops == &vcd_vm_ops && vma->vm_file->private_data == file &&
	       start >= vma->vm_start && bytes <= vma->vm_end - start &&
	       (vma->vm_flags & (write ? VM_WRITE : VM_READ));
}

struct vcd_region *vcd_region_find(struct vcd_file *file, const void __user *user, size_t bytes,
				   bool write, size_t *at)
{
	unsigned long start = untagged_addr((unsigned long)user);
	struct vcd_region *region = NULL;
	struct vm_area_struct *vma;

	if (!current->mm)
		return NULL;
	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, start);
	if (vcd_vma_serves(vma, file, start, bytes, write)) {
		region = vma->vm_private_data;
		*at = start - vma->vm_start + (vma->vm_pgoff << PAGE_SHIFT);
		if (WARN_ON_ONCE(*at + bytes > region->count << PAGE_SHIFT))
			region = NULL;
		else
			kref_get(&region->ref);
	}
	mmap_read_unlock(current->mm);
	return region;
}
