// SPDX-License-Identifier: GPL-2.0
/*
 * Probe, remove, suspend, and the module
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/virtio_config.h>

#include "vcd.h"

static int vcd_probe(struct virtio_device *vdev)
{
	struct vcd_device *dev = vcd_device_new(vdev);
	int err;

	if (!dev)
		return -ENOMEM;
	vdev->priv = dev;
	err = vcd_device_start(dev);
	if (err)
		goto put;
	err = vcd_node_add(dev);
	if (err)
		goto stop;
	return 0;

stop:
	vcd_device_stop(dev);
put:
	vcd_device_put(dev);
	return err;
}

static void vcd_remove(struct virtio_device *vdev)
{
	struct vcd_device *dev = vdev->priv;

	vcd_node_del(dev);
	vcd_device_stop(dev);
	/* Open files keep the rest; all that they ask for is -ENODEV from now on. */
	vcd_device_put(dev);
}

static void vcd_config_changed(struct virtio_device *vdev)
{
	struct vcd_device *dev = vdev->priv;

	schedule_work(&dev->check);
}

#ifdef CONFIG_PM_SLEEP
/* The device forgets its files at suspend: those that are open then give -ENODEV afterwards. */
static int vcd_freeze(struct virtio_device *vdev)
{
	vcd_device_stop(vdev->priv);
	return 0;
}

static int vcd_restore(struct virtio_device *vdev)
{
	return vcd_device_start(vdev->priv);
}
#endif

static const unsigned int vcd_features[] = {
	VIRTIO_CRYPTODEV_F_AEAD,
	VIRTIO_CRYPTODEV_F_CPHASH,
	VIRTIO_CRYPTODEV_F_MQ,
};

static const struct virtio_device_id vcd_id_table[] = {
	{ VIRTIO_ID_CRYPTODEV, VIRTIO_DEV_ANY_ID },
	{ VIRTIO_ID_CRYPTODEV_STOCK, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, vcd_id_table);

static struct virtio_driver vcd_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = vcd_id_table,
	.feature_table = vcd_features,
	.feature_table_size = ARRAY_SIZE(vcd_features),
	.probe = vcd_probe,
	.remove = vcd_remove,
	.config_changed = vcd_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = vcd_freeze,
	.restore = vcd_restore,
#endif
};

static int __init vcd_init(void)
{
	int err;

	err = vcd_requests_init();
	if (err)
		return err;
	err = vcd_nodes_init();
	if (err)
		goto exit_requests;
	err = register_virtio_driver(&vcd_driver);
	if (err)
		goto exit_nodes;
	if (vcd_nodes_empty())
		pr_info("no device yet; /dev/crypto appears with the first\n");
	return 0;

exit_nodes:
	vcd_nodes_exit();
exit_requests:
	vcd_requests_exit();
	return err;
}
module_init(vcd_init);

static void __exit vcd_exit(void)
{
	unregister_virtio_driver(&vcd_driver);
	vcd_nodes_exit();
	vcd_requests_exit();
}
module_exit(vcd_exit);

MODULE_DESCRIPTION("virtio cryptodev: /dev/crypto by the host");
MODULE_VERSION("0.2.0");
MODULE_LICENSE("GPL");
