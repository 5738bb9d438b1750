"""Tiny models and batches of every shape, made offline, with each batch's relevance by plain loops."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Normalize, Router
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, StaticEmbedding, Transformer
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaModel,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from st_rankloss.losses.tokens import pack_tokens
from st_rankloss.relevance import (
    UNJUDGED,
    Classes,
    Hierarchy,
    Lists,
    MultiLabel,
    Numeric,
    Pairs,
    Qrels,
    Relevance,
    Vectors,
    encode_ids,
)

NAN = math.nan
Rows = list[list[float]]


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """A tokenizer whose tokens are whole words; unknown words become [UNK]."""
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["[PAD]", "[UNK]", *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def word_model(words: Iterable[str], dim: int = 16) -> SentenceTransformer:
    """A model whose embedding of a text is the mean of its words' random embeddings."""
    tokenizer = word_tokenizer(words)
    weights = torch.randn(tokenizer.get_vocab_size(), dim, generator=torch.Generator().manual_seed(0))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def _save_bert(
    folder: Path, words: Iterable[str], dropout: float, architecture: type[BertModel | BertForMaskedLM]
) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(words), pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    architecture(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def older(package, *version):
    """Whether a package is older than a version: what a test asks of it may come later."""
    return tuple(map(int, metadata.version(package).split("+")[0].split(".")[: len(version)])) < version


def watched(loss):
    """A list that gets each batch that a loss computes a gradient for."""
    batches = []
    loss.observed.register_forward_pre_hook(lambda _, given: batches.append(given[0]))
    return batches


def tiny_bert(folder: Path, words: Iterable[str], dropout: float = 0.1) -> SentenceTransformer:
    """A BERT of two layers with random weights."""
    _save_bert(folder, words, dropout, BertModel)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32)], device="cpu")


def tiny_splade(folder: Path, words: Iterable[str], dropout: float = 0.1) -> SparseEncoder:
    """The same BERT with a sparse embedding, one dimension per word."""
    _save_bert(folder, words, dropout, BertForMaskedLM)
    return SparseEncoder(str(folder), device="cpu")


def tiny_multi_vector(
    folder: Path, words: Iterable[str], dropout: float = 0.0, skipped: int = 0, **options: Any
) -> MultiVectorEncoder:
    """The same BERT with a unit vector for each token; the first words are left out of documents, not of queries."""
    words = list(words)
    _save_bert(folder, words, dropout, BertModel)
    mask, normalize = MultiVectorMask(skiplist_words=words[:skipped]), Normalize(module_input_name="token_embeddings")
    return MultiVectorEncoder(modules=[Transformer(str(folder)), mask, normalize], device="cpu", **options)


def tiny_csr(folder: Path, words: Iterable[str], dropout: float = 0.1) -> SparseEncoder:
    """The same BERT with a sparse autoencoder behind it."""
    _save_bert(folder, words, dropout, BertModel)
    modules = [Transformer(str(folder)), Pooling(32), SparseAutoEncoder(input_dim=32, hidden_dim=64, k=8, k_aux=16)]
    return SparseEncoder(modules=modules, device="cpu")


def tiny_cross_encoder(folder: Path, words: Iterable[str], dropout: float = 0.0, labels: int = 1) -> CrossEncoder:
    """The same BERT with a score per pair."""
    _save_bert(folder, words, dropout, BertModel)
    return CrossEncoder(str(folder), num_labels=labels, device="cpu")


def without_one_vector(folder: Path, words: Iterable[str]) -> list[CrossEncoder | MultiVectorEncoder]:
    """Encoders of the kinds that do not make one vector of an input."""
    _save_bert(folder, words, 0.0, BertModel)
    return [
        CrossEncoder(str(folder), num_labels=1, device="cpu"),
        MultiVectorEncoder(modules=[Transformer(str(folder))], device="cpu"),
    ]


def tiny_colbert(folder: Path, words: Iterable[str], dropout: float = 0.1, **masking: Any) -> MultiVectorEncoder:
    """The same BERT with an embedding per token, of 8 dimensions; ``masking`` goes to `MultiVectorMask`."""
    _save_bert(folder, words, dropout, BertModel)
    project = Dense(
        32,
        8,
        bias=False,
        activation_function=nn.Identity(),
        module_input_name="token_embeddings",
        module_output_name="token_embeddings",
    )
    normalize = Normalize(module_input_name="token_embeddings", module_output_name="token_embeddings")
    modules = [Transformer(str(folder)), project, normalize, MultiVectorMask(**masking)]
    return MultiVectorEncoder(modules=modules, device="cpu")


