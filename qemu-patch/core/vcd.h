/*
 * virtio cryptodev: the device's core, as its transports and backends see it
 *
 * The core does what the device's specification says (docs/virtio-cryptodev.md)
 * and knows neither QEMU nor vhost-user: libc and pthreads only. A transport
 * hands it each chain as two lists of iovecs and a cookie; the core checks it,
 * has a backend do it, here or in a thread of its own, writes the answer, and
 * gives the cookie back.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VCD_H
#define VCD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Algorithms
 */

/* Limits of the cryptodev ABI, in bytes */
#define VCD_KEY_MAX         64
#define VCD_MAC_KEY_MAX     512
#define VCD_IV_MAX          16
#define VCD_DIGEST_MAX      64
#define VCD_BLOCK_MAX       16
#define VCD_TAG_MAX         VCD_DIGEST_MAX

/* What comes of a cipher's IV, and in which forms of AUTHCRYPT it is used */
enum vcd_mode {
    VCD_HASH,
    VCD_PLAIN,              /* no IV, or one that stays as it is */
    VCD_CBC,
    VCD_CFB,
    VCD_OFB,
    VCD_CTR,
    VCD_AEAD,               /* for AUTHCRYPT only */
};

/* A cipher or hash of the cryptodev ABI, with what checks need to know */
struct vcd_algorithm {
    uint32_t id;            /* its number in the ABI */
    const char *name;
    bool is_mac;            /* a hash or MAC, no cipher */
    bool keyed;
    uint8_t block_bytes;    /* a length must be a multiple of it */
    uint8_t iv_bytes;
    uint8_t digest_bytes;
    /* What it costs about, to decide where it is done: ns for 1,024 bytes */
    uint16_t cost;
    enum vcd_mode mode;
};

extern const struct vcd_algorithm vcd_algorithms[];
extern const size_t vcd_algorithm_count;

/* The algorithm with the ABI's number @id, or NULL */
const struct vcd_algorithm *vcd_algorithm(uint32_t id);

/*
 * Backends: where the work is done. Functions return 0 or a negative errno
 * and may be called from any thread, for one session one at a time.
 */

/* What a session is made from; the keys are zeroed when the call returns. */
struct vcd_session_spec {
    const struct vcd_algorithm *cipher;     /* NULL for none */
    const struct vcd_algorithm *mac;        /* NULL for none */
    const uint8_t *key;
    size_t key_bytes;
    const uint8_t *mac_key;
    size_t mac_key_bytes;
};

/* Flags of the ABI's crypt_op */
#define VCD_UPDATE          1
#define VCD_FINAL           2
#define VCD_WRITE_IV        4
#define VCD_RESET           64

/* One CRYPT, checked: lengths fit the session, pointers are the host's. */
struct vcd_op {
    bool decrypt;
    uint16_t flags;             /* as the guest gave them, WRITE_IV excepted */
    bool start;                 /* the hash starts anew before this */
    bool finish;                /* and is finished after it: mac is due */
    const uint8_t *src;         /* never NULL */
    uint8_t *dst;               /* NULL without a cipher; may be src */
    size_t len;
    const uint8_t *iv;          /* iv_bytes of it; NULL where there is none */
    uint8_t *mac;               /* VCD_DIGEST_MAX of room */
};

/* Flags of the ABI's crypt_auth_op: which form it is; neither: AEAD */
#define VCD_FORM_TLS        16
#define VCD_FORM_SRTP       32

/*
 * One AUTHCRYPT, checked. What is authenticated is @before, then the plaintext
 * (AEAD, TLS) or the first @covered bytes of the ciphertext (SRTP), and then
 * @after (SRTP).
 *
 * Decrypting, and with a backend that may block always, src is dst, with room
 * for the longer of source and result, and lies between before and after in
 * one piece: the host's call wants it so. Nothing of it is the guest's then.
 */
