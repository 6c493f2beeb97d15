#include "services/billing/ledger/audit.h"

#include "libs/base/clock.h"
#include "services/billing/pricing/pricing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct verification {
    const tg_price_book *book;
    tg_arena *arena;
    tg_audit *audit;
} verification;

static void problem(verification *v, const char *text)
{
    tg_audit *audit = v->audit;
    audit->problem_count++;
    if (audit->problem_texts == TG_AUDIT_PROBLEMS_MAX)
        return;
    char *copy = tg_arena_strdup(v->arena, tg_str_of(text));
    if (copy)
        audit->problems[audit->problem_texts++] = copy;
}

#define PROBLEM(v, ...)                                                                            \
    do {                                                                                           \
        char text_[512];                                                                           \
        snprintf(text_, sizeof text_, __VA_ARGS__);                                                \
        problem(v, text_);                                                                         \
    } while (0)

static int see_unbalanced(void *user, int64_t transaction_id)
{
    PROBLEM((verification *)user,
            "transaction %" PRId64 " does not have one event and two postings that sum to zero",
            transaction_id);
    return 0;
}

static int see_posted(void *user, const tg_posted_row *row)
{
    verification *v = user;
    tg_error why = {""};
    const char *debited = row->debited ? row->debited : "nobody";
    const char *credited = row->credited ? row->credited : "nothing";
    if (strcmp(debited, row->tenant) != 0 || strcmp(credited, row->target) != 0)
        PROBLEM(v, "event %s/%u of %s on %s debits %s and credits %s", row->request_id,
                row->attempt, row->tenant, row->target, debited, credited);
    else if (row->debit != row->cost || row->credit != -row->cost)
        PROBLEM(v, "event %s/%u cost %" PRId64 " but posted %" PRId64 " and %" PRId64,
                row->request_id, row->attempt, row->cost, row->debit, row->credit);
    if (tg_pricing_check(v->book, row->target, row->opened_unix_ns, &row->tokens, row->cost, &why) <
        0)
        PROBLEM(v, "event %s/%u: %s", row->request_id, row->attempt, why.text);
    return 0;
}

static int see_account(void *user, const tg_account_row *row)
{
    char balance[TG_MONEY_TEXT], postings[TG_MONEY_TEXT];
    if (row->balance == row->postings)
        return 0;
    tg_money_format_usd(row->balance, balance);
    tg_money_format_usd(row->postings, postings);
    PROBLEM((verification *)user, "account %s of %s has a balance of %s; its postings sum to %s",
            tg_account_kind_name(row->kind), row->owner, balance, postings);
    return 0;
}

int tg_audit_verify(tg_store *store, const tg_price_book *book, tg_arena *arena, tg_audit *ret)
{
    tg_audit audit = {0};
    verification v = {book, arena, &audit};
    int rc = store->ops->begin_read(store);
    if (rc < 0)
        return rc;
    rc = store->ops->counts(store, &audit.counts);
    if (rc == 0 && audit.counts.events != audit.counts.transactions)
        PROBLEM(&v, "%" PRIu64 " events but %" PRIu64 " transactions", audit.counts.events,
                audit.counts.transactions);
    if (rc == 0)
        rc = store->ops->unbalanced(store, see_unbalanced, &v);
    if (rc == 0)
        rc = store->ops->posted(store, "", see_posted, &v);
    if (rc == 0)
        rc = store->ops->accounts(store, see_account, &v);
    store->ops->rollback(store);
    if (rc == 0)
        *ret = audit;
    return rc;
}

typedef struct comparing {
    const tg_price_book *book;
    const char *target;
    tg_error *err;
    tg_comparison sum;
} comparing;

static int compare_one(void *user, const tg_posted_row *row)
{
    comparing *c = user;
    tg_picousd there;
    int rc = tg_price_of(c->book, c->target, row->opened_unix_ns, &row->tokens, &there);
    if (rc < 0) {
        char when[TG_CLOCK_TEXT];
        tg_clock_format(row->opened_unix_ns, when, sizeof when);
        return tg_error_set(c->err, rc == -ERANGE ? -ERANGE : -ENOENT,
                            "target %s had no price at %s, when attempt %s/%u ran", c->target, when,
                            row->request_id, row->attempt);
    }
    c->sum.attempts++;
    c->sum.actual += row->cost;
    c->sum.there += there;
    return 0;
}

int tg_audit_compare(tg_store *store, const tg_price_book *book, const char *target,
                     const char *tenant, tg_error *err, tg_comparison *ret)
{
    comparing c = {.book = book, .target = target, .err = err};
    if (!tg_price_book_find(book, target, UINT64_MAX))
        return tg_error_set(err, -ENOENT, "price book %s has no target %s",
                            tg_price_book_version(book), target);
    int rc = store->ops->begin_read(store);
    if (rc < 0)
        return rc;
    rc = store->ops->posted(store, tenant, compare_one, &c);
    store->ops->rollback(store);
    if (rc == 0)
        *ret = c.sum;
    return rc;
}
