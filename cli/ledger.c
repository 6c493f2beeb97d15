/* tollgate ledger statement | verify | compare: what tenants used and owe, and whether it is right.
 */
#include "cli/call.h"
#include "cli/commands.h"
#include "cli/ledger_print.h"

#include "libs/base/clock.h"
#include "libs/config/mesh.h"
#include "services/billing/ledger/audit.h"
#include "services/billing/ledger/store_sqlite.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    const char *tenant, *target, *billing, *database, *prices, *tenants;
    uint64_t from_unix_ns, to_unix_ns;
    uint32_t timeout_ms;
    bool offline;
    tg_ledger_format format;
} options;

static int usage(void)
{
    fputs(
        "usage: tollgate ledger statement [--tenant T] [--from DATE] [--to DATE] [--json | --csv]\n"
        "       tollgate ledger verify [--json]\n"
        "       tollgate ledger verify --offline --database FILE --prices FILE [--tenants FILE]\n"
        "       tollgate ledger compare --target T [--tenant T] [--json]\n"
        "all but --offline ask the billing service: --billing HOST:PORT, or "
        "TOLLGATE_BILLING_GRPC;\n"
        "--timeout SECONDS: the longest wait for its answer (60)\n",
        stderr);
    return 2;
}

static int parse(int argc, char **argv, options *ret)
{
    static const struct option longs[] = {
        {"tenant", required_argument, NULL, 't'},  {"target", required_argument, NULL, 'T'},
        {"billing", required_argument, NULL, 'b'}, {"database", required_argument, NULL, 'd'},
        {"prices", required_argument, NULL, 'p'},  {"tenants", required_argument, NULL, 'n'},
        {"from", required_argument, NULL, 'f'},    {"to", required_argument, NULL, 'u'},
        {"offline", no_argument, NULL, 'o'},       {"json", no_argument, NULL, 'j'},
        {"csv", no_argument, NULL, 'c'},           {"timeout", required_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    options o = {
        .tenant = "", .billing = getenv("TOLLGATE_BILLING_GRPC"), .timeout_ms = TG_CLI_TIMEOUT_MS};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 't':
            o.tenant = optarg;
            break;
        case 'T':
            o.target = optarg;
            break;
        case 'b':
            o.billing = optarg;
            break;
        case 'd':
            o.database = optarg;
            break;
        case 'p':
            o.prices = optarg;
            break;
        case 'n':
            o.tenants = optarg;
            break;
        case 'o':
            o.offline = true;
            break;
        case 'j':
            o.format = TG_LEDGER_JSON;
            break;
        case 'c':
            o.format = TG_LEDGER_CSV;
            break;
        case 'w':
            if (tg_cli_timeout("ledger", optarg, &o.timeout_ms) < 0)
                return -EINVAL;
            break;
        case 'f':
        case 'u':
            if (tg_clock_parse(optarg, c == 'f' ? &o.from_unix_ns : &o.to_unix_ns) < 0) {
                fprintf(stderr,
                        "tollgate ledger: '%s' is no date like 2026-11-24 or RFC 3339 time\n",
                        optarg);
                return -EINVAL;
            }
            break;
        default:
            return -EINVAL;
        }
    }
    if (optind != argc)
        return -EINVAL;
    *ret = o;
    return 0;
}

/* ---- asking the service ---- */

static bool use_statement(void *user, const ProtobufCMessage *reply)
{
    const options *o = user;
    tg_ledger_print_statement((const Tollgate__V1__StatementResponse *)reply, o->format);
    return true;
}

static int statement(options *o)
{
    Tollgate__V1__StatementRequest request = TOLLGATE__V1__STATEMENT_REQUEST__INIT;
    request.tenant = (char *)(uintptr_t)o->tenant;
    request.from_unix_ns = (int64_t)o->from_unix_ns;
    request.to_unix_ns = (int64_t)o->to_unix_ns;
    return tg_cli_call("ledger", o->billing, "/tollgate.v1.Billing/Statement", &request.base,
                       &tollgate__v1__statement_response__descriptor, o->timeout_ms, use_statement,
                       o);
}

typedef struct verified {
    const options *options;
    bool ok;
} verified;

