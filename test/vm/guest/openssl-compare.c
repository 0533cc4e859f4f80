/* SPDX-License-Identifier: MIT */
/*
 * Holds every cipher and digest of OpenSSL's /dev/crypto engine against OpenSSL's own, in one process:
 * lengths of all kinds, at once and in parts. Prints a line for each, "cipher NAME ok" or what is wrong.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/provider.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST (2 * 1024 * 1024 + 5)

static const size_t lengths[] = {
	0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 4095, 4096, 4099, 65536, 100 * 1024, 100 * 1024 + 3,
	1024 * 1024, LONGEST,
};
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))
/* The last two go in one piece only: a part is a request. */
#define IN_PARTS (LENGTHS - 2)

static OSSL_LIB_CTX *own;
static uint8_t *plain, *ours, *theirs, *back;
static uint8_t key[64], iv[16];
static uint32_t random_state = 1;

/* The same numbers in every run */
static uint32_t next_random(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return random_state >> 8;
}

/* A part of what is left: small ones at first, so that blocks are cut, then larger ones */
static size_t part(size_t done, size_t left, int whole)
{
	size_t n = done < 200 ? next_random() % 40 : next_random() % 30000;

	return whole || n > left ? left : n;
}

/*
 * In CTR the engine loses its place in the key stream where, at the start of a block, it is given just
 * one (OpenSSL 3.0's ctr_do_cipher counts to the block's end and not back to 0): never but at the end.
 */
static size_t part_of_stream(size_t done, size_t left, int whole)
{
	size_t n = part(done, left, whole), begun = -done % 16;

	return n == begun + 16 && n < left ? n + 1 : n;
}

static const char *run_cipher(const EVP_CIPHER *cipher, ENGINE *engine, int encrypt, int whole,
			      const uint8_t *in, size_t n, uint8_t *out, size_t *out_n)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int stream = EVP_CIPHER_get_mode(cipher) == EVP_CIPH_CTR_MODE;
	const char *failed = "init";
	size_t done = 0, written = 0;
	int some;

	if (!EVP_CipherInit_ex(ctx, cipher, engine, key, iv, encrypt))
		goto out;
	failed = "update";
	while (done < n) {
		size_t now = (stream ? part_of_stream : part)(done, n - done, whole);

		if (!EVP_CipherUpdate(ctx, out + written, &some, in + done, now))
			goto out;
		done += now;
		written += some;
	}
	failed = "final";
	if (!EVP_CipherFinal_ex(ctx, out + written, &some))
		goto out;
	*out_n = written + some;
	failed = NULL;
out:
	EVP_CIPHER_CTX_free(ctx);
	return failed;
}

static const char *cipher_at(const EVP_CIPHER *mine, const EVP_CIPHER *theirs_, ENGINE *engine,
			     size_t n, int whole)
{
	size_t ours_n, theirs_n, back_n;
	const char *failed;

	failed = run_cipher(theirs_, NULL, 1, 1, plain, n, theirs, &theirs_n);
	if (failed)
		return "OpenSSL's own fails";
	failed = run_cipher(mine, engine, 1, whole, plain, n, ours, &ours_n);
	if (failed)
		return failed;
	if (ours_n != theirs_n || memcmp(ours, theirs, ours_n))
		return "encrypts to something else";
	failed = run_cipher(mine, engine, 0, whole, ours, ours_n, back, &back_n);
	if (failed)
		return failed;
	return back_n != n || memcmp(back, plain, n) ? "decrypts to something else" : NULL;
}

static const char *run_digest(const EVP_MD *digest, ENGINE *engine, int whole, int copied,
			      const uint8_t *in, size_t n, uint8_t *out)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *copy = EVP_MD_CTX_new();
	const char *failed = "init";
	uint8_t other[EVP_MAX_MD_SIZE];
	size_t done = 0;

	if (!EVP_DigestInit_ex(ctx, digest, engine))
		goto out;
	failed = "update";
	while (done < n) {
		size_t now = part(done, n - done, whole);

		if (!EVP_DigestUpdate(ctx, in + done, now))
			goto out;
		done += now;
		/* The copy ends on its own; what it was taken from goes on. */
		if (copied && next_random() % 4 == 0 &&
		    (!EVP_MD_CTX_copy_ex(copy, ctx) || !EVP_DigestUpdate(copy, "and on", 6) ||
		     !EVP_DigestFinal_ex(copy, other, NULL))) {
			failed = "copy";
			goto out;
		}
	}
	failed = "final";
	/* And one that ends in the place of what it was taken from */
	if (copied ? EVP_MD_CTX_copy_ex(copy, ctx) && EVP_DigestFinal_ex(copy, out, NULL) :
		     EVP_DigestFinal_ex(ctx, out, NULL))
		failed = NULL;
