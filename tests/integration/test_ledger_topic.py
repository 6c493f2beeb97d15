"""The topic of ledger transactions: complete, balanced and equal to the ledger, whenever billing dies."""
import time

from ledger_topic import agrees_with_the_ledger
from mesh import TENANTS

DEATH_LIMIT_S = 30


def dies(mesh, point):
    """Billing, armed to die at a point, has something to post and dies there. How many requests that took."""
    mesh.stop("billing")
    group = f"{mesh.extra['TOLLGATE_BILLING_GROUP']}-{point}"  # of its own: nobody waits for Kafka to miss the dead
    mesh.start("billing", wait=False, env={"TOLLGATE_FAULT_POINT": point, "TOLLGATE_BILLING_GROUP": group})
    deadline, sent = time.monotonic() + DEATH_LIMIT_S, 0
    while mesh.alive("billing"):
        assert time.monotonic() < deadline, f"billing did not reach {point}"
        assert mesh.chat(model="openai-gpt4o-mini", tenant="globex").status_code == 200
        sent += 1
        time.sleep(0.05)
    mesh.start("billing", env={"TOLLGATE_BILLING_GROUP": f"{group}-after"})
    return sent


def test_complete_whenever_billing_dies(own_mesh, stubs):
    mesh = own_mesh
    for tenant in TENANTS:
        assert mesh.chat(model="openai-gpt4o-mini", tenant=tenant).status_code == 200
    records = agrees_with_the_ledger(mesh, stubs, len(TENANTS))
    assert len(records) == len(TENANTS), "nothing died: each transaction is there once"
    record = next(r for r in records if r.tenant == "acme")
    assert record.target == "openai-gpt4o-mini" and record.attempt == 1 and record.request_id and record.price_book
    assert {(p.account, p.owner) for p in record.postings} == \
        {("receivable", "acme"), ("revenue", "openai-gpt4o-mini")}

    sent = len(TENANTS) + dies(mesh, "ledger_after_commit:2")  # posted, and not yet sent
    agrees_with_the_ledger(mesh, stubs, sent)
    sent += dies(mesh, "outbox_after_ack")  # sent, and still in the outbox
    records = agrees_with_the_ledger(mesh, stubs, sent)
    assert len(records) > sent, "its successor sends it again"
