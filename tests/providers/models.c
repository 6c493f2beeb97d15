#include "tests/providers/models.h"

#include <string.h>

static const char *list = "gpt-4o,gpt-4o-mini,claude-3-haiku-20240307,claude-3-5-sonnet-20241022";
static bool closed; /* others than those listed are unknown */

int models_set(const char *names)
{
    if (strlen(names) > MODELS_BYTES_MAX)
        return -1;
    list = names;
    closed = true;
    return 0;
}

/* Steps through the list; NULL at its end. */
static const char *next(const char *at, size_t *ret_len)
{
    at += strspn(at, ",");
    *ret_len = strcspn(at, ",");
    return *at ? at : NULL;
}

bool models_known(const char *name)
{
    size_t len = 0;
    for (const char *at = list; closed && (at = next(at, &len)); at += len)
        if (strlen(name) == len && memcmp(at, name, len) == 0)
            return true;
    return !closed;
}

static void each(struct buf *out, const char *before, const char *after)
{
    size_t len = 0;
    const char *separator = "";
    for (const char *at = list; (at = next(at, &len)); at += len, separator = ",") {
        buf_printf(out, "%s%s", separator, before);
        buf_json(out, at, len);
        buf_text(out, after);
    }
}

void models_openai(struct reply *reply)
{
    reply->content_type = "application/json";
    buf_text(&reply->event, "{\"object\":\"list\",\"data\":[");
    each(&reply->event,
         "{\"id\":", ",\"object\":\"model\",\"created\":1721172717,\"owned_by\":\"system\"}");
    buf_text(&reply->event, "]}");
    reply_event(reply, 0);
}

void models_anthropic(struct reply *reply)
{
    reply->content_type = "application/json";
    buf_text(&reply->event, "{\"data\":[");
    each(&reply->event, "{\"type\":\"model\",\"display_name\":\"Stand-in\",\"id\":",
         ",\"created_at\":\"2024-10-22T00:00:00Z\"}");
    buf_text(&reply->event, "],\"has_more\":false,\"first_id\":null,\"last_id\":null}");
    reply_event(reply, 0);
}
