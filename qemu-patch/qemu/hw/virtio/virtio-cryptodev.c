/*
 * virtio cryptodev device: the host's /dev/crypto for guests
 *
 * Requests come off one virtqueue, are checked here and done by a backend in
 * worker threads. Nothing that the guest says is used before it is checked:
 * structures are copied once, lengths are held against the chain, handles and
 * sessions are this device's own numbers. Numbers in brackets are the
 * requirements of the device's specification that a line keeps.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "block/aio-wait.h"
#include "block/thread-pool.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-cryptodev.h"
#include "migration/blocker.h"
#include "trace.h"

#define QUEUE_SIZE      1024

/*
 * A small operation takes less time than handing it to a thread does, and is
 * bounded: it is done at once. In bytes.
 */
#define INLINE_BYTES    4096

typedef struct CryptodevRequest CryptodevRequest;
typedef QSIMPLEQ_HEAD(, CryptodevRequest) CryptodevRequestQueue;

typedef struct CryptodevFile {
    uint32_t handle;
    void *backend_file;
    GHashTable *sessions;
    uint32_t last_session;
    /* GSESSION requests that are being done; they count for max-sessions */
    unsigned sessions_coming;
    /* Requests that use this file and are not finished */
    unsigned in_flight;
    /* A CLOSE that waits for them [12] */
    CryptodevRequest *close;
} CryptodevFile;

typedef struct CryptodevSession {
    const CryptodevAlgorithm *cipher;
    const CryptodevAlgorithm *mac;
    void *backend_session;
    /* Requests in the order of their arrival; the first is being done [11] */
    CryptodevRequestQueue queue;
} CryptodevSession;

struct CryptodevRequest {
    VirtQueueElement elem;          /* must be first */
    VirtIOCryptodev *s;
    /* What it uses; NULL for OPEN and CLOSE */
    CryptodevFile *file;
    /* Whose queue it stands in; NULL where it stands in none */
    CryptodevSession *session;
    /* In a worker thread, unless it is short: sets error. */
    void (*work)(CryptodevRequest *req);
    /* Then in the main loop: answers the guest and frees the request. */
    void (*done)(CryptodevRequest *req);
    uint32_t command;
    int error;
    /* OPEN and GSESSION: what the backend made */
    void *made;
    /* CLOSE */
    CryptodevFile *closing;
    /* GSESSION */
    CryptodevSessionSpec spec;
    uint8_t *keys;
    /* GSESSINFO */
    struct virtio_cryptodev_gsessinfo info;
    /* CRYPT */
    CryptodevOp op;
    uint8_t iv[CRYPTODEV_IV_MAX];
    /* Copies, where guest memory is not in one piece */
    uint8_t *src_copy;
    uint8_t *dst_copy;
    size_t iv_back;
    size_t mac_bytes;
    QSIMPLEQ_ENTRY(CryptodevRequest) next;
};

/* Ends an unused file's sessions and closes it; from any thread */
static void file_end(VirtIOCryptodev *s, CryptodevFile *file)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, file->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        CryptodevSession *session = value;

        s->backend->session_free(file->backend_file, session->backend_session);
        g_free(session);
    }
    s->backend->close(file->backend_file);
}

static void file_free(CryptodevFile *file)
{
    g_hash_table_destroy(file->sessions);
    g_free(file);
}

/* Gives a chain back to the guest with a response and @written bytes of data */
static void request_finish(CryptodevRequest *req, uint32_t value,
                           uint32_t iv_bytes, uint32_t mac_bytes,
                           size_t written)
{
    VirtIOCryptodev *s = req->s;
    struct virtio_cryptodev_response response = {
        .error = cpu_to_le32(-req->error),
        .value = cpu_to_le32(value),
        .iv_bytes = cpu_to_le32(iv_bytes),
        .mac_bytes = cpu_to_le32(mac_bytes),
    };

    trace_virtio_cryptodev_done(s, req->elem.index, req->error, written);
    if (req->error) {
        s->stats.errors++;
        written = 0;
    }
    if (s->draining) {
        virtqueue_detach_element(s->vq, &req->elem, 0);
    } else {
        iov_from_buf(req->elem.in_sg, req->elem.in_num, 0,
                     &response, sizeof(response));
        virtqueue_push(s->vq, &req->elem, sizeof(response) + written);
        virtio_notify(VIRTIO_DEVICE(s), s->vq);
    }
    g_free(req->src_copy);
    g_free(req->dst_copy);
    g_free(req);
}

