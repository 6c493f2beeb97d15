#include "services/billing/ledger/ledger.h"

#include "libs/base/fault.h"
#include "libs/base/map.h"
#include "services/billing/pricing/pricing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Most accounts kept in memory; past it all are forgotten and found again. */
#define ACCOUNTS_MAX 100000

typedef struct account {
    int64_t id;
    tg_picousd_sum change; /* in the running transaction */
    struct account *next_changed;
    bool changed;
} account;

struct tg_ledger {
    tg_store *store;
    const tg_price_book *book;
    void (*before_commit)(void *user);
    void *user;
    tg_map *accounts; /* "kind/owner" → account */
    account *changed;
};

/* ---- accounts ---- */

static void forget_accounts(tg_ledger *ledger)
{
    tg_str key;
    void *value;
    for (size_t at = 0; ledger->accounts && tg_map_next(ledger->accounts, &at, &key, &value);)
        free(value);
    tg_map_free(ledger->accounts);
    ledger->accounts = NULL;
    ledger->changed = NULL;
}

static int find_account(tg_ledger *ledger, tg_account_kind kind, const char *owner, account **ret)
{
    char key[TG_USAGE_NAME_MAX + 2];
    int len = snprintf(key, sizeof key, "%c/%s", kind == TG_ACCOUNT_RECEIVABLE ? 'd' : 'c', owner);
    tg_str name = {key, (size_t)len};
    if (!ledger->accounts && !(ledger->accounts = tg_map_new()))
        return -ENOMEM;
    account *found = tg_map_get(ledger->accounts, name);
    if (found) {
        *ret = found;
        return 0;
    }
    found = calloc(1, sizeof *found);
    if (!found)
        return -ENOMEM;
    int rc = ledger->store->ops->account_find(ledger->store, kind, owner, &found->id);
    if (rc == 0)
        rc = tg_map_put(ledger->accounts, name, found, NULL);
    if (rc < 0) {
        free(found);
        return rc;
    }
    *ret = found;
    return 0;
}

static void change(tg_ledger *ledger, account *a, tg_picousd amount)
{
    a->change += amount;
    if (!a->changed) {
        a->changed = true;
        a->next_changed = ledger->changed;
        ledger->changed = a;
    }
}

static int write_balances(tg_ledger *ledger)
{
    int rc = 0;
    for (account *a = ledger->changed; a && rc == 0; a = a->next_changed) {
        rc = ledger->store->ops->account_add(ledger->store, a->id, a->change);
        a->change = 0;
        a->changed = false;
    }
    ledger->changed = NULL;
    return rc;
}

/* ---- a transaction of the database ---- */

static int begin(tg_ledger *ledger)
{
    if (ledger->accounts && tg_map_count(ledger->accounts) > ACCOUNTS_MAX)
        forget_accounts(ledger);
    return ledger->store->ops->begin(ledger->store);
}

/* Commits when `rc` is 0; else nothing of it stays, nor what we remembered of it. */
static int end(tg_ledger *ledger, int rc, tg_error *reason)
{
    if (rc == 0)
        rc = write_balances(ledger);
    if (rc == 0) {
        tg_fault_point("ledger_in_transaction");
        if (ledger->before_commit)
            ledger->before_commit(ledger->user);
        rc = ledger->store->ops->commit(ledger->store);
    }
    if (rc < 0) {
        tg_error_set(reason, rc, "%s", ledger->store->ops->error(ledger->store));
        ledger->store->ops->rollback(ledger->store);
        forget_accounts(ledger);
        return rc;
    }
    tg_fault_point("ledger_after_commit");
    return 0;
}

/* ---- events ---- */

/* 0; -EINVAL: to be quarantined, with a reason; or the store's error. */
static int check_price(tg_ledger *ledger, const tg_usage_event *event, tg_error *reason)
{
    bool known = false;
    int rc = 0;
    if (strcmp(event->price_book, tg_price_book_version(ledger->book)) != 0) {
        rc = ledger->store->ops->price_book_known(ledger->store, event->price_book, &known);
        if (rc == 0 && !known)
            return tg_error_set(reason, -EINVAL, "price book version '%s' was never loaded here",
                                event->price_book);
    }
    if (rc == 0)
        rc = tg_pricing_check(ledger->book, event->target, event->opened_unix_ns, &event->tokens,
                              event->cost_picousd, reason);
    return rc;
}

/* 0, -EEXIST for one that is there already, or the store's error. */
static int post_event(tg_ledger *ledger, const tg_usage_event *event, uint64_t now_unix_ns)
{
    account *owed = NULL, *earned = NULL;
    int64_t event_id = 0;
    int rc = ledger->store->ops->event_add(ledger->store, event, &event_id);
    if (rc == 0)
        rc = find_account(ledger, TG_ACCOUNT_RECEIVABLE, event->tenant, &owed);
    if (rc == 0)
        rc = find_account(ledger, TG_ACCOUNT_REVENUE, event->target, &earned);
    if (rc < 0)
        return rc;
    tg_posting postings[] = {{owed->id, event->cost_picousd}, {earned->id, -event->cost_picousd}};
    rc = ledger->store->ops->transaction_add(ledger->store, event_id, now_unix_ns, postings, 2);
    if (rc == 0) {
        change(ledger, owed, event->cost_picousd);
        change(ledger, earned, -event->cost_picousd);
    }
    return rc;
}

