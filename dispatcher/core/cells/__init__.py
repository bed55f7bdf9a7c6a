"""Cells: one installation over several Redis servers. Each server is a cell, with its own mailboxes and records.

**Which cell.** A trigger's id begins with the name of its cell. A trigger with an idempotency key belongs to the
*owner* of its tenant and key (`owners`). The owner depends on the *generation*: the number of cells in force. A new
generation adds one cell or more, and the only keys that get another owner are those that move to a new cell.

**No trigger twice.** Each cell stores the highest generation that it has seen, and an accept carries the generation by
which its cell was chosen. A cell that has seen a later generation stores nothing and answers with that generation. So a
process that does not know of a new cell yet cannot accept a key whose owner has changed. Before the new owner accepts
such a key, the process asks each earlier owner whether it has the trigger already (`owners.earlier_owners`). This
question raises the generation of the earlier owner. After an answer "no", the earlier owner accepts the key no more.

**For how long.** An earlier owner is asked forever, because the life of a key has no limit: a dead letter keeps its
record until somebody discards it, and a redrive begins a new life.

**Limits of tenants.** All counts of a tenant are in one cell, its *counting cell* (`owners.counting_cell`). It never
changes, because a count that began again would let too many messages through.

**Membership.** Each cell stores its own name and the name of the installation (`membership`). So a start with fewer
cells, in another order or with the same server twice is refused.
"""
