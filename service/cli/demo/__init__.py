"""`expunge demo`: erase people of a made-up company from stand-ins, up to verified evidence."""
