/* Structured logs: one JSON object per line on stderr, for services and the CLI only (libraries
 * return errors instead of logging them).
 *
 *     tg_log(TG_LOG_WARN, "upstream_failed", "target", "%s", name, "status", "%d", status, NULL);
 *
 * After the event name come triples: key, printf format, one argument for exactly one conversion
 * (%s, %d, %u, %zu, %" PRIu64 " or %" PRId64). The list ends with NULL. Values are JSON strings, or
 * numbers where the format is numeric.
 *
 * Redaction: a value whose key is `authorization`, `api_key`, `key`, `secret`, `token`, `prompt`,
 * `content` or `body` is written as "[redacted]", whatever it holds; anything that looks like a
 * provider key (sk-…, AKIA…, Bearer …) inside a string is replaced too.
 * Bound: a line has at most TG_LOG_LINE_MAX bytes and a value 1,023; pairs that do not fit are left
 * out, whole, and
 * `"cut":true` says so. A line is always one JSON object in valid UTF-8. Threads: any; one write(2)
 * per line.
 */
#ifndef TG_BASE_LOG_H
#define TG_BASE_LOG_H

typedef enum tg_log_level { TG_LOG_DEBUG, TG_LOG_INFO, TG_LOG_WARN, TG_LOG_ERROR } tg_log_level;

#define TG_LOG_LINE_MAX 4096 /* bytes of one log line */

void tg_log_setup(const char *service, const char *instance, tg_log_level least);
int tg_log_level_parse(const char *name, tg_log_level *ret); /* debug, info, warn, error */
void tg_log_fd(int fd);                                      /* where lines go; 2 by default */
void tg_log(tg_log_level level, const char *event, ...);

#endif
