/*
 * A vhost-user front end for tests, without QEMU and without a guest
 *
 * It does as QEMU's vhost-user-test-device and Linux's virtio_ring do, as far
 * as a back end can see it: one region of memory, split queues in it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef FRONT_END_H
#define FRONT_END_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <libvhost-user.h>

#include "virtio_cryptodev.h"

#define MEMORY_BYTES    (4u << 20)
#define GUEST_BASE      0x100000ULL         /* where the guest has it */
#define USER_BASE       0x7f0000000000ULL   /* and where QEMU would */
#define RING_NUM        64
#define RING_BYTES      0x4000              /* room for each queue's ring */
#define HEAP            (16 * RING_BYTES)   /* buffers from here on */
#define MAX_QUEUES      4

struct ring {
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    int kick, call, error;
    uint16_t seen;              /* used->idx, as far as looked at */
};

struct front_end {
    int fd;
    int channel;                /* what the back end asks comes out here */
    uint8_t *memory;
    int memory_fd;
    unsigned num_queues;
    struct ring rings[MAX_QUEUES];
};

/* front-end-wire.c: messages. Functions return false when the peer is gone. */

bool front_end_connect(struct front_end *front, const char *path);
void front_end_close(struct front_end *front);

bool front_end_send(struct front_end *front, int request, uint32_t flags,
                    const void *payload, uint32_t size, const int *fds,
                    unsigned num_fds);
/* Waits 10 s at most for the reply to @request; a later one ends the program */
bool front_end_reply(struct front_end *front, int request, void *payload,
                     uint32_t size);
bool front_end_get_u64(struct front_end *front, int request, uint64_t *value);

/* As QEMU does them; a queue is started and enabled with @base */
bool front_end_handshake(struct front_end *front);
bool front_end_start(struct front_end *front, unsigned queue, uint16_t base);
bool front_end_stop(struct front_end *front, unsigned queue, uint16_t *base);
bool front_end_memory_table(struct front_end *front);

/* Whether the guest has been told of a change within @milliseconds */
bool front_end_told(struct front_end *front, int milliseconds);

/* front-end-ring.c: requests */

/* A ring as a driver makes one: zeroed */
void ring_clear(struct front_end *front, unsigned queue);
/* Makes the chain that starts at @head available, and kicks */
void ring_kick(struct ring *ring, uint16_t head);
/* Whether a chain was used within @milliseconds; its length, if wanted */
bool ring_wait(struct ring *ring, int milliseconds, uint32_t *length);

/*
 * Does one request: @out_bytes are read, @in_bytes written. Returns the
 * response's error; -1 when there is no answer.
 */
int request_do(struct front_end *front, unsigned queue, const void *out,
               uint32_t out_bytes, void *in, uint32_t in_bytes);

int request_open(struct front_end *front, unsigned queue, uint32_t *handle);
int request_close(struct front_end *front, unsigned queue, uint32_t handle);
/* A session of AES-128-CBC with SP 800-38A's key */
int request_session(struct front_end *front, unsigned queue, uint32_t handle,
                    uint32_t *session);
/* Encrypts the vector's plaintext; 1,000 when the result is not its answer */
int request_vector(struct front_end *front, unsigned queue, uint32_t handle,
                   uint32_t session);

/* front-end-fuzz.c */
int fuzz(const char *path, uint64_t seed, unsigned long count);

/* front-end.c: whether the device at @path works; says what does not */
int known(const char *path);

#endif /* FRONT_END_H */
