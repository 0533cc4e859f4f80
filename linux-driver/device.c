// SPDX-License-Identifier: GPL-2.0
/*
 * The device: reads its configuration, finds its queues, and starts it anew when it has lost what
 * was open.
 */
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/virtio_config.h>

#include "vcd.h"

/* What a status reads as when there is nothing to read from any more */
#define VCD_STATUS_UNPLUGGED	0xff

/*
 * Whether it is this device at all. Of another one with the number that stock QEMU knows, which is
 * somebody else's, there is nothing to say.
 */
static int vcd_identify(struct virtio_device *vdev)
{
	bool ours = vdev->id.device == VIRTIO_ID_CRYPTODEV;
	u32 magic, version;

	if (!vdev->config->get || !virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		if (ours)
			dev_err(&vdev->dev, "a device without configuration or virtio version 1\n");
		return -ENODEV;
	}
	virtio_cread_le(vdev, struct virtio_cryptodev_config, magic, &magic);
	if (magic != VIRTIO_CRYPTODEV_MAGIC) {
		if (ours)
			dev_err(&vdev->dev, "no cryptodev device: magic %#010x, not %#010x\n",
				magic, VIRTIO_CRYPTODEV_MAGIC);
		return -ENODEV;
	}
	virtio_cread_le(vdev, struct virtio_cryptodev_config, version, &version);
	if (version != VIRTIO_CRYPTODEV_VERSION) {
		dev_err(&vdev->dev, "the device has version %u, this driver knows %u\n",
			version, VIRTIO_CRYPTODEV_VERSION);
		return -ENODEV;
	}
	return 0;
}

static unsigned int vcd_wanted_queues(struct vcd_device *dev)
{
	u16 offered;

	if (!virtio_has_feature(dev->vdev, VIRTIO_CRYPTODEV_F_MQ))
		return 1;
	virtio_cread_le(dev->vdev, struct virtio_cryptodev_config, num_queues, &offered);
	return max(1U, min3((unsigned int)offered, num_online_cpus(), dev->max_queues));
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static int vcd_find_vqs(struct vcd_device *dev, struct virtqueue **vqs, unsigned int count)
{
	struct virtqueue_info *info = kcalloc(count, sizeof(*info), GFP_KERNEL);
	unsigned int i;
	int err;

	if (!info)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		info[i].name = dev->queues[i].name;
		info[i].callback = vcd_queue_done;
	}
	err = virtio_find_vqs(dev->vdev, count, vqs, info, NULL);
	kfree(info);
	return err;
}
#else
static int vcd_find_vqs(struct vcd_device *dev, struct virtqueue **vqs, unsigned int count)
{
	vq_callback_t **callbacks = kcalloc(count, sizeof(*callbacks), GFP_KERNEL);
	const char **names = kcalloc(count, sizeof(*names), GFP_KERNEL);
	unsigned int i;
	int err = -ENOMEM;

	if (!callbacks || !names)
		goto free;
	for (i = 0; i < count; i++) {
		callbacks[i] = vcd_queue_done;
		names[i] = dev->queues[i].name;
	}
	err = virtio_find_vqs(dev->vdev, count, vqs, callbacks, names, NULL);
free:
	kfree(names);
	kfree(callbacks);
	return err;
}
#endif

static int vcd_set_up_queues(struct vcd_device *dev, unsigned int count)
{
	struct virtqueue **vqs = kcalloc(count, sizeof(*vqs), GFP_KERNEL);
	unsigned int i;
	int err;

	if (!vqs)
		return -ENOMEM;
	err = vcd_find_vqs(dev, vqs, count);
	for (i = 0; !err && i < count; i++) {
		dev->queues[i].vq = vqs[i];
		dev->queues[i].size = virtqueue_get_vring_size(vqs[i]);
	}
	kfree(vqs);
	return err;
}

/* Returns how many queues there are, or an error. */
static int vcd_find_queues(struct vcd_device *dev)
{
	unsigned int count = vcd_wanted_queues(dev);
	int err = vcd_set_up_queues(dev, count);

	if (err && count > 1) {
		dev_warn(&dev->vdev->dev, "%u queues can't be had (%d), going on with one\n",
			 count, err);
		count = 1;
		err = vcd_set_up_queues(dev, count);
	}
	return err ?: (int)count;
}