TINY_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny_clip(folder: Path, words: Iterable[str]) -> SentenceTransformer:
    """A CLIP with random weights for images of 16 pixels: one module for both modalities."""
    marks = {"bos_token": "[BOS]", "eos_token": "[EOS]"}
    tokenizer = word_tokenizer([*marks.values(), *words])
    ids = {mark: tokenizer.token_to_id(mark) for mark in marks.values()}
    tokenizer.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=list(ids.items()))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16, **marks
    )
    places = {"bos_token_id": ids["[BOS]"], "eos_token_id": ids["[EOS]"], "pad_token_id": 0}
    config = CLIPConfig(
        projection_dim=32,
        text_config=TINY_TOWER | places | {"vocab_size": len(fast), "max_position_embeddings": 16},
        vision_config=TINY_TOWER | {"image_size": 16, "patch_size": 8},
    )
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(image_processor=images, tokenizer=fast).save_pretrained(folder)
    return SentenceTransformer(str(folder), device="cpu")


def two_towers(folder: Path, words: Iterable[str]) -> SentenceTransformer:
    """A BERT for texts and a ViT for images, behind a Router."""
    tiny_bert(folder / "bert", words, dropout=0.0)
    ViTModel(ViTConfig(**TINY_TOWER, image_size=16, patch_size=8), add_pooling_layer=False).save_pretrained(
        folder / "vit"
    )
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder / "vit")
    texts = [Transformer(str(folder / "bert")), Pooling(32)]
    images = [Transformer(str(folder / "vit")), Pooling(32), Dense(32, 32, activation_function=nn.Identity())]
    return SentenceTransformer(modules=[Router({"text": texts, "image": images})], device="cpu")


def save_chatting(folder: Path, words: Iterable[str]) -> str:
    """Save a LLaVA with random weights for images of 16 pixels, which reads chats of texts and images."""
    marks = {"bos_token": "[BOS]", "eos_token": "[EOS]"}
    tokenizer = word_tokenizer([*marks.values(), "<image>", "user", "system", *words])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]",
        extra_special_tokens={"image_token": "<image>"}, **marks,
    )  # fmt: skip
    tower = TINY_TOWER | {"num_key_value_heads": 2, "vocab_size": len(fast), "pad_token_id": 0}
    places = {"bos_token_id": 2, "eos_token_id": 3}
    config = LlavaConfig(
        text_config=LlamaConfig(**tower | places),
        vision_config=CLIPVisionConfig(**TINY_TOWER, image_size=16, patch_size=8),
        image_token_index=tokenizer.token_to_id("<image>"),
        vision_feature_layer=-1,
    )
    LlavaModel(config).save_pretrained(folder)
    template = (
        "{% for message in messages %}{{ message['role'] }} {% for part in message['content'] %}"
        "{% if part['type'] == 'image' or 'image' in part %}<image> {% else %}{{ part['text'] }} {% endif %}"
        "{% endfor %}{% endfor %}"
    )
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        image_processor=images, tokenizer=fast, patch_size=8, vision_feature_select_strategy="default",
        chat_template=template, image_token="<image>", num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


def tiny_chatting(folder: Path, words: Iterable[str]) -> SentenceTransformer:
    """A LLaVA with a vector per input: a text, an image, both, or a chat."""
    return SentenceTransformer(modules=[Transformer(save_chatting(folder, words)), Pooling(32)], device="cpu")


def tiny_multi_vector_chatting(folder: Path, words: Iterable[str]) -> MultiVectorEncoder:
    """A LLaVA with a vector per token of text or patch of an image."""
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    modules = [Transformer(save_chatting(folder, words)), Dense(32, 16, **names), MultiVectorMask()]
    return MultiVectorEncoder(modules=modules, device="cpu")


def tiny_sparse_clip(folder: Path, words: Iterable[str]) -> SparseEncoder:
    """The CLIP with a sparse autoencoder behind it."""
    tiny_clip(folder, words)
    modules = [Transformer(str(folder)), SparseAutoEncoder(input_dim=32, hidden_dim=64, k=8, k_aux=16)]
    return SparseEncoder(modules=modules, device="cpu")


