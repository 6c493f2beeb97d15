#include "libs/config/mesh.h"

#include "libs/base/clock.h"
#include "tests/unit/libs/config/files.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/evp.h>

/* ---- targets ---- */

static void test_targets(void)
{
    write_file("t.yaml",
               "version: 1\ntargets:\n"
               "  - {id: a, provider: private, model: m, endpoints: [{url: 'localhost:1'}]}\n"
               "  - id: b\n    provider: bedrock\n    model: meta.x-v1:0\n"
               "    data_classes: [public, internal]\n    total_timeout_ms: 5m\n"
               "    endpoints:\n"
               "      - {id: east, url: 'https://h/base', region: r, access_key_env: A,"
               " secret_key_env: S, weight: 3}\n"
               "      - {id: west, url: 'http://h:80', region: r, access_key_env: A,"
               " secret_key_env: S}\n");
    tg_targets *targets = NULL;
    tg_error err = {""};
    int rc = tg_targets_load("t.yaml", &err, &targets);
    check_text(err.text, "", __LINE__);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_EQUAL(tg_targets_count(targets), 2);
    CU_ASSERT_EQUAL(tg_targets_find(targets, TG_STR("b")), 1);
    CU_ASSERT_EQUAL(tg_targets_find(targets, TG_STR("c")), -1);
    CU_ASSERT_PTR_NULL(tg_targets_at(targets, 2));
    const tg_target *a = tg_targets_at(targets, 0), *b = tg_targets_at(targets, 1);
    CU_ASSERT_STRING_EQUAL(a->endpoints[0].id, "default");
    CU_ASSERT_TRUE(a->provider == TG_PROVIDER_PRIVATE && a->serves_as == NULL);
    CU_ASSERT_TRUE(a->max_output_tokens == 4096 && a->context_tokens == 0 &&
                   a->data_class_count == 0);
    CU_ASSERT_TRUE(a->connect_timeout_ms == 2000 && a->first_token_timeout_ms == 30000);
    CU_ASSERT_TRUE(a->idle_timeout_ms == 30000 && a->total_timeout_ms == 600000);
    CU_ASSERT_TRUE(b->endpoint_count == 2 && b->endpoints[0].weight == 3 &&
                   b->endpoints[1].weight == 1);
    CU_ASSERT_TRUE(b->data_class_count == 2 && b->total_timeout_ms == 300000);
    CU_ASSERT_STRING_EQUAL(tg_provider_name(b->provider), "bedrock");
    tg_targets_free(targets);
    CU_ASSERT_PTR_NULL(tg_targets_free(NULL));
}

static void check_targets(const char *list, const char *expected, unsigned line)
{
    char text[1024];
    tg_targets *targets = NULL;
    tg_error err = {""};
    snprintf(text, sizeof text, "version: 1\ntargets:\n%s", list);
    write_file("t.yaml", text);
    CU_ASSERT_EQUAL(tg_targets_load("t.yaml", &err, &targets), -EINVAL);
    check_text(err.text, expected, line);
}
#define TARGETS(list, expected) check_targets(list, expected, __LINE__)
#define OPENAI "  - id: a\n    provider: openai\n    model: m\n    endpoints:\n"

