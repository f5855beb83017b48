"""Stages of preprocessing: one module a mode, one protocol (:mod:`fran.preprocessing.stages.stage`)."""
