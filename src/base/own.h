#pragma once
/* base/own.h - scope ownership: what a function holds goes when its scope ends, unless it is handed over by TAKE.
 * Layer: base. */
#include <stdlib.h>
#include <unistd.h>

static inline void own_free_(void *p)
{
    free(*(void **)p);
}
static inline void own_close_(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}
#define auto_free __attribute__((cleanup(own_free_)))
#define auto_close __attribute__((cleanup(own_close_)))
/* AUTO(buf) struct buf b = {0}; calls buf_cleanup(&b) at the end of the scope. */
#define AUTO(type) __attribute__((cleanup(type##_cleanup)))
#define TAKE(p)                                                                                                        \
    __extension__({                                                                                                    \
        __typeof__(p) taken_ = (p);                                                                                    \
        (p) = NULL;                                                                                                    \
        taken_;                                                                                                        \
    })
#define TAKE_FD(fd)                                                                                                    \
    __extension__({                                                                                                    \
        int taken_ = (fd);                                                                                             \
        (fd) = -1;                                                                                                     \
        taken_;                                                                                                        \
    })