static void test_targets_refused(void)
{
    TARGETS("  []\n", "t.yaml:3:3: 'targets' holds 0; at least 1 needed");
    TARGETS(
        "  - {id: a, provider: opnai, model: m, endpoints: [{url: 'https://h'}]}\n",
        "t.yaml:3:23: 'provider' is 'opnai'; allowed: openai, anthropic, bedrock, private; did you "
        "mean 'openai'?");
    TARGETS(
        OPENAI "      - url: ftp://h\n",
        "t.yaml:7:14: 'url' is 'ftp://h'; allowed: https://HOST[:PORT][/BASE], no '/' at its end");
    TARGETS(OPENAI "      - url: https://h/\n", "t.yaml:7:14: 'url' is 'https://h/'; allowed: "
                                                "https://HOST[:PORT][/BASE], no '/' at its end");
    TARGETS(OPENAI "      - url: https:///x\n", "t.yaml:7:14: 'url' is 'https:///x'; allowed: "
                                                "https://HOST[:PORT][/BASE], no '/' at its end");
    TARGETS(OPENAI "      - url: https://user@h\n",
            "t.yaml:7:14: 'url' is 'https://user@h'; allowed: "
            "https://HOST[:PORT][/BASE], no '/' at its end");
    TARGETS(OPENAI
            "      - url: https://h\n        credential_env: A\n        credential_file: b\n",
            "t.yaml:9:26: give credential_env or credential_file, not both");
    TARGETS(OPENAI "      - {id: x, url: https://h}\n      - {id: x, url: https://i}\n",
            "t.yaml:8:14: 'id' 'x' was already given");
    TARGETS(OPENAI "      - {url: https://h}\n      - {url: https://i}\n",
            "t.yaml:8:9: 'id' 'default' was already given");
    TARGETS(OPENAI "      - url: https://h\n" OPENAI "      - url: https://h\n",
            "t.yaml:8:9: 'id' 'a' was already given");
    TARGETS("  - {id: a, provider: private, model: m, endpoints: [{url: 'http://h:1'}]}\n",
            "t.yaml:3:60: 'url' is 'http://h:1'; allowed: HOST:PORT of the gRPC server");
    TARGETS(
        "  - {id: a, provider: bedrock, model: m, endpoints: [{url: 'https://h', region: r}]}\n",
        "t.yaml:3:54: 'access_key_env' is missing: a bedrock endpoint needs region, access_key_env "
        "and secret_key_env");
    TARGETS("  - {id: a, provider: openai, model: m, count_tokens: always, endpoints: [{url: "
            "'https://h', credential_env: K}]}\n",
            "t.yaml:3:55: count_tokens: always needs provider: private");
    TARGETS(OPENAI "      - {url: https://h, wieght: 1}\n",
            "t.yaml:7:26: unknown key 'wieght'; did you mean 'weight'? (known: id, url, "
            "credential_env, "
            "credential_file, access_key_env, secret_key_env, session_token_env, region, ca_file, "
            "weight)");
}

/* ---- prices ---- */

static void test_prices(void)
{
    write_file("p.yaml",
               "version: 2024-11\nprices:\n"
               "  - {target: t, effective: 2024-11-01, input_usd_per_million: 0.15,"
               " output_usd_per_million: '0.60', cache_read_usd_per_million: '0.075'}\n"
               "  - {target: t, effective: 2025-01-01, input_usd_per_million: '0.000001',"
               " output_usd_per_million: '2', per_request_usd: '0.0005', assumed: true}\n");
    tg_price_book *book = NULL;
    tg_error err = {""};
    int rc = tg_prices_load("p.yaml", &err, &book);
    check_text(err.text, "", __LINE__);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_STRING_EQUAL(tg_price_book_version(book), "2024-11");
    uint64_t first = 0, second = 0;
    CU_ASSERT_EQUAL(tg_clock_parse("2024-11-01", &first), 0);
    CU_ASSERT_EQUAL(tg_clock_parse("2025-01-01T00:00:00Z", &second), 0);
    const tg_price *price = tg_price_book_find(book, "t", first);
    CU_ASSERT_PTR_NOT_NULL_FATAL(price);
    CU_ASSERT_TRUE(price->input == 150000 && price->output == 600000 && price->cache_read == 75000);
    CU_ASSERT_TRUE(price->cache_write_5m == 150000 && price->cache_write_1h == 150000);
    CU_ASSERT_TRUE(price->per_request == 0 && !price->assumed);
    CU_ASSERT_PTR_NULL(tg_price_book_find(book, "t", first - 1));
    price = tg_price_book_find(book, "t", second);
    CU_ASSERT_PTR_NOT_NULL_FATAL(price);
    CU_ASSERT_TRUE(price->input == 1 && price->output == 2000000 &&
                   price->per_request == 500000000);
    CU_ASSERT_TRUE(price->assumed);
    tg_price_book_free(book);
}

static void check_prices(const char *text, const char *expected, unsigned line)
{
    tg_price_book *book = NULL;
    tg_error err = {""};
    write_file("p.yaml", text);
    CU_ASSERT_EQUAL(tg_prices_load("p.yaml", &err, &book), -EINVAL);
    check_text(err.text, expected, line);
}
#define PRICES(entry, expected)                                                                    \
    check_prices("version: v\nprices:\n  - target: t\n" entry, expected, __LINE__)

