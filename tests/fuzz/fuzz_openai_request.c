/* Any bytes as a client's request, in both dialects; what is accepted is written for every
 * provider, and what is sent is JSON that says the model and the maximum it was told to say; a
 * count is asked for of the same messages. */
#include "services/router/dialect/codec.h"
#include "tollgate/v1/inference.pb-c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tg_json_doc *doc;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_json(tg_provider provider, const tg_buf *body, const tg_chat_request *request)
{
    tg_error err = {""};
    tg_json root;
    tg_str model;
    uint64_t tokens = 0;
    require(tg_json_parse(doc, tg_buf_str(body), TG_CODEC_BODY_MAX, &err, &root) == 0);
    if (provider == TG_PROVIDER_BEDROCK) {
        require(tg_json_u64(tg_json_path(root, "inferenceConfig.maxTokens"), &tokens) == 0 &&
                tokens == 7);
        return;
    }
    require(tg_json_str(tg_json_get(root, "model"), &model) == 0 && tg_str_is(model, "m"));
    bool one = tg_json_u64(tg_json_get(root, "max_tokens"), &tokens) == 0;
    require(!one || tokens == 7);
    bool two = tg_json_u64(tg_json_get(root, "max_completion_tokens"), &tokens) == 0;
    require(!two || tokens == 7 || request->dialect == TG_DIALECT_ANTHROPIC);
    require(one || two);
    if (request->stream && provider == TG_PROVIDER_OPENAI) {
        bool include = false;
        require(tg_json_bool(tg_json_path(root, "stream_options.include_usage"), &include) == 0 &&
                include);
    }
}

static void check_encoded(const tg_chat_request *request)
{
    for (int provider = TG_PROVIDER_OPENAI; provider <= TG_PROVIDER_PRIVATE; provider++) {
        tg_upstream_ask ask = {.model = "m",
                               .max_tokens = 7,
                               .stream = request->stream,
                               .tenant = "t",
                               .request_id = "r"};
        tg_buf body;
        tg_buf_init(&body, 0);
        require(tg_dialect_encode_upstream((tg_provider)provider, request, &ask, &body) == 0);
        if (provider == TG_PROVIDER_PRIVATE) {
            Tollgate__V1__GenerateRequest *message =
                tollgate__v1__generate_request__unpack(NULL, body.len, (const uint8_t *)body.data);
            require(message && message->messages->n_messages == request->message_count);
            tollgate__v1__generate_request__free_unpacked(message, NULL);
        } else {
            check_json((tg_provider)provider, &body, request);
        }
        tg_buf_free(&body);
    }
}

static void check_count(const tg_chat_request *request)
{
    tg_buf body;
    tg_buf_init(&body, 0);
    require(tg_dialect_encode_count(request, &body) == 0);
    Tollgate__V1__CountTokensRequest *message =
        tollgate__v1__count_tokens_request__unpack(NULL, body.len, (const uint8_t *)body.data);
    require(message && message->messages->n_messages == request->message_count);
    tollgate__v1__count_tokens_request__free_unpacked(message, NULL);
    tg_buf_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!doc)
        doc = tg_json_doc_new();
    for (int dialect = TG_DIALECT_OPENAI; dialect <= TG_DIALECT_ANTHROPIC; dialect++) {
        tg_arena arena;
        tg_chat_request request;
        tg_error err = {""};
        tg_arena_init(&arena, 0);
        tg_str body = {(const char *)data, size};
        if (tg_dialect_decode_request((tg_dialect)dialect, doc, body, &arena, &err, &request) ==
            0) {
            check_encoded(&request);
            check_count(&request);
        } else {
            require(err.text[0] != '\0');
        }
        tg_arena_free(&arena);
    }
    return 0;
}
