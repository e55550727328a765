"""The kit holds the rules of erasure that all REST vendors share.

A connector on the kit only declares its calls.

`calls` declares calls, pages, exact matches and the vendor's own "not found". `look` finds a person's records. `rest`
erases records one by one, `jobs` hands records to the vendor's erasure job, `operations` makes calls directly or in a
job, `stages` erases softly and then for good, `suppression` keeps people from being contacted. `progress` is the resume
token, `people` separates the error of one person from the error of the system. The kit decides nothing about requests,
deadlines or retries. Start reading at `rest`, then `connectors/intercom`.
"""