static void test_prices_refused(void)
{
    PRICES("    effective: 2024-11-01\n    input_usd_per_million: '0.0000001'\n"
           "    output_usd_per_million: 1\n",
           "p.yaml:5:28: 'input_usd_per_million' is '0.0000001'; at most 6 decimals, so that a "
           "token costs a whole number of pico-dollars");
    PRICES(
        "    effective: 2024-11-01\n    input_usd_per_million: -1\n    output_usd_per_million: 1\n",
        "p.yaml:5:28: 'input_usd_per_million' is '-1'; allowed: dollars as a decimal number, not "
        "negative");
    PRICES(
        "    effective: 2024-11-01\n    input_usd_per_million: 1e3\n    output_usd_per_million: "
        "1\n",
        "p.yaml:5:28: 'input_usd_per_million' is '1e3'; allowed: dollars as a decimal number, not "
        "negative");
    PRICES(
        "    effective: 2024-11-01\n    input_usd_per_million: 1\n    output_usd_per_million: 1\n"
        "    per_request_usd: x\n",
        "p.yaml:7:22: 'per_request_usd' is 'x'; allowed: dollars as a decimal number, not "
        "negative");
    PRICES(
        "    effective: yesterday\n    input_usd_per_million: 1\n    output_usd_per_million: 1\n",
        "p.yaml:4:16: 'effective' is 'yesterday'; allowed: a date such as 2024-11-01, or an RFC "
        "3339 time");
    PRICES(
        "    effective: 2024-11-01\n    input_usd_per_million: 1\n    output_usd_per_million: 1\n"
        "  - {target: t, effective: 2024-11-01, input_usd_per_million: 1, output_usd_per_million: "
        "1}\n",
        "p.yaml:7:28: 't' has prices from 2024-11-01 already");
    PRICES("    effective: 2024-11-01\n    input_usd_per_million: 1\n",
           "p.yaml:3:5: 'output_usd_per_million' is missing: Dollars per million output tokens, "
           "reasoning included.");
    check_prices("version: v1234567890123456789012345678901\nprices:\n  - {target: t, effective: "
                 "2024-11-01, input_usd_per_million: 1, output_usd_per_million: 1}\n",
                 "p.yaml:1:10: 'version' is longer than 31 characters", __LINE__);
}

/* ---- tenants and keys ---- */

static tg_tenants *tenants(void)
{
    tg_tenants *loaded = NULL;
    tg_error err = {""};
    write_file("n.yaml", "version: 1\ntenants:\n  - {id: acme, name: Acme, rate_limit_rpm: 60}\n"
                         "  - {id: globex, model_allowlist: [a, b]}\n");
    CU_ASSERT_EQUAL(tg_tenants_load("n.yaml", &err, &loaded), 0);
    check_text(err.text, "", __LINE__);
    return loaded;
}

static void test_tenants(void)
{
    tg_tenants *loaded = tenants();
    CU_ASSERT_EQUAL(tg_tenants_count(loaded), 2);
    const tg_tenant *globex = tg_tenants_find(loaded, TG_STR("globex"));
    CU_ASSERT_PTR_EQUAL(globex, tg_tenants_at(loaded, 1));
    CU_ASSERT_STRING_EQUAL(globex->name, "globex");
    CU_ASSERT_TRUE(globex->model_allowlist_count == 2 && globex->rate_limit_rpm == 0);
    CU_ASSERT_EQUAL(tg_tenants_at(loaded, 0)->rate_limit_rpm, 60);
    CU_ASSERT_PTR_NULL(tg_tenants_find(loaded, TG_STR("acm")));
    tg_tenants_free(loaded);
    tg_error err = {""};
    write_file("n.yaml", "version: 2\ntenants:\n  - {id: acme}\n");
    CU_ASSERT_EQUAL(tg_tenants_load("n.yaml", &err, &loaded), -EINVAL);
    check_text(err.text, "n.yaml:1:10: 'version' is '2'; allowed: a whole number from 1 to 1",
               __LINE__);
    err.text[0] = '\0';
    write_file("n.yaml", "version: 1\ntenants:\n  - {id: acme}\n  - {id: acme}\n");
    CU_ASSERT_EQUAL(tg_tenants_load("n.yaml", &err, &loaded), -EINVAL);
    check_text(err.text, "n.yaml:4:10: 'id' 'acme' was already given", __LINE__);
}

