#include "libs/config/scalar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct unit {
    const char *name;
    uint64_t scale;
} unit;

/* Largest first; the last is what a value is counted in. */
static const unit duration_units[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const unit byte_units[] = {{"TiB", UINT64_C(1) << 40},
                                  {"GiB", 1 << 30},
                                  {"MiB", 1 << 20},
                                  {"KiB", 1 << 10},
                                  {"TB", UINT64_C(1000000000000)},
                                  {"GB", 1000000000},
                                  {"MB", 1000000},
                                  {"kB", 1000},
                                  {"B", 1},
                                  {NULL, 0}};

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

int tg_scalar_number(const tg_field *field, const tg_yaml_node *node, uint64_t *ret)
{
    tg_str digits = node->text, name;
    bool with_unit = field->type == TG_FIELD_DURATION || field->type == TG_FIELD_BYTES;
    const unit *units = field->type == TG_FIELD_DURATION ? duration_units : byte_units;
    size_t len = 0;
    if (!node->plain && !with_unit) /* "5" in quotes is text */
        return -EINVAL;
    while (len < digits.len && digits.data[len] >= '0' && digits.data[len] <= '9')
        len++;
    name = tg_str_trim((tg_str){digits.data + len, digits.len - len});
    digits.len = len;
    int rc = tg_str_u64(digits, ret);
    if (rc < 0)
        return rc;
    if (name.len == 0) {
        bool bare_ok =
            field->type != TG_FIELD_DURATION || *ret == 0 || ends_with(field->name, "_ms");
        return bare_ok ? 0 : -EINVAL;
    }
    for (; with_unit && units->name; units++)
        if (tg_str_is(name, units->name))
            return __builtin_mul_overflow(*ret, units->scale, ret) ? -ERANGE : 0;
    return -EINVAL;
}

void tg_scalar_format(const tg_field *field, uint64_t value, char *to, size_t size)
{
    const unit *units = field->type == TG_FIELD_DURATION ? duration_units : byte_units;
    bool with_unit = field->type == TG_FIELD_DURATION || field->type == TG_FIELD_BYTES;
    while (with_unit && value > 0 && units->name && value % units->scale != 0)
        units++;
    if (with_unit && value > 0 && units->name)
        snprintf(to, size, "%" PRIu64 "%s", value / units->scale, units->name);
    else
        snprintf(to, size, "%" PRIu64, value);
}

void tg_scalar_allowed(const tg_field *field, char *to, size_t size)
{
    const char *what = field->type == TG_FIELD_DURATION ? "a duration such as 250ms or 30s"
                       : field->type == TG_FIELD_BYTES  ? "a size such as 64KiB or 4MiB"
                                                        : "a whole number";
    char min[32], max[32];
    tg_scalar_format(field, field->min, min, sizeof min);
    tg_scalar_format(field, field->max, max, sizeof max);
    if (field->max)
        snprintf(to, size, "%s from %s to %s", what, min, max);
    else if (field->min)
        snprintf(to, size, "%s from %s", what, min);
    else
        snprintf(to, size, "%s", what);
}

bool tg_scalar_is_id(tg_str text)
{
    if (text.len < 1 || text.len > 63)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

bool tg_scalar_is_address(tg_str text)
{
    const char *colon = text.len ? memrchr(text.data, ':', text.len) : NULL;
    uint64_t port;
    if (!colon || colon == text.data)
        return false;
    size_t host = (size_t)(colon - text.data);
    if (memchr(text.data, '/', host) || memchr(text.data, ' ', host))
        return false;
    return tg_str_u64((tg_str){colon + 1, text.len - host - 1}, &port) == 0 && port <= 65535;
}
