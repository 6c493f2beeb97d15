#include "services/inference/serve/embed.h"

#include "libs/base/list.h"

#include "tollgate/v1/inference.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLICE_BYTES = 2048, /* of texts, or one longer text: then the next request has its turn */
    ANSWER_MARGIN_BYTES = 4096
};

typedef struct job {
    tg_list node;
    tg_embedder *embedder;
    tg_rpc_call *call;
    size_t count, done, slice; /* texts: in all, finished, in the turn under way */
    /* In the call's arena. */
    tg_str *texts;
    float *vectors; /* [count][dims] */
    uint32_t *tokens;
    int rc;
    tg_error err;
} job;

struct tg_embedder {
    tg_embed *encoder;
    uv_loop_t *loop;
    tg_list jobs; /* the first one has its turn */
    size_t job_count;
    bool working;
    uv_work_t work;
    tg_counter *inputs, *input_tokens, *refused;
};

static void next_slice(tg_embedder *embedder);

/* ---- out ---- */

static int answer(job *j)
{
    tg_arena *arena = tg_rpc_call_arena(j->call);
    const uint32_t dims = tg_embed_dims(j->embedder->encoder);
    Tollgate__V1__EmbedResponse out = TOLLGATE__V1__EMBED_RESPONSE__INIT;
    Tollgate__V1__Embedding *each = tg_arena_zalloc(arena, j->count, sizeof *each);
    out.embeddings = tg_arena_zalloc(arena, j->count, sizeof *out.embeddings);
    if (!each || !out.embeddings)
        return -ENOMEM;
    for (size_t i = 0; i < j->count; i++) {
        tollgate__v1__embedding__init(&each[i]);
        each[i].values = j->vectors + i * dims;
        each[i].n_values = dims;
        out.embeddings[i] = &each[i];
        out.tokens += j->tokens[i];
    }
    out.n_embeddings = j->count;
    tg_counter_add(j->embedder->inputs, j->count);
    tg_counter_add(j->embedder->input_tokens, out.tokens);
    tg_rpc_reply(j->call, &out.base);
    return 0;
}

static void finish(job *j)
{
    if (tg_rpc_call_cancelled(j->call))
        tg_rpc_finish(j->call, TG_RPC_CANCELLED, "cancelled by the client");
    else if (j->rc == -EINVAL || j->rc == -EMSGSIZE)
        tg_rpc_fail(j->call, TG_RPC_INVALID_ARGUMENT, "%s", j->err.text);
    else if (j->rc < 0 || answer(j) < 0)
        tg_rpc_fail(j->call, TG_RPC_RESOURCE_EXHAUSTED, "out of memory");
    tg_list_remove(&j->node);
    j->embedder->job_count--;
    free(j);
}

/* ---- turns ---- */

static size_t slice_of(const job *j) /* texts */
{
    size_t texts = 0, bytes = 0;
    while (j->done + texts < j->count &&
           (texts == 0 || bytes + j->texts[j->done + texts].len <= SLICE_BYTES))
        bytes += j->texts[j->done + texts++].len;
    return texts;
}

static void run_slice(uv_work_t *work) /* a thread of the pool */
{
    job *j = work->data;
    const uint32_t dims = tg_embed_dims(j->embedder->encoder);
    size_t failed = 0;
    j->rc = tg_embed_run(j->embedder->encoder, j->texts + j->done, j->slice, &j->err,
                         j->vectors + j->done * dims, j->tokens + j->done, &failed);
    if (j->rc < 0 && j->err.text[0])
        tg_error_prefix(&j->err, "inputs[%zu]", j->done + failed);
}

static void on_slice(uv_work_t *work, int status)
{
    job *j = work->data;
    tg_embedder *embedder = j->embedder;
    (void)status; /* never cancelled */
    embedder->working = false;
    j->done += j->slice;
    tg_list_remove(&j->node);
    tg_list_add_tail(&embedder->jobs, &j->node);
    if (j->rc < 0 || j->done == j->count || tg_rpc_call_cancelled(j->call))
        finish(j);
    next_slice(embedder);
}

static void next_slice(tg_embedder *embedder)
{
    while (!embedder->working && !tg_list_empty(&embedder->jobs)) {
        job *j = TG_CONTAINER_OF(embedder->jobs.next, job, node);
        if (tg_rpc_call_cancelled(j->call)) {
            finish(j);
            continue;
        }
        j->slice = slice_of(j);
        embedder->work.data = j;
        embedder->working = true;
        /* From here on the job is the pool's thread's, unless it was not taken: then the argument
         * was bad. */
        int rc = uv_queue_work(embedder->loop, &embedder->work, run_slice, on_slice);
        if (rc < 0) {
            embedder->working = false;
            j->rc = rc;
            finish(j);
        }
    }
}

