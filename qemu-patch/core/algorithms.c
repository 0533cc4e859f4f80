/*
 * virtio cryptodev: the ciphers and hashes of the cryptodev ABI
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "vcd.h"

/*
 * The costs are those of a processor with AES instructions and without SHA
 * ones; only their order of magnitude matters.
 */
const struct vcd_algorithm vcd_algorithms[] = {
    /* id, name, mac, keyed, block, iv, digest, cost */
    { 1, "des-cbc", false, true, 8, 8, 0, 15000 },
    { 2, "3des-cbc", false, true, 8, 8, 0, 40000 },
    { 3, "blowfish-cbc", false, true, 8, 8, 0, 10000 },
    { 11, "aes-cbc", false, true, 16, 16, 0, 1100 },
    { 16, "null", false, false, 1, 0, 0, 100 },
    { 21, "aes-ctr", false, true, 1, 16, 0, 700 },
    { 22, "aes-xts", false, true, 16, 16, 0, 1100 },
    { 23, "aes-ecb", false, true, 16, 0, 0, 700 },
    { 24, "aes-cfb", false, true, 1, 16, 0, 1400 },
    { 25, "aes-ofb", false, true, 1, 16, 0, 1400 },
    { 101, "camellia-cbc", false, true, 16, 16, 0, 6000 },
    { 6, "hmac-md5", true, true, 1, 0, 16, 1800 },
    { 7, "hmac-sha1", true, true, 1, 0, 20, 1500 },
    { 8, "hmac-ripemd160", true, true, 1, 0, 20, 5000 },
    { 18, "hmac-sha256", true, true, 1, 0, 32, 2700 },
    { 19, "hmac-sha384", true, true, 1, 0, 48, 1900 },
    { 20, "hmac-sha512", true, true, 1, 0, 64, 1900 },
    { 107, "hmac-sha224", true, true, 1, 0, 28, 2700 },
    { 13, "md5", true, false, 1, 0, 16, 1800 },
    { 14, "sha1", true, false, 1, 0, 20, 1500 },
    { 102, "ripemd160", true, false, 1, 0, 20, 5000 },
    { 103, "sha224", true, false, 1, 0, 28, 2700 },
    { 104, "sha256", true, false, 1, 0, 32, 2700 },
    { 105, "sha384", true, false, 1, 0, 48, 1900 },
    { 106, "sha512", true, false, 1, 0, 64, 1900 },
};

const size_t vcd_algorithm_count =
    sizeof(vcd_algorithms) / sizeof(vcd_algorithms[0]);

const struct vcd_algorithm *vcd_algorithm(uint32_t id)
{
    for (size_t i = 0; i < vcd_algorithm_count; i++) {
        if (vcd_algorithms[i].id == id) {
            return &vcd_algorithms[i];
        }
    }
    return NULL;
}
