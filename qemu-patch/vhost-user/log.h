/*
 * virtio-cryptodevd: lines of its log
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef LOG_H
#define LOG_H

#include <syslog.h>

#define PROGRAM "virtio-cryptodevd"

/* One line on stderr, @priority one of syslog's; from any thread */
void log_line(int priority, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same, and the end of the program with @status, one of sysexits' */
void die(int status, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

#endif /* LOG_H */
