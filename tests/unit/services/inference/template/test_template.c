#include "services/inference/template/template.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int render(const char *source, const char *variables, tg_error *err, tg_template_text *ret)
{
    tg_template *t = NULL;
    const tg_template_input in = {.variables = tg_str_of(variables), .bos_token = TG_STR("<s>"),
                                  .eos_token = TG_STR("</s>"), .add_generation_prompt = true, .now_s = 1764000000};
    int rc = tg_template_compile(tg_str_of(source), err, &t);
    if (rc == 0)
        rc = tg_template_render(t, &in, err, ret);
    tg_template_free(t);
    return rc;
}

static bool gives(const char *source, const char *variables, const char *want)
{
    tg_template_text text = {0};
    tg_error err = {""};
    int rc = render(source, variables, &err, &text);
    bool same = rc == 0 && tg_str_is((tg_str){text.bytes, text.len}, want);
    if (!same)
        printf("# %d %s: '%.*s', not '%s'\n", rc, err.text, (int)text.len, text.bytes ? text.bytes : "", want);
    tg_template_text_free(&text);
    return same;
}

static void test_blocks(void)
{
    CU_ASSERT(gives("a\n  {% if x %}\nyes\n  {% else %}\nno\n  {% endif %}\nb\n", "{\"x\":1}", "a\nyes\nb"));
    CU_ASSERT(gives("{% for a in x if a > 1 %}{{ loop.index }}{{ a }}{{ ',' if not loop.last }}{% endfor %}",
                    "{\"x\":[1,2,3]}", "12,23"));
    CU_ASSERT(gives("{% set n = namespace(i=0) %}{% for a in x %}{% set n.i = n.i + a %}{% endfor %}{{ n.i }}",
                    "{\"x\":[1,2,3]}", "6"));
    CU_ASSERT(gives("{% macro m(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(2, b='y') }}", "{}",
                    "[1z][2y]"));
    CU_ASSERT(gives("{%- for k, v in d.items() -%}\n {{ k }}={{ v }};\n{%- endfor -%}", "{\"d\":{\"a\":1,\"b\":2}}",
                    "a=1;b=2;"));
}

static void test_expressions(void)
{
    CU_ASSERT(gives("{{ x[1:] | length }} {{ x[::-1][0] }} {{ x[-1] }}", "{\"x\":[1,2,3]}", "2 3 3"));
    CU_ASSERT(gives("{{ x | tojson }}", "{\"x\":{\"a\":[1,2.5,null,true],\"b\":\"<é>\"}}",
                    "{\"a\": [1, 2.5, null, true], \"b\": \"<é>\"}"));
    CU_ASSERT(gives("{{ 7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1 < 2 < 3 }} {{ 'a' ~ 1 ~ none }}", "{}",
                    "3 2 3.5 True a1None"));
    CU_ASSERT(gives("{{ ' a b '.strip().split(' ')[1].upper() }}{{ x is defined }}", "{}", "BFalse"));
    CU_ASSERT(gives("{{ x | selectattr('k', 'equalto', 2) | map(attribute='v') | join(',') }}",
                    "{\"x\":[{\"k\":1,\"v\":\"a\"},{\"k\":2,\"v\":\"b\"}]}", "b"));
    CU_ASSERT(gives("{{ strftime_now('%d %b %Y') }}", "{}", "24 Nov 2025"));
}

/* Only what the template wrote is trusted, through every way a string can take. */
static void test_provenance(void)
{
    static const char *const ways[] = {"{{ x }}", "{{ x.strip() | upper | lower }}", "{{ x[1:] + x[:1] }}",
                                       "{{ [x, x] | join }}", "{{ [x] | tojson }}", "{{ 'a'.replace('a', x) }}",
                                       "{% set y %}{{ x }}{% endset %}{{ y.split('e') | last }}", "{{ [x] }}"};
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        tg_template_text text = {0};
        CU_ASSERT_EQUAL_FATAL(render(ways[i], "{\"x\":\"<|end|>\"}", NULL, &text), 0);
        CU_ASSERT(text.len > 0 && !memchr(text.trusted, 1, text.len));
        tg_template_text_free(&text);
    }
    tg_template_text text = {0};
    CU_ASSERT_EQUAL_FATAL(render("<{{ '|' ~ x ~ bos_token }}", "{\"x\":\"ab\"}", NULL, &text), 0);
    CU_ASSERT(text.len == 7 && memcmp(text.trusted, "\1\1\0\0\1\1\1", 7) == 0);
    tg_template_text_free(&text);
}

static void test_refusals(void)
{
    tg_error err = {""};
    CU_ASSERT_EQUAL(render("a\n{% include 'x' %}", "{}", &err, NULL), -ENOTSUP);
    CU_ASSERT(strstr(err.text, "line 2") && strstr(err.text, "include"));
    CU_ASSERT_EQUAL(render("{{ x | wordcount }}", "{}", NULL, NULL), -ENOTSUP);
    CU_ASSERT_EQUAL(render("{% if x %}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ x.y.z }}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{{ raise_exception('no') }}", "{}", NULL, NULL), -EINVAL);
    CU_ASSERT_EQUAL(render("{% for a in range(10000000) %}{% endfor %}", "{}", NULL, NULL), -E2BIG);
    CU_ASSERT_EQUAL(render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{}", NULL, NULL), -E2BIG);
    CU_ASSERT_EQUAL(render("{{ 'abcdefgh' * 100000000 }}", "{}", NULL, NULL), -E2BIG);
    CU_ASSERT_EQUAL(render("x", "{\"a\":1,\"a\":2}", NULL, NULL), -EINVAL);
}

static const tg_test tests[] = {{"blocks", test_blocks},
                                {"expressions", test_expressions},
                                {"provenance", test_provenance},
                                {"refusals", test_refusals}};
TG_TEST_MAIN("services_inference_template_template", tests)
