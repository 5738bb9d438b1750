"""The figure of the tables: time against MNRL's, and peak memory, by batch."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

from eval.bench.gpu.part import Case


def draw(records: list[Case], machine: str, path: Path) -> str:
    """Draw A-NDCG at each relevance and precision; return what was done."""
    records = [record for record in records if "error" not in record]
    if not records or not find_spec("matplotlib"):
        return "no figure: " + ("matplotlib is not installed" if records else "no case was measured")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (time, memory) = plt.subplots(1, 2, figsize=(11, 4.5))
    for precision, style in (("float32", "-"), ("tf32", "--"), ("bf16", ":")):
        for place, relevance in enumerate(dict.fromkeys(record["relevance"] for record in records)):
            some = [r for r in records if (r["relevance"], r["precision"]) == (relevance, precision)]
            look = {"color": f"C{place}", "linestyle": style, "marker": "o", "label": f"{relevance}, {precision}"}
            batches = [record["batch"] for record in some]
            time.plot(batches, [record["times MNRL"] for record in some], **look)
            memory.plot(batches, [record["megabytes"]["A-NDCG"] or math.nan for record in some], **look)
    time.set_ylabel("time of A-NDCG / MNRL")
    memory.set_ylabel("peak memory of A-NDCG, MiB")
    known = any(record["megabytes"]["A-NDCG"] for record in records)
    time.set(xscale="log", yscale="log", xlabel="batch")
    memory.set(xscale="log", yscale="log" if known else "linear", xlabel="batch")
    memory.legend(fontsize="small")
    figure.suptitle(machine, fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return str(path)
