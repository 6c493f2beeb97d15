/* The price of an event, computed again from the price book, so that a router with other prices
 * than ours is noticed before its events are posted.
 *
 * Pure. The price is the one in force when the attempt began (opened_unix_ns), whichever book
 * version the event names: a book keeps its history, so an event stamped under the previous version
 * still agrees.
 */
#ifndef TG_BILLING_PRICING_PRICING_H
#define TG_BILLING_PRICING_PRICING_H

#include "libs/base/error.h"
#include "libs/usage/event.h"

/* 0 when the event costs what it says; -EINVAL with a reason when it does not, or has no price. */
int tg_pricing_check(const tg_price_book *book, const char *target, uint64_t opened_unix_ns,
                     const tg_tokens *tokens, tg_picousd cost_picousd, tg_error *err);

#endif
