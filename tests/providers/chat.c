/* Counting and checking that the dialects share. */
#include "tests/providers/dialect.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct dialect_face *const dialect_faces[DIALECTS] = {&openai_face, &anthropic_face,
                                                            &bedrock_face};

enum { CACHED_PREFIXES_MAX = 1024, BYTES_A_TOKEN = 4 };

/* Prompt prefixes seen behind a cache mark, by hash; a newer one may take the place of an older. */
static uint64_t cached_prefixes[CACHED_PREFIXES_MAX];

int refuse(struct problem *why, int status, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    why->status = status;
    why->code = code;
    vsnprintf(why->message, sizeof why->message, format, args);
    va_end(args);
    return -1;
}

void chat_text(struct chat *chat, json_t *text)
{
    if (!json_is_string(text))
        return;
    const char *data = json_string_value(text);
    size_t len = json_string_length(text);
    uint64_t hash = chat->text_hash ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
    chat->text_hash = hash;
    chat->text_bytes += len;
}

void chat_mark(struct chat *chat, bool one_hour)
{
    chat->marked = true;
    chat->marked_1h = one_hour;
    chat->marked_bytes = chat->text_bytes;
    chat->marked_hash = chat->text_hash;
}

int chat_model(struct chat *chat, json_t *model, struct problem *why)
{
    if (!json_is_string(model) || json_string_length(model) == 0)
        return refuse(why, 400, NULL, "you must provide a model parameter");
    if (json_string_length(model) >= sizeof chat->model)
        return refuse(why, 400, NULL, "model: the name is too long");
    memcpy(chat->model, json_string_value(model), json_string_length(model) + 1);
    return 0;
}

int chat_max_tokens(struct chat *chat, json_t *value, const char *name, struct problem *why)
{
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 1)
        return refuse(why, 400, NULL, "%s: must be an integer greater than 0", name);
    chat->max_tokens = json_integer_value(value);
    return 0;
}

static int64_t tokens_of(uint64_t bytes)
{
    return (int64_t)((bytes + BYTES_A_TOKEN - 1) / BYTES_A_TOKEN);
}

int64_t chat_input_tokens(const struct chat *chat) { return tokens_of(chat->text_bytes); }

void chat_usage(const struct chat *chat, const struct fault *fault, uint32_t output,
                struct usage *ret)
{
    struct usage usage = {.input = tokens_of(chat->text_bytes),
                          .output = (int64_t)output + fault->reasoning_tokens,
                          .cache_read = fault->cache_read,
                          .cache_write_5m = fault->cache_write,
                          .cache_write_1h = fault->cache_write_1h,
                          .reasoning = fault->reasoning_tokens};
    if (chat->marked) {
        int64_t cached = (int64_t)(chat->marked_bytes / BYTES_A_TOKEN);
        uint64_t hash = chat->marked_hash | 1;
        uint64_t *seen = &cached_prefixes[hash % CACHED_PREFIXES_MAX];
        usage.input -= cached;
        if (*seen == hash)
            usage.cache_read += cached;
        else if (chat->marked_1h)
            usage.cache_write_1h += cached;
        else
            usage.cache_write_5m += cached;
        *seen = hash;
    }
    *ret = usage;
}