struct vcd_auth_op {
    uint16_t form;              /* 0, VCD_FORM_TLS or VCD_FORM_SRTP */
    bool decrypt;
    const uint8_t *before, *after;      /* never NULL */
    size_t before_bytes, after_bytes;
    size_t covered;
    const uint8_t *src;         /* never NULL */
    uint8_t *dst;               /* never NULL; may be src */
    size_t len;
    size_t result_bytes;        /* of dst: without a tag that is apart */
    const uint8_t *iv;          /* iv_bytes of it; NULL where there is none */
    /*
     * SRTP decrypting: what is to be found. SRTP and AEAD encrypting:
     * VCD_TAG_MAX of room for what is made. Else it is in src or dst.
     */
    uint8_t *tag;
    size_t tag_bytes;
    /* By the backend: how many bytes of the result are meant */
    size_t value;
};

struct vcd_info {
    char cipher_name[64], cipher_driver[64];
    char hash_name[64], hash_driver[64];
    uint32_t alignmask;
    uint32_t flags;
};

struct vcd_backend {
    const char *name;
    /* What the configuration space says: VIRTIO_CRYPTODEV_BACKEND_... */
    uint32_t id;
    /*
     * Calls may take for ever, or until something else happens: all are made
     * by threads of the device's own, and never on guest memory.
     */
    bool may_block;
    /* @opaque is what the device was made with, e.g. a path */
    int (*open)(void *opaque, void **file);
    void (*close)(void *file);
    int (*session_new)(void *file, const struct vcd_session_spec *spec,
                       void **session);
    /* Zeroes what was known of the keys */
    void (*session_free)(void *file, void *session);
    /* Encrypts or decrypts from op->src to op->dst, starting with op->iv */
    int (*cipher)(void *session, const struct vcd_op *op);
    /* Hashes @len bytes of @data; op->start, op->finish and op->mac apply */
    int (*digest)(void *session, const struct vcd_op *op, const uint8_t *data,
                  size_t len);
    /* In place of the two where both are one call; has to hash plaintext */
    int (*crypt)(void *file, void *session, const struct vcd_op *op);
    int (*info)(void *file, void *session, struct vcd_info *info);
    /*
     * AUTHCRYPT; NULL where the backend lacks it. -EBADMSG where anything of
     * tag, MAC and padding is wrong, and neither the time that it took nor
     * what is done says what. What dst holds after an error is not looked at.
     */
    int (*authcrypt)(void *file, void *session, struct vcd_auth_op *op);
    /*
     * CPHASH; NULL where the backend lacks it. Both have the same MAC; -EINVAL
     * where their keys are not the same, which is found out in constant time.
     */
    int (*hash_copy)(void *file, void *to, void *from);
};

/*
 * The device
 */

struct vcd_device;
struct vcd_queue;

struct vcd_config {
    uint32_t num_queues;
    uint32_t max_files;             /* open at the same time */
    uint32_t max_sessions;          /* of one file */
    uint32_t max_device_sessions;   /* of all files */
    uint32_t max_bytes;             /* of one CRYPT */
    uint32_t max_threads;           /* 0: as many as suit the backend */
    uint64_t max_buffered;          /* copies that threads work on, in bytes */
    /* Work of at most about so many ns is done at once by whoever submits */
    uint32_t inline_ns;
    /* The same for a request that has the queue for itself */
    uint32_t inline_alone_ns;
    /* Feature bits that are not offered, though the backend could */
    uint64_t without;
};

#define VCD_CONFIG_DEFAULT {            \
    .num_queues = 1,                    \
    .max_files = 1024,                  \
    .max_sessions = 1024,               \
    .max_device_sessions = 65536,       \
    .max_bytes = 1 << 20,               \
    .max_threads = 0,                   \
    .max_buffered = 64 << 20,           \
    .inline_ns = 8000,                  \
    .inline_alone_ns = 8000,            \
}

/* What is wrong with @config, or NULL; for a message to whoever set it */
const char *vcd_config_error(const struct vcd_config *config);

