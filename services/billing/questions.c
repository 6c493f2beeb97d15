/* tollgate.v1.Billing over gRPC: statement, verify, compare. A question may read the whole ledger,
 * so each is answered in the thread pool, from a read-only store of its own, while the loop goes
 * on. */
#include "services/billing/billing.h"

#include "libs/base/clock.h"
#include "services/billing/ledger/audit.h"
#include "services/billing/ledger/store_sqlite.h"

#include "tollgate/v1/billing.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The arena of an answer: lines and their texts. */
#define ANSWER_BYTES_MAX ((size_t)32 << 20)

typedef struct question question;

struct question {
    uv_work_t work;
    tg_billing *billing;
    tg_rpc_call *call;
    const ProtobufCMessage *request; /* lives until the call is answered */
    tg_billing_prices *prices;
    tg_arena arena; /* of the answer */
    int (*answer)(question *q, tg_store *store, tg_error *err);
    ProtobufCMessage *reply;
    int rc;
    tg_error err;
};

static char *copy(question *q, const char *text)
{
    return tg_arena_strdup(&q->arena, tg_str_of(text));
}

/* ---- statement ---- */

typedef struct lines {
    question *q;
    Tollgate__V1__StatementLine **items;
    size_t count, cap;
    tg_picousd_sum total;
} lines;

static int grow(lines *l)
{
    size_t cap = l->cap ? l->cap * 2 : 64;
    Tollgate__V1__StatementLine **items = tg_arena_alloc(&l->q->arena, cap * sizeof(void *));
    if (!items)
        return -E2BIG;
    if (l->count)
        memcpy(items, l->items, l->count * sizeof(void *));
    l->items = items;
    l->cap = cap;
    return 0;
}

static int add_line(void *user, const tg_statement_row *row)
{
    lines *l = user;
    if (l->count == TG_BILLING_STATEMENT_LINES_MAX || (l->count == l->cap && grow(l) < 0))
        return -E2BIG;
    Tollgate__V1__StatementLine *line = tg_arena_alloc(&l->q->arena, sizeof *line);
    if (!line)
        return -E2BIG;
    tg_money_words cost = tg_money_split(row->cost);
    tollgate__v1__statement_line__init(line);
    line->tenant = copy(l->q, row->tenant);
    line->target = copy(l->q, row->target);
    line->model = copy(l->q, row->model);
    line->task_type = copy(l->q, row->task_type);
    line->attempts = row->attempts;
    line->input_tokens = row->input;
    line->cache_read_tokens = row->cache_read;
    line->cache_write_tokens = row->cache_write;
    line->output_tokens = row->output;
    line->cost_picousd_high = cost.high;
    line->cost_picousd_low = cost.low;
    line->estimated_attempts = row->estimated_attempts;
    line->price_assumed = row->price_assumed;
    if (!line->tenant || !line->target || !line->model || !line->task_type)
        return -E2BIG;
    l->items[l->count++] = line;
    l->total += row->cost;
    return 0;
}

static int answer_statement(question *q, tg_store *store, tg_error *err)
{
    const Tollgate__V1__StatementRequest *in = (const Tollgate__V1__StatementRequest *)q->request;
    Tollgate__V1__StatementResponse *out = tg_arena_alloc(&q->arena, sizeof *out);
    lines l = {.q = q};
    if (!out)
        return -ENOMEM;
    if (in->from_unix_ns < 0 || in->to_unix_ns < 0)
        return tg_error_set(err, -EINVAL, "from_unix_ns and to_unix_ns are times since 1970");
    tg_statement_filter filter = {in->tenant, (uint64_t)in->from_unix_ns, (uint64_t)in->to_unix_ns};
    int rc = store->ops->statement(store, &filter, add_line, &l);
    if (rc == -E2BIG)
        return tg_error_set(err, rc, "more than %d lines; ask for one tenant or a shorter time",
                            TG_BILLING_STATEMENT_LINES_MAX);
    if (rc < 0)
        return rc;
    tg_money_words total = tg_money_split(l.total);
    tollgate__v1__statement_response__init(out);
    out->lines = l.items;
    out->n_lines = l.count;
    out->total_picousd_high = total.high;
    out->total_picousd_low = total.low;
    out->price_book = copy(q, tg_price_book_version(q->prices->book));
    q->reply = &out->base;
    return out->price_book ? 0 : -ENOMEM;
}

/* ---- verify, compare ---- */

