"""Models for mteb, under names of their own."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer, SparseEncoder

from st_rankloss._extras import require
from st_rankloss._models import check_encoder


def named(model: Any, name: str, revision: str) -> Any:
    """Wrap a model for mteb under a name and revision of its own: mteb's cache treats all unnamed models as one.

    Args:
        model: A SentenceTransformer; or a SparseEncoder, with which mteb can search, but not rerank or classify.
        name: Its name in results, such as ``"me/model"``.
        revision: What tells its versions apart, such as a date.

    Returns:
        The model for ``mteb.evaluate``.

    Raises:
        ImportError: If mteb is not installed.
        TypeError: If the model is of another kind.
    """
    remedy = "evaluate other kinds with GradedInformationRetrievalEvaluator or GradedRerankingEvaluator"
    check_encoder(model, (SentenceTransformer, SparseEncoder), "named", remedy)
    wrapper = require("mteb.models", "mteb", purpose="named").SentenceTransformerEncoderWrapper(model)
    modalities = ["text", "image"] if "image" in getattr(model, "modalities", ()) else ["text"]
    update = {"name": name, "revision": revision, "modalities": modalities}
    wrapper.mteb_model_meta = wrapper.mteb_model_meta.model_copy(update=update)
    return wrapper
