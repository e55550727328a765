"""Amplitude: users deleted by its User Privacy API, one deletion job a day.

Start reading at `connector`.
"""
