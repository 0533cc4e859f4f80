// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of algorithms without asking the device, so that it isn't believed what can't be:
 * these sizes decide how much of a program's memory is written.
 */
#include <linux/kernel.h>

#include "vcd.h"

struct vcd_size {
	u32 id;
	u32 bytes;
};

/* Sizes of IVs, by the ABI's numbers of ciphers */
static const struct vcd_size vcd_ivs[] = {
	{ 1, 8 },	/* DES-CBC */
	{ 2, 8 },	/* 3DES-CBC */
	{ 3, 8 },	/* Blowfish-CBC */
	{ 11, 16 },	/* AES-CBC */
	{ 16, 0 },	/* NULL */
	{ 21, 16 },	/* AES-CTR */
	{ 22, 16 },	/* AES-XTS */
	{ 23, 0 },	/* AES-ECB */
	{ 24, 16 },	/* AES-CFB */
	{ 25, 16 },	/* AES-OFB */
	{ 50, 12 },	/* AES-GCM */
	{ 101, 16 },	/* Camellia-CBC */
};

/* Sizes of digests, by the ABI's numbers of hashes and MACs */
static const struct vcd_size vcd_digests[] = {
	{ 6, 16 },	/* HMAC-MD5 */
	{ 7, 20 },	/* HMAC-SHA1 */
	{ 8, 20 },	/* HMAC-RIPEMD160 */
	{ 13, 16 },	/* MD5 */
	{ 14, 20 },	/* SHA1 */
	{ 18, 32 },	/* HMAC-SHA256 */
	{ 19, 48 },	/* HMAC-SHA384 */
	{ 20, 64 },	/* HMAC-SHA512 */
	{ 102, 20 },	/* RIPEMD160 */
	{ 103, 28 },	/* SHA224 */
	{ 104, 32 },	/* SHA256 */
	{ 105, 48 },	/* SHA384 */
	{ 106, 64 },	/* SHA512 */
	{ 107, 28 },	/* HMAC-SHA224 */
};

static bool vcd_size_ok(const struct vcd_size *sizes, size_t count, u32 id, u32 bytes, u32 most)
{
	size_t i;

	if (!id)
		return !bytes;
	for (i = 0; i < count; i++)
		if (sizes[i].id == id)
			return bytes == sizes[i].bytes;
	/* Which ciphers there are is the device's business. */
	return bytes <= most;
}

bool vcd_sizes_ok(u32 cipher, u32 mac, u32 iv_bytes, u32 mac_bytes)
{
	return vcd_size_ok(vcd_ivs, ARRAY_SIZE(vcd_ivs), cipher, iv_bytes, VCD_IV_MAX) &&
	       vcd_size_ok(vcd_digests, ARRAY_SIZE(vcd_digests), mac, mac_bytes, VCD_DIGEST_MAX);
}
