/*
 * virtio-cryptodevd-lying: a daemon whose device lies, to test drivers with
 *
 * virtio-cryptodevd itself is built without VCD_LIES and has nothing of it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef LIE_H
#define LIE_H

#include <stdbool.h>

#include "queue.h"
#include "virtio_cryptodev.h"

#ifdef VCD_LIES

/* How often the main thread looks whether there is something to tell, ms */
#define LIE_IDLE_MS 50

/*
 * --lie MODE and --seed N, which it takes from the command line: what is left
 * is for options_parse().
 */
void lie_take_options(int *argc, char **argv);

/* Whether it has answered, without the core */
bool lie_submit(struct queue *queue, VuVirtqElement *element);
/* Whether it has answered in place of what the core wants to be written */
bool lie_complete(struct queue *queue, VuVirtqElement *element,
                  size_t written);
/* Fills in the answers that were held back long enough, or all of them */
void lie_fill_held(struct queue *queue, bool all);
/* How long until the next of them, ms; -1: there is none */
int lie_wait_ms(const struct queue *queue);

/* Whether the instance is another one now, which the guest is to be told */
bool lie_instance(struct virtio_cryptodev_config *config);

#else

#define LIE_IDLE_MS (-1)

static inline void lie_take_options(int *argc, char **argv)
{
    (void)argc;
    (void)argv;
}

static inline bool lie_submit(struct queue *queue, VuVirtqElement *element)
{
    (void)queue;
    (void)element;
    return false;
}

static inline bool lie_complete(struct queue *queue, VuVirtqElement *element,
                                size_t written)
{
    (void)queue;
    (void)element;
    (void)written;
    return false;
}

static inline void lie_fill_held(struct queue *queue, bool all)
{
    (void)queue;
    (void)all;
}

static inline int lie_wait_ms(const struct queue *queue)
{
    (void)queue;
    return -1;
}

static inline bool lie_instance(struct virtio_cryptodev_config *config)
{
    (void)config;
    return false;
}

#endif /* VCD_LIES */

#endif /* LIE_H */
