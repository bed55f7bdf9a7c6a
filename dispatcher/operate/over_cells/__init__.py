"""The use cases of `dispatcher.operate`, over several cells instead of one.

A cell is one Redis with everything in it. Each cell's part of an intake replica has use cases of its own. The classes
here have the same methods as those use cases, and pass each call on. With one cell, nothing of this package is used.

Rules:

1. A question about one trigger or notification goes to one cell, which the first character of the id names. A cell that
   does not exist gives 404, and a cell that is away gives `UnavailableError`.
2. A question about everything goes to all cells, and the answers are merged. A cell that is away is left out. The
   answer then names this cell (`missing_cells`). If every cell is away, the answer is `UnavailableError`.
3. A list is read from one cell after the other. Its cursor names the cell and the place in that cell. So an item that
   stays is never skipped or listed twice.
4. What must be equal in all cells is written to all of them. If one cell is away, the call raises `UnavailableError`,
   and the caller repeats it. A repeat changes nothing where the first call had succeeded.
"""
