"""Late interaction: MaxSim of lists of token vectors, of which only a block is compared at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from st_rankloss.kernels.maxsim import NO_TOKENS

SIMILARITIES = ("maxsim", "meanmaxsim")

_BLOCK_TOKENS = 2**11  # of queries, and of documents: 32 MiB of float64 similarities


class TokenVectors:
    """Token vectors of several inputs.

    MaxSim is the sum over the query's tokens of the largest dot product with a token of the document; "meanmaxsim"
    divides it by the number of the query's tokens. A document without tokens scores -1e9 (divided likewise), which
    ranks it last, and a query without tokens gives every other document 0.

    Computed in float64, on the device of the queries. Documents of similar length share a block, in which shorter ones
    repeat their last token: it does not change the maximum. Time O(tokens of the queries · tokens of the documents ·
    dim). Memory: about 2,048 · 2,048 token similarities, or those of one long query and one long document.

    Args:
        embeddings: One tensor of shape ``(tokens, dim)`` per input, of any floating type.
        similarity_fn_name: "maxsim" or "meanmaxsim".

    Example:
        >>> queries = TokenVectors([torch.eye(2)], "maxsim")
        >>> documents = TokenVectors([torch.tensor([[0.5, 0.2], [0.1, 0.9]]), torch.zeros(0, 2)], "maxsim")
        >>> queries.compare(slice(0, 1), documents).round(decimals=4)
        tensor([[ 1.4000e+00, -1.0000e+09]], dtype=torch.float64)
    """

    def __init__(self, embeddings: Sequence[Tensor], similarity_fn_name: str) -> None:
        self.tokens = [tokens.detach() for tokens in embeddings]
        self.similarity_fn_name = similarity_fn_name
        device = self.tokens[0].device if self.tokens else torch.device("cpu")
        self.device = torch.device("cpu") if device.type == "mps" else device

    def __len__(self) -> int:
        return len(self.tokens)

    def compare(self, rows: slice, documents: TokenVectors) -> Tensor:
        """Compute the similarity of some rows to documents, shape ``(rows, documents)``."""
        queries = self.tokens[rows]
        places = range(len(queries))
        blocks = _blocks(places, [len(tokens) for tokens in queries])
        found = [self._compare_block([queries[place] for place in block], documents) for block in blocks]
        return torch.cat(found)

    def _compare_block(self, queries: Sequence[Tensor], documents: TokenVectors) -> Tensor:
        """Compare queries with a bounded number of tokens."""
        sizes = torch.tensor([len(tokens) for tokens in queries], device=self.device)
        tokens = torch.cat(list(queries)).to(self.device).double()
        owners = torch.arange(len(queries), device=self.device).repeat_interleave(sizes)
        found = tokens.new_full((len(queries), len(documents)), NO_TOKENS)
        for places in documents._by_length():
            padded = _pad([documents.tokens[place] for place in places]).to(self.device).double()
            similarity = tokens @ padded.flatten(0, 1).T
            largest = similarity.view(len(tokens), *padded.shape[:2]).amax(-1)
            found[:, places] = largest.new_zeros(len(queries), len(places)).index_add_(0, owners, largest)
        return found / sizes.clamp(min=1)[:, None] if self.similarity_fn_name == "meanmaxsim" else found

    def _by_length(self) -> Iterator[list[int]]:
        """Yield the places of inputs with tokens, the shortest first, with a bounded number of tokens in all."""
        lengths = [len(tokens) for tokens in self.tokens]
        places = sorted((place for place, length in enumerate(lengths) if length), key=lengths.__getitem__)
        # The last of a block is the longest, so its length is what each place takes.
        yield from _blocks(places, [lengths[place] for place in places], padded=True)


def _blocks(places: Sequence[int], lengths: Sequence[int], *, padded: bool = False) -> Iterator[list[int]]:
    """Cut places into runs of at most ``_BLOCK_TOKENS`` tokens, and at least one place."""
    block: list[int] = []
    total = 0
    for place, length in zip(places, lengths, strict=True):
        total = length * (len(block) + 1) if padded else total + length
        if block and total > _BLOCK_TOKENS:
            yield block
            block, total = [], length
        block.append(place)
    if block:
        yield block


def _pad(tokens: Sequence[Tensor]) -> Tensor:
    """Stack inputs of one token or more; the last token of a shorter one is repeated."""
    lengths = torch.tensor([len(rows) for rows in tokens])
    starts = lengths.cumsum(0) - lengths
    within = torch.minimum(torch.arange(int(lengths.max())), lengths[:, None] - 1)
    flat = torch.cat(list(tokens))
    return flat[(starts[:, None] + within).to(flat.device)]