def text_and_sound(folder: Path, words: Iterable[str]) -> SentenceTransformer:
    """A BERT for texts and an audio spectrogram transformer for sounds, behind a Router."""
    tiny_bert(folder / "bert", words, dropout=0.0)
    frames = {"max_length": 24, "num_mel_bins": 16}
    ASTModel(ASTConfig(**TINY_TOWER, **frames, patch_size=8, frequency_stride=8, time_stride=8)).save_pretrained(
        folder / "ast"
    )
    ASTFeatureExtractor(**frames).save_pretrained(folder / "ast")
    texts = [Transformer(str(folder / "bert")), Pooling(32)]
    sounds = [Transformer(str(folder / "ast")), Pooling(32), Dense(32, 32, activation_function=nn.Identity())]
    return SentenceTransformer(modules=[Router({"text": texts, "audio": sounds})], device="cpu")


class Passing(nn.Module):
    """A stand-in for an encoder: its inputs are the embeddings. It counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        features["sentence_embedding"] = features["input_ids"]
        return features

    def preprocess(self, inputs: list[Any]) -> dict[str, Any]:
        return {"input_ids": inputs}

    def __getitem__(self, place: int) -> Passing:
        return self  # its first module, as of a SentenceTransformer


class PairTable(nn.Module):
    """A stand-in for a cross-encoder: the score of two numbers, written as texts, is in its table."""

    def __init__(self, size: int = 80, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(9)
        self.table = nn.Parameter(torch.randn(size, size, generator=draw, dtype=dtype))
        self.dropout = nn.Dropout(dropout)
        self.seen: list[list[tuple[int, int]]] = []

    def preprocess(self, pairs: list[tuple[str, str]], **_: Any) -> dict[str, Tensor]:
        self.seen.append([(int(query), int(document)) for query, document in pairs])
        return {"pairs": torch.tensor(self.seen[-1])}

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        query, document = features["pairs"].unbind(1)
        return {"scores": self.dropout(self.table[query, document])[:, None]}


def texts_of(shape: Shape) -> list[list[Any]]:
    """Columns of numbers as texts for a batch of a shape: queries from 0, documents after them, column by column."""
    numbers = list(map(str, range(sum(shape.sizes))))
    columns: list[list[Any]] = []
    for size in shape.sizes:
        columns.append(numbers[:size])
        numbers = numbers[size:]
    if isinstance(shape.labels, dict) and "list_sizes" in shape.labels:
        flat = iter(columns[1])
        columns[1] = [[next(flat) for _ in range(n)] for n in shape.labels["list_sizes"].tolist()]
    return columns


class PassingTokens(MultiVectorEncoder):
    """A stand-in for an encoder of tokens: its inputs are the embeddings and the mask."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
        return {"token_embeddings": features["input_ids"], "attention_mask": features["attention_mask"]}

    def __getitem__(self, place: int) -> PassingTokens:
        return self