/* Descriptors of either side that do not hold a page of data: what goes along, and the ends */
#define VCD_OTHER_SEGMENTS	5

/*
 * How many bytes of a CRYPT any of the rings can hold, whatever memory they come to lie in: at
 * worst each page is a segment. A chain must not be longer than its queue, not even an indirect
 * one, and for want of memory an indirect one may have to be sent directly.
 */
static u32 vcd_ring_bytes(struct vcd_device *dev, unsigned int count)
{
	size_t segment = min_t(size_t, dev->max_segment, PAGE_SIZE);
	unsigned int size = UINT_MAX, i;
	u64 bytes;

	for (i = 0; i < count; i++)
		size = min(size, dev->queues[i].size);
	bytes = size / 2 > VCD_OTHER_SEGMENTS ? (u64)(size / 2 - VCD_OTHER_SEGMENTS) * segment : 0;
	return min_t(u64, bytes, U32_MAX);
}

/* Negotiation is done; the device has just been reset before that. */
static int vcd_bring_up(struct vcd_device *dev)
{
	struct virtio_device *vdev = dev->vdev;
	u32 max_bytes, ring_bytes;
	int err, count, i;

	err = vcd_identify(vdev);
	if (err)
		return err;
	virtio_cread_le(vdev, struct virtio_cryptodev_config, instance, &dev->instance);
	virtio_cread_le(vdev, struct virtio_cryptodev_config, max_bytes, &max_bytes);
	count = vcd_find_queues(dev);
	if (count < 0)
		return count;
	ring_bytes = vcd_ring_bytes(dev, count);
	if (!ring_bytes) {
		dev_err(&vdev->dev, "the device's queues are too small\n");
		vdev->config->del_vqs(vdev);
		return -EINVAL;
	}
	dev->aead = virtio_has_feature(vdev, VIRTIO_CRYPTODEV_F_AEAD);
	dev->cphash = virtio_has_feature(vdev, VIRTIO_CRYPTODEV_F_CPHASH);
	WRITE_ONCE(dev->max_bytes,
		   min3(max_bytes, (u32)VIRTIO_CRYPTODEV_MAX_BYTES, ring_bytes));
	/* Nothing may be sent before; an interrupt that comes before finds nothing to do. */
	virtio_device_ready(vdev);
	for (i = 0; i < count; i++)
		vcd_queue_start(&dev->queues[i]);
	WRITE_ONCE(dev->num_queues, count);
	return 0;
}

/* Whoever waits for something gets -ENODEV, before a reset that could take its time. */
static void vcd_lose_queues(struct vcd_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->num_queues; i++)
		vcd_queue_lose(&dev->queues[i]);
}

static void vcd_take_down(struct vcd_device *dev)
{
	unsigned int count = dev->num_queues, i;

	vcd_lose_queues(dev);
	WRITE_ONCE(dev->num_queues, 0);
	/* A queue is notified without its lock: whoever is about to has to be done with it. */
	synchronize_rcu();
	/* One that was pulled out never says that it has been reset: no waiting for it. */
	if (dev->vdev->config->get_status(dev->vdev) != VCD_STATUS_UNPLUGGED)
		virtio_reset_device(dev->vdev);
	if (!count)
		return;
	for (i = 0; i < count; i++)
		vcd_queue_empty(&dev->queues[i]);
	dev->vdev->config->del_vqs(dev->vdev);
}

/*
 * What the virtio core does before probe and restore. Its own function for that needs
 * CONFIG_PM_SLEEP, and the one that doesn't is younger than Linux 6.1.
 */
static int vcd_negotiate(struct virtio_device *vdev)
{
	int err;

	virtio_add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_add_status(vdev, VIRTIO_CONFIG_S_DRIVER);
	err = vdev->config->finalize_features(vdev);
	if (err)
		return err;
	virtio_add_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK))
		return -ENODEV;
	return 0;
}