static void request_fail(CryptodevRequest *req, int error)
{
    req->error = error;
    request_finish(req, 0, 0, 0, 0);
}

/*
 * How a request is done: work in a worker thread, then done in the main loop.
 * Requests that stand in a session's queue are done one after the other.
 */

static void request_complete(CryptodevRequest *req);
static void virtio_cryptodev_handle_queue(VirtIODevice *vdev, VirtQueue *vq);

static int work_in_thread(void *opaque)
{
    CryptodevRequest *req = opaque;

    req->work(req);
    return 0;
}

static void work_done(void *opaque, int ret)
{
    CryptodevRequest *req = opaque;
    VirtIOCryptodev *s = req->s;

    request_complete(req);
    if (!s->draining) {
        /* There may be requests that waited for one less to be in flight. */
        virtio_cryptodev_handle_queue(VIRTIO_DEVICE(s), s->vq);
    }
}

static void request_run(CryptodevRequest *req)
{
    if (!req->s->backend->may_block && req->op.len <= INLINE_BYTES) {
        req->work(req);
        request_complete(req);
    } else {
        thread_pool_submit_aio(work_in_thread, req, work_done, req);
    }
}

/* Begins a request, or has it wait for those that came before it [11] */
static void request_begin(CryptodevRequest *req, CryptodevFile *file,
                          CryptodevSession *session)
{
    bool first = true;

    req->file = file;
    req->session = session;
    req->s->in_flight++;
    if (file) {
        file->in_flight++;
    }
    if (session) {
        first = QSIMPLEQ_EMPTY(&session->queue);
        QSIMPLEQ_INSERT_TAIL(&session->queue, req, next);
    }
    if (first) {
        request_run(req);
    }
}

/* Begins a file's CLOSE once nothing uses the file any more [12] */
static void close_when_idle(CryptodevFile *file)
{
    if (file->close && file->in_flight == 0) {
        request_run(g_steal_pointer(&file->close));
    }
}

static void request_complete(CryptodevRequest *req)
{
    CryptodevFile *file = req->file;
    CryptodevSession *session = req->session;
    CryptodevRequest *follower = NULL;

    req->s->in_flight--;
    if (session) {
        QSIMPLEQ_REMOVE_HEAD(&session->queue, next);
        follower = QSIMPLEQ_FIRST(&session->queue);
    }
    if (file) {
        file->in_flight--;
    }
    /* Frees the request, and the session where it was its FSESSION */
    req->done(req);
    if (follower) {
        request_run(follower);
    } else if (file) {
        close_when_idle(file);
    }
}

/*
 * Files
 */

static bool file_count_changed(VirtIOCryptodev *s)
{
    Error *err = NULL;

    s->stats.files = g_hash_table_size(s->files);
    if (s->stats.files > 0 && !s->migration_blocker) {
        error_setg(&s->migration_blocker,
                   "virtio-cryptodev: the guest has crypto files open, "
                   "whose keys are in the host's hands");
        if (migrate_add_blocker(&s->migration_blocker, &err) < 0) {
            warn_report_err(err);
            return false;
        }
    } else if (s->stats.files == 0 && s->migration_blocker) {
        migrate_del_blocker(&s->migration_blocker);
    }
    return true;
}

static void open_work(CryptodevRequest *req)
{
    req->error = req->s->backend->open(req->s->conf.path, &req->made);
}