static void test_keys(void)
{
    tg_tenants *known = tenants();
    char secrets[2][TG_KEY_TEXT], lines[2][512], text[2048];
    CU_ASSERT_EQUAL(tg_keys_make("k1", "acme", secrets[0], lines[0]), 0);
    CU_ASSERT_EQUAL(tg_keys_make("k2", "globex", secrets[1], lines[1]), 0);
    CU_ASSERT_EQUAL(tg_keys_make("not a name", "acme", secrets[1], lines[1]), -EINVAL);
    CU_ASSERT_TRUE(strncmp(secrets[0], "tg_live_k1~", 11) == 0 && strlen(secrets[0]) == 11 + 43);
    CU_ASSERT_STRING_NOT_EQUAL(secrets[0], secrets[1]);
    snprintf(text, sizeof text, "version: 1\nkeys:\n%s%s", lines[0], lines[1]);
    write_file("k.yaml", text);
    tg_keys *keys = NULL;
    tg_error err = {""};
    int rc = tg_keys_load("k.yaml", known, &err, &keys);
    check_text(err.text, "", __LINE__);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    const tg_key *key = tg_keys_check(keys, tg_str_of(secrets[0]));
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    CU_ASSERT_TRUE(strcmp(key->id, "k1") == 0 && strcmp(key->tenant, "acme") == 0 && key->pin);
    key = tg_keys_check(keys, tg_str_of(secrets[1]));
    CU_ASSERT_TRUE(key && strcmp(key->id, "k2") == 0);
    secrets[0][30] ^= 1;
    CU_ASSERT_PTR_NULL(tg_keys_check(keys, tg_str_of(secrets[0])));
    CU_ASSERT_PTR_NULL(tg_keys_check(keys, TG_STR("")));
    tg_keys_free(keys);
    tg_tenants_free(known);
}

/* Stands in front of OpenSSL's own and counts: each hash begins here. */
static unsigned hashes;
int EVP_DigestInit_ex2(EVP_MD_CTX *ctx, const EVP_MD *type, const OSSL_PARAM params[])
{
    static int (*real)(EVP_MD_CTX *, const EVP_MD *, const OSSL_PARAM[]);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "EVP_DigestInit_ex2");
    hashes++;
    return real(ctx, type, params);
}

static unsigned hashes_of(const tg_keys *keys, const char *secret, const char *expected_id)
{
    unsigned before = hashes;
    const tg_key *key = tg_keys_check(keys, tg_str_of(secret));
    CU_ASSERT_TRUE(expected_id ? key && strcmp(key->id, expected_id) == 0 : !key);
    return hashes - before;
}

/* Each with a salt of its own, beside one key that is not named. */
static void test_many_keys(void)
{
    static char secrets[TG_KEYS_MAX][TG_KEY_TEXT], lines[TG_KEYS_MAX * 256];
    const size_t named = TG_KEYS_MAX - 1;
    tg_tenants *known = tenants();
    tg_keys *keys = NULL;
    tg_error err = {""};
    char id[32], forged[TG_KEY_TEXT];
    int len = snprintf(lines, sizeof lines,
                       "version: 1\nkeys:\n  - {id: old, tenant: acme, salt: salt, sha256: "
                       "c2a16346ba397e2b74d32fd7677135a4337e7378b4cb18ed714fb0055746d527}\n");
    for (size_t i = 0; i < named; i++) {
        char line[512];
        snprintf(id, sizeof id, "key-%zu", i);
        CU_ASSERT_EQUAL_FATAL(tg_keys_make(id, "acme", secrets[i], line), 0);
        len += snprintf(lines + len, sizeof lines - (size_t)len, "%s", line);
        CU_ASSERT_TRUE_FATAL((size_t)len < sizeof lines);
    }
    write_file("k.yaml", lines);
    CU_ASSERT_EQUAL_FATAL(tg_keys_load("k.yaml", known, &err, &keys), 0);
    for (size_t i = 0; i < named; i++) {
        snprintf(id, sizeof id, "key-%zu", i);
        CU_ASSERT_EQUAL_FATAL(hashes_of(keys, secrets[i], id), 1);
    }
    CU_ASSERT_EQUAL(hashes_of(keys, "other", "old"), 1);
    CU_ASSERT_EQUAL(hashes_of(keys, "nobody's", NULL), 1);
    CU_ASSERT_EQUAL(hashes_of(keys, "tg_live_nobody~x", NULL), 1);
    CU_ASSERT_EQUAL(hashes_of(keys, "tg_live_key-1", NULL), 1);
    /* another's secret */
    snprintf(forged, sizeof forged, "tg_live_key-1~%s", strchr(secrets[2], '~') + 1);
    CU_ASSERT_EQUAL(hashes_of(keys, forged, NULL), 1);
    tg_keys_free(keys);
    tg_tenants_free(known);
}

