/*
 * virtio cryptodev: the device as its transport sees it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/* Threads for a backend that may block, which mostly wait */
#define BLOCKING_THREADS    64
/* What taking and refusing a chain costs, in ns */
#define SUBMIT_NS           300

const char *vcd_config_error(const struct vcd_config *config)
{
    if (config->num_queues == 0 ||
        config->num_queues > VIRTIO_CRYPTODEV_MAX_QUEUES) {
        return "num-queues must be 1 to 64";
    }
    if (config->max_files == 0 || config->max_files > 1 << 20) {
        return "max-files must be 1 to 1048576";
    }
    if (config->max_sessions == 0 || config->max_device_sessions == 0) {
        return "max-sessions and max-device-sessions must be at least 1";
    }
    if (config->max_bytes == 0 ||
        config->max_bytes > VIRTIO_CRYPTODEV_MAX_BYTES) {
        return "max-bytes must be 1 to 1048576";
    }
    if (config->max_threads > 1024) {
        return "max-threads must be at most 1024";
    }
    if (config->max_buffered < config->max_bytes) {
        return "max-buffered must be at least max-bytes";
    }
    return NULL;
}

static uint32_t default_threads(const struct vcd_backend *backend)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (backend->may_block) {
        return BLOCKING_THREADS;
    }
    return processors < 2 ? 2 : processors > 16 ? 16 : processors;
}

static void queue_init(struct vcd_queue *queue, struct vcd_device *dev)
{
    pthread_condattr_t attributes;

    queue->dev = dev;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->progress, &attributes);
    pthread_condattr_destroy(&attributes);
    TAILQ_INIT(&queue->requests);
    TAILQ_INIT(&queue->waiting);
    TAILQ_INIT(&queue->done);
    TAILQ_INIT(&queue->spare);
}

static void queue_destroy(struct vcd_queue *queue)
{
    struct vcd_request *req;

    while ((req = TAILQ_FIRST(&queue->spare))) {
        TAILQ_REMOVE(&queue->spare, req, link);
        free(req);
    }
    vcd_table_destroy(&queue->files);
    pthread_cond_destroy(&queue->progress);
    pthread_mutex_destroy(&queue->lock);
}

static void device_destroy(struct vcd_device *dev)
{
    for (uint32_t i = 0; dev->queues && i < dev->config.num_queues; i++) {
        queue_destroy(&dev->queues[i]);
    }
    pthread_mutex_destroy(&dev->lock);
    free(dev->queues);
    free(dev->by_algorithm);
    free(dev);
}

/* The last thread has ended: nobody uses the device any more. */
static void pool_stopped(struct vcd_pool *pool)
{
    struct vcd_device *dev = (struct vcd_device *)
        ((char *)pool - offsetof(struct vcd_device, pool));

    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    if (dev->backend_done) {
        dev->backend_done(dev->backend_opaque);
    }
    device_destroy(dev);
}

static uint64_t features(const struct vcd_config *config,
                         const struct vcd_backend *backend)
{
    uint64_t bits = 0;

    if (backend->authcrypt) {
        bits |= UINT64_C(1) << VIRTIO_CRYPTODEV_F_AEAD;
    }
    if (backend->hash_copy) {
        bits |= UINT64_C(1) << VIRTIO_CRYPTODEV_F_CPHASH;
    }
    if (config->num_queues > 1) {
        bits |= UINT64_C(1) << VIRTIO_CRYPTODEV_F_MQ;
    }
    return bits & ~config->without;
}

struct vcd_device *vcd_device_new(const struct vcd_config *config,
                                  const struct vcd_backend *backend,
                                  void *backend_opaque,
                                  const struct vcd_ops *ops, void *opaque)
{
    struct vcd_device *dev = calloc(1, sizeof(*dev));
    bool good = true;

    if (!dev) {
        return NULL;
    }
    dev->config = *config;
    dev->features = features(config, backend);
    dev->backend = backend;
    dev->backend_opaque = backend_opaque;
    dev->ops = ops;
    dev->opaque = opaque;
    dev->hold = ops->hold ? VCD_HOLD_NOT : VCD_HOLD_HELD;
    pthread_mutex_init(&dev->lock, NULL);
    dev->queues = calloc(config->num_queues, sizeof(*dev->queues));
    dev->by_algorithm = calloc(vcd_algorithm_count,
                               sizeof(*dev->by_algorithm));
    for (uint32_t i = 0; dev->queues && i < config->num_queues; i++) {
        queue_init(&dev->queues[i], dev);
        good &= vcd_table_init(&dev->queues[i].files);
    }
    if (!good || !dev->queues || !dev->by_algorithm ||
        !vcd_pool_init(&dev->pool,
                       config->max_threads ?: default_threads(backend),
                       config->max_buffered, pool_stopped)) {
        device_destroy(dev);
        return NULL;
    }
    return dev;
}

void vcd_device_free(struct vcd_device *dev,
                     void (*backend_done)(void *backend_opaque))
{
    pthread_mutex_lock(&dev->lock);
    dev->freed = true;
    pthread_mutex_unlock(&dev->lock);
    dev->backend_done = backend_done;
    vcd_pool_stop(&dev->pool);
}

