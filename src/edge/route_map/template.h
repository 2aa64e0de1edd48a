#pragma once
/* edge/route_map/template.h - JSON templates: a string value that is exactly "@name@" stands for a value given.
 * Layer: edge. Pure. */
#include <jansson.h>

#include "base/err.h"

/* Parse `text` and fill it in. `values` is an object name -> any value, consumed; every name of it and every
 * placeholder of the text must be used: both are our own, so a mistake asserts. Returned: json_decref. */
json_t *template_fill(const char *text, json_t *values);
