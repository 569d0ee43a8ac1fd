"""Finds out how one server behaves: the facts of :mod:`pulumi_vmbackup.facts`, with their values.

``reads`` asks and changes nothing. ``writes`` assigns one VM to a location and un-assigns it, and
ends with its locations as they were. The command ``vmbackup probe`` runs both.
"""
