#pragma once
/* unit/assert_err.h - assertions on enum err: a failure prints the message. Calls are given &why. Include after
 * cmocka.h. */
#include "base/err.h"

static struct errinfo why;
#define assert_ok(expr)                                                                                                \
    do {                                                                                                               \
        why.msg[0] = '\0';                                                                                             \
        enum err rc_ = (expr);                                                                                         \
        if (rc_ != OK)                                                                                                 \
            fail_msg("%s: %s: %s", #expr, err_name(rc_), why.msg);                                                     \
    } while (0)
#define assert_err(expr, code) assert_string_equal(err_name(expr), err_name(code))
