"""One run of TRL's DPOTrainer on the CPU, timed: the reference pass over all pairs, then optimiser steps.

Called by `peers.py`; prints one line of JSON. Seen with torch 2.15, trl 1.16, transformers 5.23.
"""

import argparse
import json
import os
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("model", help="Hugging Face folder")
parser.add_argument("pairs", help="JSONL with prompt, chosen, rejected")
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--batch-size", type=int, required=True, help="pairs of an optimiser step")
parser.add_argument("--max-length", type=int, required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--dtype", choices=["f32", "bf16"], required=True)
parser.add_argument("--lora-r", type=int, default=0, help="rank of an adapter on all linear maps; 0: all weights")
args = parser.parse_args()

os.environ["TQDM_DISABLE"] = "1"
import datasets  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402

torch.set_num_threads(args.threads)
transformers.utils.logging.set_verbosity_error()


class Clock(transformers.TrainerCallback):
    """Seconds of each optimiser step."""

    def __init__(self):
        self.steps, self.started = [], 0.0

    def on_step_begin(self, *_, **__):
        self.started = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.steps.append(time.perf_counter() - self.started)


class Timed(trl.DPOTrainer):
    """Pairs in their order, and the time of the reference pass."""

    reference_seconds = 0.0

    def _get_train_sampler(self, *_, **__):
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def _precompute_ref_logps(self, *positional, **named):
        started = time.perf_counter()
        result = super()._precompute_ref_logps(*positional, **named)
        Timed.reference_seconds += time.perf_counter() - started
        return result


def adapter(rank):
    if rank == 0:
        return None
    import peft

    return peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")


clock = Clock()
with open(args.pairs) as lines:
    pairs = datasets.Dataset.from_list([json.loads(line) for line in lines])
with tempfile.TemporaryDirectory() as folder:
    # Its fastest settings on a CPU: no padding between pairs (micro-batches of one), nothing recomputed.
    config = trl.DPOConfig(
        output_dir=folder,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=args.batch_size,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=1,
        max_length=args.max_length,
        max_steps=args.steps,
        use_cpu=True,
        bf16=args.dtype == "bf16",
        gradient_checkpointing=False,
        beta=0.1,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Timed(
        model=transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32),
        args=config,
        train_dataset=pairs,
        processing_class=transformers.AutoTokenizer.from_pretrained(args.model),
        callbacks=[clock],
        peft_config=adapter(args.lora_r),
    )
    if args.steps > 0:
        trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print(
    json.dumps(
        {
            "pairs": len(trainer.train_dataset),
            "precompute_seconds": Timed.reference_seconds,
            "step_seconds": clock.steps,
            "losses": losses,
            "versions": {"torch": torch.__version__, "trl": trl.__version__, "transformers": transformers.__version__},
        }
    )
)
