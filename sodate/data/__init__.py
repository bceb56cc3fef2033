"""Read, check, deduplicate and split: files in, examples and their ledger out."""

from sodate.data.check import Checked, check
from sodate.data.codes import CODES
from sodate.data.examples import fingerprint
from sodate.data.ledger import Ledger, Problem
from sodate.data.measure import RendererLike
from sodate.data.read import RawRow, read_rows

__all__ = ["CODES", "Checked", "Ledger", "Problem", "RawRow", "RendererLike", "check", "fingerprint", "read_rows"]
