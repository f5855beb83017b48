"""docs/README.md of a bundle: what it is, how to use it, what was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_PAGE = """\
# {name}: {task}

Exported with fran {version} on {date}. Images are brought to {spacing} mm; the networks see patches of {patch} voxels
(x, y, z; RAS+).

## Predict

With fran, voxel for voxel what the run itself predicts:

    fran infer runs=[{name}] input=<images> output=<label maps>
{monai}
## Labels

{labels}
{postprocess}
## Networks

{networks}

Several are an ensemble: the mean of their probabilities decides.

## Files

`models/model*.pt` are state dicts, and `models/members.pt` says what belongs to each; both load with
`weights_only=True`.
{files}
"""
_MONAI = """
With MONAI alone, whose resampling and tiles are other ones, so not voxel for voxel:

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
        --dataset_dir <images> --output_dir <label maps>
"""
_POSTPROCESS = """
## Post-processing

fran removes islands and fills holes by these rules (`postprocess=false` does not); MONAI alone does not know them.

{rules}
"""
_FILES = """\
The files below take patches (batch, 1, x, y, z), {units}, and return scores (batch, {n_classes}, x, y, z), the
largest of which is the label. TorchScript and configs/inference.json can run code: use them only from people you trust.

{checks}"""


def page(content: Mapping[str, Any], name: str) -> str:
    """The page, from the content of metadata.json.

    Args:
        content: see `fran.bundle.monai_files.metadata`.
        name: of the bundle's file or folder.
    """
    own = content["fran"]
    files = {check["file"] for check in own["checks"]}
    return _PAGE.format(
        name=name,
        task=content["task"],
        version=own["version"],
        date=own["exported"][:10],
        spacing=" x ".join(f"{s:g}" for s in own["spacing_mm"]),
        patch=" x ".join(map(str, own["patch_size"])),
        monai=_MONAI if "model.ts" in files else "",
        labels=_table(("value", "name"), list(own["labels"].items())),
        postprocess=_POSTPROCESS.format(rules=_rules(own["postprocess"])) if own["postprocess"] else "",
        networks=_table(
            ("run", "fold", "cases trained on", "SHA-256 of the weights"),
            [(m["run"], m["fold"], m["trained_on"], m["sha256"]) for m in own["members"]],
        ),
        files=_files(content) if files else "",
    )


def _rules(rules: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            value,
            rule.get("name", ""),
            ", ".join(f"`{key}`: {json.dumps(told)}" for key, told in rule.items() if key != "name"),
        )
        for value, rule in rules.items()
    ]
    return _table(("value", "name", "rule"), rows)


def _files(content: Mapping[str, Any]) -> str:
    image = content["network_data_format"]["inputs"]["image"]
    columns = ("file", "largest difference of a probability to the networks, on random patches", "allowed")
    rows = [
        (f"models/{c['file']}", f"{c['largest_difference_of_a_probability']:.1g}", f"{c['tolerance']:g}")
        for c in content["fran"]["checks"]
    ]
    units = "in HU" if image["format"] == "hounsfield" else "normalised by the image's own statistics"
    return _FILES.format(units=units, n_classes=len(content["fran"]["labels"]) + 1, checks=_table(columns, rows))


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