static void open_done(CryptodevRequest *req)
{
    VirtIOCryptodev *s = req->s;
    CryptodevFile *file;

    s->files_coming--;
    if (req->error) {
        request_finish(req, 0, 0, 0, 0);
        return;
    }
    file = g_new0(CryptodevFile, 1);
    file->backend_file = req->made;
    file->sessions = g_hash_table_new(NULL, NULL);
    /* A number that is taken is passed over: handles wrap after 2^32. */
    do {
        file->handle = ++s->last_handle;
    } while (g_hash_table_contains(s->files, GUINT_TO_POINTER(file->handle)));
    g_hash_table_insert(s->files, GUINT_TO_POINTER(file->handle), file);
    if (!file_count_changed(s)) {
        g_hash_table_remove(s->files, GUINT_TO_POINTER(file->handle));
        file_end(s, file);
        file_free(file);
        request_fail(req, -EBUSY);
        return;
    }
    s->stats.opens++;
    request_finish(req, file->handle, 0, 0, 0);
}

static void do_open(CryptodevRequest *req)
{
    VirtIOCryptodev *s = req->s;

    if (g_hash_table_size(s->files) + s->files_coming >= s->conf.max_files) {
        request_fail(req, -EMFILE);
        return;
    }
    s->files_coming++;
    req->work = open_work;
    req->done = open_done;
    request_begin(req, NULL, NULL);
}

static void close_work(CryptodevRequest *req)
{
    file_end(req->s, req->closing);
}

static void close_done(CryptodevRequest *req)
{
    req->s->stats.sessions -= g_hash_table_size(req->closing->sessions);
    file_free(req->closing);
    file_count_changed(req->s);
    request_finish(req, 0, 0, 0, 0);
}

static void do_close(CryptodevRequest *req, CryptodevFile *file)
{
    /* From here on the handle is unknown; what it has begun is finished. */
    g_hash_table_remove(req->s->files, GUINT_TO_POINTER(file->handle));
    req->work = close_work;
    req->done = close_done;
    req->closing = file;
    req->s->in_flight++;
    file->close = req;
    close_when_idle(file);
}

/*
 * Sessions
 */

static bool key_sizes_valid(const CryptodevSessionSpec *spec)
{
    return (!spec->mac || !spec->mac->keyed || spec->mac_key_bytes > 0) &&
           (!spec->cipher || spec->key_bytes > 0);
}

static void gsession_work(CryptodevRequest *req)
{
    req->error = req->s->backend->session_new(req->file->backend_file,
                                              &req->spec, &req->made);
}

static void gsession_done(CryptodevRequest *req)
{
    CryptodevFile *file = req->file;
    const CryptodevSessionSpec *spec = &req->spec;
    CryptodevSession *session;
    uint32_t number;

    file->sessions_coming--;
    /* A compiler may not leave this out: the keys must not stay here. */
    explicit_bzero(req->keys, spec->key_bytes + spec->mac_key_bytes);
    g_free(req->keys);
    if (req->error) {
        request_finish(req, 0, 0, 0, 0);
        return;
    }
    session = g_new0(CryptodevSession, 1);
    session->backend_session = req->made;
    session->cipher = spec->cipher;
    session->mac = spec->mac;
    QSIMPLEQ_INIT(&session->queue);
    do {
        number = ++file->last_session;
    } while (g_hash_table_contains(file->sessions, GUINT_TO_POINTER(number)));
    g_hash_table_insert(file->sessions, GUINT_TO_POINTER(number), session);
    req->s->stats.sessions++;
    request_finish(req, number, spec->cipher ? spec->cipher->iv_bytes : 0,
                   spec->mac ? spec->mac->digest_bytes : 0, 0);
}

