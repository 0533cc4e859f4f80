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

struct vcd_cipher {
	u32 id;
	u32 iv_bytes;
	u32 block_bytes;
	/* A call leaves an IV from which the next one goes on as if they were one */
	bool chained;
};

static const struct vcd_cipher vcd_ciphers[] = {
	{ 1, 8, 8, true },		/* DES-CBC */
	{ 2, 8, 8, true },		/* 3DES-CBC */
	{ 3, 8, 8, true },		/* Blowfish-CBC */
	{ 11, 16, 16, true },		/* AES-CBC */
	{ 16, 0, 1, true },		/* NULL */
	{ 21, 16, 1, true },		/* AES-CTR */
	{ 22, 16, 16, false },		/* AES-XTS */
	{ 23, 0, 16, true },		/* AES-ECB */
	{ 24, 16, 1, true },		/* AES-CFB */
	{ 25, 16, 1, true },		/* AES-OFB */
	{ CRYPTO_AES_GCM, 12, 1, false },
	{ CRYPTO_AES_CCM, 16, 1, false },
	{ 101, 16, 16, true },		/* Camellia-CBC */
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

static const struct vcd_cipher *vcd_cipher(u32 id)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(vcd_ciphers); i++)
		if (vcd_ciphers[i].id == id)
			return &vcd_ciphers[i];
	/* Which ciphers there are is the device's business. */
	return NULL;
}

static bool vcd_iv_ok(u32 id, u32 bytes)
{
	const struct vcd_cipher *cipher = vcd_cipher(id);

	if (!id)
		return !bytes;
	return cipher ? bytes == cipher->iv_bytes : bytes <= VCD_IV_MAX;
}

static bool vcd_digest_ok(u32 id, u32 bytes)
{
	size_t i;

	if (!id)
		return !bytes;
	for (i = 0; i < ARRAY_SIZE(vcd_digests); i++)
		if (vcd_digests[i].id == id)
			return bytes == vcd_digests[i].bytes;
	return bytes <= VCD_DIGEST_MAX;
}

bool vcd_sizes_ok(u32 cipher, u32 mac, u32 iv_bytes, u32 mac_bytes)
{
	return vcd_iv_ok(cipher, iv_bytes) && vcd_digest_ok(mac, mac_bytes);
}

u32 vcd_block_bytes(u32 cipher)
{
	const struct vcd_cipher *known = vcd_cipher(cipher);

	return known ? known->block_bytes : 0;
}

bool vcd_is_chained(u32 cipher)
{
	const struct vcd_cipher *known = vcd_cipher(cipher);

	return known && known->chained;
}

bool vcd_is_aead(u32 cipher)
{
	return cipher == CRYPTO_AES_GCM || cipher == CRYPTO_AES_CCM;
}
