#include "services/billing/billing.h"

#include <errno.h>
#include <stdlib.h>

int tg_billing_prices_load(const char *path, tg_error *err, tg_billing_prices **ret)
{
    tg_billing_prices *prices = calloc(1, sizeof *prices);
    if (!prices)
        return -ENOMEM;
    int rc = tg_prices_load(path, err, &prices->book);
    if (rc < 0) {
        free(prices);
        return rc;
    }
    atomic_init(&prices->references, 1);
    *ret = prices;
    return 0;
}

tg_billing_prices *tg_billing_prices_ref(tg_billing_prices *prices)
{
    atomic_fetch_add(&prices->references, 1);
    return prices;
}

tg_billing_prices *tg_billing_prices_unref(tg_billing_prices *prices)
{
    if (prices && atomic_fetch_sub(&prices->references, 1) == 1) {
        tg_price_book_free(prices->book);
        free(prices);
    }
    return NULL;
}
