"""One Salesforce org as the connector sees it: session, schema, queries, visibility.

Decides how calls are packed and which objects can be read. Doesn't decide what is deleted. Start at `org.py`.
"""
