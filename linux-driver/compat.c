// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/crypto as 32-bit programs on a 64-bit kernel see it
 */
#include <linux/compat.h>
#include <linux/uaccess.h>

#include "vcd.h"

static long vcd_compat_gsession(struct vcd_file *file, struct compat_session_op __user *user)
{
	struct compat_session_op session32;
	struct session_op session;

	if (copy_from_user(&session32, user, sizeof(session32)))
		return -EFAULT;
	session = (struct session_op) {
		.cipher = session32.cipher,
		.mac = session32.mac,
		.keylen = session32.keylen,
		.key = compat_ptr(session32.key),
		.mackeylen = session32.mackeylen,
		.mackey = compat_ptr(session32.mackey),
	};
	return vcd_gsession(file, &session, &user->ses);
}

static long vcd_compat_crypt(struct vcd_file *file, struct compat_crypt_op __user *user)
{
	struct compat_crypt_op crypt32;
	struct crypt_op crypt;

	if (copy_from_user(&crypt32, user, sizeof(crypt32)))
		return -EFAULT;
	crypt = (struct crypt_op) {
		.ses = crypt32.ses,
		.op = crypt32.op,
		.flags = crypt32.flags,
		.len = crypt32.len,
		.src = compat_ptr(crypt32.src),
		.dst = compat_ptr(crypt32.dst),
		.mac = compat_ptr(crypt32.mac),
		.iv = compat_ptr(crypt32.iv),
	};
	return vcd_crypt(file, &crypt);
}

long vcd_compat_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	void __user *user = compat_ptr(argument);

	switch (command) {
	case COMPAT_CIOCGSESSION:
		return vcd_compat_gsession(filp->private_data, user);
	case COMPAT_CIOCCRYPT:
		return vcd_compat_crypt(filp->private_data, user);
	default:
		return vcd_ioctl(filp, command, (unsigned long)user);
	}
}
