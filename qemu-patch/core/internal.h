/*
 * virtio cryptodev: what the core's files know of each other
 *
 * Locks: a queue's lock protects its files, sessions and requests; the
 * device's lock its counts of files; the pool's lock its jobs. They are taken
 * in this order, never two of a kind. No backend is called with one held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VCD_INTERNAL_H
#define VCD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "vcd.h"
#include "virtio_cryptodev.h"

/* Fields of the layout are little-endian, and so are all hosts that we know. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "a big-endian host: fields would have to be turned round");

/* iov.c: chains, as a transport gives them */

size_t vcd_iov_size(const struct iovec *iov, unsigned num);
/* Copy as much as there is of @bytes, from @at on; return how much */
size_t vcd_iov_read(const struct iovec *iov, unsigned num, size_t at,
                    void *to, size_t bytes);
size_t vcd_iov_write(const struct iovec *iov, unsigned num, size_t at,
                     const void *from, size_t bytes);
/* Where @bytes from @at on are in one piece; NULL where they are not */
void *vcd_iov_piece(const struct iovec *iov, unsigned num, size_t at,
                    size_t bytes);

/* table.c: things by a number that the table gives */

struct vcd_node {
    uint32_t number;
    struct vcd_node *next;
};

struct vcd_table {
    struct vcd_node **buckets;
    uint32_t mask;
    uint32_t count;
    uint32_t last;      /* the number given last */
};

bool vcd_table_init(struct vcd_table *table);
void vcd_table_destroy(struct vcd_table *table);
/* Gives @node a number that is not 0 and not taken */
void vcd_table_add(struct vcd_table *table, struct vcd_node *node);
void vcd_table_remove(struct vcd_table *table, struct vcd_node *node);
struct vcd_node *vcd_table_find(const struct vcd_table *table,
                                uint32_t number);
/*
 * Any one, or NULL. @bucket: 0 at first, and kept from one call to the next
 * while things are removed and none is added
 */
struct vcd_node *vcd_table_any(const struct vcd_table *table,
                               uint32_t *bucket);

/* pool.c: threads of the device's own */

struct vcd_job {
    void (*run)(struct vcd_job *job);
    size_t buffer_bytes;            /* of copies that it will work on */
    bool queued;                    /* in the pool's list; its lock's */
    TAILQ_ENTRY(vcd_job) link;
};

struct vcd_pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    TAILQ_HEAD(, vcd_job) jobs;
    uint32_t queued;                /* how many jobs those are */
    uint32_t threads;
    uint32_t idle;
    uint32_t max_threads;
    uint64_t buffered;
    uint64_t max_buffered;
    bool stopping;
    /* Called once, by the last thread, when the pool is stopped */
    void (*stopped)(struct vcd_pool *pool);
};

/* Starts one thread, so that jobs are done whatever happens later */
bool vcd_pool_init(struct vcd_pool *pool, uint32_t max_threads,
                   uint64_t max_buffered,
                   void (*stopped)(struct vcd_pool *pool));
void vcd_pool_add(struct vcd_pool *pool, struct vcd_job *job);
/* Takes a job back that no thread has begun with; false where one has */
bool vcd_pool_remove(struct vcd_pool *pool, struct vcd_job *job);
void vcd_pool_stop(struct vcd_pool *pool);

/* The device */

enum vcd_hold { VCD_HOLD_NOT, VCD_HOLD_ASKED, VCD_HOLD_HELD };

struct vcd_device {
    struct vcd_config config;
    uint64_t features;
    const struct vcd_backend *backend;
    void *backend_opaque;
    void (*backend_done)(void *backend_opaque);
    const struct vcd_ops *ops;
    void *opaque;
    struct vcd_pool pool;
    struct vcd_queue *queues;

    pthread_mutex_t lock;
    enum vcd_hold hold;
    /* The transport is not there any more */
    bool freed;
    /* Opening, open, and being ended: all count for the limits */
    uint32_t files;
    uint32_t files_ending;
    uint32_t sessions;
    uint32_t sessions_ending;
    /* Requests that wait for room, and whether somebody is to look at them */
    uint32_t waiting;
    bool retrying;
    struct vcd_job retry;

    _Atomic uint64_t stats[VCD_STATS];
    _Atomic uint64_t *by_algorithm;
};