/* 0 or a negative errno; nothing of the GSESSION has been done then [8] */
static int gsession_prepare(CryptodevRequest *req, CryptodevFile *file)
{
    struct iovec *sg = req->elem.out_sg;
    unsigned num = req->elem.out_num;
    struct virtio_cryptodev_gsession body;
    CryptodevSessionSpec *spec = &req->spec;
    size_t at = sizeof(struct virtio_cryptodev_request) + sizeof(body);
    uint32_t cipher, mac;
    size_t bytes;

    if (iov_to_buf(sg, num, at - sizeof(body), &body, sizeof(body)) !=
        sizeof(body)) {
        return -EINVAL;
    }
    cipher = le32_to_cpu(body.cipher);
    mac = le32_to_cpu(body.mac);
    spec->key_bytes = le32_to_cpu(body.key_bytes);
    spec->mac_key_bytes = le32_to_cpu(body.mac_key_bytes);
    spec->cipher = cipher ? cryptodev_algorithm(cipher) : NULL;
    spec->mac = mac ? cryptodev_algorithm(mac) : NULL;
    if ((!cipher && !mac) ||
        (cipher && (!spec->cipher || spec->cipher->is_mac)) ||
        (mac && (!spec->mac || !spec->mac->is_mac)) ||
        spec->key_bytes > CRYPTODEV_KEY_MAX ||
        spec->mac_key_bytes > CRYPTODEV_MAC_KEY_MAX ||
        !key_sizes_valid(spec)) {
        return -EINVAL;
    }
    bytes = spec->key_bytes + spec->mac_key_bytes;
    if (iov_size(sg, num) < at + bytes) {
        return -EINVAL;
    }
    if (g_hash_table_size(file->sessions) + file->sessions_coming >=
        req->s->conf.max_sessions) {
        return -ENOMEM;
    }
    req->keys = g_malloc(bytes + 1);
    iov_to_buf(sg, num, at, req->keys, bytes);
    spec->key = req->keys;
    spec->mac_key = req->keys + spec->key_bytes;
    return 0;
}

static void do_gsession(CryptodevRequest *req, CryptodevFile *file)
{
    int error = gsession_prepare(req, file);

    if (error) {
        request_fail(req, error);
        return;
    }
    file->sessions_coming++;
    req->work = gsession_work;
    req->done = gsession_done;
    request_begin(req, file, NULL);
}

/* The session that a request names after its header, or NULL */
static CryptodevSession *named_session(CryptodevRequest *req,
                                       CryptodevFile *file, uint32_t *number)
{
    uint32_t le;

    if (iov_to_buf(req->elem.out_sg, req->elem.out_num,
                   sizeof(struct virtio_cryptodev_request),
                   &le, sizeof(le)) != sizeof(le)) {
        return NULL;
    }
    *number = le32_to_cpu(le);
    return g_hash_table_lookup(file->sessions, GUINT_TO_POINTER(*number));
}

static void gsessinfo_work(CryptodevRequest *req)
{
    req->error = req->s->backend->info(req->file->backend_file,
                                       req->session->backend_session,
                                       &req->info);
}

static void gsessinfo_done(CryptodevRequest *req)
{
    if (!req->error && !req->s->draining) {
        iov_from_buf(req->elem.in_sg, req->elem.in_num,
                     sizeof(struct virtio_cryptodev_response),
                     &req->info, sizeof(req->info));
    }
    request_finish(req, 0, 0, 0, sizeof(req->info));
}

static void do_gsessinfo(CryptodevRequest *req, CryptodevFile *file)
{
    uint32_t number;
    CryptodevSession *session = named_session(req, file, &number);

    if (!session || iov_size(req->elem.in_sg, req->elem.in_num) <
        sizeof(struct virtio_cryptodev_response) + sizeof(req->info)) {
        request_fail(req, -EINVAL);
        return;
    }
    req->work = gsessinfo_work;
    req->done = gsessinfo_done;
    request_begin(req, file, session);
}

static void fsession_work(CryptodevRequest *req)
{
    req->s->backend->session_free(req->file->backend_file,
                                  req->session->backend_session);
}

static void fsession_done(CryptodevRequest *req)
{
    g_free(req->session);
    request_finish(req, 0, 0, 0, 0);
}

