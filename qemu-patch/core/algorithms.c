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
    /* id, name, mac, keyed, block, iv, digest, cost, mode */
    { 1, "des-cbc", false, true, 8, 8, 0, 15000, VCD_CBC },
    { 2, "3des-cbc", false, true, 8, 8, 0, 40000, VCD_CBC },
    { 3, "blowfish-cbc", false, true, 8, 8, 0, 10000, VCD_CBC },
    { 11, "aes-cbc", false, true, 16, 16, 0, 1100, VCD_CBC },
    { 16, "null", false, false, 1, 0, 0, 100, VCD_PLAIN },
    { 21, "aes-ctr", false, true, 1, 16, 0, 700, VCD_CTR },
    { 22, "aes-xts", false, true, 16, 16, 0, 1100, VCD_PLAIN },
    { 23, "aes-ecb", false, true, 16, 0, 0, 700, VCD_PLAIN },
    { 24, "aes-cfb", false, true, 1, 16, 0, 1400, VCD_CFB },
    { 25, "aes-ofb", false, true, 1, 16, 0, 1400, VCD_OFB },
    { 50, "aes-gcm", false, true, 1, 12, 0, 700, VCD_AEAD },
    { 51, "aes-ccm", false, true, 1, 16, 0, 2000, VCD_AEAD },
    { 101, "camellia-cbc", false, true, 16, 16, 0, 6000, VCD_CBC },
    { 6, "hmac-md5", true, true, 1, 0, 16, 1800, VCD_HASH },
    { 7, "hmac-sha1", true, true, 1, 0, 20, 1500, VCD_HASH },
    { 8, "hmac-ripemd160", true, true, 1, 0, 20, 5000, VCD_HASH },
    { 18, "hmac-sha256", true, true, 1, 0, 32, 2700, VCD_HASH },
    { 19, "hmac-sha384", true, true, 1, 0, 48, 1900, VCD_HASH },
    { 20, "hmac-sha512", true, true, 1, 0, 64, 1900, VCD_HASH },
    { 107, "hmac-sha224", true, true, 1, 0, 28, 2700, VCD_HASH },
    { 13, "md5", true, false, 1, 0, 16, 1800, VCD_HASH },
    { 14, "sha1", true, false, 1, 0, 20, 1500, VCD_HASH },
    { 102, "ripemd160", true, false, 1, 0, 20, 5000, VCD_HASH },
    { 103, "sha224", true, false, 1, 0, 28, 2700, VCD_HASH },
    { 104, "sha256", true, false, 1, 0, 32, 2700, VCD_HASH },
    { 105, "sha384", true, false, 1, 0, 48, 1900, VCD_HASH },
    { 106, "sha512", true, false, 1, 0, 64, 1900, VCD_HASH },
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