static int quarantine(tg_ledger *ledger, const tg_store_message *message, tg_quarantine_kind kind,
                      const tg_error *why, uint64_t now_unix_ns, tg_error *first,
                      tg_ledger_tally *tally)
{
    if (first && !first->text[0])
        *first = *why;
    tally->quarantined++;
    return ledger->store->ops->quarantine_add(ledger->store, message, kind, why->text, now_unix_ns);
}

static int take_message(tg_ledger *ledger, const tg_store_message *message, uint64_t now_unix_ns,
                        tg_error *first, tg_ledger_tally *tally)
{
    tg_usage_event event;
    tg_error why = {""};
    bool exists = false;
    if (tg_usage_event_decode(message->bytes.data, message->bytes.len, &why, &event) < 0)
        return quarantine(ledger, message, TG_QUARANTINE_FORM, &why, now_unix_ns, first, tally);
    int rc = check_price(ledger, &event, &why);
    if (rc == -EINVAL) {
        /* A second copy of a posted event is a duplicate, whatever it says. */
        rc = ledger->store->ops->event_exists(ledger->store, event.request_id, event.attempt,
                                              &exists);
        if (rc == 0 && !exists)
            return quarantine(ledger, message, TG_QUARANTINE_PRICE, &why, now_unix_ns, first,
                              tally);
        if (rc == 0)
            rc = -EEXIST;
    } else if (rc == 0) {
        rc = post_event(ledger, &event, now_unix_ns);
    }
    if (rc == -EEXIST) {
        tally->duplicates++;
        return 0;
    }
    if (rc == 0) {
        tally->posted++;
        tally->cost += event.cost_picousd;
    }
    return rc;
}

/* ---- batches ---- */

/* Messages of one partition come in order, so its last one says where to go on. */
static int move_offsets(tg_ledger *ledger, const tg_store_message *messages, size_t count)
{
    int rc = 0;
    for (size_t i = count; rc == 0 && i-- > 0;) {
        bool later = false;
        for (size_t j = i + 1; j < count && !later; j++)
            later = messages[j].partition == messages[i].partition &&
                    tg_str_eq(messages[j].topic, messages[i].topic);
        if (!later)
            rc = ledger->store->ops->offset_set(ledger->store, messages[i].topic.data,
                                                messages[i].partition, messages[i].offset + 1);
    }
    return rc;
}

int tg_ledger_post(tg_ledger *ledger, const tg_store_message *messages, size_t count,
                   uint64_t now_unix_ns, tg_error *reason, tg_ledger_tally *ret)
{
    tg_ledger_tally tally = {0};
    tg_error first = {""};
    int rc = begin(ledger);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < count; i++)
            rc = take_message(ledger, &messages[i], now_unix_ns, &first, &tally);
        if (rc == 0 && tally.duplicates > 0)
            rc = ledger->store->ops->duplicates_add(ledger->store, tally.duplicates);
        if (rc == 0)
            rc = move_offsets(ledger, messages, count);
        rc = end(ledger, rc, reason);
    }
    if (rc < 0)
        return tg_error_set(reason, rc, "%s", ledger->store->ops->error(ledger->store));
    if (first.text[0])
        tg_error_set(reason, 0, "%s", first.text);
    *ret = tally;
    return 0;
}

/* Posts one quarantined event if its price agrees now. */
static int retry(tg_ledger *ledger, int64_t id, tg_str bytes, uint64_t now_unix_ns,
                 tg_ledger_tally *tally)
{
    tg_usage_event event;
    if (tg_usage_event_decode(bytes.data, bytes.len, NULL, &event) < 0)
        return 0;
    int rc = check_price(ledger, &event, NULL);
    if (rc == -EINVAL) {
        tally->quarantined++;
        return 0;
    }
    if (rc == 0)
        rc = post_event(ledger, &event, now_unix_ns);
    if (rc < 0 && rc != -EEXIST)
        return rc;
    if (rc == 0) {
        tally->posted++;
        tally->cost += event.cost_picousd;
    } else {
        tally->duplicates++;
    }
    return ledger->store->ops->quarantine_resolve(ledger->store, id, now_unix_ns);
}

int tg_ledger_set_prices(tg_ledger *ledger, const tg_price_book *book, uint64_t now_unix_ns,
                         tg_ledger_tally *ret)
{
    tg_ledger_tally tally = {0};
    tg_store *store = ledger->store;
    const tg_price_book *before = ledger->book;
    int64_t id = 0;
    tg_str bytes;
    int rc = begin(ledger);
    if (rc < 0)
        return rc;
    ledger->book = book;
    rc = store->ops->price_book_add(store, tg_price_book_version(book), now_unix_ns);
    while (rc == 0) {
        rc = store->ops->quarantine_next(store, TG_QUARANTINE_PRICE, id, &id, &bytes);
        if (rc == 0)
            rc = retry(ledger, id, bytes, now_unix_ns, &tally);
    }
    if (rc == -ENOENT)
        rc = tally.duplicates ? store->ops->duplicates_add(store, tally.duplicates) : 0;
    rc = end(ledger, rc, NULL);
    if (rc < 0)
        ledger->book = before;
    else
        *ret = tally;
    return rc;
}

int tg_ledger_new(tg_store *store, void (*before_commit)(void *user), void *user, tg_ledger **ret)
{
    tg_ledger *ledger = calloc(1, sizeof *ledger);
    if (!ledger)
        return -ENOMEM;
    ledger->store = store;
    ledger->before_commit = before_commit;
    ledger->user = user;
    *ret = ledger;
    return 0;
}

tg_ledger *tg_ledger_free(tg_ledger *ledger)
{
    if (ledger) {
        forget_accounts(ledger);
        free(ledger);
    }
    return NULL;
}
