"""Relationships among levels: pedigrees, markers, given matrices."""
