/* How `tollgate ledger` shows its answers: a table for people, JSON or CSV for programs. Amounts
 * are exact: dollars with all their decimals, and in JSON and CSV also whole pico-dollars, as text,
 * since they exceed what a JSON number holds. */
#ifndef TG_CLI_LEDGER_PRINT_H
#define TG_CLI_LEDGER_PRINT_H

#include "tollgate/v1/billing.pb-c.h"

typedef enum tg_ledger_format { TG_LEDGER_TABLE, TG_LEDGER_JSON, TG_LEDGER_CSV } tg_ledger_format;

void tg_ledger_print_statement(const Tollgate__V1__StatementResponse *statement,
                               tg_ledger_format format);
void tg_ledger_print_verification(const Tollgate__V1__VerifyResponse *verification,
                                  tg_ledger_format format);
void tg_ledger_print_comparison(const Tollgate__V1__CompareResponse *comparison,
                                tg_ledger_format format);

#endif
