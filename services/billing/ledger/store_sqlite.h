/* The ledger in one SQLite file: write-ahead log, synchronous=FULL, so that a commit survives power
 * loss.
 *
 * The file carries its schema version (PRAGMA user_version) and is migrated forward when opened to
 * write; a newer version than ours is refused.
 */
#ifndef TG_BILLING_LEDGER_STORE_SQLITE_H
#define TG_BILLING_LEDGER_STORE_SQLITE_H

#include "services/billing/ledger/store.h"

#define TG_STORE_BUSY_MS 2000 /* wait for another writer before -EBUSY */

/* To write, the file and its directory are made if missing. `read_only` opens an existing file for
 * the reading functions. 0 or -errno with a reason. */
int tg_store_sqlite_open(const char *path, bool read_only, tg_error *err, tg_store **ret);

/* The migrations, one per version; applying [0, n) gives version n. */
extern const char *const tg_store_sqlite_migrations[];
extern const int tg_store_sqlite_version;

#endif
