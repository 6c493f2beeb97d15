#include "libs/base/trace.h"

#include "libs/base/id.h"

#include <stdio.h>
#include <string.h>

enum {
    LEN = TG_TRACEPARENT_TEXT - 1,
    TRACE_AT = 3,
    TRACE_LEN = 32,
    PARENT_AT = 36,
    PARENT_LEN = 16,
    FLAGS_AT = 53
};

/* Lower-case hexadecimal digits, not all of them zero unless that is allowed. */
static bool is_hex(const char *text, size_t len, bool may_be_zero)
{
    bool zero = true;
    for (size_t i = 0; i < len; i++) {
        if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'f'))
            return false;
        zero = zero && text[i] == '0';
    }
    return may_be_zero || !zero;
}

static bool is_valid(tg_str given)
{
    if (given.len < LEN || !is_hex(given.data, 2, true) || memcmp(given.data, "ff", 2) == 0)
        return false;
    const bool first_version = memcmp(given.data, "00", 2) == 0;
    if (given.len > LEN && (first_version || given.data[LEN] != '-'))
        return false;
    return given.data[TRACE_AT - 1] == '-' && given.data[PARENT_AT - 1] == '-' &&
           given.data[FLAGS_AT - 1] == '-' && is_hex(given.data + TRACE_AT, TRACE_LEN, false) &&
           is_hex(given.data + PARENT_AT, PARENT_LEN, false) &&
           is_hex(given.data + FLAGS_AT, 2, true);
}

void tg_traceparent(tg_str given, const uint8_t random[24], char ret[TG_TRACEPARENT_TEXT])
{
    char trace[TRACE_LEN + 1], parent[PARENT_LEN + 1];
    if (is_valid(given)) {
        memcpy(ret, given.data, LEN);
        memcpy(ret, "00", 2);
        ret[LEN] = '\0';
        return;
    }
    tg_hex(random, TRACE_LEN / 2, trace);
    tg_hex(random + TRACE_LEN / 2, PARENT_LEN / 2, parent);
    if (!is_hex(trace, TRACE_LEN, false)) /* once in 2^128, and for tests */
        trace[TRACE_LEN - 1] = '1';
    if (!is_hex(parent, PARENT_LEN, false))
        parent[PARENT_LEN - 1] = '1';
    snprintf(ret, TG_TRACEPARENT_TEXT, "00-%s-%s-00", trace, parent);
}