static void vcd_start_anew(struct vcd_device *dev)
{
	struct virtio_device *vdev = dev->vdev;
	int err;

	vcd_take_down(dev);
	err = vcd_negotiate(vdev) ?: vcd_bring_up(dev);
	if (err) {
		dev_err(&vdev->dev, "the device was lost and can't be started anew (%d)\n", err);
		virtio_add_status(vdev, VIRTIO_CONFIG_S_FAILED);
		return;
	}
	dev_warn_ratelimited(&vdev->dev, "the device lost what was open, and was started anew\n");
}

static bool vcd_lost(struct vcd_device *dev, u8 status)
{
	u32 instance;
	unsigned int i;

	if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return true;
	for (i = 0; i < dev->num_queues; i++)
		if (virtqueue_is_broken(dev->queues[i].vq))
			return true;
	virtio_cread_le(dev->vdev, struct virtio_cryptodev_config, instance, &instance);
	return instance != dev->instance;
}

/*
 * Runs after a change of the configuration, and after a queue broke, but never by a clock: stock
 * QEMU ends when the configuration is read while its vhost-user back end is gone.
 */
static void vcd_check(struct work_struct *work)
{
	struct vcd_device *dev = container_of(work, struct vcd_device, check);
	u8 status;

	mutex_lock(&dev->lifecycle);
	/* On the way down the virtio core breaks queues, and no device may wake up after it. */
	if (dev->stopped || !dev->num_queues || system_state > SYSTEM_RUNNING)
		goto unlock;
	status = dev->vdev->config->get_status(dev->vdev);
	if (status == VCD_STATUS_UNPLUGGED)
		vcd_lose_queues(dev);
	else if (vcd_lost(dev, status))
		vcd_start_anew(dev);
unlock:
	mutex_unlock(&dev->lifecycle);
}

int vcd_device_start(struct vcd_device *dev)
{
	int err;

	mutex_lock(&dev->lifecycle);
	err = vcd_bring_up(dev);
	dev->stopped = err;
	mutex_unlock(&dev->lifecycle);
	return err;
}

void vcd_device_stop(struct vcd_device *dev)
{
	mutex_lock(&dev->lifecycle);
	dev->stopped = true;
	vcd_take_down(dev);
	mutex_unlock(&dev->lifecycle);
	/* No queue is alive to schedule it, and the virtio core reports no changes any more. */
	cancel_work_sync(&dev->check);
}

/*
 * In turn, not by the CPU: programs tend to open their files in one thread, on one CPU, and to
 * hand them to others.
 */
struct vcd_queue *vcd_device_pick_queue(struct vcd_device *dev)
{
	unsigned int count = READ_ONCE(dev->num_queues);

	if (!count)
		return NULL;
	return &dev->queues[(unsigned int)atomic_inc_return(&dev->next_queue) % count];
}

struct vcd_device *vcd_device_new(struct virtio_device *vdev)
{
	struct vcd_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	unsigned int i;

	if (!dev)
		return NULL;
	kref_init(&dev->ref);
	mutex_init(&dev->lifecycle);
	INIT_WORK(&dev->check, vcd_check);
	init_waitqueue_head(&dev->closed_wait);
	dev->vdev = vdev;
	dev->max_segment = rounddown_pow_of_two(min_t(size_t, virtio_max_dma_size(vdev), SZ_1G));
	dev->max_queues = 1;
	if (virtio_has_feature(vdev, VIRTIO_CRYPTODEV_F_MQ))
		dev->max_queues = min_t(unsigned int, num_possible_cpus(),
					VIRTIO_CRYPTODEV_MAX_QUEUES);
	dev->queues = kcalloc(dev->max_queues, sizeof(*dev->queues), GFP_KERNEL);
	if (!dev->queues) {
		kfree(dev);
		return NULL;
	}
	for (i = 0; i < dev->max_queues; i++) {
		vcd_queue_init(&dev->queues[i], dev);
		snprintf(dev->queues[i].name, sizeof(dev->queues[i].name), "requestq.%u", i);
	}
	return dev;
}

static void vcd_device_free(struct kref *ref)
{
	struct vcd_device *dev = container_of(ref, struct vcd_device, ref);

	kfree(dev->queues);
	kfree(dev);
}

void vcd_device_put(struct vcd_device *dev)
{
	kref_put(&dev->ref, vcd_device_free);
}
