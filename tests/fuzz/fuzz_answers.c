/* Any bytes as an upstream's answer. The first byte chooses provider, stream or plain, and the
 * client's dialect. Fed whole and byte by byte it gives the same events; what a client gets of it
 * is well formed. */
#include "services/router/dialect/codec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tg_json_doc *doc;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void print_event(void *user, const tg_chat_event *e)
{
    tg_buf *out = user;
    tg_buf_printf(out, "%d %d %llu %llu %d%d%d ", (int)e->type, (int)e->stop,
                  (unsigned long long)e->tokens.input, (unsigned long long)e->tokens.output,
                  e->has_input, e->has_output, e->raw_shared);
    tg_buf_add_str(out, e->text);
    tg_buf_add_str(out, e->model);
    tg_buf_add_str(out, e->error_message);
    tg_buf_add_str(out, e->raw);
}

/* `step` bytes at a time; stops at the first error, as its owner does. */
static int run(tg_provider provider, bool stream, tg_str bytes, size_t step,
               tg_on_chat_event *on_event, void *user)
{
    tg_answer_decoder *decoder = tg_answer_decoder_new(provider, stream, doc);
    tg_error err = {""};
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < bytes.len; at += step) {
        size_t len = step < bytes.len - at ? step : bytes.len - at;
        rc = tg_answer_decoder_feed(decoder, (tg_str){bytes.data + at, len}, on_event, user, &err);
    }
    if (rc == 0)
        rc = tg_answer_decoder_end(decoder, on_event, user, &err);
    require(rc == 0 || (rc < 0 && err.text[0]));
    tg_answer_decoder_free(decoder);
    return rc;
}

typedef struct client {
    tg_client_encoder encoder;
    tg_buf out;
    tg_tokens tokens;
} client;

static void encode(void *user, const tg_chat_event *event)
{
    client *c = user;
    if (event->type == TG_CHAT_USAGE)
        c->tokens = event->tokens;
    require(tg_client_encoder_event(&c->encoder, event, &c->out) == 0);
}

static void check_client(tg_provider provider, bool stream, tg_dialect dialect, tg_str bytes)
{
    client c = {.tokens = {0}};
    tg_chat_request request = {
        .dialect = dialect, .stream = stream, .include_usage = true, .wants_thoughts = true};
    bool same = (provider == TG_PROVIDER_OPENAI && dialect == TG_DIALECT_OPENAI) ||
                (provider == TG_PROVIDER_ANTHROPIC && dialect == TG_DIALECT_ANTHROPIC);
    tg_client_encoder_init(&c.encoder, &request, same, "r", 1);
    tg_buf_init(&c.out, 0);
    if (run(provider, stream, bytes, bytes.len + 1, encode, &c) == 0) {
        require(tg_client_encoder_end(&c.encoder, &c.tokens, "note", &c.out) == 0);
        tg_error err = {""};
        tg_json root;
        if (!stream)
            require(tg_json_parse(doc, tg_buf_str(&c.out), TG_CODEC_BODY_MAX, &err, &root) == 0);
        else
            require(c.out.len > 2 && memcmp(c.out.data + c.out.len - 2, "\n\n", 2) == 0);
    }
    tg_client_encoder_free(&c.encoder);
    tg_buf_free(&c.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (!doc)
        doc = tg_json_doc_new();
    tg_provider provider = (tg_provider)(data[0] & 3);
    bool stream = (data[0] & 4) || provider == TG_PROVIDER_PRIVATE;
    tg_dialect dialect = data[0] & 8 ? TG_DIALECT_ANTHROPIC : TG_DIALECT_OPENAI;
    tg_str bytes = {(const char *)data + 1, size - 1};
    if (provider != TG_PROVIDER_PRIVATE) { /* whose messages arrive whole */
        tg_buf whole, cut;
        tg_buf_init(&whole, 0);
        tg_buf_init(&cut, 0);
        int rc = run(provider, stream, bytes, bytes.len + 1, print_event, &whole);
        require(run(provider, stream, bytes, 1, print_event, &cut) == rc);
        require(tg_str_eq(tg_buf_str(&whole), tg_buf_str(&cut)));
        tg_buf_free(&whole);
        tg_buf_free(&cut);
    }
    check_client(provider, stream, dialect, bytes);
    return 0;
}