static void do_fsession(CryptodevRequest *req, CryptodevFile *file)
{
    uint32_t number;
    CryptodevSession *session = named_session(req, file, &number);

    if (!session) {
        request_fail(req, -EINVAL);
        return;
    }
    /* Unknown from here on; what it has begun is finished before it is freed */
    g_hash_table_remove(file->sessions, GUINT_TO_POINTER(number));
    req->s->stats.sessions--;
    req->work = fsession_work;
    req->done = fsession_done;
    request_begin(req, file, session);
}

/*
 * CRYPT
 */

static void count_operation(VirtIOCryptodev *s, CryptodevSession *session,
                            size_t bytes)
{
    s->stats.operations++;
    s->stats.bytes += bytes;
    if (session->cipher) {
        s->stats.by_algorithm[cryptodev_algorithm_index(session->cipher)]++;
    }
    if (session->mac) {
        s->stats.by_algorithm[cryptodev_algorithm_index(session->mac)]++;
    }
}

static void crypt_work(CryptodevRequest *req)
{
    /* What has not begun when everything is to end isn't waited for. */
    if (qatomic_read(&req->s->draining)) {
        req->error = -ENODEV;
        return;
    }
    req->error = req->s->backend->crypt(req->file->backend_file,
                                        req->session->backend_session,
                                        &req->op);
}

/* Hands the results of a CRYPT over */
static void crypt_done(CryptodevRequest *req)
{
    struct iovec *sg = req->elem.in_sg;
    unsigned num = req->elem.in_num;
    size_t at = sizeof(struct virtio_cryptodev_response);
    size_t result = req->op.dst ? req->op.len : 0;

    if (!req->error && !req->s->draining) {
        count_operation(req->s, req->session, req->op.len);
        if (req->dst_copy) {
            iov_from_buf(sg, num, at, req->dst_copy, result);
        }
        at += result;
        iov_from_buf(sg, num, at, req->op.mac, req->mac_bytes);
        at += req->mac_bytes;
        iov_from_buf(sg, num, at, req->op.next_iv, req->iv_back);
    }
    request_finish(req, 0, 0, 0, result + req->mac_bytes + req->iv_back);
}

/* Guest memory where it is in one piece, NULL elsewhere */
static void *one_piece(const struct iovec *sg, unsigned num, size_t at,
                       size_t bytes)
{
    for (unsigned i = 0; i < num; i++) {
        if (at < sg[i].iov_len) {
            return bytes <= sg[i].iov_len - at ? sg[i].iov_base + at : NULL;
        }
        at -= sg[i].iov_len;
    }
    return NULL;
}

