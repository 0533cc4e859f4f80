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

static int vcd_compat_get_crypt(struct crypt_op *op, struct compat_crypt_op __user *user)
{
	struct compat_crypt_op op32;

	if (copy_from_user(&op32, user, sizeof(op32)))
		return -EFAULT;
	*op = (struct crypt_op) {
		.ses = op32.ses,
		.op = op32.op,
		.flags = op32.flags,
		.len = op32.len,
		.src = compat_ptr(op32.src),
		.dst = compat_ptr(op32.dst),
		.mac = compat_ptr(op32.mac),
		.iv = compat_ptr(op32.iv),
	};
	return 0;
}

static long vcd_compat_crypt(struct vcd_file *file, struct compat_crypt_op __user *user)
{
	struct crypt_op op;

	return vcd_compat_get_crypt(&op, user) ?: vcd_crypt(file, &op);
}

static long vcd_compat_async_crypt(struct vcd_file *file, struct compat_crypt_op __user *user)
{
	struct crypt_op op;

	return vcd_compat_get_crypt(&op, user) ?: vcd_async_crypt(file, &op);
}

static long vcd_compat_async_fetch(struct vcd_file *file, struct compat_crypt_op __user *user)
{
	struct compat_crypt_op op32;
	struct crypt_op op;
	long err = vcd_async_fetch(file, &op);

	if (err)
		return err;
	op32 = (struct compat_crypt_op) {
		.ses = op.ses,
		.op = op.op,
		.flags = op.flags,
		.len = op.len,
		.src = ptr_to_compat(op.src),
		.dst = ptr_to_compat(op.dst),
		.mac = ptr_to_compat(op.mac),
		.iv = ptr_to_compat(op.iv),
	};
	return copy_to_user(user, &op32, sizeof(op32)) ? -EFAULT : 0;
}

static long vcd_compat_authcrypt(struct vcd_file *file, struct compat_crypt_auth_op __user *user)
{
	struct compat_crypt_auth_op op32;
	struct crypt_auth_op op;
	long err;

	if (copy_from_user(&op32, user, sizeof(op32)))
		return -EFAULT;
	op = (struct crypt_auth_op) {
		.ses = op32.ses,
		.op = op32.op,
		.flags = op32.flags,
		.len = op32.len,
		.auth_len = op32.auth_len,
		.auth_src = compat_ptr(op32.auth_src),
		.src = compat_ptr(op32.src),
		.dst = compat_ptr(op32.dst),
		.tag = compat_ptr(op32.tag),
		.tag_len = op32.tag_len,
		.iv = compat_ptr(op32.iv),
		.iv_len = op32.iv_len,
	};
	err = vcd_authcrypt(file, &op);
	if (err)
		return err;
	if (put_user(op.len, &user->len) || put_user(op.tag_len, &user->tag_len))
		return -EFAULT;
	return 0;
}

long vcd_compat_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	void __user *user = compat_ptr(argument);

	switch (command) {
	case COMPAT_CIOCGSESSION:
		return vcd_compat_gsession(filp->private_data, user);
	case COMPAT_CIOCCRYPT:
		return vcd_compat_crypt(filp->private_data, user);
	case COMPAT_CIOCAUTHCRYPT:
		return vcd_compat_authcrypt(filp->private_data, user);
	case COMPAT_CIOCASYNCCRYPT:
		return vcd_compat_async_crypt(filp->private_data, user);
	case COMPAT_CIOCASYNCFETCH:
		return vcd_compat_async_fetch(filp->private_data, user);
	default:
		return vcd_ioctl(filp, command, (unsigned long)user);
	}
}
