/* A mesh document for the tests of policies: targets from a text, prices in dollars per million. */
#ifndef TG_TESTS_POLICY_MESH_H
#define TG_TESTS_POLICY_MESH_H

#include "services/router/policy/decide.h"
#include "tests/unit/services/targets.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

/* The article's targets. The private one has two replicas, one of them three times as strong. */
static const char article_targets[] =
    "version: 1\n"
    "targets:\n"
    "  - {id: private-gpu-llama-70b, provider: private, model: llama-3.1-70b, context_tokens: "
    "8192,\n"
    "     data_classes: [public, internal, secret],\n"
    "     endpoints: [{id: a, url: \"h:1\"}, {id: b, url: \"h:2\", weight: 3}]}\n"
    "  - {id: bedrock-llama-3-70b, provider: bedrock, model: meta.llama3-70b-instruct-v1:0,\n"
    "     context_tokens: 8192, endpoints: [{id: main, url: \"https://h\", region: us-east-1,\n"
    "     access_key_env: A, secret_key_env: B}]}\n"
    "  - {id: anthropic-claude-haiku, provider: anthropic, model: claude-3-haiku-20240307,\n"
    "     context_tokens: 200000, data_classes: [public, internal],\n"
    "     endpoints: [{id: main, url: \"https://h\", credential_env: K}]}\n"
    "  - {id: openai-gpt4o-mini, provider: openai, model: gpt-4o-mini-2024-07-18, context_tokens: "
    "128000,\n"
    "     data_classes: [public], endpoints: [{id: main, url: \"https://h\", credential_env: K}]}\n"
    "  - {id: anthropic-claude-35-sonnet, provider: anthropic, model: claude-3-5-sonnet-20241022,\n"
    "     context_tokens: 200000, max_output_tokens: 8192,\n"
    "     endpoints: [{id: main, url: \"https://h\", credential_env: K}]}\n";

static const char article_policy[] = "routing_policy:\n"
                                     "  name: cost-tiered-routing\n"
                                     "  rules:\n"
                                     "    - name: commodity-to-private-gpu\n"
                                     "      match:\n"
                                     "        task_type: [classification, extraction, embedding]\n"
                                     "      route_to: private-gpu-llama-70b\n"
                                     "      fallback: bedrock-llama-3-70b\n"
                                     "    - name: general-to-haiku\n"
                                     "      match:\n"
                                     "        task_type: [summarization, chat, structured-output]\n"
                                     "      route_to: anthropic-claude-haiku\n"
                                     "      fallback: openai-gpt4o-mini\n"
                                     "    - name: reasoning-to-frontier\n"
                                     "      match:\n"
                                     "        task_type: [analysis, code-review, long-context]\n"
                                     "      route_to: anthropic-claude-35-sonnet\n"
                                     "      cost_cap_usd_per_request: 0.05\n";

static inline tg_policy *load_policy(const char *text, const tg_targets *targets)
{
    tg_policy *policy = NULL;
    tg_error err = {""};
    if (tg_policy_parse("policy.yaml", tg_str_of(text), targets, &err, &policy) < 0)
        printf("# %s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(policy);
    return policy;
}

/* Dollars per million tokens are pico-dollars a token times 10^-6: $0.15 is 150,000. */
static inline void add_price(tg_price_book *book, const char *target, tg_picousd input,
                             tg_picousd output)
{
    tg_price price = {
        .effective_unix_ns = 1, .input = input, .cache_read = input / 10, .output = output};
    CU_ASSERT_EQUAL_FATAL(tg_price_book_add(book, target, &price), 0);
}

static inline tg_price_book *article_prices(void)
{
    tg_price_book *book = tg_price_book_new("test");
    add_price(book, "private-gpu-llama-70b", 50000, 50000);
    add_price(book, "bedrock-llama-3-70b", 700000, 990000);
    add_price(book, "anthropic-claude-haiku", 250000, 1250000);
    add_price(book, "openai-gpt4o-mini", 150000, 600000);
    add_price(book, "anthropic-claude-35-sonnet", 3000000, 15000000);
    return book;
}

#endif
