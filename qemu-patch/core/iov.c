/*
 * virtio cryptodev: chains, as a transport gives them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "internal.h"

size_t vcd_iov_size(const struct iovec *iov, unsigned num)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < num; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

/* Calls for each part of @bytes from @at on; returns how much that was */
#define for_each_part(iov, num, at, bytes, part, part_bytes, ...)       \
({                                                                      \
    size_t left_ = (bytes), skip_ = (at);                               \
    for (unsigned i_ = 0; i_ < (num) && left_ > 0; i_++) {              \
        size_t part_bytes = (iov)[i_].iov_len;                          \
        if (skip_ >= part_bytes) {                                      \
            skip_ -= part_bytes;                                        \
            continue;                                                   \
        }                                                               \
        char *part = (char *)(iov)[i_].iov_base + skip_;                \
        part_bytes -= skip_;                                            \
        part_bytes = part_bytes < left_ ? part_bytes : left_;           \
        __VA_ARGS__;                                                    \
        skip_ = 0;                                                      \
        left_ -= part_bytes;                                            \
    }                                                                   \
    (bytes) - left_;                                                    \
})

size_t vcd_iov_read(const struct iovec *iov, unsigned num, size_t at,
                    void *to, size_t bytes)
{
    char *next = to;

    return for_each_part(iov, num, at, bytes, part, n,
                         memcpy(next, part, n); next += n);
}

size_t vcd_iov_write(const struct iovec *iov, unsigned num, size_t at,
                     const void *from, size_t bytes)
{
    const char *next = from;

    return for_each_part(iov, num, at, bytes, part, n,
                         memcpy(part, next, n); next += n);
}

/* Parts that lie next to each other, as pages that were cut apart, are one. */
void *vcd_iov_piece(const struct iovec *iov, unsigned num, size_t at,
                    size_t bytes)
{
    char *base, *end;
    unsigned i = 0;

    while (i < num && at >= iov[i].iov_len) {
        at -= iov[i++].iov_len;
    }
    if (i == num) {
        return NULL;
    }
    base = (char *)iov[i].iov_base + at;
    end = (char *)iov[i].iov_base + iov[i].iov_len;
    while ((size_t)(end - base) < bytes) {
        if (++i == num || (iov[i].iov_len > 0 && iov[i].iov_base != end)) {
            return NULL;
        }
        end += iov[i].iov_len;
    }
    return base;
}