/* What the core asks of its transport */
struct vcd_ops {
    /*
     * A chain is done: @written bytes of its in side are its answer. Called
     * by vcd_queue_complete() and vcd_queue_settle() only, and last: when it
     * is, the core's own books are in order, and the transport may do what it
     * likes, also reset the queue.
     */
    void (*complete)(void *queue_opaque, void *cookie, size_t written);
    /* By vcd_queue_reset(): a chain that is not to be answered any more */
    void (*drop)(void *queue_opaque, void *cookie);
    /*
     * A thread has done something: have vcd_queue_complete() called soon.
     * From any thread, with locks held: must not wait, nor call the core.
     * What vcd_submit() did itself is not told: complete after each turn.
     */
    void (*wake)(void *queue_opaque);
    /*
     * The first file is about to be opened: call vcd_device_held() when it may
     * be, or when it may not. And: no file is open any more: call
     * vcd_device_release() and see. From any thread, with locks held, as wake.
     * NULL where nothing depends on it.
     */
    void (*hold)(void *opaque);
    void (*release)(void *opaque);
};

/* @config has been found good. NULL for want of memory. */
struct vcd_device *vcd_device_new(const struct vcd_config *config,
                                  const struct vcd_backend *backend,
                                  void *backend_opaque,
                                  const struct vcd_ops *ops, void *opaque);
/*
 * All queues must have been reset. Returns at once; what threads still have in
 * hand ends without a word to the transport, and backend_opaque must be good
 * until it has: it is given to @backend_done then, from any thread.
 */
void vcd_device_free(struct vcd_device *dev,
                     void (*backend_done)(void *backend_opaque));

/* The feature bits of its own that the transport is to offer */
uint64_t vcd_device_features(const struct vcd_device *dev);

/* See hold. @error: 0, or what the OPENs that wait are to fail with */
void vcd_device_held(struct vcd_device *dev, int error);
/* Whether it was held and, since no file is open, now is not any more */
bool vcd_device_release(struct vcd_device *dev);

struct vcd_queue *vcd_device_queue(struct vcd_device *dev, uint32_t index);
void vcd_queue_set_opaque(struct vcd_queue *queue, void *queue_opaque);

/*
 * The functions of a queue are called by one thread at a time; queues are
 * independent of each other.
 */

/*
 * Takes a chain. The iovecs, and what they point to, must stay until the
 * cookie comes back by complete or drop, never before this has returned.
 * Returns about how many ns of work were done at once, so that the transport
 * can end its turn after enough of it; or -1 for a chain without room for
 * request and response, and for want of memory for any request at all: it was
 * not taken, and the device needs a reset.
 */
int64_t vcd_submit(struct vcd_queue *queue,
                   const struct iovec *out, unsigned out_num,
                   const struct iovec *in, unsigned in_num, void *cookie);

/* Completes what is done. Returns how many chains that were. */
unsigned vcd_queue_complete(struct vcd_queue *queue);

/*
 * Drops every chain and ends every file of the queue. Waits for threads that
 * touch guest memory at the moment, for about the time of one such operation;
 * those that hang in a backend never do.
 */
void vcd_queue_reset(struct vcd_queue *queue);

/*
 * Completes every chain, so that guest memory can be unmapped, and keeps
 * files: waits for at most @milliseconds; what is not done then is answered
 * with EIO, and done in vain.
 */
void vcd_queue_settle(struct vcd_queue *queue, int milliseconds);

/* Chains that were submitted and have not come back */
unsigned vcd_queue_in_flight(struct vcd_queue *queue);

/*
 * Statistics
 */

enum vcd_stat {
    VCD_STAT_OPENS,
    VCD_STAT_FILES,         /* now, with those that are being opened or ended */
    VCD_STAT_SESSIONS,      /* now */
    VCD_STAT_OPERATIONS,
    VCD_STAT_BYTES,
    VCD_STAT_ERRORS,
    VCD_STAT_THREADS,       /* now */
    VCD_STAT_BUFFERED,      /* now, bytes */
    VCD_STAT_IN_THREADS,    /* operations that a thread was handed */
    VCD_STATS
};

/* A statistic's name, with words apart by "-" */
const char *vcd_stat_name(enum vcd_stat stat);
uint64_t vcd_device_stat(struct vcd_device *dev, enum vcd_stat stat);
/* Operations with the algorithm at @index of vcd_algorithms */
uint64_t vcd_device_stat_algorithm(struct vcd_device *dev, size_t index);

#endif /* VCD_H */
