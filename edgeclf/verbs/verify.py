"""`edgeclf verify`: does this bundle predict on this machine what it predicted where it was exported?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeclf.console import grid, mark, say, show, styled, suggest, verdict, write_json
from edgeclf.verbs.shared.opening import open_bundle, open_signed, say_remarks, session_options
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AsJson,
    BundlePath,
    ComputePrecision,
    Device,
    PixelsMode,
    PublicKeyFile,
    RebuildIfStale,
    Strict,
    Threads,
    shell_word,
)
from edgeclf.wording import agreement_of, count
from edgeclf_runtime.errors import GateError, UsageError

if TYPE_CHECKING:
    from edgeclf.sheet import Sheet
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.bundle.proof import Proof

USES = {"classify": "predict {} IMAGE", "embed-image": "embed {} IMAGES", "embed-text": "embed {} --text TEXT"}
_SENTENCES = {
    "pass": "its predictions on this machine are those of its reference",
    "fail": "its predictions on this machine are not those of its reference",
    "inconclusive": "nothing is wrong, but more images are needed for a verdict",
}


def verify(
    bundle: BundlePath,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    compute_precision: ComputePrecision = None,
    pixels: PixelsMode = "exact",
    key: PublicKeyFile = None,
    rebuild_if_stale: RebuildIfStale = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Verify that a bundle predicts here what its reference predicted.

    Checks the hash of every file, decodes the golden images (test images inside the bundle) and compares the pixels,
    runs the engine and compares its outputs with the reference's, and with those of the bundle where it was made. The
    result is stored beside the bundle, one file per machine. Exit code 1: verification failed.

    --pixels fast is verified on its own: decoder and engine together, with wider tolerances. With --key, a bundle
    without the right signature is refused before any engine reads it (exit code 3; extra "sign").

    \b
    Examples:
      edgeclf verify bundles/cats-onnx
      edgeclf verify cats.tar --json > proof.json
      edgeclf verify cats.tar --key edgeclf.pub
    """
    from edgeclf_runtime.deploy.machine_proofs import save_proof
    from edgeclf_runtime.deploy.verify import verify as prove_here

    if key is not None and rebuild_if_stale:
        raise UsageError("what --rebuild-if-stale builds has no signature; give --key to `edgeclf build` instead")
    options = session_options(device, threads, compute_precision)
    found, signature = open_signed(bundle, key)
    opened = open_bundle(found, options, rebuild_if_stale=rebuild_if_stale)
    proof = prove_here(opened, options, pixels)
    saved = save_proof(opened, proof)
    if as_json:
        about = {"path": str(opened.path), "digest": opened.digest, "files": len(opened.manifest.files)}
        place = None if saved is None else str(saved)
        write_json("verify", {"bundle": about, "signature": signature, "proof": proof, "saved_at": place})
    else:
        show_proof(opened, proof)
    say_remarks(proof.machine)
    for note in proof.notes:
        say(f"note: {note}", style="yellow")
    say(f"wrote {saved}" if saved else f"the proof is not stored: {opened.sidecar.parent} is not writable", style="dim")
    settle(str(opened.path), proof, strict=strict)
    suggest_use(opened)


def suggest_use(bundle: Bundle) -> None:
    """The command that runs the bundle, by its task."""
    suggest(f"edgeclf {USES[bundle.manifest.task].format(shell_word(str(bundle.path)))}")


def settle(bundle: str, proof: Proof, *, strict: bool) -> None:
    """Raises GateError for a failed proof, with `strict` for an inconclusive one too, which is a warning otherwise."""
    reasons = "; ".join(proof.reasons).replace("; engine: ", ", ")
    if proof.verdict == "fail":
        raise GateError(f"{bundle} fails on this machine: {reasons}")
    if proof.verdict == "inconclusive":
        if strict:
            raise GateError(f"{bundle} is inconclusive on this machine: {reasons}")
        say(f"INCONCLUSIVE: {reasons}", style="bold yellow")


def show_proof(bundle: Bundle, proof: Proof) -> None:
    """The proof as a table: what was checked, found and tolerated."""
    machine = proof.machine
    version = machine.get("engine_version", "").partition("-")[0]  # without the number of the build
    engine = " ".join(filter(None, [machine.get("engine"), version]))
    where = (
        machine.get("jetson") or (machine.get("gpu") if machine.get("device") != "cpu" else "") or machine.get("cpu")
    )
    about = f"{engine}, computing in {proof.compute_precision} on {where}"
    show(
        styled(bundle.name, "bold"),
        styled(about, "dim"),
        "",
        _table(bundle, proof),
        "",
        verdict(proof.verdict) + styled(f": {_SENTENCES[proof.verdict]}"),
    )