/* 0 or a negative errno; nothing of the CRYPT has been done then [8] */
static int crypt_prepare(CryptodevRequest *req, CryptodevFile *file,
                         CryptodevSession **session)
{
    VirtIOCryptodev *s = req->s;
    struct iovec *out = req->elem.out_sg;
    struct iovec *in = req->elem.in_sg;
    unsigned out_num = req->elem.out_num;
    unsigned in_num = req->elem.in_num;
    struct virtio_cryptodev_crypt body;
    CryptodevOp *op = &req->op;
    const CryptodevAlgorithm *cipher, *mac;
    size_t at = sizeof(struct virtio_cryptodev_request);
    size_t iv_bytes, result_bytes, digest_bytes, iv_size;
    uint16_t known = COP_FLAG_UPDATE | COP_FLAG_FINAL | COP_FLAG_WRITE_IV |
                     COP_FLAG_RESET;

    if (iov_to_buf(out, out_num, at, &body, sizeof(body)) != sizeof(body)) {
        return -EINVAL;
    }
    at += sizeof(body);
    *session = g_hash_table_lookup(file->sessions,
                                   GUINT_TO_POINTER(le32_to_cpu(body.session)));
    if (!*session) {
        return -EINVAL;
    }
    cipher = (*session)->cipher;
    mac = (*session)->mac;
    op->op = le16_to_cpu(body.op);
    op->flags = le16_to_cpu(body.flags);
    op->len = le32_to_cpu(body.len);
    iv_bytes = le32_to_cpu(body.iv_bytes);
    result_bytes = le32_to_cpu(body.result_bytes);
    req->mac_bytes = le32_to_cpu(body.mac_bytes);
    iv_size = cipher ? cipher->iv_bytes : 0;
    digest_bytes = mac ? mac->digest_bytes : 0;
    if ((op->flags & COP_FLAG_UPDATE) && !(op->flags & COP_FLAG_FINAL)) {
        digest_bytes = 0;
    }
    req->iv_back = op->flags & COP_FLAG_WRITE_IV ? iv_size : 0;
    if (op->op > COP_DECRYPT || (op->flags & ~known) ||
        op->len > s->conf.max_bytes ||
        (cipher && op->len % cipher->block_bytes) ||
        (iv_bytes != 0 && iv_bytes != iv_size) ||
        result_bytes != (cipher ? op->len : 0) ||
        req->mac_bytes != digest_bytes) {
        return -EINVAL;
    }
    /* None of the terms is above 2^32, so that the sums can't overflow. */
    if (iov_size(out, out_num) < at + iv_bytes + op->len ||
        iov_size(in, in_num) < sizeof(struct virtio_cryptodev_response) +
        result_bytes + req->mac_bytes + req->iv_back) {
        return -EINVAL;
    }
    if (iv_bytes > 0) {
        iov_to_buf(out, out_num, at, req->iv, iv_bytes);
        op->iv = req->iv;
        at += iv_bytes;
    }
    op->src = one_piece(out, out_num, at, op->len);
    if (!op->src) {
        req->src_copy = g_malloc(op->len + 1);
        iov_to_buf(out, out_num, at, req->src_copy, op->len);
        op->src = req->src_copy;
    }
    if (cipher) {
        op->dst = one_piece(in, in_num,
                            sizeof(struct virtio_cryptodev_response), op->len);
        if (!op->dst) {
            req->dst_copy = g_malloc(op->len + 1);
            op->dst = req->dst_copy;
        }
    }
    return 0;
}

static void do_crypt(CryptodevRequest *req, CryptodevFile *file)
{
    CryptodevSession *session;
    int error = crypt_prepare(req, file, &session);

    if (error) {
        request_fail(req, error);
        return;
    }
    req->work = crypt_work;
    req->done = crypt_done;
    request_begin(req, file, session);
}

/*
 * The queue
 */

static void do_request(CryptodevRequest *req,
                       const struct virtio_cryptodev_request *head)
{
    VirtIOCryptodev *s = req->s;
    uint32_t type = le32_to_cpu(head->type);
    uint32_t handle = le32_to_cpu(head->handle);
    CryptodevFile *file;

    req->command = le32_to_cpu(head->command);
    trace_virtio_cryptodev_request(s, req->elem.index, type, handle,
                                   req->command);
    if (type == VIRTIO_CRYPTODEV_OPEN) {
        do_open(req);
        return;
    }
    if (type != VIRTIO_CRYPTODEV_CLOSE && type != VIRTIO_CRYPTODEV_IOCTL) {
        request_fail(req, -EINVAL);
        return;
    }
    file = g_hash_table_lookup(s->files, GUINT_TO_POINTER(handle));
    if (!file) {
        request_fail(req, -EBADF);
    } else if (type == VIRTIO_CRYPTODEV_CLOSE) {
        do_close(req, file);
    } else {
        switch (req->command) {
        case VIRTIO_CRYPTODEV_GSESSION:
            do_gsession(req, file);
            break;
        case VIRTIO_CRYPTODEV_FSESSION:
            do_fsession(req, file);
            break;
        case VIRTIO_CRYPTODEV_CRYPT:
            do_crypt(req, file);
            break;
        case VIRTIO_CRYPTODEV_GSESSINFO:
            do_gsessinfo(req, file);
            break;
        default:
            request_fail(req, -EINVAL);
        }
    }
}