def token_columns_of(packed: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """The features from which `PassingTokens` makes these packed tokens."""
    return [{"input_ids": column[..., :-1], "attention_mask": column[..., -1].detach().long()} for column in packed]


def random_tokens(sizes: Sequence[int], dim: int = 6, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Packed tokens of each column that want a gradient, 3 to 5 for a row, of which one to all count."""
    generator = torch.Generator().manual_seed(3)
    columns = []
    for place, size in enumerate(sizes):
        vectors = torch.randn(size, 3 + place % 3, dim, generator=generator, dtype=dtype)
        counts = torch.rand(vectors.shape[:2], generator=generator) < 0.6
        counts[torch.arange(size), torch.arange(size) % counts.shape[1]] = True
        columns.append(pack_tokens(nn.functional.normalize(vectors, dim=-1), counts).requires_grad_())
    return columns


def max_sims(queries: Tensor, documents: Tensor, *, mean: bool = True) -> Tensor:
    """MaxSim of packed tokens by its definition, with autograd: ``(Q, D)``."""

    def score(query: Tensor, document: Tensor) -> Tensor:
        query, document = (tokens[tokens[:, -1] > 0][:, :-1] for tokens in (query, document))
        largest = (query @ document.T).max(1).values
        return largest.mean() if mean else largest.sum()

    return torch.stack([torch.stack([score(query, document) for document in documents]) for query in queries])


def columns_of(embeddings: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """The features from which `Passing` makes these embeddings."""
    return [{"input_ids": column} for column in embeddings]


def random_columns(sizes: Sequence[int], dim: int = 8, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Embeddings of each column that want a gradient; the same at each call."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(size, dim, generator=generator, dtype=dtype).requires_grad_() for size in sizes]


@functools.cache
def cached_tolerance() -> float:
    """The relative error that the host's gradient caching may have in float64, as its own loss shows.

    Up to 6.0 it takes the gradient through float32, later it does not.
    """
    gradients = []
    for loss in (CachedMultipleNegativesRankingLoss(Passing()), MultipleNegativesRankingLoss(Passing())):
        embeddings = random_columns([8, 8])
        loss(columns_of(embeddings), None).backward()
        gradients.append(torch.cat([e.grad for e in embeddings]))
    found, wanted = gradients
    return 1e-10 if (found - wanted).abs().max() <= 1e-12 * wanted.abs().max() else 2**-23


# The definitions of relevance, for one query and one document.


def same_class(query: int, document: int) -> float:
    return 1.0 if query == document else 0.0


def shared_levels(query: Sequence[int], document: Sequence[int], weights: Sequence[float] | None = None) -> float:
    if query[0] == -1 or document[0] == -1:  # no label at all
        return NAN
    total = 0.0
    for level, (a, b) in enumerate(zip(query, document, strict=True)):
        if a != b or a == -1:
            break
        total += 1 if weights is None else weights[level]
    return total


def agreement(
    query: Sequence[float], document: Sequence[float], kind: str, idf: Sequence[float] | None = None
) -> float:
    names = range(len(query))
    a, b = {n for n in names if query[n]}, {n for n in names if document[n]}

    def size(names: set[int]) -> float:
        return float(sum(1 if idf is None else idf[n] for n in names))

    if size(a & b) == 0:
        return 0.0
    return {
        "jaccard": size(a & b) / size(a | b),
        "cosine": size(a & b) / math.sqrt(size(a) * size(b)),
        "overlap": size(a & b) / min(size(a), size(b)),
        "dice": 2 * size(a & b) / (size(a) + size(b)),
    }[kind]


def nearness(query: Sequence[float], document: Sequence[float], kernel: str, widths: Sequence[float]) -> float:
    x = math.sqrt(sum(((a - b) / width) ** 2 for a, b, width in zip(query, document, widths, strict=True)))
    return {"gaussian": math.exp(-(x**2) / 2), "laplace": math.exp(-x), "triangle": max(0.0, 1 - x)}[kernel]


def quarter_deviations(rows: Sequence[Sequence[float]]) -> list[float]:
    """A quarter of each column's standard deviation, 1 where it is 0."""
    widths = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column))
        widths.append(deviation / 4 or 1.0)
    return widths


def label_cosine(
    query: Sequence[float], document: Sequence[float], threshold: float = 0.0, power: float = 1.0
) -> float:
    dot = sum(a * b for a, b in zip(query, document, strict=True))
    norms = math.sqrt(sum(a * a for a in query)) * math.sqrt(sum(b * b for b in document))
    cosine = dot / norms if norms else 0.0
    return max(0.0, (cosine - threshold) / (1 - threshold)) ** power


def each_with_each(queries: Sequence[Any], documents: Sequence[Any], relation: Callable[[Any, Any], float]) -> Rows:
    return [[relation(query, document) for document in documents] for query in queries]


def without_self(rows: Rows) -> Rows:
    return [[NAN if q == d else value for d, value in enumerate(row)] for q, row in enumerate(rows)]


@dataclass(frozen=True)
class Shape:
    """A batch of one of the dataset shapes, and what its labels mean."""

    name: str
    sizes: list[int]
    """Rows of each input column."""
    labels: Any
    relevance: Relevance
    expected: Rows
    """Relevance of every document for every query, NaN for unjudged ones and for a query itself."""
    chosen: bool = False
    """Whether ``relevance=None`` chooses this relevance."""

    def __repr__(self) -> str:
        return self.name


