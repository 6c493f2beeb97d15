#include "libs/usage/kafka.h"

#include <errno.h>
#include <string.h>

static bool given(const char *text) { return text && *text; }

static int check(const char *what, const tg_kafka_link *link, tg_error *err)
{
    const bool encrypted = link->security == TG_KAFKA_SSL || link->security == TG_KAFKA_SASL_SSL;
    const bool named =
        link->security == TG_KAFKA_SASL_PLAINTEXT || link->security == TG_KAFKA_SASL_SSL;
    if (!encrypted && (given(link->ca_file) || given(link->cert_file) || given(link->key_file)))
        return tg_error_set(
            err, -EINVAL,
            "%s: certificates are given and security is '%s'; ssl and sasl_ssl use them", what,
            tg_kafka_security_names[link->security]);
    if (given(link->cert_file) != given(link->key_file))
        return tg_error_set(err, -EINVAL,
                            "%s: cert_file and key_file belong together; %s is missing", what,
                            given(link->cert_file) ? "key_file" : "cert_file");
    if (!named && (given(link->username) || given(link->password)))
        return tg_error_set(
            err, -EINVAL,
            "%s: a username or password is given and security is '%s'; sasl_plaintext and sasl_ssl "
            "use them",
            what, tg_kafka_security_names[link->security]);
    if (named && (!given(link->username) || !given(link->password)))
        return tg_error_set(err, -EINVAL, "%s: security is '%s' and %s is missing", what,
                            tg_kafka_security_names[link->security],
                            given(link->username) ? "password" : "username");
    return 0;
}

static int set(const char *what, rd_kafka_conf_t *conf, const char *name, const char *value,
               tg_error *err)
{
    char reason[256];
    if (!given(value) ||
        rd_kafka_conf_set(conf, name, value, reason, sizeof reason) == RD_KAFKA_CONF_OK)
        return 0;
    /* librdkafka's reason may repeat the value: a password's is not ours to tell. */
    if (strncmp(name, "sasl.", 5) == 0)
        return tg_error_set(err, -EINVAL, "%s: librdkafka refuses the value of %s", what, name);
    return tg_error_set(err, -EINVAL, "%s: %s", what, reason);
}

int tg_kafka_configure(const char *what, const tg_kafka_link *link, const char *client_id,
                       const tg_kafka_property *properties, size_t count, tg_error *err,
                       rd_kafka_conf_t **ret)
{
    static const char *const protocols[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};
    static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};
    const bool named =
        link->security == TG_KAFKA_SASL_PLAINTEXT || link->security == TG_KAFKA_SASL_SSL;
    const tg_kafka_property common[] = {
        {"bootstrap.servers", link->brokers},
        {"client.id", client_id},
        {"log_level", "0"}, /* errors come as events or to a callback */
        {"security.protocol", protocols[link->security]},
        {"ssl.ca.location", link->ca_file},
        {"ssl.certificate.location", link->cert_file},
        {"ssl.key.location", link->key_file},
        {"sasl.mechanism", named ? mechanisms[link->mechanism] : NULL},
        {"sasl.username", link->username},
        {"sasl.password", link->password},
    };
    int rc = check(what, link, err);
    if (rc < 0)
        return rc;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; rc == 0 && i < sizeof common / sizeof *common; i++)
        rc = set(what, conf, common[i].name, common[i].value, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = set(what, conf, properties[i].name, properties[i].value, err);
    if (rc < 0) {
        rd_kafka_conf_destroy(conf);
        return rc;
    }
    *ret = conf;
    return 0;
}

int tg_kafka_new(const char *what, rd_kafka_type_t type, rd_kafka_conf_t *conf, tg_error *err,
                 rd_kafka_t **ret)
{
    char reason[256];
    rd_kafka_t *kafka = rd_kafka_new(type, conf, reason, sizeof reason);
    if (!kafka) {
        rd_kafka_conf_destroy(conf);
        return tg_error_set(err, -EINVAL, "%s: %s", what, reason);
    }
    *ret = kafka;
    return 0;
}
