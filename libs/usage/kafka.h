/* Kafka clients: what all of ours have in common, so that a setting means the same everywhere.
 *
 * The connection comes from the configuration (tg_kafka_link): brokers, whether it is encrypted,
 * who we are. What is particular to a client comes as a list of librdkafka's own properties.
 * Passwords go to librdkafka and nowhere else: no message of ours repeats a value.
 */
#ifndef TG_USAGE_KAFKA_H
#define TG_USAGE_KAFKA_H

#include "libs/base/error.h"
#include "libs/config/settings.h"

#include <librdkafka/rdkafka.h>

typedef struct tg_kafka_property {
    const char *name, *value; /* librdkafka's; a NULL value is left out */
} tg_kafka_property;

/* A configuration for tg_kafka_new. `what` begins every message: "kafka producer". -EINVAL with a
 * sentence when the link's parts don't go together or librdkafka refuses a property. */
int tg_kafka_configure(const char *what, const tg_kafka_link *link, const char *client_id,
                       const tg_kafka_property *properties, size_t count, tg_error *err,
                       rd_kafka_conf_t **ret);

/* Takes `conf` over, on failure too. */
int tg_kafka_new(const char *what, rd_kafka_type_t type, rd_kafka_conf_t *conf, tg_error *err,
                 rd_kafka_t **ret);

#endif
