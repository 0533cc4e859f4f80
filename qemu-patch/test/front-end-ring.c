/*
 * A vhost-user front end for tests: requests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "front-end.h"

#define CIPHER_AES_CBC  11
#define ANSWER_MS       5000

/* NIST SP 800-38A, F.2.1, CBC-AES128.Encrypt */
static const uint8_t vector_key[16] =
    "\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c";
static const uint8_t vector_iv[16] =
    "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";
static const uint8_t vector_plain[64] =
    "\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a"
    "\xae\x2d\x8a\x57\x1e\x03\xac\x9c\x9e\xb7\x6f\xac\x45\xaf\x8e\x51"
    "\x30\xc8\x1c\x46\xa3\x5c\xe4\x11\xe5\xfb\xc1\x19\x1a\x0a\x52\xef"
    "\xf6\x9f\x24\x45\xdf\x4f\x9b\x17\xad\x2b\x41\x7b\xe6\x6c\x37\x10";
static const uint8_t vector_answer[64] =
    "\x76\x49\xab\xac\x81\x19\xb2\x46\xce\xe9\x8e\x9b\x12\xe9\x19\x7d"
    "\x50\x86\xcb\x9b\x50\x72\x19\xee\x95\xdb\x11\x3a\x91\x76\x78\xb2"
    "\x73\xbe\xd6\xb8\xe3\xc1\x74\x3b\x71\x16\xe6\x9e\x22\x22\x95\x16"
    "\x3f\xf1\xca\xa1\x68\x1f\xac\x09\x12\x0e\xca\x30\x75\x86\xe1\xa7";

void ring_clear(struct front_end *front, unsigned queue)
{
    memset(front->memory + queue * RING_BYTES, 0, RING_BYTES);
    front->rings[queue].seen = 0;
}

void ring_kick(struct ring *ring, uint16_t head)
{
    uint16_t index = ring->avail->idx;

    ring->avail->ring[index % RING_NUM] = head;
    atomic_thread_fence(memory_order_seq_cst);
    ring->avail->idx = index + 1;
    atomic_thread_fence(memory_order_seq_cst);
    eventfd_write(ring->kick, 1);
}

bool ring_wait(struct ring *ring, int milliseconds, uint32_t *length)
{
    const volatile uint16_t *used = &ring->used->idx;

    /* As a driver does: asks for an interrupt, and looks again */
    ring->avail->ring[RING_NUM] = ring->seen;
    atomic_thread_fence(memory_order_seq_cst);
    while (*used == ring->seen) {
        struct pollfd pollfd = { .fd = ring->call, .events = POLLIN };
        eventfd_t count;

        if (poll(&pollfd, 1, milliseconds) == 0) {
            return false;
        }
        eventfd_read(ring->call, &count);
    }
    atomic_thread_fence(memory_order_seq_cst);
    if (length) {
        *length = ring->used->ring[ring->seen % RING_NUM].len;
    }
    ring->seen++;
    return true;
}

int request_do(struct front_end *front, unsigned queue, const void *out,
               uint32_t out_bytes, void *in, uint32_t in_bytes)
{
    struct ring *ring = &front->rings[queue];
    uint32_t half = out_bytes / 2, at = HEAP + queue * 0x10000;
    struct virtio_cryptodev_response response;
    uint32_t length;

    memcpy(front->memory + at, out, out_bytes);
    memset(front->memory + at + out_bytes, 0xee, in_bytes);
    /* In two pieces, at a place that no structure keeps to */
    ring->desc[0] = (struct vring_desc) {
        GUEST_BASE + at, half, VRING_DESC_F_NEXT, 1
    };
    ring->desc[1] = (struct vring_desc) {
        GUEST_BASE + at + half, out_bytes - half, VRING_DESC_F_NEXT, 2
    };
    ring->desc[2] = (struct vring_desc) {
        GUEST_BASE + at + out_bytes, in_bytes, VRING_DESC_F_WRITE, 0
    };
    ring_kick(ring, 0);
    if (!ring_wait(ring, ANSWER_MS, &length) || length > in_bytes ||
        length < sizeof(response)) {
        return -1;
    }
    memcpy(in, front->memory + at + out_bytes, in_bytes);
    memcpy(&response, in, sizeof(response));
    return response.error;
}

int request_open(struct front_end *front, unsigned queue, uint32_t *handle)
{
    struct virtio_cryptodev_request request = { .type = VIRTIO_CRYPTODEV_OPEN };
    struct virtio_cryptodev_response response = { 0 };
    int error = request_do(front, queue, &request, sizeof(request), &response,
                           sizeof(response));

    *handle = response.value;
    return error;
}

int request_close(struct front_end *front, unsigned queue, uint32_t handle)
{
    struct virtio_cryptodev_request request = {
        .type = VIRTIO_CRYPTODEV_CLOSE, .handle = handle,
    };
    struct virtio_cryptodev_response response;

    return request_do(front, queue, &request, sizeof(request), &response,
                      sizeof(response));
}

int request_session(struct front_end *front, unsigned queue, uint32_t handle,
                    uint32_t *session)
{
    struct {
        struct virtio_cryptodev_request request;
        struct virtio_cryptodev_gsession gsession;
        uint8_t key[16];
    } out = {
        .request = {
            .type = VIRTIO_CRYPTODEV_IOCTL, .handle = handle,
            .command = VIRTIO_CRYPTODEV_GSESSION,
        },
        .gsession = { .cipher = CIPHER_AES_CBC, .key_bytes = 16 },
    };
    struct virtio_cryptodev_response response = { 0 };
    int error;

    memcpy(out.key, vector_key, sizeof(out.key));
    error = request_do(front, queue, &out, sizeof(out), &response,
                       sizeof(response));
    *session = response.value;
    return error;
}

int request_vector(struct front_end *front, unsigned queue, uint32_t handle,
                   uint32_t session)
{
    struct {
        struct virtio_cryptodev_request request;
        struct virtio_cryptodev_crypt crypt;
        uint8_t iv[16], source[64];
    } out = {
        .request = {
            .type = VIRTIO_CRYPTODEV_IOCTL, .handle = handle,
            .command = VIRTIO_CRYPTODEV_CRYPT,
        },
        .crypt = {
            .session = session, .len = 64, .iv_bytes = 16, .result_bytes = 64,
        },
    };
    struct {
        struct virtio_cryptodev_response response;
        uint8_t result[64];
    } in;
    int error;

    memcpy(out.iv, vector_iv, 16);
    memcpy(out.source, vector_plain, 64);
    error = request_do(front, queue, &out, sizeof(out), &in, sizeof(in));
    return error ? error : memcmp(in.result, vector_answer, 64) ? 1000 : 0;
}