uint64_t vcd_device_features(const struct vcd_device *dev)
{
    return dev->features;
}

void vcd_device_held(struct vcd_device *dev, int error)
{
    pthread_mutex_lock(&dev->lock);
    dev->hold = error ? VCD_HOLD_NOT : VCD_HOLD_HELD;
    pthread_mutex_unlock(&dev->lock);
    vcd_retry_waiting(dev, error);
    /* Whoever wanted a file may have been reset meanwhile. */
    pthread_mutex_lock(&dev->lock);
    if (dev->hold == VCD_HOLD_HELD && dev->files == 0) {
        dev->ops->release(dev->opaque);
    }
    pthread_mutex_unlock(&dev->lock);
}

bool vcd_device_release(struct vcd_device *dev)
{
    bool released;

    pthread_mutex_lock(&dev->lock);
    released = dev->hold == VCD_HOLD_HELD && dev->files == 0;
    if (released) {
        dev->hold = VCD_HOLD_NOT;
    }
    pthread_mutex_unlock(&dev->lock);
    return released;
}

struct vcd_queue *vcd_device_queue(struct vcd_device *dev, uint32_t index)
{
    return &dev->queues[index];
}

void vcd_queue_set_opaque(struct vcd_queue *queue, void *queue_opaque)
{
    queue->opaque = queue_opaque;
}

/* 0, or a negative errno: it is to be refused. */
static int dispatch(struct vcd_request *req,
                    const struct virtio_cryptodev_request *head)
{
    struct vcd_file *file;

    if (head->type == VIRTIO_CRYPTODEV_OPEN) {
        return vcd_do_open(req);
    }
    if (head->type != VIRTIO_CRYPTODEV_CLOSE &&
        head->type != VIRTIO_CRYPTODEV_IOCTL) {
        return -EINVAL;
    }
    file = (struct vcd_file *)vcd_table_find(&req->queue->files,
                                             head->handle);
    if (!file) {
        return -EBADF;
    }
    if (head->type == VIRTIO_CRYPTODEV_CLOSE) {
        return vcd_do_close(req, file);
    }
    switch (head->command) {
    case VIRTIO_CRYPTODEV_GSESSION:
        return vcd_do_gsession(req, file);
    case VIRTIO_CRYPTODEV_FSESSION:
        return vcd_do_fsession(req, file);
    case VIRTIO_CRYPTODEV_CRYPT:
        return vcd_do_crypt(req, file);
    case VIRTIO_CRYPTODEV_GSESSINFO:
        return vcd_do_gsessinfo(req, file);
    case VIRTIO_CRYPTODEV_AUTHCRYPT:
        return vcd_do_authcrypt(req, file);
    case VIRTIO_CRYPTODEV_CPHASH:
        return vcd_do_cphash(req, file);
    default:
        return -EINVAL;
    }
}

int64_t vcd_submit(struct vcd_queue *queue,
                   const struct iovec *out, unsigned out_num,
                   const struct iovec *in, unsigned in_num, void *cookie)
{
    struct virtio_cryptodev_request head;
    struct vcd_request *req;
    int64_t spent = SUBMIT_NS;
    int error;

    if (vcd_iov_read(out, out_num, 0, &head, sizeof(head)) != sizeof(head) ||
        vcd_iov_size(in, in_num) < sizeof(struct virtio_cryptodev_response)) {
        return -1;
    }
    pthread_mutex_lock(&queue->lock);
    req = vcd_request_new(queue);
    if (!req) {
        pthread_mutex_unlock(&queue->lock);
        return -1;
    }
    req->attached = true;
    req->here = true;
    req->out = out;
    req->out_num = out_num;
    req->in = in;
    req->in_num = in_num;
    req->cookie = cookie;
    TAILQ_INSERT_TAIL(&queue->requests, req, link);
    queue->in_flight++;
    queue->submitting = true;
    error = dispatch(req, &head);
    if (error) {
        req->error = error;
        vcd_request_done(req);
    }
    /* What is done now was done here: it is not given back before complete. */
    if (req->state == VCD_DONE && req->here) {
        spent += req->cost;
    }
    queue->submitting = false;
    pthread_mutex_unlock(&queue->lock);
    return spent;
}