static int answer_verify(question *q, tg_store *store, tg_error *err)
{
    Tollgate__V1__VerifyResponse *out = tg_arena_alloc(&q->arena, sizeof *out);
    tg_audit *audit = tg_arena_alloc(&q->arena, sizeof *audit);
    (void)err;
    if (!out || !audit)
        return -ENOMEM;
    int rc = tg_audit_verify(store, q->prices->book, &q->arena, audit);
    if (rc < 0)
        return rc;
    tollgate__v1__verify_response__init(out);
    out->ok = audit->problem_count == 0;
    out->transactions = audit->counts.transactions;
    out->postings = audit->counts.postings;
    out->duplicates = audit->counts.duplicates;
    out->quarantined = audit->counts.quarantined;
    out->problems = audit->problems;
    out->n_problems = audit->problem_texts;
    q->reply = &out->base;
    return 0;
}

static int answer_compare(question *q, tg_store *store, tg_error *err)
{
    const Tollgate__V1__CompareRequest *in = (const Tollgate__V1__CompareRequest *)q->request;
    Tollgate__V1__CompareResponse *out = tg_arena_alloc(&q->arena, sizeof *out);
    tg_comparison c;
    if (!out)
        return -ENOMEM;
    int rc = tg_audit_compare(store, q->prices->book, in->target, in->tenant, err, &c);
    if (rc < 0)
        return rc;
    tg_money_words actual = tg_money_split(c.actual), there = tg_money_split(c.there);
    tollgate__v1__compare_response__init(out);
    out->target = copy(q, in->target);
    out->actual_picousd_high = actual.high;
    out->actual_picousd_low = actual.low;
    out->there_picousd_high = there.high;
    out->there_picousd_low = there.low;
    out->attempts = c.attempts;
    q->reply = &out->base;
    return out->target ? 0 : -ENOMEM;
}

/* ---- the thread pool ---- */

static void work(uv_work_t *uv)
{
    question *q = (question *)uv;
    tg_store *store = NULL;
    q->rc = tg_store_sqlite_open(q->billing->settings->database, true, &q->err, &store);
    if (q->rc < 0)
        return;
    q->rc = q->answer(q, store, &q->err);
    if (q->rc < 0)
        tg_error_set(&q->err, q->rc, "%s", store->ops->error(store));
    store->ops->close(store);
}

static tg_rpc_code code_of(int rc)
{
    switch (-rc) {
    case EINVAL:
        return TG_RPC_INVALID_ARGUMENT;
    case ENOENT:
        return TG_RPC_NOT_FOUND;
    case E2BIG:
    case ENOMEM:
        return TG_RPC_RESOURCE_EXHAUSTED;
    case EBUSY:
        return TG_RPC_UNAVAILABLE;
    default:
        return TG_RPC_INTERNAL;
    }
}

static void worked(uv_work_t *uv, int status)
{
    question *q = (question *)uv;
    if (status < 0)
        q->rc = status;
    if (q->rc < 0)
        tg_rpc_fail(q->call, code_of(q->rc), "%s", q->err.text[0] ? q->err.text : strerror(-q->rc));
    else
        tg_rpc_reply(q->call, q->reply);
    q->billing->queries--;
    tg_billing_prices_unref(q->prices);
    tg_arena_free(&q->arena);
    free(q);
}

static void ask(tg_billing *billing, tg_rpc_call *call, const ProtobufCMessage *request,
                int (*answer)(question *q, tg_store *store, tg_error *err))
{
    question *q = billing->queries < TG_BILLING_QUERIES_MAX ? calloc(1, sizeof *q) : NULL;
    if (!q) {
        tg_rpc_fail(call, TG_RPC_RESOURCE_EXHAUSTED, "at most %d questions at a time",
                    TG_BILLING_QUERIES_MAX);
        return;
    }
    q->billing = billing;
    q->call = call;
    q->request = request;
    q->answer = answer;
    tg_arena_init(&q->arena, ANSWER_BYTES_MAX);
    q->prices = tg_billing_prices_ref(billing->prices);
    billing->queries++;
    if (uv_queue_work(tg_service_uv(billing->service), &q->work, work, worked) < 0)
        worked(&q->work, -ENOMEM);
}

static void on_statement(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    ask(service, call, request, answer_statement);
}

static void on_verify(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    ask(service, call, request, answer_verify);
}

static void on_compare(void *service, tg_rpc_call *call, const ProtobufCMessage *request)
{
    ask(service, call, request, answer_compare);
}

tg_rpc_service tg_billing_rpc_service(tg_billing *billing)
{
    static const tg_rpc_method methods[] = {{"Statement", false, on_statement},
                                            {"Verify", false, on_verify},
                                            {"Compare", false, on_compare}};
    return (tg_rpc_service){.descriptor = &tollgate__v1__billing__descriptor,
                            .methods = methods,
                            .method_count = sizeof methods / sizeof *methods,
                            .user = billing};
}
