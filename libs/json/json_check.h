/* What the parser cannot say: where a text stops being JSON, and why.
 *
 * Internal to libs/json. tg_json_check is a second, plain validator of the same language (RFC 8259,
 * with this library's bounds); it runs only on texts that were already refused, to find the
 * position.
 */
#ifndef TG_JSON_JSON_CHECK_H
#define TG_JSON_JSON_CHECK_H

#include "libs/base/error.h"
#include "libs/json/json.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0, or -EINVAL with "line L, column C: reason". Repeated keys are not looked for. */
int tg_json_check(tg_str text, tg_error *err);

/* For a text that is otherwise valid: \u escapes must not hold half a surrogate pair. 0 or -EINVAL.
 */
int tg_json_check_escapes(tg_str text, tg_error *err);

/* Sets "line L, column C: reason" for that byte position and returns -EINVAL. */
int tg_json_error(tg_error *err, tg_str text, size_t position, const char *reason);

/* Position of the nth string (keys included, from 0) of a valid text. */
size_t tg_json_nth_string(tg_str text, size_t nth);

/* The number was written without fraction and exponent. */
bool tg_json_is_integer(tg_json value);

#ifdef __cplusplus
}
#endif

#endif
