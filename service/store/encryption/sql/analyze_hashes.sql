-- Count the pairs for the planner, which would join the updates by nested loops over a table that it takes for empty.
ANALYZE hashes_brought_up