/* Hashes made by sha256sum of "saltopen sesame" and "saltother". */
static void test_the_stored_form(void)
{
    tg_tenants *known = tenants();
    tg_keys *keys = NULL;
    tg_error err = {""};
    write_file("k.yaml",
               "version: 1\nkeys:\n"
               "  - {id: a, tenant: acme, tenants: globex, pin: false, salt: salt, sha256: "
               "BBD2DB92DB49887C7CF100E224EBE6D91D91BED31ED2FE30BEBDBE7F94DE3C24}\n"
               "  - {id: b, tenant: acme, salt: salt, sha256: "
               "c2a16346ba397e2b74d32fd7677135a4337e7378b4cb18ed714fb0055746d527}\n");
    CU_ASSERT_EQUAL_FATAL(tg_keys_load("k.yaml", known, &err, &keys), 0);
    const tg_key *a = tg_keys_check(keys, TG_STR("open sesame"));
    const tg_key *b = tg_keys_check(keys, TG_STR("other"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_TRUE(strcmp(a->id, "a") == 0 && !a->pin && a->tenant_count == 1);
    CU_ASSERT_TRUE(b && strcmp(b->id, "b") == 0 && b->pin && b->tenant_count == 0);
    tg_keys_free(keys);
    tg_tenants_free(known);
}

static void check_keys(const char *entry, const char *expected, unsigned line)
{
    tg_tenants *known = tenants();
    char text[1024];
    tg_keys *keys = NULL;
    tg_error err = {""};
    snprintf(text, sizeof text, "version: 1\nkeys:\n%s", entry);
    write_file("k.yaml", text);
    CU_ASSERT_EQUAL(tg_keys_load("k.yaml", known, &err, &keys), -EINVAL);
    check_text(err.text, expected, line);
    tg_tenants_free(known);
}
#define KEYS(entry, expected) check_keys(entry, expected, __LINE__)
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_keys_refused(void)
{
    KEYS("  - {id: a, tenant: acmee, salt: s, sha256: " HASH "}\n",
         "k.yaml:3:21: 'tenant' names the tenant 'acmee', which does not exist; did you mean "
         "'acme'?");
    KEYS("  - {id: a, tenant: acme, tenants: [globex, zz], salt: s, sha256: " HASH "}\n",
         "k.yaml:3:45: 'tenants' names the tenant 'zz', which does not exist");
    KEYS("  - {id: a, tenant: acme, salt: s, sha256: 0123}\n",
         "k.yaml:3:44: 'sha256' is not 64 hexadecimal digits");
    KEYS("  - {id: a, tenant: acme, salt: s, sha256: " HASH "}\n"
         "  - {id: a, tenant: acme, salt: s, sha256: " HASH "}\n",
         "k.yaml:4:10: 'id' 'a' was already given");
    KEYS("  - {id: a, tenant: acme, sha256: " HASH "}\n",
         "k.yaml:3:5: 'salt' is missing: Text put before the key when it is hashed.");
}

static const tg_test tests[] = {
    {"targets", test_targets},
    {"targets_refused", test_targets_refused},
    {"prices", test_prices},
    {"prices_refused", test_prices_refused},
    {"tenants", test_tenants},
    {"keys", test_keys},
    {"many_keys", test_many_keys},
    {"stored_form", test_the_stored_form},
    {"keys_refused", test_keys_refused},
};
TG_TEST_MAIN("libs_config_mesh", tests)
