"""Mailchimp: members of all audiences, erased for good. Start reading at `connector`."""