/* ---- in ---- */

static int check(const tg_embedder *embedder, const Tollgate__V1__EmbedRequest *in, tg_error *err)
{
    const size_t bytes = in->n_inputs * (tg_embed_dims(embedder->encoder) * sizeof(float) + 16);
    if (in->n_inputs == 0)
        return tg_error_set(err, -EINVAL, "inputs: at least one text is needed");
    if (in->n_inputs > TG_EMBEDDER_INPUTS_MAX)
        return tg_error_set(err, -EINVAL, "inputs: %zu texts; at most %d in one request",
                            in->n_inputs, TG_EMBEDDER_INPUTS_MAX);
    if (bytes > TG_RPC_MESSAGE_MAX - ANSWER_MARGIN_BYTES)
        return tg_error_set(
            err, -EINVAL, "inputs: the vectors of %zu texts do not fit into one answer of %u bytes",
            in->n_inputs, TG_RPC_MESSAGE_MAX);
    for (size_t i = 0; i < in->n_inputs; i++) {
        if (tg_embed_check(embedder->encoder, tg_str_of(in->inputs[i]), err) < 0) {
            tg_error_prefix(err, "inputs[%zu]", i);
            return -EMSGSIZE;
        }
    }
    return 0;
}

static int new_job(tg_embedder *embedder, tg_rpc_call *call, const Tollgate__V1__EmbedRequest *in,
                   job **ret)
{
    tg_arena *arena = tg_rpc_call_arena(call);
    const size_t count = in->n_inputs, dims = tg_embed_dims(embedder->encoder);
    job *j = calloc(1, sizeof *j);
    if (!j)
        return -ENOMEM;
    *j = (job){.embedder = embedder,
               .call = call,
               .count = count,
               .texts = tg_arena_zalloc(arena, count, sizeof(tg_str)),
               .vectors = tg_arena_zalloc(arena, count * dims, sizeof(float)),
               .tokens = tg_arena_zalloc(arena, count, sizeof(uint32_t))};
    if (!j->texts || !j->vectors || !j->tokens) {
        free(j);
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++)
        j->texts[i] = tg_str_of(in->inputs[i]); /* the request lives as long as its call */
    *ret = j;
    return 0;
}

void tg_embedder_serve(tg_embedder *embedder, tg_rpc_call *call, const ProtobufCMessage *request)
{
    const Tollgate__V1__EmbedRequest *in = (const Tollgate__V1__EmbedRequest *)request;
    tg_error err = {""};
    job *j;
    if (!embedder) {
        tg_rpc_fail(call, TG_RPC_UNIMPLEMENTED,
                    "no model for embeddings is loaded; embedding_model_file names one");
        return;
    }
    if (check(embedder, in, &err) < 0) {
        tg_counter_add(embedder->refused, 1);
        tg_rpc_fail(call, TG_RPC_INVALID_ARGUMENT, "%s", err.text);
        return;
    }
    if (embedder->job_count >= TG_EMBEDDER_REQUESTS_MAX || new_job(embedder, call, in, &j) < 0) {
        tg_counter_add(embedder->refused, 1);
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED,
                    "at most %d Embed requests at a time, as memory allows",
                    TG_EMBEDDER_REQUESTS_MAX);
        return;
    }
    tg_list_add_tail(&embedder->jobs, &j->node);
    embedder->job_count++;
    next_slice(embedder);
}

/* ---- life ---- */

int tg_embedder_new(uv_loop_t *loop, tg_metrics *metrics, const char *model_file,
                    const tg_embed_conf *conf, tg_error *err, tg_embedder **ret)
{
    tg_embedder *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    e->loop = loop;
    tg_list_init(&e->jobs);
    e->inputs =
        tg_metrics_one_counter(metrics, "tollgate_embed_inputs_total", "Texts made into vectors.");
    e->input_tokens =
        tg_metrics_one_counter(metrics, "tollgate_embed_tokens_total", "Tokens of those texts.");
    e->refused = tg_metrics_one_counter(metrics, "tollgate_embed_refused_total",
                                        "Embed requests that were refused.");
    int rc = e->inputs && e->input_tokens && e->refused
                 ? tg_embed_open(model_file, conf, err, &e->encoder)
                 : -ENOMEM;
    if (rc < 0) {
        tg_error_prefix(err, "%s", model_file);
        tg_embedder_free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

tg_embedder *tg_embedder_free(tg_embedder *embedder)
{
    if (!embedder)
        return NULL;
    tg_embed_free(embedder->encoder);
    free(embedder);
    return NULL;
}
