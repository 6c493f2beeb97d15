#include "libs/base/clock.h"
#include "libs/config/mesh.h"
#include "libs/config/mesh_file.h"

#include <errno.h>
#include <string.h>

enum { TOKENS_PER_PRICE = 1000000 };

typedef struct entry {
    const char *target, *effective;
    const char *input, *output, *cache_read, *cache_write_5m, *cache_write_1h, *per_request;
    bool assumed;
} entry;

typedef struct document {
    const char *version;
    const entry *prices;
    size_t price_count;
} document;

#define AT(type, member) .offset = offsetof(type, member)

static const tg_field entry_fields[] = {
    {"target", TG_FIELD_ID, AT(entry, target), .required = true,
     .doc = "Target the prices are of."},
    {"effective", TG_FIELD_STRING, AT(entry, effective), .required = true,
     .doc = "Date (2024-11-01, midnight UTC) or RFC 3339 time from which they hold."},
    {"input_usd_per_million", TG_FIELD_STRING, AT(entry, input), .required = true,
     .doc = "Dollars per million input tokens, a decimal number."},
    {"output_usd_per_million", TG_FIELD_STRING, AT(entry, output), .required = true,
     .doc = "Dollars per million output tokens, reasoning included."},
    {"cache_read_usd_per_million", TG_FIELD_STRING, AT(entry, cache_read),
     .doc = "Dollars per million input tokens read from a cache; left out: as input."},
    {"cache_write_5m_usd_per_million", TG_FIELD_STRING, AT(entry, cache_write_5m),
     .doc =
         "Dollars per million input tokens written to a cache for 5 minutes; left out: as input."},
    {"cache_write_1h_usd_per_million", TG_FIELD_STRING, AT(entry, cache_write_1h),
     .doc = "Dollars per million input tokens written to a cache for an hour; left out: as input."},
    {"per_request_usd", TG_FIELD_STRING, AT(entry, per_request), .fallback = "0",
     .doc = "Dollars per request, besides its tokens."},
    {"assumed", TG_FIELD_BOOL, AT(entry, assumed),
     .doc = "The price is an assumption, not a provider's list price."},
};
static const tg_schema entry_schema = TG_SCHEMA("a price", entry, entry_fields);

static const tg_field document_fields[] = {
    {"version", TG_FIELD_ID, AT(document, version), .required = true,
     .doc = "Name of this price book, at most 31 characters; every event carries it."},
    {"prices", TG_FIELD_STRUCTS, AT(document, prices),
     .count_offset = offsetof(document, price_count), .required = true, .min = 1, .max = 10000,
     .schema = &entry_schema, .doc = "Prices, by target and date."},
};
const tg_schema tg_prices_schema = TG_SCHEMA("prices.yaml", document, document_fields);

static int parse_usd(const tg_yaml_node *item, const char *key, const char *text, tg_error *err,
                     tg_picousd *ret)
{
    tg_picousd value = 0;
    int rc = tg_money_parse_usd(tg_str_of(text), &value);
    if (rc < 0 || value < 0)
        return tg_yaml_error(tg_mesh_node(item, key), err,
                             "'%s' is '%s'; allowed: dollars as a decimal number, not negative",
                             key, text);
    *ret = value;
    return 0;
}

/* NULL text: the price of input. */
static int parse_per_million(const tg_yaml_node *item, const char *key, const char *text,
                             tg_picousd input, tg_error *err, tg_picousd *ret)
{
    tg_picousd value = 0;
    int rc = text ? parse_usd(item, key, text, err, &value) : 0;
    if (rc == 0 && value % TOKENS_PER_PRICE != 0)
        return tg_yaml_error(
            tg_mesh_node(item, key), err,
            "'%s' is '%s'; at most 6 decimals, so that a token costs a whole number of "
            "pico-dollars",
            key, text);
    if (rc == 0)
        *ret = text ? value / TOKENS_PER_PRICE : input;
    return rc;
}

static int parse_entry(const tg_yaml_node *item, const entry *e, tg_error *err, tg_price *ret)
{
    tg_price price = {.assumed = e->assumed};
    if (tg_clock_parse(e->effective, &price.effective_unix_ns) < 0)
        return tg_yaml_error(
            tg_mesh_node(item, "effective"), err,
            "'effective' is '%s'; allowed: a date such as 2024-11-01, or an RFC 3339 "
            "time",
            e->effective);
    int rc = parse_per_million(item, "input_usd_per_million", e->input, 0, err, &price.input);
    if (rc == 0)
        rc = parse_per_million(item, "output_usd_per_million", e->output, 0, err, &price.output);
    if (rc == 0)
        rc = parse_per_million(item, "cache_read_usd_per_million", e->cache_read, price.input, err,
                               &price.cache_read);
    if (rc == 0)
        rc = parse_per_million(item, "cache_write_5m_usd_per_million", e->cache_write_5m,
                               price.input, err, &price.cache_write_5m);
    if (rc == 0)
        rc = parse_per_million(item, "cache_write_1h_usd_per_million", e->cache_write_1h,
                               price.input, err, &price.cache_write_1h);
    if (rc == 0)
        rc = parse_usd(item, "per_request_usd", e->per_request, err, &price.per_request);
    if (rc == 0)
        *ret = price;
    return rc;
}

static int add_entries(tg_price_book *book, const document *doc, const tg_yaml_node *root,
                       tg_error *err)
{
    const tg_yaml_node *item = tg_yaml_get(root, "prices")->first;
    for (size_t i = 0; i < doc->price_count; i++, item = item->next) {
        const entry *e = &doc->prices[i];
        tg_price price;
        int rc = parse_entry(item, e, err, &price);
        if (rc == 0)
            rc = tg_price_book_add(book, e->target, &price);
        if (rc == -EEXIST)
            return tg_yaml_error(tg_mesh_node(item, "effective"), err,
                                 "'%s' has prices from %s already", e->target, e->effective);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int tg_prices_load(const char *path, tg_error *err, tg_price_book **ret)
{
    tg_arena arena;
    const tg_yaml_node *root = NULL;
    document doc = {0};
    tg_price_book *book = NULL;
    tg_arena_init(&arena, 0);
    int rc = tg_mesh_read(&tg_prices_schema, path, &arena, err, &root, &doc);
    if (rc == 0 && strlen(doc.version) > 31)
        rc = tg_yaml_error(tg_mesh_node(root, "version"), err,
                           "'version' is longer than 31 characters");
    if (rc == 0 && !(book = tg_price_book_new(doc.version)))
        rc = -ENOMEM;
    if (rc == 0)
        rc = add_entries(book, &doc, root, err);
    tg_arena_free(&arena);
    if (rc < 0) {
        tg_price_book_free(book);
        return tg_error_set(err, rc, "%s: out of memory", path);
    }
    *ret = book;
    return 0;
}