unsigned vcd_queue_complete(struct vcd_queue *queue)
{
    struct vcd_request *req;
    unsigned count = 0;

    pthread_mutex_lock(&queue->lock);
    while ((req = TAILQ_FIRST(&queue->done))) {
        void *cookie = req->cookie;
        size_t written = sizeof(struct virtio_cryptodev_response) +
                         req->written;

        TAILQ_REMOVE(&queue->done, req, place);
        TAILQ_REMOVE(&queue->requests, req, link);
        queue->in_flight--;
        vcd_request_free(req);
        pthread_mutex_unlock(&queue->lock);
        queue->dev->ops->complete(queue->opaque, cookie, written);
        count++;
        pthread_mutex_lock(&queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return count;
}

/*
 * The last request that is not @skip_done and that no thread touches guest
 * memory for; NULL where there is none. The last first, so that none begins
 * because the one before it goes.
 */
static struct vcd_request *last_idle(struct vcd_queue *queue, bool skip_done)
{
    struct vcd_request *req;

    TAILQ_FOREACH_REVERSE(req, &queue->requests, vcd_requests, link) {
        if (!req->touching && !(skip_done && req->state == VCD_DONE)) {
            break;
        }
    }
    return req;
}

void vcd_queue_reset(struct vcd_queue *queue)
{
    struct vcd_request *req;
    struct vcd_node *node;
    uint32_t bucket = 0;

    pthread_mutex_lock(&queue->lock);
    while (!TAILQ_EMPTY(&queue->requests)) {
        req = last_idle(queue, false);
        if (req) {
            void *cookie = req->cookie;

            vcd_request_detach(req);
            pthread_mutex_unlock(&queue->lock);
            queue->dev->ops->drop(queue->opaque, cookie);
            pthread_mutex_lock(&queue->lock);
        } else {
            pthread_cond_wait(&queue->progress, &queue->lock);
        }
    }
    while ((node = vcd_table_any(&queue->files, &bucket))) {
        vcd_file_doom((struct vcd_file *)node);
    }
    pthread_mutex_unlock(&queue->lock);
}

static struct timespec after(int milliseconds)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += milliseconds / 1000;
    t.tv_nsec += milliseconds % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static bool all_done(struct vcd_queue *queue)
{
    struct vcd_request *req;

    TAILQ_FOREACH(req, &queue->requests, link) {
        if (req->state != VCD_DONE) {
            return false;
        }
    }
    return true;
}

/* Answers with EIO what has not been done. */
static void give_up(struct vcd_queue *queue)
{
    const struct virtio_cryptodev_response response = { .error = EIO };
    struct vcd_request *req;

    while (!all_done(queue)) {
        req = last_idle(queue, true);
        if (req) {
            void *cookie = req->cookie;

            vcd_iov_write(req->in, req->in_num, 0, &response,
                          sizeof(response));
            vcd_request_detach(req);
            vcd_count(queue->dev, VCD_STAT_ERRORS, 1);
            pthread_mutex_unlock(&queue->lock);
            queue->dev->ops->complete(queue->opaque, cookie,
                                      sizeof(response));
            pthread_mutex_lock(&queue->lock);
        } else {
            pthread_cond_wait(&queue->progress, &queue->lock);
        }
    }
}

void vcd_queue_settle(struct vcd_queue *queue, int milliseconds)
{
    struct timespec end = after(milliseconds);
    int error = 0;

    pthread_mutex_lock(&queue->lock);
    while (!all_done(queue) && !error) {
        error = pthread_cond_timedwait(&queue->progress, &queue->lock, &end);
    }
    give_up(queue);
    pthread_mutex_unlock(&queue->lock);
    vcd_queue_complete(queue);
}

unsigned vcd_queue_in_flight(struct vcd_queue *queue)
{
    unsigned in_flight;

    pthread_mutex_lock(&queue->lock);
    in_flight = queue->in_flight;
    pthread_mutex_unlock(&queue->lock);
    return in_flight;
}

/*
 * Statistics
 */

const char *vcd_stat_name(enum vcd_stat stat)
{
    static const char *const names[VCD_STATS] = {
        [VCD_STAT_OPENS] = "opens",
        [VCD_STAT_FILES] = "files",
        [VCD_STAT_SESSIONS] = "sessions",
        [VCD_STAT_OPERATIONS] = "operations",
        [VCD_STAT_BYTES] = "bytes",
        [VCD_STAT_ERRORS] = "errors",
        [VCD_STAT_THREADS] = "threads",
        [VCD_STAT_BUFFERED] = "buffered",
        [VCD_STAT_IN_THREADS] = "in-threads",
    };

    return names[stat];
}

static uint64_t locked(pthread_mutex_t *lock, const void *value, size_t bytes)
{
    uint64_t n = 0;

    pthread_mutex_lock(lock);
    memcpy(&n, value, bytes);
    pthread_mutex_unlock(lock);
    return n;
}

uint64_t vcd_device_stat(struct vcd_device *dev, enum vcd_stat stat)
{
    switch (stat) {
    case VCD_STAT_FILES:
        return locked(&dev->lock, &dev->files, sizeof(dev->files));
    case VCD_STAT_SESSIONS:
        return locked(&dev->lock, &dev->sessions, sizeof(dev->sessions));
    case VCD_STAT_THREADS:
        return locked(&dev->pool.lock, &dev->pool.threads,
                      sizeof(dev->pool.threads));
    case VCD_STAT_BUFFERED:
        return locked(&dev->pool.lock, &dev->pool.buffered,
                      sizeof(dev->pool.buffered));
    default:
        return atomic_load_explicit(&dev->stats[stat], memory_order_relaxed);
    }
}

uint64_t vcd_device_stat_algorithm(struct vcd_device *dev, size_t index)
{
    return atomic_load_explicit(&dev->by_algorithm[index],
                                memory_order_relaxed);
}
