#include "services/billing/pricing/pricing.h"

#include "libs/base/clock.h"

#include <errno.h>
#include <inttypes.h>

int tg_pricing_check(const tg_price_book *book, const char *target, uint64_t opened_unix_ns,
                     const tg_tokens *tokens, tg_picousd cost_picousd, tg_error *err)
{
    tg_picousd ours;
    char when[TG_CLOCK_TEXT];
    int rc = tg_price_of(book, target, opened_unix_ns, tokens, &ours);
    if (rc == -ENOENT) {
        tg_clock_format(opened_unix_ns, when, sizeof when);
        return tg_error_set(err, -EINVAL, "price book %s has no price for target %s at %s",
                            tg_price_book_version(book), target, when);
    }
    if (rc < 0)
        return tg_error_set(err, -EINVAL, "the price for target %s exceeds 64 bits", target);
    if (ours != cost_picousd)
        return tg_error_set(err, -EINVAL,
                            "the event costs %" PRId64 " picodollars; price book %s says %" PRId64,
                            cost_picousd, tg_price_book_version(book), ours);
    return 0;
}
