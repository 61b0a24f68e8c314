"""Detectors of abuse: what many requests together say that none says alone, and what is answered to it.

Pure: sightings go in with their time, findings come out. Who sees requests, where standings are kept and how an answer reaches
whoever asks is said by others.
"""
