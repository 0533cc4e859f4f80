// SPDX-License-Identifier: GPL-2.0
/*
 * The nodes: minors 0 to 31 are /dev/cryptodev0 to 31; /dev/crypto stands for the first that there
 * is.
 */
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/idr.h>
#include <linux/kdev_t.h>
#include <linux/module.h>
#include <linux/version.h>

#include "vcd.h"

#define VCD_MAX_DEVICES	32
#define VCD_MINOR_FIRST	VCD_MAX_DEVICES

/* Protects vcd_devices and the nodes; nothing waits for a device while holding it */
static DEFINE_MUTEX(vcd_devices_lock);
static DEFINE_IDR(vcd_devices);
static struct class *vcd_class;
static struct cdev vcd_cdev;
static dev_t vcd_region;

struct vcd_device *vcd_node_device(unsigned int minor)
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

int vcd_node_add(struct vcd_device *dev)
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

void vcd_node_del(struct vcd_device *dev)
{
	mutex_lock(&vcd_devices_lock);
	device_destroy(vcd_class, MKDEV(MAJOR(vcd_region), dev->id));
	idr_remove(&vcd_devices, dev->id);
	if (idr_is_empty(&vcd_devices))
		device_destroy(vcd_class, MKDEV(MAJOR(vcd_region), VCD_MINOR_FIRST));
	mutex_unlock(&vcd_devices_lock);
}

bool vcd_nodes_empty(void)
{
	bool empty;

	mutex_lock(&vcd_devices_lock);
	empty = idr_is_empty(&vcd_devices);
	mutex_unlock(&vcd_devices_lock);
	return empty;
}

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

int vcd_nodes_init(void)
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
	return 0;

unregister:
	unregister_chrdev_region(vcd_region, VCD_MAX_DEVICES + 1);
destroy_class:
	class_destroy(vcd_class);
	return err;
}

void vcd_nodes_exit(void)
{
	cdev_del(&vcd_cdev);
	unregister_chrdev_region(vcd_region, VCD_MAX_DEVICES + 1);
	class_destroy(vcd_class);
	idr_destroy(&vcd_devices);
}
