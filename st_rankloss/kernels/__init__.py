"""Methods to compute sums over pairs of documents, such as ranks, with one signature and one file per method.

Every method takes ``(similarity, columns, temperature, weights, kernel)`` and returns Σ_{k≠j} v_k K((s_k - s_j)/τ)
for the documents j in ``columns``, where K is the sigmoid (which counts the documents ahead of j: its rank) or softplus
(the pairwise logistic loss); `dense_sum` is the definition that all others are tested against.

============  =====================  ==============  =======================================================
method        time per query         memory          used for
============  =====================  ==============  =======================================================
``dense``     P · D                  Q · P · D       tiny blocks; the reference
``relevant``  P · D                  Q · D           few ranked documents P, or a very wide range
``grid``      p · D + M · log M      Q · D           everything else
``triton``    P · D or N · D         Q · D           a GPU with Triton
============  =====================  ==============  =======================================================

M, the number of nodes, is 3 per temperature of the range, in which gaps between neighbours count as 20 temperatures at
most; N is two per temperature in cells that hold documents, and at most half of P. P counts only documents that need a
sum: ``triton`` counts them on the device, without making the host wait.
"""

from __future__ import annotations

from st_rankloss.kernels.choice import METHODS, choose_method, sum_pairs
from st_rankloss.kernels.dense import dense_sum
from st_rankloss.kernels.grid import grid_sum
from st_rankloss.kernels.relevant import relevant_sum

__all__ = ["METHODS", "choose_method", "dense_sum", "grid_sum", "relevant_sum", "sum_pairs"]
