#pragma once
/* base/queue.h - linked lists: BSD's <sys/queue.h>. Include this instead of it. Layer: base. Pure. */
#include <sys/queue.h> /* IWYU pragma: export */

#ifdef __clang_analyzer__
/* The analyzer cannot see that the first element's tqe_prev is the head: it takes a removed first element for still
 * there. This much of a removal it can follow. */
#undef TAILQ_REMOVE
#define TAILQ_REMOVE(head, elm, field)                                                                                 \
    do {                                                                                                               \
        if (TAILQ_FIRST(head) == (elm))                                                                                \
            TAILQ_FIRST(head) = TAILQ_NEXT((elm), field);                                                              \
        else                                                                                                           \
            *(elm)->field.tqe_prev = TAILQ_NEXT((elm), field);                                                         \
    } while (0)
#endif