static void virtio_cryptodev_handle_queue(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);
    struct virtio_cryptodev_request head;
    CryptodevRequest *req;

    while (!s->draining && s->in_flight < s->conf.max_in_flight) {
        req = virtqueue_pop(vq, sizeof(*req));
        if (!req) {
            return;
        }
        /* virtqueue_pop() allocates with the element filled in only */
        memset((char *)req + sizeof(req->elem), 0,
               sizeof(*req) - sizeof(req->elem));
        req->s = s;
        if (iov_to_buf(req->elem.out_sg, req->elem.out_num, 0,
                       &head, sizeof(head)) != sizeof(head) ||
            iov_size(req->elem.in_sg, req->elem.in_num) <
            sizeof(struct virtio_cryptodev_response)) {
            virtqueue_detach_element(vq, &req->elem, 0);
            g_free(req);
            virtio_error(vdev, "virtio-cryptodev: a chain without room for "
                         "request or response");
            return;
        }
        do_request(req, &head);
    }
}

/*
 * The device
 */

/* Ends everything that is open [13]; waits for what workers have in hand */
static void virtio_cryptodev_drain(VirtIOCryptodev *s)
{
    GHashTableIter iter;
    gpointer file;

    qatomic_set(&s->draining, true);
    AIO_WAIT_WHILE_UNLOCKED(NULL, s->in_flight > 0);
    g_hash_table_iter_init(&iter, s->files);
    while (g_hash_table_iter_next(&iter, NULL, &file)) {
        g_hash_table_iter_remove(&iter);
        file_end(s, file);
        file_free(file);
    }
    s->stats.sessions = 0;
    file_count_changed(s);
    qatomic_set(&s->draining, false);
}

static void virtio_cryptodev_reset(VirtIODevice *vdev)
{
    virtio_cryptodev_drain(VIRTIO_CRYPTODEV(vdev));
}

static uint64_t virtio_cryptodev_get_features(VirtIODevice *vdev,
                                              uint64_t features, Error **errp)
{
    return features;
}

static void virtio_cryptodev_get_config(VirtIODevice *vdev, uint8_t *data)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(vdev);
    struct virtio_cryptodev_config config = {
        .backend = cpu_to_le32(s->backend->config_id),
        .max_files = cpu_to_le32(s->conf.max_files),
        .max_sessions = cpu_to_le32(s->conf.max_sessions),
        .max_bytes = cpu_to_le32(s->conf.max_bytes),
    };

    memcpy(data, &config, sizeof(config));
}

/* Whether the host's node makes sessions at all */
static int host_works(const char *path)
{
    void *file;
    int error = cryptodev_backend_host.open(path, &file);

    if (!error) {
        cryptodev_backend_host.close(file);
    }
    return error;
}

static bool choose_backend(VirtIOCryptodev *s, Error **errp)
{
    const char *wish = s->conf.backend;
    int error;

    if (!strcmp(wish, "builtin")) {
        s->backend = &cryptodev_backend_builtin;
        return true;
    }
    if (strcmp(wish, "cryptodev") && strcmp(wish, "auto")) {
        error_setg(errp, "backend '%s' is none of auto, cryptodev, builtin",
                   wish);
        return false;
    }
    error = host_works(s->conf.path);
    if (!error) {
        s->backend = &cryptodev_backend_host;
    } else if (!strcmp(wish, "cryptodev")) {
        error_setg_errno(errp, -error, "backend cryptodev: can't use %s",
                         s->conf.path);
        return false;
    } else {
        s->backend = &cryptodev_backend_builtin;
    }
    if (!strcmp(wish, "auto")) {
        info_report("virtio-cryptodev: backend %s", s->backend->name);
    }
    return true;
}

