#pragma once
/* base/random.h - random bytes of the kernel. Layer: base. Pure rooms must not call it. */
#include <stddef.h>

/* Fills all n bytes; aborts when the kernel has no entropy source. */
void random_bytes(void *ret_bytes, size_t n);
