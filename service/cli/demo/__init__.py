"""`expunge demo`: the main job on a made-up company and its vendors' stand-ins, up to verified evidence."""