def _shapes() -> list[Shape]:
    rows = 12
    draw = torch.Generator().manual_seed(11)
    classes = torch.randint(0, 4, (rows,), generator=draw)
    levels = torch.randint(-1, 3, (rows, 3), generator=draw)
    levels[(levels == -1).cumsum(1) > 0] = -1  # a path ends at its first missing level
    hot = torch.rand(rows, 5, generator=draw) < 0.4
    hot[3] = False
    numbers = torch.rand(rows, generator=draw) * 5
    targets = torch.rand(rows, 2, generator=draw) * torch.tensor([1.0, 100.0])
    vectors = torch.randn(rows, 4, generator=draw)
    grades = torch.randint(0, 4, (rows, 3), generator=draw)
    scores = torch.rand(rows, generator=draw)
    lengths = [1, 3, 2, 4, 1, 1, 2, 3, 1, 2, 2, 1]
    owners = [row for row, length in enumerate(lengths) for _ in range(length)]
    places = [place for length in lengths for place in range(length)]
    ragged = torch.full((rows, 4), NAN)
    for row, length in enumerate(lengths):
        ragged[row, :length] = torch.randint(0, 4, (length,), generator=draw).float()
    ragged[1, 1] = NAN  # unjudged within the list
    document_ids = [f"d{number % 9}" for number in range(2 * rows)]  # documents that come more than once
    qrels = {f"q{row}": {f"d{row % 9}": 3, f"d{(row + 4) % 9}": 1, "absent": 2} for row in range(rows - 1)}

    pairs = [[float(d == q) for d in range(rows)] for q in range(rows)]
    return [
        Shape("pairs", [rows] * 2, None, Pairs(), pairs, chosen=True),
        Shape("pairs_and_negatives", [rows] * 3, None, Pairs(), [row + [0.0] * rows for row in pairs], chosen=True),
        Shape(
            "scored_pairs",
            [rows] * 2,
            scores,
            Pairs(),
            [[scores[q].item() if d == q else 0.0 for d in range(rows)] for q in range(rows)],
            chosen=True,
        ),
        Shape(
            "classes",
            [rows],
            classes,
            Classes(),
            without_self(each_with_each(classes.tolist(), classes.tolist(), same_class)),
            chosen=True,
        ),
        Shape(
            "two_columns_with_a_class",
            [rows] * 2,
            classes,
            Classes(),
            each_with_each(classes.tolist(), classes.tolist(), same_class),
        ),
        Shape(
            "three_columns_with_a_class",
            [rows] * 3,
            classes,
            Classes(),
            each_with_each(classes.tolist(), classes.tolist() * 2, same_class),
        ),
        Shape(
            "levels",
            [rows],
            levels,
            Hierarchy(),
            without_self(each_with_each(levels.tolist(), levels.tolist(), shared_levels)),
        ),
        Shape(
            "label_sets",
            [rows],
            hot,
            MultiLabel(),
            without_self(each_with_each(hot.tolist(), hot.tolist(), lambda a, b: agreement(a, b, "jaccard"))),
            chosen=True,
        ),
        Shape(
            "numbers",
            [rows],
            numbers,
            Numeric(),
            without_self(
                each_with_each(
                    [[x] for x in numbers.tolist()],
                    [[x] for x in numbers.tolist()],
                    lambda a, b: nearness(a, b, "gaussian", quarter_deviations([[x] for x in numbers.tolist()])),
                )
            ),
            chosen=True,
        ),
        Shape(
            "two_columns_with_two_numbers",
            [rows] * 2,
            targets,
            Numeric("laplace"),
            each_with_each(
                targets.tolist(),
                targets.tolist(),
                lambda a, b: nearness(a, b, "laplace", quarter_deviations(targets.tolist())),
            ),
        ),
        Shape(
            "vectors",
            [rows],
            vectors,
            Vectors(threshold=0.2, power=2.0),
            without_self(each_with_each(vectors.tolist(), vectors.tolist(), lambda a, b: label_cosine(a, b, 0.2, 2.0))),
        ),
        Shape(
            "columns_of_documents",
            [rows] * 4,
            grades,
            Lists(),
            [[float(grades[q, c]) if d == q else 0.0 for c in range(3) for d in range(rows)] for q in range(rows)],
            chosen=True,
        ),
        Shape(
            "ragged_lists",
            [rows, len(owners)],
            {"label": ragged, "list_sizes": torch.tensor(lengths)},
            Lists(),
            [
                [ragged[q, place].item() if owner == q else 0.0 for owner, place in zip(owners, places, strict=True)]
                for q in range(rows)
            ],
            chosen=True,
        ),
        Shape(
            "ragged_lists_of_judged_documents",
            [rows, len(owners)],
            {"label": ragged, "list_sizes": torch.tensor(lengths)},
            Lists(off_diagonal=UNJUDGED),
            [
                [ragged[q, place].item() if owner == q else NAN for owner, place in zip(owners, places, strict=True)]
                for q in range(rows)
            ],
        ),
        Shape(
            "lists_without_grades",
            [rows, len(owners)],
            {"list_sizes": torch.tensor(lengths)},
            Lists(),
            [[float(owner == q) for owner in owners] for q in range(rows)],
            chosen=True,
        ),
        Shape(
            "judgements",
            [rows] * 3,
            {
                "query_ids": encode_ids(f"q{row}" for row in range(rows)),
                "document_ids": encode_ids(document_ids),
            },
            Qrels(qrels),
            [[float(qrels.get(f"q{q}", {}).get(d, 0)) for d in document_ids] for q in range(rows)],
        ),
    ]


SHAPES = _shapes()
