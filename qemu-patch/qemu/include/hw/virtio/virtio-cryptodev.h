/*
 * virtio cryptodev device: the host's /dev/crypto for guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_CRYPTODEV_H
#define HW_VIRTIO_CRYPTODEV_H

#include "hw/virtio/virtio.h"
#include "qom/object.h"
#include "qemu/queue.h"
#include "standard-headers/linux/virtio_cryptodev.h"

#define TYPE_VIRTIO_CRYPTODEV "virtio-cryptodev-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOCryptodev, VIRTIO_CRYPTODEV)

/* Limits of the cryptodev ABI, in bytes */
#define CRYPTODEV_KEY_MAX       64
#define CRYPTODEV_MAC_KEY_MAX   512
#define CRYPTODEV_IV_MAX        16
#define CRYPTODEV_DIGEST_MAX    64

/* Numbers of the cryptodev ABI */
#define COP_ENCRYPT             0
#define COP_DECRYPT             1
#define COP_FLAG_UPDATE         1
#define COP_FLAG_FINAL          2
#define COP_FLAG_WRITE_IV       4
#define COP_FLAG_RESET          64

/* A cipher or hash of the ABI, with what checks of a request need to know */
typedef struct CryptodevAlgorithm {
    uint32_t id;
    const char *name;
    bool is_mac;
    bool keyed;             /* a MAC that takes a key */
    uint8_t block_bytes;    /* len must be a multiple of it */
    uint8_t iv_bytes;
    uint8_t digest_bytes;
} CryptodevAlgorithm;

/* What a session is made from; the keys are the device's own copies. */
typedef struct CryptodevSessionSpec {
    const CryptodevAlgorithm *cipher;   /* NULL for none */
    const CryptodevAlgorithm *mac;      /* NULL for none */
    const uint8_t *key;
    size_t key_bytes;
    const uint8_t *mac_key;
    size_t mac_key_bytes;
} CryptodevSessionSpec;

/* One CRYPT, checked: lengths fit the session, pointers are the host's. */
typedef struct CryptodevOp {
    uint16_t op;
    uint16_t flags;
    const uint8_t *src;
    uint8_t *dst;                       /* NULL without a cipher */
    size_t len;
    const uint8_t *iv;                  /* NULL: go on from the last one */
    uint8_t next_iv[CRYPTODEV_IV_MAX];  /* filled for WRITE_IV */
    uint8_t mac[CRYPTODEV_DIGEST_MAX];  /* filled where a digest is due */
} CryptodevOp;

/*
 * Where the work is done. Functions return 0 or a negative errno, and may be
 * called from any thread; only one call at a time is made for one session.
 */
typedef struct CryptodevBackend {
    const char *name;
    uint32_t config_id;
    /* Calls may wait for others: none of them is made in the main loop. */
    bool may_block;
    int (*open)(const char *path, void **file);
    void (*close)(void *file);
    int (*session_new)(void *file, const CryptodevSessionSpec *spec,
                       void **session);
    void (*session_free)(void *file, void *session);
    int (*crypt)(void *file, void *session, CryptodevOp *op);
    int (*info)(void *file, void *session,
                struct virtio_cryptodev_gsessinfo *info);
} CryptodevBackend;

extern const CryptodevBackend cryptodev_backend_builtin;
extern const CryptodevBackend cryptodev_backend_host;

#define CRYPTODEV_ALGORITHMS 20
extern const CryptodevAlgorithm cryptodev_algorithms[CRYPTODEV_ALGORITHMS];

/* The algorithm with number @id, or NULL */
const CryptodevAlgorithm *cryptodev_algorithm(uint32_t id);
/* Its place in the table, for counting */
size_t cryptodev_algorithm_index(const CryptodevAlgorithm *algorithm);

typedef struct VirtIOCryptodevConf {
    char *backend;
    char *path;
    uint32_t max_files;
    uint32_t max_sessions;
    uint32_t max_bytes;
    uint32_t max_in_flight;
} VirtIOCryptodevConf;

typedef struct VirtIOCryptodevStats {
    uint64_t opens;
    uint64_t files;
    uint64_t sessions;
    uint64_t operations;
    uint64_t bytes;
    uint64_t errors;
    uint64_t by_algorithm[CRYPTODEV_ALGORITHMS];
} VirtIOCryptodevStats;

struct VirtIOCryptodev {
    VirtIODevice parent_obj;

    VirtQueue *vq;
    VirtIOCryptodevConf conf;
    const CryptodevBackend *backend;
    GHashTable *files;
    uint32_t last_handle;
    /* OPEN requests that are being done; they count for max-files */
    unsigned files_coming;
    unsigned in_flight;
    bool draining;
    Error *migration_blocker;
    VirtIOCryptodevStats stats;
};

#endif /* HW_VIRTIO_CRYPTODEV_H */
