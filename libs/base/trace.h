/* W3C trace context (https://www.w3.org/TR/trace-context/): the header that ties one request's work
 * together across services.
 *
 * A valid traceparent is passed on as it came, since we record no spans of our own that would stand
 * between; without one, or with one that is malformed, a trace begins here, unsampled.
 */
#ifndef TG_BASE_TRACE_H
#define TG_BASE_TRACE_H

#include "libs/base/str.h"

#define TG_TRACEPARENT_TEXT 56 /* 00-<32 hex>-<16 hex>-<2 hex> and the terminator */

/* `random` is 24 bytes, used when a trace begins here. A later version's header comes out as
 * version 00's, as the specification has it. */
void tg_traceparent(tg_str given, const uint8_t random[24], char ret[TG_TRACEPARENT_TEXT]);

#endif