static void virtio_cryptodev_realize(DeviceState *dev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(dev);

    if (s->conf.max_files == 0 || s->conf.max_sessions == 0 ||
        s->conf.max_bytes == 0 || s->conf.max_in_flight == 0) {
        error_setg(errp, "max-files, max-sessions, max-bytes and "
                   "max-in-flight must be at least 1");
        return;
    }
    if (s->conf.max_bytes > VIRTIO_CRYPTODEV_MAX_BYTES) {
        error_setg(errp, "max-bytes must be at most %d",
                   VIRTIO_CRYPTODEV_MAX_BYTES);
        return;
    }
    /* String properties have no defaults of their own. */
    if (!s->conf.backend) {
        s->conf.backend = g_strdup("auto");
    }
    if (!s->conf.path) {
        s->conf.path = g_strdup("/dev/crypto");
    }
    if (!choose_backend(s, errp)) {
        return;
    }
    s->files = g_hash_table_new(NULL, NULL);
    virtio_init(vdev, VIRTIO_ID_CRYPTODEV,
                sizeof(struct virtio_cryptodev_config));
    s->vq = virtio_add_queue(vdev, QUEUE_SIZE, virtio_cryptodev_handle_queue);
}

static void virtio_cryptodev_unrealize(DeviceState *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(dev);

    virtio_cryptodev_drain(s);
    g_hash_table_destroy(s->files);
    virtio_delete_queue(s->vq);
    virtio_cleanup(vdev);
}

/* Statistics, for qom-get */
static void virtio_cryptodev_instance_init(Object *obj)
{
    VirtIOCryptodev *s = VIRTIO_CRYPTODEV(obj);
    struct {
        const char *name;
        uint64_t *value;
    } counters[] = {
        { "stat-opens", &s->stats.opens },
        { "stat-files", &s->stats.files },
        { "stat-sessions", &s->stats.sessions },
        { "stat-operations", &s->stats.operations },
        { "stat-bytes", &s->stats.bytes },
        { "stat-errors", &s->stats.errors },
    };

    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
        object_property_add_uint64_ptr(obj, counters[i].name,
                                       counters[i].value, OBJ_PROP_FLAG_READ);
    }
    for (size_t i = 0; i < CRYPTODEV_ALGORITHMS; i++) {
        g_autofree char *name = g_strdup_printf("stat-%s",
                                                cryptodev_algorithms[i].name);

        object_property_add_uint64_ptr(obj, name, &s->stats.by_algorithm[i],
                                       OBJ_PROP_FLAG_READ);
    }
}

static const VMStateDescription vmstate_virtio_cryptodev = {
    .name = "virtio-cryptodev",
    .minimum_version_id = 1,
    .version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_END_OF_LIST()
    },
};

static const Property virtio_cryptodev_properties[] = {
    DEFINE_PROP_STRING("backend", VirtIOCryptodev, conf.backend),
    DEFINE_PROP_STRING("path", VirtIOCryptodev, conf.path),
    DEFINE_PROP_UINT32("max-files", VirtIOCryptodev, conf.max_files, 1024),
    DEFINE_PROP_UINT32("max-sessions", VirtIOCryptodev, conf.max_sessions,
                       1024),
    DEFINE_PROP_UINT32("max-bytes", VirtIOCryptodev, conf.max_bytes,
                       VIRTIO_CRYPTODEV_MAX_BYTES),
    DEFINE_PROP_UINT32("max-in-flight", VirtIOCryptodev, conf.max_in_flight,
                       128),
};

static void virtio_cryptodev_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    device_class_set_props(dc, virtio_cryptodev_properties);
    dc->vmsd = &vmstate_virtio_cryptodev;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    vdc->realize = virtio_cryptodev_realize;
    vdc->unrealize = virtio_cryptodev_unrealize;
    vdc->get_config = virtio_cryptodev_get_config;
    vdc->get_features = virtio_cryptodev_get_features;
    vdc->reset = virtio_cryptodev_reset;
}

static const TypeInfo virtio_cryptodev_info = {
    .name = TYPE_VIRTIO_CRYPTODEV,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOCryptodev),
    .instance_init = virtio_cryptodev_instance_init,
    .class_init = virtio_cryptodev_class_init,
};

static void virtio_cryptodev_register_types(void)
{
    type_register_static(&virtio_cryptodev_info);
}

type_init(virtio_cryptodev_register_types)
