"""Iterable data: which samples of which source a batch has, and who reads them."""