static inline void vcd_count(struct vcd_device *dev, enum vcd_stat stat,
                             uint64_t n)
{
    atomic_fetch_add_explicit(&dev->stats[stat], n, memory_order_relaxed);
}

TAILQ_HEAD(vcd_requests, vcd_request);

/* A request's place among those of a session; one that copies has two */
struct vcd_turn {
    struct vcd_request *req;
    TAILQ_ENTRY(vcd_turn) link;
};

TAILQ_HEAD(vcd_turns, vcd_turn);

struct vcd_queue {
    struct vcd_device *dev;
    void *opaque;
    pthread_mutex_t lock;
    /* Broadcast when a request is done, or does not touch memory any more */
    pthread_cond_t progress;
    struct vcd_table files;
    /* Every request whose cookie has not come back, in order of arrival */
    struct vcd_requests requests;
    unsigned in_flight;
    /* Those that wait until the device's limits let them in */
    struct vcd_requests waiting;
    /* Those that are to be completed */
    struct vcd_requests done;
    /* What vcd_submit() does at once needs no wake */
    bool submitting;
    /* Used again, so that nothing is allocated for a request */
    struct vcd_requests spare;
};

/* Files and sessions */

struct vcd_file {
    struct vcd_node node;
    struct vcd_queue *queue;
    void *backend_file;
    struct vcd_table sessions;
    /* All that are not freed, also those that have lost their number */
    TAILQ_HEAD(, vcd_session) all;
    uint32_t session_count;         /* with those that are being made */
    /* Requests that use this file and are not finished */
    unsigned in_flight;
    /* To be ended when it is idle; it has no number any more */
    bool doomed;
    /* Who is to be told then */
    struct vcd_request *close;
    struct vcd_job end;
};

struct vcd_session {
    struct vcd_node node;
    const struct vcd_algorithm *cipher;
    const struct vcd_algorithm *mac;
    void *backend_session;
    /* With which an operation goes on that brings none */
    uint8_t iv[VCD_IV_MAX];
    /* In order of arrival; the first is being done, or waits for another's */
    struct vcd_turns turns;
    TAILQ_ENTRY(vcd_session) link;
};

/* Requests */

enum vcd_state {
    VCD_NEW,
    VCD_WAITING,        /* in queue->waiting */
    VCD_PARKED,         /* behind others of its session, or for a file's end */
    VCD_QUEUED,         /* handed to the pool */
    VCD_RUNNING,
    VCD_DONE,           /* in queue->done */
};

/*
 * What a kind of request does. @work is called without a lock, by whatever
 * thread; the others with the queue's.
 */
struct vcd_kind {
    /* It reads and writes more of its chain than header and response. */
    bool moves_data;
    /*
     * 0, or why it can't be done: -EAGAIN to wait for room, which it counts
     * in dev->waiting then
     */
    int (*admit)(struct vcd_request *req);
    /*
     * Where it is worked on a copy: takes it from the chain into req->buffer,
     * and gives it back, with guest memory held
     */
    void (*load)(struct vcd_request *req);
    void (*store)(struct vcd_request *req);
    void (*work)(struct vcd_request *req);
    /* After work, also if it failed: numbers, counts, response. Or NULL */
    void (*book)(struct vcd_request *req);
    /* Writes what follows the response of a request that went well */
    void (*answer)(struct vcd_request *req);
    /* Instead of work and book: it will not be done; see admitted. Or NULL */
    void (*undo)(struct vcd_request *req);
};

struct vcd_request {
    struct vcd_job job;             /* must be first */
    struct vcd_queue *queue;
    const struct vcd_kind *kind;
    enum vcd_state state;
    TAILQ_ENTRY(vcd_request) link;          /* in queue->requests, spare */
    TAILQ_ENTRY(vcd_request) place;         /* in queue->waiting, done */
    struct vcd_turn turn, other_turn;       /* in session->turns, other's */

    /* The chain; not good any more where attached is false */
    bool attached;
    /* A thread reads or writes its memory: it can't be detached */
    bool touching;
    const struct iovec *out, *in;
    unsigned out_num, in_num;
    void *cookie;

    /* In the hands of vcd_submit(), which may do it at once */
    bool here;
    bool admitted;
    uint64_t cost;                  /* ns, about */
    /* What it uses, and whose requests it stands among; or NULL */
    struct vcd_file *file;
    struct vcd_session *session;
    /* CPHASH: the one that is copied from, among whose it stands too */
    struct vcd_session *other;

