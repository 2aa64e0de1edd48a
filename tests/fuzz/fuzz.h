#pragma once
/* What a fuzz target defines. A property that does not hold aborts (assert). */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
