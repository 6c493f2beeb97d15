#include "tests/providers/told.h"
#include "tests/providers/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct told_conf told_conf = {.tokens = -1};

static struct told *kept[TOLD_KEPT_MAX];

struct told *told_new(void)
{
    struct told *told = calloc(1, sizeof *told);
    if (!told)
        abort();
    told->references = 1;
    fault_none(&told->fault);
    return told;
}

struct told *told_free(struct told *told)
{
    if (told && --told->references == 0) {
        buf_free(&told->url);
        buf_free(&told->body);
        reply_free(&told->reply);
        free(told);
    }
    return NULL;
}

void told_end(void)
{
    for (size_t i = 0; i < TOLD_KEPT_MAX; i++)
        kept[i] = told_free(kept[i]);
}

struct told *told_problem(const struct dialect_face *face, const struct problem *why,
                          const char *request_id, struct buf *headers)
{
    struct told *told = told_new();
    face->error(why, request_id, headers, &told->reply);
    reply_end(&told->reply);
    return told;
}

static int parse_body(enum dialect dialect, const struct request *request, struct chat *ret,
                      struct problem *why)
{
    json_error_t error;
    struct chat chat = {.max_tokens = -1};
    json_t *body = json_loadb(request->body.data ? request->body.data : "", request->body.len,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    int err = json_is_object(body) ? dialect_faces[dialect]->parse(request, body, &chat, why)
                                   : refuse(why, 400, NULL,
                                            "We could not parse the JSON body of "
                                            "your request: %.120s",
                                            error.text);
    json_decref(body);
    if (err == 0 && !models_known(chat.model))
        err = dialect == BEDROCK
                  ? refuse(why, 400, NULL, "The provided model identifier is invalid.")
                  : refuse(why, 404, NULL, "The model '%.160s' does not exist.", chat.model);
    *ret = chat;
    return err;
}

/* From the request's own header, or the rules; false and a problem if the header is wrong. */
static int find_fault(enum dialect dialect, const struct request *request, const char *model,
                      uint64_t draw, struct fault *ret, struct problem *why)
{
    const char *own = request_header(request, "x-standin-fault");
    char text[160] = "";
    fault_none(ret);
    if (!own) {
        fault_pick(dialect_faces[dialect]->name, model, draw, ret);
        return 0;
    }
    json_t *object = json_loads(own, JSON_REJECT_DUPLICATES, NULL);
    int err = fault_parse(object, ret, text, sizeof text);
    ret->rule = FAULT_OWN;
    json_decref(object);
    return err == 0 ? 0 : refuse(why, 400, NULL, "x-standin-fault: %s", text);
}

static void report(struct told *told)
{
    const struct fault *fault = &told->fault;
    told->reported = told->truth;
    told->reported.output += fault->usage_delta;
    told->reported.input += fault->input_delta;
    if (told->reported.output < 0)
        told->reported.output = 0;
    if (told->reported.input < 0)
        told->reported.input = 0;
    /* An OpenAI stream tells its usage only if it was asked to. */
    told->reports = !fault->no_usage &&
                    (told->dialect != OPENAI || !told->chat.stream || told->chat.include_usage);
}

static void make(struct told *told)
{
    const struct dialect_face *face = dialect_faces[told->dialect];
    const struct fault *fault = &told->fault;
    struct answer answer;
    char id[40];
    uint64_t state = told->key;
    struct problem broken = {529, fault->code[0] ? fault->code : NULL, "Overloaded"};
    int64_t length = fault->tokens >= 0 ? fault->tokens : told_conf.tokens;
    answer_make(told->key, length, told->chat.max_tokens, &answer);
    chat_usage(&told->chat, fault, answer.count, &told->truth);
    report(told);
    snprintf(id, sizeof id, "%016llx%08x", (unsigned long long)mix64(&state),
             (unsigned)mix64(&state));
    struct telling telling = {
        .model = fault->model[0] ? fault->model : told->chat.model,
        .tier = fault->tier[0] ? fault->tier : told->chat.tier,
        .id = id,
        .created_s = told_conf.created_s,
        .answer = &answer,
        .usage = told->reports ? &told->reported : NULL,
        .include_usage = told->chat.include_usage,
        .error_after = fault->error_after,
        .error = &broken,
    };
    told->reply.chunked = told->chat.stream && !told->http10;
    (told->chat.stream ? face->stream : face->plain)(&telling, &told->reply);
    reply_end(&told->reply);
    told->tokens = answer.count;
    answer_free(&answer);
}

static bool same_request(const struct told *told, enum dialect dialect,
                         const struct request *request)
{
    const char *url = request_url(request);
    return told->dialect == dialect && told->http10 == request->http10 &&
           told->body.len == request->body.len && told->url.len == strlen(url) &&
           memcmp(told->url.data, url, told->url.len) == 0 &&
           memcmp(told->body.data, request->body.data, told->body.len) == 0;
}

static void keep(struct told *told, size_t slot, const struct request *request)
{
    if (told->chat.marked || told->fault.rule == FAULT_OWN || request->body.len == 0 ||
        request->body.len > TOLD_KEPT_REQUEST_BYTES_MAX ||
        told->reply.framed.len > TOLD_KEPT_REPLY_BYTES_MAX)
        return;
    buf_text(&told->url, request_url(request));
    buf_add(&told->body, request->body.data, request->body.len);
    told_free(kept[slot]);
    told->references++;
    kept[slot] = told;
}

int told_get(enum dialect dialect, const struct request *request, const unsigned char sha[32],
             uint64_t draw, struct told **ret, struct fault *ret_fault, struct chat *ret_chat,
             struct problem *why)
{
    uint64_t key;
    memcpy(&key, sha, sizeof key);
    size_t slot = (key ^ (uint64_t)dialect) % TOLD_KEPT_MAX;
    key ^= told_conf.seed * 0x9e3779b97f4a7c15u;
    bool known = kept[slot] && same_request(kept[slot], dialect, request);
    fault_none(ret_fault);
    if (known)
        *ret_chat = kept[slot]->chat;
    else if (parse_body(dialect, request, ret_chat, why) < 0)
        return -1;
    if (find_fault(dialect, request, ret_chat->model, draw, ret_fault, why) < 0)
        return -1;
    if (ret_fault->status)
        return refuse(why, (int)ret_fault->status, ret_fault->code[0] ? ret_fault->code : NULL,
                      "The stand-in was asked to fail with %d.", (int)ret_fault->status);
    if (known && kept[slot]->fault.rule == ret_fault->rule) {
        kept[slot]->references++;
        *ret = kept[slot];
        return 0;
    }
    struct told *told = told_new();
    told->dialect = dialect;
    told->http10 = request->http10;
    told->chat = *ret_chat;
    told->key = key;
    told->fault = *ret_fault;
    if (told_conf.write_all)
        told->fault.write_all = true;
    make(told);
    keep(told, slot, request);
    *ret = told;
    return 0;
}
