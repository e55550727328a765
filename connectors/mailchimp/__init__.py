"""Mailchimp Marketing API 3.0: the connector, and a stand-in of the vendor. README.md has facts and sources."""
