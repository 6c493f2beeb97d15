/* The decoder of usage events on any bytes: what it accepts keeps within the bounds, and encoded
 * and decoded again it is the same event. */
#include "libs/usage/event.h"

#include "tests/unit/libs/usage/sample.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tg_usage_event event, again;
    tg_error err = {""};
    if (tg_usage_event_decode(data, size, &err, &event) < 0) {
        require(err.text[0] != '\0');
        return 0;
    }
    require(strlen(event.request_id) == TG_UUID_TEXT - 1 && event.attempt > 0 && event.tenant[0]);
    require(event.counterfactual_count <= TG_USAGE_COUNTERFACTUALS);
    tg_buf bytes;
    tg_buf_init(&bytes, 0);
    require(tg_usage_event_encode(&event, &bytes) == 0);
    require(tg_usage_event_decode(bytes.data, bytes.len, NULL, &again) == 0);
    require(sample_equal(&event, &again));
    tg_buf_free(&bytes);
    return 0;
}
