/* Faults on demand, and the admin port that sets them:
 *
 *   POST /faults   {"dialect": "anthropic"|"openai"|"bedrock"|"*", "model": "…" (optional),
 *                   "count": N or -1, "fault": {…}}
 *   DELETE /faults
 *   GET /stats     requests served and failed, per dialect
 *   GET /healthz
 *
 * A fault: status (429 with reset_s, 529, 503, 500, 401, …), slow_first_ms, slow_token_ms, write
 * ("token" or "all"), stall_after (tokens), cut_at_byte, usage_delta, no_usage, model, tokens. The header
 * x-standin-fault carries one for its own request.
 */
#include "tests/providers/providers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAULTS_MAX = 64 };

static struct {
    char dialect[16], model[160];
    int64_t count;
    fault fault;
} faults[FAULTS_MAX];
static size_t fault_count;

static int64_t integer(json_t *object, const char *key, int64_t otherwise)
{
    json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

void fault_parse(json_t *object, fault *ret)
{
    const char *model = json_string_value(json_object_get(object, "model"));
    const char *how = json_string_value(json_object_get(object, "write"));
    *ret = (fault){
        .status = (int)integer(object, "status", 0),
        .reset_s = (uint64_t)integer(object, "reset_s", 1),
        .slow_first_ms = (uint64_t)integer(object, "slow_first_ms", 0),
        .slow_token_ms = (uint64_t)integer(object, "slow_token_ms", 0),
        .all_in_one = how && strcmp(how, "all") == 0,
        .stall_after = integer(object, "stall_after", -1),
        .cut_at_byte = integer(object, "cut_at_byte", -1),
        .usage_delta = integer(object, "usage_delta", 0),
        .no_usage = json_is_true(json_object_get(object, "no_usage")),
        .tokens = integer(object, "tokens", -1),
    };
    snprintf(ret->model, sizeof ret->model, "%s", model ? model : "");
}

fault fault_for(dialect d, const char *model, const request *in)
{
    const char *own = header(in, "x-standin-fault");
    fault none;
    fault_parse(NULL, &none);
    if (own) {
        json_t *object = json_loads(own, 0, NULL);
        if (object)
            fault_parse(object, &none);
        json_decref(object);
        return none;
    }
    for (size_t i = 0; i < fault_count; i++) {
        bool mine = strcmp(faults[i].dialect, "*") == 0 || strcmp(faults[i].dialect, dialect_names[d]) == 0;
        if (!mine || faults[i].count == 0 || (faults[i].model[0] && strcmp(faults[i].model, model) != 0))
            continue;
        if (faults[i].count > 0)
            faults[i].count--;
        return faults[i].fault;
    }
    return none;
}

static const char *add_fault(const request *in)
{
    json_error_t error;
    json_t *root = json_loadb(in->body.data ? in->body.data : "", in->body.len, 0, &error);
    const char *who = json_string_value(json_object_get(root, "dialect"));
    const char *model = json_string_value(json_object_get(root, "model"));
    json_t *what = json_object_get(root, "fault");
    const char *problem = NULL;
    if (!who || !json_is_object(what)) {
        problem = "dialect and fault are needed";
    } else if (fault_count == FAULTS_MAX) {
        problem = "too many faults";
    } else {
        snprintf(faults[fault_count].dialect, sizeof faults->dialect, "%s", who);
        snprintf(faults[fault_count].model, sizeof faults->model, "%s", model ? model : "");
        faults[fault_count].count = integer(root, "count", -1);
        fault_parse(what, &faults[fault_count++].fault);
    }
    json_decref(root);
    return problem;
}

void admin_handler(const request *in, reply *out)
{
    text body = {0};
    const char *problem = NULL;
    out->status = 200;
    out->content_type = "application/json";
    if (strcmp(in->path, "/faults") == 0 && strcmp(in->method, "POST") == 0)
        problem = add_fault(in);
    else if (strcmp(in->path, "/faults") == 0 && strcmp(in->method, "DELETE") == 0)
        fault_count = 0;
    else if (strcmp(in->path, "/stats") != 0 && strcmp(in->path, "/healthz") != 0)
        problem = "POST or DELETE /faults, GET /stats, GET /healthz";
    if (problem) {
        out->status = 400;
        text_printf(&body, "{\"error\":\"%s\"}\n", problem);
    } else {
        text_printf(&body, "{\"ok\":true,\"connections\":%u", http_connections());
        for (int d = 0; d < DIALECTS; d++)
            text_printf(&body, ",\"%s\":{\"served\":%llu,\"failed\":%llu}", dialect_names[d],
                        (unsigned long long)served[d], (unsigned long long)failed[d]);
        text_printf(&body, "}\n");
    }
    reply_piece(out, body.data, body.len, 0, 0);
    text_free(&body);
}