static bool use_verification(void *user, const ProtobufCMessage *reply)
{
    const Tollgate__V1__VerifyResponse *response = (const Tollgate__V1__VerifyResponse *)reply;
    verified *v = user;
    tg_ledger_print_verification(response, v->options->format);
    v->ok = response->ok;
    return true;
}

static int verify(options *o)
{
    Tollgate__V1__VerifyRequest request = TOLLGATE__V1__VERIFY_REQUEST__INIT;
    verified v = {.options = o};
    int status = tg_cli_call("ledger", o->billing, "/tollgate.v1.Billing/Verify", &request.base,
                             &tollgate__v1__verify_response__descriptor, o->timeout_ms,
                             use_verification, &v);
    return status ? status : !v.ok;
}

static bool use_comparison(void *user, const ProtobufCMessage *reply)
{
    const options *o = user;
    tg_ledger_print_comparison((const Tollgate__V1__CompareResponse *)reply, o->format);
    return true;
}

static int compare(options *o)
{
    Tollgate__V1__CompareRequest request = TOLLGATE__V1__COMPARE_REQUEST__INIT;
    request.target = (char *)(uintptr_t)o->target;
    request.tenant = (char *)(uintptr_t)o->tenant;
    return tg_cli_call("ledger", o->billing, "/tollgate.v1.Billing/Compare", &request.base,
                       &tollgate__v1__compare_response__descriptor, o->timeout_ms, use_comparison,
                       o);
}

/* ---- offline ---- */

static int note_unlisted(void *user, const tg_account_row *row)
{
    const tg_tenants *tenants = user;
    if (row->kind == TG_ACCOUNT_RECEIVABLE && !tg_tenants_find(tenants, tg_str_of(row->owner)))
        fprintf(stderr, "note: tenant %s is charged but not listed\n", row->owner);
    return 0;
}

static void print_audit(const tg_audit *audit, tg_ledger_format format)
{
    Tollgate__V1__VerifyResponse response = TOLLGATE__V1__VERIFY_RESPONSE__INIT;
    response.ok = audit->problem_count == 0;
    response.transactions = audit->counts.transactions;
    response.postings = audit->counts.postings;
    response.duplicates = audit->counts.duplicates;
    response.quarantined = audit->counts.quarantined;
    response.n_problems = audit->problem_texts;
    response.problems = (char **)(uintptr_t)audit->problems;
    tg_ledger_print_verification(&response, format);
}

static int verify_offline(const options *o)
{
    tg_error err = {""};
    tg_store *store = NULL;
    tg_price_book *book = NULL;
    tg_tenants *tenants = NULL;
    tg_audit audit = {0};
    tg_arena arena;
    tg_arena_init(&arena, 0);
    int rc = tg_prices_load(o->prices, &err, &book);
    if (rc == 0 && o->tenants)
        rc = tg_tenants_load(o->tenants, &err, &tenants);
    if (rc == 0)
        rc = tg_store_sqlite_open(o->database, true, &err, &store);
    if (rc == 0) {
        rc = tg_audit_verify(store, book, &arena, &audit);
        if (rc == 0 && tenants)
            rc = store->ops->accounts(store, note_unlisted, tenants);
        if (rc < 0)
            tg_error_set(&err, rc, "%s: %s", o->database, store->ops->error(store));
    }
    if (rc == 0)
        print_audit(&audit, o->format);
    else
        fprintf(stderr, "tollgate ledger: %s\n", err.text[0] ? err.text : strerror(-rc));
    if (store)
        store->ops->close(store);
    tg_tenants_free(tenants);
    tg_price_book_free(book);
    tg_arena_free(&arena);
    return rc < 0 || audit.problem_count > 0;
}

int tg_cli_ledger(int argc, char **argv)
{
    options o;
    const char *what = argc > 1 ? argv[1] : "";
    if (argc < 2 || parse(argc - 1, argv + 1, &o) < 0)
        return usage();
    if (strcmp(what, "verify") == 0 && o.offline)
        return o.database && o.prices ? verify_offline(&o) : usage();
    if (!o.billing || o.offline || (o.format == TG_LEDGER_CSV && strcmp(what, "statement") != 0))
        return usage();
    if (strcmp(what, "statement") == 0)
        return statement(&o);
    if (strcmp(what, "verify") == 0)
        return verify(&o);
    if (strcmp(what, "compare") == 0 && o.target)
        return compare(&o);
    return usage();
}
