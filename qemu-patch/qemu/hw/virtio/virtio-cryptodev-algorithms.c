/*
 * virtio cryptodev device: the ciphers and hashes that it knows
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-cryptodev.h"

const CryptodevAlgorithm cryptodev_algorithms[CRYPTODEV_ALGORITHMS] = {
    /* id, name, mac, keyed, block, iv, digest */
    { 1, "des-cbc", false, true, 8, 8, 0 },
    { 2, "3des-cbc", false, true, 8, 8, 0 },
    { 11, "aes-cbc", false, true, 16, 16, 0 },
    { 21, "aes-ctr", false, true, 1, 16, 0 },
    { 22, "aes-xts", false, true, 16, 16, 0 },
    { 23, "aes-ecb", false, true, 16, 0, 0 },
    { 6, "hmac-md5", true, true, 1, 0, 16 },
    { 7, "hmac-sha1", true, true, 1, 0, 20 },
    { 8, "hmac-ripemd160", true, true, 1, 0, 20 },
    { 18, "hmac-sha256", true, true, 1, 0, 32 },
    { 19, "hmac-sha384", true, true, 1, 0, 48 },
    { 20, "hmac-sha512", true, true, 1, 0, 64 },
    { 107, "hmac-sha224", true, true, 1, 0, 28 },
    { 13, "md5", true, false, 1, 0, 16 },
    { 14, "sha1", true, false, 1, 0, 20 },
    { 102, "ripemd160", true, false, 1, 0, 20 },
    { 103, "sha224", true, false, 1, 0, 28 },
    { 104, "sha256", true, false, 1, 0, 32 },
    { 105, "sha384", true, false, 1, 0, 48 },
    { 106, "sha512", true, false, 1, 0, 64 },
};

const CryptodevAlgorithm *cryptodev_algorithm(uint32_t id)
{
    for (size_t i = 0; i < CRYPTODEV_ALGORITHMS; i++) {
        if (cryptodev_algorithms[i].id == id) {
            return &cryptodev_algorithms[i];
        }
    }
    return NULL;
}

size_t cryptodev_algorithm_index(const CryptodevAlgorithm *algorithm)
{
    return algorithm - cryptodev_algorithms;
}
