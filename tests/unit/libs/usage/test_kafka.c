#include "libs/usage/kafka.h"
#include "tests/unit/harness.h"

#include <errno.h>
#include <string.h>

static const char *get(const rd_kafka_conf_t *conf, const char *name)
{
    static char value[256];
    size_t size = sizeof value;
    return rd_kafka_conf_get(conf, name, value, &size) == RD_KAFKA_CONF_OK ? value : "?";
}

static void test_a_link_becomes_properties(void)
{
    const tg_kafka_link link = {.brokers = "k1:9093,k2:9093",
                                .security = TG_KAFKA_SASL_SSL,
                                .ca_file = "/ca.pem",
                                .cert_file = "/c.pem",
                                .key_file = "/k.pem",
                                .mechanism = 2,
                                .username = "tollgate",
                                .password = "open sesame"};
    const tg_kafka_property properties[] = {{"linger.ms", "7"}, {"group.id", NULL}};
    tg_error err = {""};
    rd_kafka_conf_t *conf = NULL;
    CU_ASSERT_EQUAL_FATAL(tg_kafka_configure("kafka test", &link, "me", properties, 2, &err, &conf),
                          0);
    static const char *const wanted[][2] = {
        {"bootstrap.servers", "k1:9093,k2:9093"}, {"client.id", "me"},
        {"security.protocol", "sasl_ssl"},        {"ssl.ca.location", "/ca.pem"},
        {"ssl.certificate.location", "/c.pem"},   {"ssl.key.location", "/k.pem"},
        {"sasl.mechanism", "SCRAM-SHA-512"},      {"sasl.username", "tollgate"},
        {"sasl.password", "open sesame"},         {"linger.ms", "7"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        CU_ASSERT_STRING_EQUAL(get(conf, wanted[i][0]), wanted[i][1]);
    rd_kafka_conf_destroy(conf);
}

static void test_parts_that_do_not_go_together(void)
{
    static const struct {
        tg_kafka_link link;
        const char *says;
    } bad[] = {
        {{.security = TG_KAFKA_PLAINTEXT, .ca_file = "/ca.pem"}, "plaintext"},
        {{.security = TG_KAFKA_SSL, .cert_file = "/c.pem"}, "key_file is missing"},
        {{.security = TG_KAFKA_SSL, .key_file = "/k.pem"}, "cert_file is missing"},
        {{.security = TG_KAFKA_SSL, .username = "tollgate", .password = "open sesame"}, "sasl_ssl"},
        {{.security = TG_KAFKA_SASL_SSL, .username = "tollgate"}, "password is missing"},
        {{.security = TG_KAFKA_SASL_PLAINTEXT, .password = "open sesame"}, "username is missing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tg_error err = {""};
        rd_kafka_conf_t *conf = NULL;
        tg_kafka_link link = bad[i].link;
        link.brokers = "k:9092";
        CU_ASSERT_EQUAL(tg_kafka_configure("kafka test", &link, "me", NULL, 0, &err, &conf),
                        -EINVAL);
        CU_ASSERT_PTR_NULL(conf);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "kafka test: "));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, bad[i].says));
        CU_ASSERT_PTR_NULL(strstr(err.text, "open sesame"));
    }
}

static void test_what_librdkafka_refuses(void)
{
    const tg_kafka_link link = {.brokers = "k:9092"};
    const tg_kafka_property properties[] = {{"no.such.thing", "1"}};
    tg_error err = {""};
    rd_kafka_conf_t *conf = NULL;
    CU_ASSERT_EQUAL(tg_kafka_configure("kafka test", &link, "me", properties, 1, &err, &conf),
                    -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no.such.thing"));
}

static const tg_test tests[] = {
    {"a_link_becomes_properties", test_a_link_becomes_properties},
    {"parts_that_do_not_go_together", test_parts_that_do_not_go_together},
    {"what_librdkafka_refuses", test_what_librdkafka_refuses}};
TG_TEST_MAIN("libs_usage_kafka", tests)
