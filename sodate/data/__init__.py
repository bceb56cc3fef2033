"""Read, check, deduplicate and split: files in, examples and their ledger out."""

from sodate.data.check import Checked, RendererLike, check
from sodate.data.ledger import CODES, Ledger, Problem
from sodate.data.load import fingerprint
from sodate.data.read import RawRow, read_rows

__all__ = ["CODES", "Checked", "Ledger", "Problem", "RawRow", "RendererLike", "check", "fingerprint", "read_rows"]
