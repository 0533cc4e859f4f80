/* SPDX-License-Identifier: MIT */
/*
 * Uses contexts of OpenSSL's /dev/crypto engine on both sides of a fork, at the same time.
 *
 * Both sides have the same file and so the same sessions. A cipher's state is the IV, which the engine
 * keeps in the program: each side goes on by itself. A digest's state is in the session: each side takes
 * a copy and goes on with that. A child ends without freeing what its parent goes on with.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/engine.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK 4096
#define CHUNKS 200
#define ALL ((CHUNKS + 1) * CHUNK)

static OSSL_LIB_CTX *own;
static uint8_t ours[ALL + 64], theirs[ALL + 64];
static const uint8_t key[32] = "a key of 32 bytes, of no secrecy";
static const uint8_t iv[16] = "an IV of 16 byte";

/* What a side encrypts and hashes: the same at first, then its own */
static uint8_t data[ALL];

static void fill(int side)
{
	for (int i = 0; i < ALL; i++)
		data[i] = i * 31 + (i < CHUNK ? 0 : side * 7);
}

static int same_cipher(size_t n)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(own, "AES-256-CBC", NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int some, last;
	int ok = EVP_EncryptInit_ex(ctx, cipher, NULL, key, iv) &&
		 EVP_EncryptUpdate(ctx, theirs, &some, data, ALL) &&
		 EVP_EncryptFinal_ex(ctx, theirs + some, &last) && n == (size_t)some + last &&
		 !memcmp(ours, theirs, n);

	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(cipher);
	return ok;
}

/* Goes on with both contexts: 0, or what went wrong */
static int side(int number, EVP_CIPHER_CTX *cipher, EVP_MD_CTX *digest, size_t n)
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	EVP_MD *own_digest = EVP_MD_fetch(own, "SHA256", NULL);
	uint8_t sum[32], expected[32];
	int some;

	fill(number);
	if (!EVP_MD_CTX_copy_ex(copy, digest))
		return 1;
	for (int i = 1; i <= CHUNKS; i++) {
		if (!EVP_EncryptUpdate(cipher, ours + n, &some, data + i * CHUNK, CHUNK))
			return 2;
		n += some;
		if (!EVP_DigestUpdate(copy, data + i * CHUNK, CHUNK))
			return 3;
	}
	if (!EVP_EncryptFinal_ex(cipher, ours + n, &some) || !same_cipher(n + some))
		return 4;
	if (!EVP_DigestFinal_ex(copy, sum, NULL) ||
	    !EVP_Digest(data, ALL, expected, NULL, own_digest, NULL) || memcmp(sum, expected, 32))
		return 5;
	EVP_MD_CTX_free(copy);
	return 0;
}

int main(void)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	ENGINE *engine;
	int some, mine, status;
	pid_t child;

	OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_ALL_BUILTIN | OPENSSL_INIT_LOAD_CONFIG, NULL);
	engine = ENGINE_by_id("devcrypto");
	own = OSSL_LIB_CTX_new();
	if (!engine || !OSSL_PROVIDER_load(own, "default"))
		return 1;
	fill(0);
	if (!EVP_EncryptInit_ex(cipher, ENGINE_get_cipher(engine, NID_aes_256_cbc), engine, key, iv) ||
	    !EVP_EncryptUpdate(cipher, ours, &some, data, CHUNK) ||
	    !EVP_DigestInit_ex(digest, ENGINE_get_digest(engine, NID_sha256), engine) ||
	    !EVP_DigestUpdate(digest, data, CHUNK))
		return 2;
	child = fork();
	if (!child)
		_exit(side(1, cipher, digest, some));
	mine = side(2, cipher, digest, some);
	waitpid(child, &status, 0);
	/* The child's end has taken nothing from its parent. */
	if (!mine && EVP_DigestFinal_ex(digest, ours, NULL) != 1)
		mine = 6;
	printf("parent %d child %d\n", mine, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return 0;
}
