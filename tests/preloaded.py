"""What the server in tests/worker.py imports beforehand; importing computes nothing."""

import transformers.models.llama.modeling_llama  # noqa: F401

import sodate.api.evaluation
import sodate.generate.engine
import sodate.library.sources
import sodate.release.registry
import sodate.train.sft  # noqa: F401
