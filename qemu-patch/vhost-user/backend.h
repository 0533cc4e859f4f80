/*
 * virtio-cryptodevd: which backend it takes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BACKEND_H
#define BACKEND_H

#include "options.h"

/*
 * The one that the options name, ready for use, or of "auto" the best that
 * there is; what it lacks goes into their configuration. Ends the program with
 * EX_UNAVAILABLE where it can't be used.
 */
const struct vcd_backend *backend_choose(struct options *options);

#endif /* BACKEND_H */