    /* The answer */
    int error;
    uint32_t value, iv_bytes, mac_bytes;
    size_t written;                 /* behind the response */

    /* OPEN and CLOSE: the file that comes or goes */
    struct vcd_file *subject;
    /* GSESSION */
    struct vcd_session *coming;
    struct vcd_session_spec spec;
    uint8_t *keys;
    /* GSESSINFO */
    struct vcd_info *info;
    /* CRYPT, AUTHCRYPT */
    struct vcd_op op;
    struct vcd_auth_op auth;
    size_t src_at, auth_at, iv_back, digest_bytes;
    bool own_iv;                    /* the request brought one */
    bool on_copy;                   /* not on the guest's memory itself */
    uint8_t iv[VCD_IV_MAX], next_iv[VCD_IV_MAX];
    uint8_t mac[VCD_DIGEST_MAX];
    uint8_t *buffer;
    size_t buffer_bytes;            /* that it has, or would have */
};

/* request.c: all with the queue's lock */

/* NULL for want of memory */
struct vcd_request *vcd_request_new(struct vcd_queue *queue);
void vcd_request_free(struct vcd_request *req);
/* It uses @file, and stands among the requests of @session unless NULL */
void vcd_request_use(struct vcd_request *req, struct vcd_file *file,
                     struct vcd_session *session);
/* And among those of @other: it is done when it is the first of both. */
void vcd_request_use_too(struct vcd_request *req, struct vcd_session *other);
/* Once it is described: admits it, or has it wait, or fail */
void vcd_request_begin(struct vcd_request *req);
/* Answers it with req->error and has it completed */
void vcd_request_done(struct vcd_request *req);
/*
 * Takes a request from its chain: it is undone where it has not begun, and
 * ends without a word where it has.
 */
void vcd_request_detach(struct vcd_request *req);

/*
 * file.c, session.c, crypt.c, authcrypt.c, cphash.c: check a request and begin
 * it. 0, or a negative errno: nothing of it has been done then.
 */
int vcd_do_open(struct vcd_request *req);
int vcd_do_close(struct vcd_request *req, struct vcd_file *file);
int vcd_do_gsession(struct vcd_request *req, struct vcd_file *file);
int vcd_do_fsession(struct vcd_request *req, struct vcd_file *file);
int vcd_do_gsessinfo(struct vcd_request *req, struct vcd_file *file);
int vcd_do_crypt(struct vcd_request *req, struct vcd_file *file);
int vcd_do_authcrypt(struct vcd_request *req, struct vcd_file *file);
int vcd_do_cphash(struct vcd_request *req, struct vcd_file *file);

/* crypt.c: what CRYPT and AUTHCRYPT share */

/*
 * Leaves in @iv, with which @len bytes were encrypted or decrypted, that with
 * which the stream goes on. @src_tail, @dst_tail: the last block of source and
 * result, where there was a whole one.
 */
void vcd_advance_iv(uint8_t *iv, const struct vcd_algorithm *cipher,
                    bool decrypt, size_t len, const uint8_t *src_tail,
                    const uint8_t *dst_tail);
/* The IV that the request brought, or the session's; NULL where none is due */
const uint8_t *vcd_take_iv(struct vcd_request *req);
/* What its session's algorithms take about for @len and @mac_len bytes, ns */
uint64_t vcd_crypt_cost(const struct vcd_session *session, size_t len,
                        size_t mac_len);
/* It was done, on @bytes */
void vcd_count_operation(struct vcd_request *req, size_t bytes);

/* The file has no number any more, and ends when nothing uses it */
void vcd_file_doom(struct vcd_file *file);
/* A request does not use it any more */
void vcd_file_release(struct vcd_file *file);
/* The session that a request names behind its header, or NULL */
struct vcd_session *vcd_named_session(struct vcd_request *req,
                                      struct vcd_file *file);
extern const struct vcd_kind vcd_open_kind;
/* One of a file's sessions is not there any more, or was never made */
void vcd_session_gone(struct vcd_file *file);

/* Room has become free: those that wait try again. With the device's lock. */
void vcd_wake_waiting(struct vcd_device *dev);
/* Has them try again, OPENs fail with @error unless that is 0. No lock. */
void vcd_retry_waiting(struct vcd_device *dev, int error);

#endif /* VCD_INTERNAL_H */
