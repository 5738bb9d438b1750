"""How ranks are computed: one signature, one method a file.

Every method takes ``(similarity, columns, temperature, weights)`` and returns the soft ranks of the
documents in ``columns``; `dense_rank` is the definition that all of them are tested against.

============  =====================  ==============  =======================================================
method        time per query         memory          takes
============  =====================  ==============  =======================================================
``dense``     P · D                  Q · P · D       tiny blocks; the reference
``relevant``  P · D                  Q · D           few ranked documents P
``grid``      p · D + M · log M      Q · D           everything else
============  =====================  ==============  =======================================================
"""

from __future__ import annotations

from st_rankloss.kernels.choice import METHODS, choose_method, rank_documents
from st_rankloss.kernels.dense import dense_rank
from st_rankloss.kernels.grid import grid_rank
from st_rankloss.kernels.relevant import relevant_rank

__all__ = ["METHODS", "choose_method", "dense_rank", "grid_rank", "rank_documents", "relevant_rank"]