def _table(bundle: Bundle, proof: Proof) -> Sheet:
    from edgeclf_runtime.bundle.quantization_report import shares_in_words
    from edgeclf_runtime.session import stored_shares

    manifest, compared, tolerances = bundle.manifest, proof.comparison, proof.tolerances
    table = grid("", "check", "found", "tolerated", title=2)

    def row(fine: bool, check: str, found: str, tolerated: str) -> None:
        sign = styled(mark(fine), "green" if fine else "")
        table.add_row(sign, check, found, styled(tolerated, "dim"), style="" if fine else "bold red")

    of_texts, classifies = manifest.task == "embed-text", manifest.task == "classify"
    item, exactly = ("text", "token for token") if of_texts else ("image", "bit for bit")
    exact = compared.images - len(proof.decoding_faults)
    decoded = f"{exact} of {count(compared.images, item)} {exactly}"
    if exact < compared.images and not of_texts:
        decoded += f", others up to {proof.max_pixel_levels} levels off"
    row(True, "files", f"{count(len(manifest.files), 'file')} unchanged", "SHA-256 of each")
    if proof.machine.get("pixels") == "fast":
        row(True, "fast pixels", f"up to {proof.max_pixel_levels} levels off", "compared by the outputs")
    else:
        read = not any(reason.startswith(("decoding: ", "tokenizer: ")) for reason in proof.reasons)
        row(read, "tokenizer" if of_texts else "decoding", decoded, exactly)
    if compared.non_finite:
        row(False, "finite", f"{count(compared.non_finite, item)} gave NaN or infinity", "none")
    if shares := stored_shares(bundle):
        stored = not any(reason.startswith("stored: ") for reason in proof.reasons)
        row(stored, "stored weights", shares_in_words(shares), manifest.weights_precision)
    largest, outputs = f"{compared.max_relative:.1e} of their range", "logits" if classifies else "embeddings"
    row(compared.max_relative <= tolerances.relative, outputs, largest, f"up to {tolerances.relative:g}")
    row(compared.min_cosine >= tolerances.cosine, "cosine", f"{compared.min_cosine:.7f}", f"from {tolerances.cosine:g}")
    if classifies:
        divergence = f"{compared.max_kl:.1e} nats"
        row(compared.max_kl <= tolerances.kl, "KL divergence", divergence, f"up to {tolerances.kl:g}")
    _own_rows(row, proof, outputs)
    about = "two best classes nearly equal" if classifies else "another one's embedding is as close"
    agreement, decisions = agreement_of(manifest.task, multi_label=manifest.multi_label), f"all {item}s"
    if manifest.multi_label:
        about, decisions = "a score nearly at its threshold", f"each label of {decisions}"
    row(compared.flips == 0, agreement, compared.in_words, f"{decisions} but near ties: {about}")
    if compared.mean_average_precision is not None:
        row(True, "mAP", f"{compared.mean_average_precision:.4f}", "the reference's predictions are taken as the truth")
    if manifest.features is not None:
        fine = not any(reason.startswith("features: ") for reason in proof.reasons)
        found = "the reference's, and its own of where it was made" if fine else "others"
        row(fine, "features", found, "close to both; int8: cosine with the reference's from 0.8")
    if manifest.own is not None and manifest.own.predictions is not None:
        same = not any(reason.startswith("predictions: ") for reason in proof.reasons)
        found = "as where it was made" if same else "others from the same logits"
        row(same, "predictions", found, "labels, temperature and thresholds of that time")
    return table


def _own_rows(row: Callable[[bool, str, str, str], None], proof: Proof, outputs: str) -> None:
    """The outputs here against those that the bundle gave where it was made, which is the tighter measure."""
    from edgeclf_runtime.bundle.own_check import own_computation_failures, own_distance_failures

    own = proof.own
    if own is None:
        return
    compared, limit = own.comparison, own.tolerances
    where = "another processor or engine" if own.differs else "the same processor and engine"
    row(
        not own_computation_failures(own),
        f"own {outputs}",
        f"{compared.max_relative:.1e} of their range",
        f"up to {limit.relative:g}: {where}",
    )
    row(
        not own_distance_failures(own),
        "distance",
        f"{own.distance:.1e} from the reference",
        f"{own.distance_at_export:.1e} where it was made",
    )
