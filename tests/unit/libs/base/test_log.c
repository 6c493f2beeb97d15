#include "libs/base/log.h"
#include "libs/base/str.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static char lines[1 << 16];

/* What the last calls of tg_log wrote. */
static int pipe_ends[2];
static void begin(void)
{
    CU_ASSERT_EQUAL_FATAL(pipe(pipe_ends), 0);
    tg_log_fd(pipe_ends[1]);
    tg_log_setup("router", "r1", TG_LOG_INFO);
}
static const char *end(void)
{
    close(pipe_ends[1]);
    tg_log_fd(2);
    ssize_t n = read(pipe_ends[0], lines, sizeof lines - 1);
    close(pipe_ends[0]);
    lines[n > 0 ? n : 0] = '\0';
    return lines;
}

static const char *after_time(const char *line) /* the time is the clock's business */
{
    const char *level = strstr(line, ",\"level\"");
    return level ? level : line;
}

static void test_one_object_a_line(void)
{
    begin();
    tg_log(TG_LOG_DEBUG, "unseen", NULL);
    tg_log(TG_LOG_WARN, "upstream_failed", "target", "%s", "a\"b\\\n", "status", "%d", -5, "bytes",
           "%zu", (size_t)1 << 40, "reason", "%s", NULL, NULL);
    CU_ASSERT_STRING_EQUAL(after_time(end()), ",\"level\":\"warn\",\"service\":\"router\","
                                              "\"instance\":\"r1\",\"event\":\"upstream_failed\""
                                              ",\"target\":\"a\\\"b\\\\\\u000a\",\"status\":-5,"
                                              "\"bytes\":1099511627776,\"reason\":\"\"}\n");
}

static void test_secrets_are_not_written(void)
{
    static const char *const secrets[] = {"sk-abc123", "AKIAIOSFODNN7EXAMPLE", "tg_live_0123",
                                          "Bearer xyz789"};
    static const char *const keys[] = {"authorization", "API_KEY", "key",     "secret",
                                       "token",         "prompt",  "content", "body"};
    begin();
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        char text[64];
        strcpy(text, "header was ");
        strcat(text, secrets[i]);
        tg_log(TG_LOG_ERROR, "refused", "why", "%s", text, NULL);
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        tg_log(TG_LOG_ERROR, "refused", keys[i], "%s", "hush-hush", NULL);
    const char *written = end();
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        const char *own_part =
            strpbrk(secrets[i] + 2, "_ -") ? strpbrk(secrets[i], "_ -") + 1 : secrets[i] + 4;
        CU_ASSERT_PTR_NULL(strstr(written, own_part));
    }
    CU_ASSERT_PTR_NULL(strstr(written, "hush"));
    size_t marks = 0;
    for (const char *at = written; (at = strstr(at, "[redacted]")); at++)
        marks++;
    CU_ASSERT_EQUAL(marks, sizeof secrets / sizeof *secrets + sizeof keys / sizeof *keys);
}

/* Too long a line leaves whole pairs out, stays one object, and says that it was cut. */
static void test_a_long_line_is_still_an_object(void)
{
    char value[3000];
    memset(value, '\\', sizeof value - 1); /* each becomes two */
    value[sizeof value - 1] = '\0';
    begin();
    tg_log(TG_LOG_INFO, "long", "a", "%s", value, "b", "%s", value, "c", "%s", "short", "d", "%d",
           7, NULL);
    const char *line = after_time(end());
    const size_t len = strlen(line);
    CU_ASSERT(len <= TG_LOG_LINE_MAX);
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "\",\"c\":\"short\",\"d\":7,\"cut\":true}\n"));
    CU_ASSERT_PTR_NULL(strstr(line, "\"b\""));
    CU_ASSERT_EQUAL(line[len - 1], '\n');
}

static void test_other_peoples_bytes_leave_valid_utf8(void)
{
    char value[1200];
    for (size_t i = 0; i + 3 < sizeof value; i += 3)
        memcpy(value + i, "\xe2\x82\xac", 4);
    begin();
    tg_log(TG_LOG_INFO, "bytes", "a", "%s", "caf\xc3\xa9 \xff\xc3( \xe2\x82", "b", "%s", value,
           NULL);
    const char *line = end();
    CU_ASSERT_TRUE(tg_utf8_valid(line, strlen(line)));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(line, "caf\xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd( \xef\xbf\xbd\xef\xbf\xbd\""));
}

static void test_levels(void)
{
    tg_log_level level;
    CU_ASSERT_EQUAL(tg_log_level_parse("warn", &level), 0);
    CU_ASSERT_EQUAL(level, TG_LOG_WARN);
    CU_ASSERT_EQUAL(tg_log_level_parse("loud", &level), -EINVAL);
}

static const tg_test tests[] = {
    {"one_object_a_line", test_one_object_a_line},
    {"secrets_are_not_written", test_secrets_are_not_written},
    {"a_long_line_is_still_an_object", test_a_long_line_is_still_an_object},
    {"other_peoples_bytes_leave_valid_utf8", test_other_peoples_bytes_leave_valid_utf8},
    {"levels", test_levels},
};
TG_TEST_MAIN("libs_base_log", tests)
