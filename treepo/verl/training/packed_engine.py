"""verl's FSDP engine, with every token that rows share computed once.

`PackedFSDPEngine` is registered in verl's engine registry as model type ``treepo_packed``, strategies ``fsdp`` and
``fsdp2``; importing this module registers it. A training chooses it through
`treepo.verl.training.packing.use_packed_engine`, which writes that model type and this module's name (verl's
``external_lib``) into the configuration: verl's workers import the one and look up the other. It serves old log-probs,
reference log-probs and updates, with verl's own losses, optimizer, checkpoints and weight export.

Outside of a training, ``benchmarks.engines.build_engine`` makes this engine and verl's own from the same model folder,
and ``benchmarks.engines.make_batch`` the batch that either takes.

What it overrides of verl 0.9.1 (``verl/workers/engine/fsdp/transformer_impl.py``), and
``tests/seams/test_packing_seams.py`` holds: `forward_backward_batch` is verl's loop with other micro-batches;
`forward_step` is verl's, with scores of the labels in place of logits; `prepare_model_inputs` and
`prepare_model_outputs` go from rows to the packed tokens and back inside it; `_build_module` is verl's, without its
patch of attention for Ulysses.

With ``ulysses_sequence_parallel_size`` above 1 the ranks that verl gives the same rows share every micro-batch's packed
tokens (`treepo.packing.Exchange`), which takes the place of Ulysses.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id, get_device_name
from verl.workers.config import FSDPEngineConfig, HFModelConfig
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine.utils import postprocess_batch_func

from treepo.packing import (
    Exchange,
    Labels,
    Layout,
    Plan,
    ReadOut,
    Rows,
    Sharing,
    imbalance,
    lay_out,
    plan_equal_rows,
    plan_micro_batches,
    read_out,
    scores_for_logits,
    to_rows,
)
from treepo.packing.attention import IMPLEMENTATION, check_model, model_inputs
from treepo.verl.training.packing import METRICS, MODEL_TYPE

# The registry's decorator tells type checkers of the base class alone.
_Engine: Any = FSDPEngineWithLMHead

_PACKED = "treepo_packed"
_IMPOSSIBLE = torch.iinfo(torch.int64).max
_UNREAD = ("calculate_sum_pi_squared", "distillation_use_topk", "distillation_only", "use_fused_kernels")


@dataclass(frozen=True, slots=True, kw_only=True)
class _PackedRows:
    """One micro-batch's layout and the way back; travels in it as verl's other settings do.

    Attributes:
        layout: The packed rows.
        readout: The way back, on the device.
        row_tokens: Tokens of the rows.
        exchange: The way to the ranks that share the micro-batch; None on one.
    """

    layout: Layout
    readout: ReadOut
    row_tokens: int
    exchange: Exchange | None

    @property
    def labels(self) -> Labels:
        """What is scored on this rank."""
        return self.readout if self.exchange is None else self.exchange.labels


@EngineRegistry.register(model_type=MODEL_TYPE, backend=["fsdp", "fsdp2"], device="cuda")
class PackedFSDPEngine(_Engine):
    """The engine of actor and reference; what verl calls a row is one trajectory with its prompt.

    Args:
        model_config: verl's, of a model that `treepo.packing.attention.check_model` accepts.
        engine_config: verl's.
        **kwargs: Optimizer and checkpoint configuration, untouched.

    Raises:
        ValueError: The model or the engine's options have something that packing would not compute exactly.
    """

    def __init__(self, model_config: HFModelConfig, engine_config: FSDPEngineConfig, **kwargs: Any) -> None:
        check_model(model_config.hf_config)
        for option, asked in (
            ("use_fused_kernels", model_config.use_fused_kernels),
            ("pad_to_length", engine_config.pad_to_length),
            ("qat", engine_config.qat.enable),
        ):
            if asked:
                raise ValueError(f"treepo.packing does not support {option}; train row by row")
        # The rollout holds the same objects, so the engine's attention and verl's name of the model are set on copies.
        model_config = copy.copy(model_config)
        model_config.hf_config = copy.deepcopy(model_config.hf_config)
        model_config.hf_config._attn_implementation = IMPLEMENTATION
        model_config.model_type = "language_model"
        super().__init__(model_config=model_config, engine_config=engine_config, **kwargs)

    def forward_backward_batch(
        self, data: TensorDict, loss_function: Callable[..., Any] | None, forward_only: bool = False
    ) -> dict[str, Any]:
        """Runs a mini-batch, as many micro-batches on every data-parallel rank, and gives rows in their own order.

        Args:
            data: This rank's rows, nested tensors ``input_ids``, ``responses``, ``loss_mask``, with verl's settings.
            loss_function: verl's, called per micro-batch; None for log-probs alone.
            forward_only: Whether there is no backward pass.

        Returns:
            verl's dictionary of ``model_output``, ``loss`` and ``metrics``.

        Raises:
            ValueError: The batch asks for something that packed rows do not give, or does not fit its micro-batches.
        """
        _check_batch(data)
        self._note_batch_size(data)
        rows = rows_of(data)
        plan = self._plan(data, rows)
        packed_tokens, outputs = 0, []
        sharings: list[Sharing] = []
        # Laid out one by one, on the host, while the device computes the one before.
        for index, batch in enumerate(plan.batches):
            micro_batch, packed = self._micro_batch(data, rows, batch.rows)
            packed_tokens += len(packed.layout)
            if packed.exchange is not None:
                sharings.append(packed.exchange.sharing)
            last = index == len(plan.batches) - 1
            sync = nullcontext() if forward_only else self._gradient_sync_context(is_last_micro_batch=last)
            with torch.set_grad_enabled(not forward_only), sync, torch.profiler.record_function(f"micro_batch{index}"):
                loss, output = self.forward_step(micro_batch, loss_function=loss_function, forward_only=forward_only)
                if not forward_only:
                    (loss if self.scaler is None else self.scaler.scale(loss)).backward()
                    if not tu.get(data, "return_model_output", default=False):
                        output.pop("model_output")
            outputs.append(output)
        # verl brings rows back into order where it made the micro-batches by tokens; here they always are out of order.
        settings = tu.get_tensordict({}, {"use_dynamic_bsz": True})
        result = postprocess_batch_func(outputs, [list(batch.rows) for batch in plan.batches], settings)
        result["metrics"] |= {
            f"{METRICS}packed_tokens": [packed_tokens],
            f"{METRICS}row_tokens": [plan.row_tokens],
            f"{METRICS}repeated_tokens": [plan.repeated_tokens],
            f"{METRICS}batches": [len(plan.batches)],
        }
        if sharings:
            result["metrics"] |= {
                f"{METRICS}sequence_rank_tokens": [sum(len(sharing.shares[0]) for sharing in sharings)],
                f"{METRICS}sequence_rank_imbalance": [imbalance(sharings)],
            }
        return result

    def forward_step(
        self, micro_batch: TensorDict, loss_function: Callable[..., Any] | None, forward_only: bool
    ) -> tuple[Tensor, dict[str, Any]]:
        """Verl's step of one micro-batch, in which the model's head scores the labels instead of giving logits."""
        packed = _packed(micro_batch)
        # verl bounds the temperature likewise.
        temperature = max(float(tu.get(micro_batch, "temperature")), 1e-8)
        entropy = bool(tu.get(micro_batch, "calculate_entropy", default=False))
        head = self.module.get_output_embeddings()
        with scores_for_logits(head, packed.labels, temperature=temperature, entropy=entropy):
            return super().forward_step(micro_batch, loss_function=loss_function, forward_only=forward_only)

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[dict[str, Any], dict[str, Any]]:
        """The packed tokens of a micro-batch, for verl's ``forward_step``."""
        packed = _packed(micro_batch)
        inputs = model_inputs(packed.layout, torch.device(get_device_id()), exchange=packed.exchange)
        return inputs | {"logits_to_keep": packed.labels.positions}, {"packed": packed}

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: TensorDict, logits_processor_func: object
    ) -> dict[str, Tensor]:
        """From the scores of the labels to rows.

        Returns:
            ``log_probs``, and ``entropy`` if asked for: nested, shape (rows, row tokens). As in verl a row's entry t
            is about its token t + 1. Entries that are not about a response's token are zero; no loss reads them.
        """
        packed: _PackedRows = output_args["packed"]
        names = ("log_probs", "entropy") if output.logits.dim() == 2 else ("log_probs",)
        scores = output.logits.view(len(names), -1)
        if packed.exchange is not None:
            scores = packed.exchange.join(scores)
        tokens: Any = micro_batch["input_ids"]
        return {
            name: torch.nested.nested_tensor_from_jagged(
                torch.roll(to_rows(values, packed.readout, packed.row_tokens), -1), tokens.offsets()
            )
            for name, values in zip(names, scores, strict=True)
        }

    def _build_module(self) -> Any:
        """verl's, told of one sequence rank: its patch for Ulysses asks for heads that divide by them."""
        ranks, self.ulysses_sequence_parallel_size = self.ulysses_sequence_parallel_size, 1
        try:
            return super()._build_module()
        finally:
            self.ulysses_sequence_parallel_size = ranks

    def _note_batch_size(self, data: TensorDict) -> None:
        """What verl's losses divide by: the tokens of the mini-batch on all ranks."""
        tokens = data["loss_mask"].sum().to(get_device_id())
        torch.distributed.all_reduce(tokens, group=self.get_data_parallel_group())
        ranks = {"dp_size": self.get_data_parallel_size(), "sp_size": self.ulysses_sequence_parallel_size}
        tu.assign_non_tensor(data, batch_num_tokens=tokens.item(), **ranks)

    def _plan(self, data: TensorDict, rows: Rows) -> Plan:
        """The micro-batches: by packed tokens, or with verl's fixed number of rows in each."""
        if not tu.get(data, "use_dynamic_bsz", default=True):
            size = tu.get(data, "micro_batch_size_per_gpu")
            if len(rows) % size:
                raise ValueError(f"{len(rows)} rows cannot make micro-batches of micro_batch_size_per_gpu={size}")
            return plan_equal_rows(rows, batches=len(rows) // size)
        ranks = self.ulysses_sequence_parallel_size
        # As in verl: what every rank may hold, times the ranks that share a micro-batch.
        limit = tu.get(data, "max_token_len_per_gpu") * ranks
        longest = int(rows.lengths.max())
        plan = plan_micro_batches(rows, max_tokens=limit) if longest <= limit else None
        # One rank's failure must be every rank's, or the others would wait for it.
        count = self._most(len(plan.batches) if plan is not None else _IMPOSSIBLE)
        if plan is None or count == _IMPOSSIBLE:
            bound = f"max_token_len_per_gpu={limit // ranks}" + (f" x {ranks} sequence ranks" if ranks > 1 else "")
            raise ValueError(f"a row is longer than {bound}; this rank's longest has {longest}")
        if count == len(plan.batches):
            return plan
        return plan_micro_batches(rows, max_tokens=limit, min_batches=count)

    def _micro_batch(self, data: TensorDict, rows: Rows, chosen: Sequence[int]) -> tuple[TensorDict, _PackedRows]:
        device = torch.device(get_device_id())
        part = rows.select(chosen)
        layout = lay_out(part)
        readout = read_out(layout, part)
        group = self.ulysses_parallel_group
        packed = _PackedRows(
            layout=layout,
            readout=readout.to(device),
            row_tokens=len(part.tokens),
            exchange=None if group is None else Exchange(group, layout, readout, device),
        )
        micro_batch = tu.index_select_tensor_dict(data, list(chosen))
        tu.assign_non_tensor_data(micro_batch, _PACKED, packed)
        return micro_batch, packed

    def _most(self, count: int) -> int:
        """The largest of all data-parallel ranks' numbers."""
        most = torch.tensor(count, device=get_device_name())
        torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX, group=self.get_data_parallel_group())
        return int(most.item())


def rows_of(data: TensorDict) -> Rows:
    """The rows of a batch of verl's, without padding.

    Args:
        data: With nested ``input_ids``, shape (rows, row tokens), and ``responses``, shape (rows, response tokens).
    """
    tokens: Any = data["input_ids"]
    responses: Any = data["responses"]
    lengths = tokens.offsets().diff().cpu()
    return Rows(
        tokens=tokens.values().cpu(), lengths=lengths, prompt_lengths=lengths - responses.offsets().diff().cpu()
    )


def _check_batch(data: TensorDict) -> None:
    asked = [name for name in _UNREAD if tu.get(data, name, default=False)]
    if any(tu.get(data, "multi_modal_inputs", default=[])):
        asked.append("multi_modal_inputs")
    if isinstance(data["temperature"], Tensor):
        asked.append("a temperature per row")
    if asked:
        raise ValueError(f"treepo.packing does not support {asked[0]}; train row by row")


def _packed(micro_batch: TensorDict) -> _PackedRows:
    packed = tu.get(micro_batch, _PACKED)
    assert isinstance(packed, _PackedRows), "micro-batches come from forward_backward_batch"
    return packed