out:
	EVP_MD_CTX_free(copy);
	EVP_MD_CTX_free(ctx);
	return failed;
}

static const char *digest_at(const EVP_MD *mine, const EVP_MD *theirs_, ENGINE *engine, size_t n,
			     int whole, int copied)
{
	const char *failed = run_digest(theirs_, NULL, 1, 0, plain, n, theirs);

	if (failed)
		return "OpenSSL's own fails";
	failed = run_digest(mine, engine, whole, copied, plain, n, ours);
	if (failed)
		return failed;
	return memcmp(ours, theirs, EVP_MD_get_size(theirs_)) ? "is something else" : NULL;
}

static void say(const char *kind, const char *name, const char *failed, size_t n)
{
	if (failed) {
		printf("%s %s of %zu bytes: %s\n", kind, name, n, failed);
		ERR_print_errors_fp(stdout);
	} else {
		printf("%s %s ok\n", kind, name);
	}
	fflush(stdout);
}

static void compare_cipher(ENGINE *engine, int nid)
{
	const char *name = OBJ_nid2sn(nid), *failed = NULL;
	const EVP_CIPHER *mine = ENGINE_get_cipher(engine, nid);
	EVP_CIPHER *theirs_ = EVP_CIPHER_fetch(own, name, NULL);
	size_t i = 0, n = 0;

	if (!theirs_)
		failed = "OpenSSL has none";
	for (; i < LENGTHS && !failed; i++) {
		n = lengths[i];
		failed = cipher_at(mine, theirs_, engine, n, 1);
		if (!failed && i < IN_PARTS)
			failed = cipher_at(mine, theirs_, engine, n, 0);
	}
	say("cipher", name, failed, n);
	EVP_CIPHER_free(theirs_);
}

static void compare_digest(ENGINE *engine, int nid)
{
	const char *name = OBJ_nid2sn(nid), *failed = NULL;
	const EVP_MD *mine = ENGINE_get_digest(engine, nid);
	EVP_MD *theirs_ = EVP_MD_fetch(own, name, NULL);
	size_t i = 0, n = 0;

	if (!theirs_)
		failed = "OpenSSL has none";
	for (; i < LENGTHS && !failed; i++) {
		n = lengths[i];
		failed = digest_at(mine, theirs_, engine, n, 1, 0);
		if (!failed && i < IN_PARTS)
			failed = digest_at(mine, theirs_, engine, n, 0, 0);
		if (!failed && i < IN_PARTS)
			failed = digest_at(mine, theirs_, engine, n, 0, 1);
	}
	say("digest", name, failed, n);
	EVP_MD_free(theirs_);
}

static void *room(void)
{
	return malloc(LONGEST + 64);
}

int main(void)
{
	const int *nids;
	ENGINE *engine;
	int n, i;

	/* What openssl.cnf says of the engine */
	OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_ALL_BUILTIN | OPENSSL_INIT_LOAD_CONFIG, NULL);
	engine = ENGINE_by_id("devcrypto");
	if (!engine || !ENGINE_init(engine)) {
		puts("there is no engine");
		return 1;
	}
	own = OSSL_LIB_CTX_new();
	if (!OSSL_PROVIDER_load(own, "default") || !OSSL_PROVIDER_load(own, "legacy"))
		return 1;
	plain = room();
	ours = room();
	theirs = room();
	back = room();
	for (i = 0; i < LONGEST; i++)
		plain[i] = next_random();
	for (i = 0; i < (int)sizeof(key); i++)
		key[i] = next_random();
	/* A counter that carries, over 32 bits too */
	memset(iv, 0xff, sizeof(iv));
	iv[0] = 1;

	n = ENGINE_get_ciphers(engine)(engine, NULL, &nids, 0);
	for (i = 0; i < n; i++)
		compare_cipher(engine, nids[i]);
	n = ENGINE_get_digests(engine) ? ENGINE_get_digests(engine)(engine, NULL, &nids, 0) : 0;
	for (i = 0; i < n; i++)
		compare_digest(engine, nids[i]);
	ENGINE_finish(engine);
	ENGINE_free(engine);
	return 0;
}
