/*
 * virtio-cryptodevd: what it gives up before it listens to a guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>

/*
 * From here on the process, with threads that are made later, has no system
 * calls but those that it needs. @opens_files: the backend opens its node for
 * each file of the guest. Ends the program where that can't be had.
 */
void sandbox_enter(bool opens_files);

#endif /* SANDBOX_H */
